//! Joining a network: whom to ask, and how long to wait for them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use kadmos::{Dht, Event, PeerAddrs};
use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use libp2p_identity::PeerId;

use crate::config::Network;
use crate::exit::{Exit, Failure};

/// Remembered peers that are asked at the start, spread over the table that was remembered. More would be a burst of
/// dials for little: any one of them that answers is enough.
const REMEMBERED_ASKED_MAX: usize = 32;
/// A command that has met nobody after this long says so.
const FIRST_PEER_TIMEOUT: Duration = Duration::from_secs(10);
/// Once one peer has answered, the others have this long; a lookup from several sides is a better one.
const OTHER_PEERS_GRACE: Duration = Duration::from_millis(500);

/// Addresses grouped by peer, in the order in which the peers were first named.
pub(crate) fn by_peer<'a>(addrs: impl IntoIterator<Item = &'a Multiaddr>) -> Vec<PeerAddrs> {
    let mut peers: Vec<PeerAddrs> = Vec::new();
    let mut index_of: BTreeMap<PeerId, usize> = BTreeMap::new();
    for addr in addrs {
        let mut addr = addr.clone();
        // Every address here was parsed as one that ends in a peer id.
        let Some(Protocol::P2p(id)) = addr.pop() else { continue };
        let index = *index_of.entry(id).or_insert_with(|| {
            peers.push(PeerAddrs::new(id, Vec::new()));
            peers.len() - 1
        });
        peers[index].addrs.push(addr);
    }
    peers
}

/// At most [`REMEMBERED_ASKED_MAX`] peers, evenly spaced.
pub(crate) fn spread(peers: Vec<PeerAddrs>) -> Vec<PeerAddrs> {
    let step = peers.len().div_ceil(REMEMBERED_ASKED_MAX).max(1);
    peers.into_iter().step_by(step).collect()
}

/// Peers as a person reads them: the first three, and how many more there are.
pub(crate) struct Tried<'a>(pub(crate) &'a [PeerAddrs]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        for (index, peer) in self.0.iter().take(SHOWN).enumerate() {
            let separator = if index > 0 { ", " } else { "" };
            match peer.addrs.first() {
                Some(addr) => write!(f, "{separator}{addr}/p2p/{}", peer.id)?,
                None => write!(f, "{separator}{}", peer.id)?,
            }
        }
        match self.0.len().checked_sub(SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, " and {more} more"),
        }
    }
}

/// Ends when the table has a peer; `false` when the node has shut down.
pub(crate) async fn first_peer(dht: &Dht) -> bool {
    let mut events = dht.events();
    match dht.table().await {
        Ok(table) if table.is_empty() => {}
        Ok(_) => return true,
        Err(_) => return false,
    }
    while let Some(event) = events.next().await {
        if matches!(event, Event::PeerAdmitted { .. }) {
            return true;
        }
    }
    false
}

/// Joins for the sake of one command: as soon as somebody has answered, the command may begin, while the rest of the
/// joining goes on.
///
/// Errors: there is nobody to ask, or nobody answered.
pub(crate) async fn for_command(dht: &Dht, sources: &[PeerAddrs], network: &Network) -> Result<(), Failure> {
    if sources.is_empty() {
        return Err(Failure::new(
            Exit::Unreachable,
            format_args!(
                "no peer of network {network} is known to join through; name one with --bootstrap <address>/p2p/<peer id>, or start `kadmos serve`"
            ),
        ));
    }
    let joining = dht.clone();
    let mut joined = tokio::spawn(async move { joining.bootstrap().await });
    let first = tokio::time::timeout(FIRST_PEER_TIMEOUT, first_peer(dht));
    tokio::select! {
        biased;
        Ok(result) = &mut joined => match result {
            Ok(_) => Ok(()),
            Err(_) => Err(nobody(sources)),
        },
        met = first => match met {
            Ok(true) => {
                // Whether it ends in this time or later, there is somebody to ask now.
                let _ = tokio::time::timeout(OTHER_PEERS_GRACE, &mut joined).await;
                Ok(())
            }
            _ => Err(nobody(sources)),
        },
    }
}

fn nobody(sources: &[PeerAddrs]) -> Failure {
    let count = sources.len();
    let who = if count == 1 { "the one peer".into() } else { format!("any of the {count} peers") };
    Failure::new(
        Exit::Unreachable,
        format_args!(
            "no answer from {who} to join through (tried {}); check this machine's connection and the addresses, or name others with --bootstrap",
            Tried(sources)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(peers: usize, each: usize) -> Vec<Multiaddr> {
        let ids: Vec<PeerId> = (0..peers).map(|_| PeerId::random()).collect();
        let addr = |port: usize| format!("/ip4/127.0.0.1/tcp/{port}").parse::<Multiaddr>().unwrap();
        (0..each).flat_map(|port| ids.iter().map(move |id| addr(port + 1).with(Protocol::P2p(*id)))).collect()
    }

    #[test]
    fn addresses_of_one_peer_are_one_source() {
        let addrs = addrs(2, 3);
        let peers = by_peer(&addrs);
        assert_eq!(peers.len(), 2);
        assert!(peers.iter().all(|peer| peer.addrs.len() == 3));
        assert_eq!(addrs[0], peers[0].addrs[0].clone().with(Protocol::P2p(peers[0].id)));
    }

    #[test]
    fn remembered_peers_are_thinned_evenly() {
        let all = by_peer(&addrs(100, 1));
        let some = spread(all.clone());
        assert_eq!(some.len(), 25);
        assert_eq!((&some[0], &some[24]), (&all[0], &all[96]));
        assert_eq!(spread(all[..5].to_vec()).len(), 5);
        assert!(spread(Vec::new()).is_empty());
    }

    #[test]
    fn long_lists_are_cut() {
        let peers = by_peer(&addrs(5, 1));
        let text = Tried(&peers).to_string();
        assert!(text.ends_with(" and 2 more"), "{text}");
        assert_eq!(text.matches("/p2p/").count(), 3);
        assert!(!Tried(&peers[..3]).to_string().contains("more"));
    }
}
