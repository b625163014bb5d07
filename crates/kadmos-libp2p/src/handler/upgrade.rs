//! What we offer to peers: our protocol, or nothing.

use std::convert::Infallible;
use std::future::{Ready, ready};

use libp2p_core::upgrade::{InboundUpgrade, UpgradeInfo};
use libp2p_swarm::{Stream, StreamProtocol};

/// Offers the DHT's protocol in server mode, and no protocol in client mode. Yields the bare stream.
#[derive(Clone, Debug)]
pub struct ServeUpgrade(Option<StreamProtocol>);

impl ServeUpgrade {
    pub(super) fn new(offered: Option<StreamProtocol>) -> Self {
        Self(offered)
    }
}

impl UpgradeInfo for ServeUpgrade {
    type Info = StreamProtocol;
    type InfoIter = std::option::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for ServeUpgrade {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, _: StreamProtocol) -> Self::Future {
        ready(Ok(stream))
    }
}
