//! Mode `auto` between real nodes: what AutoNAT finds out on loopback changes the mode, and others hear of it.

use std::time::Duration;

use kadmos::core::health::Reachability;
use kadmos::{AutoMode, Config, DhtBuilder, Event, Keypair, Mode, Node};

fn builder() -> DhtBuilder {
    DhtBuilder::new(Keypair::generate_ed25519()).config(Config::private("/kadmos/test/auto"))
}

fn loopback() -> libp2p::Multiaddr {
    "/ip4/127.0.0.1/tcp/0".parse().unwrap()
}

async fn addr(node: &Node) -> libp2p::Multiaddr {
    node.p2p_addrs().into_iter().next().unwrap()
}

/// Waits for an event of this node, for as long as AutoNAT takes at most: a test every 5 s.
async fn until(node: &Node, wanted: impl Fn(&Event) -> bool) {
    let mut events = node.events();
    let found = async {
        while let Some(event) = events.next().await {
            if wanted(&event) {
                return;
            }
        }
        panic!("the node has ended");
    };
    tokio::time::timeout(Duration::from_secs(60), found).await.expect("the event comes");
}

/// Goal: a node that others reach serves, and those connected hear of it by a push. Method: two nodes on loopback, one
/// of which tests others; nothing is injected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_reached_serves_and_says_so() {
    let tester = builder().mode(Mode::Server).listen(loopback()).test_others(true).start().await.unwrap();
    let auto =
        builder().mode(Mode::Server).auto_mode(AutoMode::default()).listen(loopback()).start().await.unwrap();
    assert_eq!(auto.table_now().mode(), Mode::Client, "until it is known");
    assert_eq!(auto.health().await.unwrap().reachability, Reachability::Unknown);
    let peer = auto.peer_id();
    let admitted = {
        let tester = tester.clone();
        async move {
            let is_it = |event: &Event| matches!(event, Event::PeerAdmitted { peer: it, .. } if it.id.as_bytes() == peer.to_bytes());
            until(&tester, is_it).await;
        }
    };
    let admitted = tokio::spawn(admitted);
    auto.connect(addr(&tester).await).await.unwrap();
    until(&auto, |event| matches!(event, Event::ModeChanged { mode: Mode::Server })).await;
    assert_eq!(auto.health().await.unwrap().reachability, Reachability::Reachable);
    admitted.await.unwrap();
    auto.shutdown().await;
    tester.shutdown().await;
}

/// Goal: a node that nobody reaches stays a client. Method: as above, but it listens nowhere, so that what the other
/// sees of it cannot be dialled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_reached_stays_a_client() {
    let tester = builder().mode(Mode::Server).listen(loopback()).test_others(true).start().await.unwrap();
    let auto = builder().auto_mode(AutoMode::default()).start().await.unwrap();
    auto.connect(addr(&tester).await).await.unwrap();
    let known = async {
        while auto.health().await.unwrap().reachability == Reachability::Unknown {
            tokio::task::yield_now().await;
            // Whatever passes over the connection wakes the node; a lookup keeps it open.
            let _ = auto.closest_peers(b"anybody".as_slice()).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), known).await.expect("a test is made");
    assert_eq!(auto.health().await.unwrap().reachability, Reachability::Unreachable);
    assert_eq!(auto.table_now().mode(), Mode::Client);
    auto.shutdown().await;
    tester.shutdown().await;
}
