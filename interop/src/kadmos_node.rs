//! Kadmos, as its users run it: a whole node of [`kadmos::DhtBuilder`].

use kadmos::{Config, DhtBuilder, Keypair, Mode, Node};
use libp2p::{Multiaddr, PeerId};

use crate::{core_id, poll};

/// A server on TCP and QUIC of 127.0.0.1 that knows nobody. It ends when it is dropped.
pub async fn start() -> Node {
    start_in(Mode::Server).await
}

/// As [`start`], in the given mode.
pub async fn start_in(mode: Mode) -> Node {
    builder().mode(mode).start().await.expect("loopback has free ports")
}

/// What [`start`] starts.
pub fn builder() -> DhtBuilder {
    let addr = |addr: &str| -> Multiaddr { addr.parse().expect("a multiaddr") };
    DhtBuilder::new(Keypair::generate_ed25519())
        .config(Config::lan())
        .mode(Mode::Server)
        .listen(addr("/ip4/127.0.0.1/tcp/0"))
        .listen(addr("/ip4/127.0.0.1/udp/0/quic-v1"))
}

/// Waits until the table of `node`, as it answers from it, holds `peer`.
pub async fn admits(node: &Node, peer: PeerId) {
    let id = core_id(&peer);
    // Not an event: that comes up to 10 ms before the table is published, and a test asks sooner.
    poll(&format!("{peer} in the table of Kadmos"), async || node.table_now().get(&id).map(|_| ())).await;
}
