//! What we offer to peers: the protocols of the realms in which we serve.

use std::convert::Infallible;
use std::future::{Ready, ready};

use libp2p_core::upgrade::{InboundUpgrade, UpgradeInfo};
use libp2p_swarm::{Stream, StreamProtocol};

use crate::realm::Realm;

/// Offers the protocol of each realm in which we serve, none in client mode. Yields the bare stream, and whose it is.
#[derive(Clone, Debug)]
pub struct ServeUpgrade([Option<Offer>; Realm::ALL.len()]);

/// One protocol, and the realm whose it is.
#[derive(Clone, Debug)]
pub struct Offer {
    pub(super) realm: Realm,
    pub(super) protocol: StreamProtocol,
}

impl AsRef<str> for Offer {
    fn as_ref(&self) -> &str {
        self.protocol.as_ref()
    }
}

impl ServeUpgrade {
    pub(super) fn new(offered: impl IntoIterator<Item = Offer>) -> Self {
        let mut places = [None, None];
        for offer in offered {
            let place = offer.realm.index();
            places[place] = Some(offer);
        }
        Self(places)
    }
}

impl UpgradeInfo for ServeUpgrade {
    type Info = Offer;
    type InfoIter = std::iter::Flatten<std::array::IntoIter<Option<Offer>, { Realm::ALL.len() }>>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter().flatten()
    }
}

impl InboundUpgrade<Stream> for ServeUpgrade {
    type Output = (Realm, Stream);
    type Error = Infallible;
    type Future = Ready<Result<(Realm, Stream), Infallible>>;

    fn upgrade_inbound(self, stream: Stream, negotiated: Offer) -> Self::Future {
        ready(Ok((negotiated.realm, stream)))
    }
}
