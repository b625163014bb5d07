//! Small networks on loopback.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod raw;

use kadmos::convert::core_id;
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
    let mut nodes = vec![server().start().await.unwrap()];
    for _ in 1..count {
        nodes.push(join(&nodes[0], server()).await);
    }
    for node in &nodes {
        until("all know all", async || node.table_now().len() == count - 1).await;
    }
    nodes
}

/// A node that has joined through `first`, and that `first` has taken into its table: identify and a probe come
/// before that, and may end after the newcomer has joined.
pub(crate) async fn join(first: &Node, builder: DhtBuilder) -> Node {
    let node = builder.bootstrap(first.p2p_addrs().remove(0)).start().await.unwrap();
    let joined = node.bootstrap().await.unwrap();
    assert_eq!(joined.answered, 1, "{joined:?}");
    let id = core_id(&node.peer_id()).unwrap();
    until("the newcomer is known", async || first.table_now().get(&id).is_some()).await;
    node
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
