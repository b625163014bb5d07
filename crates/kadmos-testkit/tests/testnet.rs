//! The networks that tests stand on do what they say.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kadmos::core::UnixTime;
use kadmos_testkit::{FakeClock, Testnet};

#[tokio::test]
async fn every_node_finds_the_true_closest() {
    let net = Testnet::new(20).await;
    for (index, node) in net.nodes().iter().enumerate() {
        let key = vec![index as u8; 34];
        let found = node.closest_peers(key.clone()).await.expect("a lookup");
        let found: Vec<_> = found.peers.into_iter().map(|peer| peer.id).collect();
        // A node never finds itself.
        let mut expected = net.closest(&key, 20);
        expected.retain(|id| *id != node.peer_id());
        assert_eq!(found, expected);
    }
    net.shutdown().await;
}

#[tokio::test]
async fn records_expire_by_the_clock_that_the_test_turns() {
    let clock = Arc::new(FakeClock::new(UnixTime::from_secs(1_800_000_000)));
    let net = Testnet::builder().nodes(5).clock(clock.clone()).start().await;
    let multihash = [&[0x12, 0x20][..], &[9; 32]].concat();
    net[1].provide(multihash.clone()).await.expect("an announcement");
    let found: Vec<_> = net[2].find_providers(multihash.clone(), 0).collect().await;
    assert_eq!(found.len(), 1);
    clock.advance(Duration::from_secs(49 * 3_600));
    let found: Vec<_> = net[2].find_providers(multihash, 0).collect().await;
    assert!(found.is_empty(), "{found:?}");
    net.shutdown().await;
}
