//! Small networks on loopback.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod raw;

use kadmos::{Config, DhtBuilder, Keypair, Mode, Multiaddr, Node};

/// The private network of these tests.
pub(crate) const PROTOCOL: &str = "/kadmos/test/kad/1.0.0";

/// A server on a free loopback TCP port.
pub(crate) fn server() -> DhtBuilder {
    DhtBuilder::new(Keypair::generate_ed25519())
        .config(Config::private(PROTOCOL))
        .mode(Mode::Server)
        .listen(tcp())
}

/// `/ip4/127.0.0.1/tcp/0`.
pub(crate) fn tcp() -> Multiaddr {
    "/ip4/127.0.0.1/tcp/0".parse().unwrap()
}

/// `/ip4/127.0.0.1/udp/0/quic-v1`.
pub(crate) fn quic() -> Multiaddr {
    "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()
}

/// `count` servers, all but the first joined through the first; each has all others in its table.
pub(crate) async fn network(count: usize) -> Vec<Node> {
    let first = server().start().await.unwrap();
    let mut nodes = vec![first];
    for _ in 1..count {
        let node = server().bootstrap(nodes[0].p2p_addrs().remove(0)).start().await.unwrap();
        let joined = node.bootstrap().await.unwrap();
        assert_eq!(joined.answered, 1, "{joined:?}");
        nodes.push(node);
    }
    // A node that was asked takes the asker into its table once identify and a probe have ended.
    for node in &nodes {
        until("all know all", async || node.table_now().len() == count - 1).await;
    }
    nodes
}

/// The SHA-256 multihash with this digest byte.
pub(crate) fn multihash(byte: u8) -> Vec<u8> {
    [&[0x12, 0x20][..], &[byte; 32]].concat()
}

/// Waits until `condition` holds, for at most 20 s.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}
