//! What a network without faults must find, judged by an oracle that knows all ids.

use kadmos_sim::{RunConfig, RunReport, run};

/// Runs and checks what every sound run has in common.
fn run_sound(config: &RunConfig) -> RunReport {
    let report = run(config, &mut |_| {}).expect("the configuration is sound");
    assert_eq!(report.violations, Vec::<String>::new());
    assert_eq!(report.joined.part, u64::from(config.nodes), "{report}");
    assert_eq!(report.counters.failures, 0, "{report}");
    assert!(report.recall.is_at_least_per_mille(999), "{report}");
    for stats in
        [&report.closest_peers, &report.provide, &report.find_providers, &report.put_value, &report.get_value]
    {
        let tried = stats.succeeded;
        assert!(tried.whole > 0 && tried.part == tried.whole, "{report}");
    }
    assert!(report.providers_held.is_at_least_per_mille(950), "{report}");
    assert!(report.values_held.is_at_least_per_mille(950), "{report}");
    report
}

/// Goal: no more messages than go-libp2p-kad-dht needs. Method: 50 nodes; go was measured at 28 a lookup.
#[test]
fn recall_fifty_nodes_all_found_within_gos_messages() {
    let config = RunConfig { nodes: 50, seed: 1, lookups: 150, records: 10, ..RunConfig::default() };
    let report = run_sound(&config);
    assert!(report.closest_peers.messages.mean <= 28.0, "{report}");
}

/// Goal: as above, with 150 nodes, where go needs 38; tables no longer hold everybody.
#[test]
fn recall_hundred_fifty_nodes_all_found_within_gos_messages() {
    let config =
        RunConfig { nodes: 150, seed: 2, lookups: 80, records: 5, settle_secs: 60, ..RunConfig::default() };
    let report = run_sound(&config);
    assert!(report.closest_peers.messages.mean <= 38.0, "{report}");
    assert!(report.table_peers.max < 149, "{report}");
}

/// Goal: k is free. Method: tables of 4 a bucket, which make walks long.
#[test]
fn recall_small_k_all_found() {
    let config = RunConfig { nodes: 100, seed: 3, k: 4, lookups: 150, records: 20, ..RunConfig::default() };
    let report = run_sound(&config);
    assert_eq!(report.recall.whole, 150 * 4);
    assert!(report.closest_peers.hops.max >= 2, "{report}");
}

/// Goal: a network smaller than k. Method: 5 nodes; everybody is among the closest.
#[test]
fn recall_fewer_nodes_than_k_all_found() {
    let config = RunConfig { nodes: 5, seed: 4, lookups: 20, records: 4, ..RunConfig::default() };
    let report = run_sound(&config);
    assert_eq!(report.recall.whole, 20 * 4, "everybody but the one who looks");
}

/// Goal: mistakes are named. Method: each number out of its range.
#[test]
fn config_out_of_range_refused_by_name() {
    let sound = RunConfig { nodes: 5, ..RunConfig::default() };
    for (config, name) in [
        (RunConfig { nodes: 1, bootstrap: 1, ..sound.clone() }, "nodes: read 1"),
        (RunConfig { bootstrap: 0, ..sound.clone() }, "bootstrap: read 0"),
        (RunConfig { bootstrap: 6, ..sound.clone() }, "bootstrap: read 6, expected 1 to 5"),
        (RunConfig { k: 0, ..sound }, "k: read 0"),
    ] {
        let error = run(&config, &mut |_| {}).expect_err("refused");
        assert!(error.to_string().contains(name), "{error}");
    }
}
