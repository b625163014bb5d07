//! What happens at a real node reaches its page for Prometheus.

mod common;

use std::time::Duration;

use common::{multihash, network};

/// The page, once it has each of `lines`. Counting runs beside the node, so the last event may come a moment later.
async fn page_with(node: &kadmos::Node, lines: &[&str]) -> String {
    let counted = async {
        loop {
            let page = node.scrape().await.expect("a store in memory can always tell its size");
            if lines.iter().all(|line| page.contains(line)) {
                return page;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), counted)
        .await
        .unwrap_or_else(|_| panic!("waited for {lines:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_counts_what_it_does_and_serves() {
    let nodes = network(3).await;
    nodes[1].provide(multihash(1)).await.expect("an announcement");
    page_with(
        &nodes[1],
        &[
            "kadmos_lookups_total{kind=\"provide\",outcome=\"ok\"} 1",
            "kadmos_provider_records 1",
            "kadmos_mode{mode=\"server\"} 1",
        ],
    )
    .await;
    // The other end took it, in its connection's own task.
    page_with(&nodes[0], &["kadmos_provider_records 1", "type=\"add_provider\""]).await;
    for node in nodes {
        node.shutdown().await;
    }
}
