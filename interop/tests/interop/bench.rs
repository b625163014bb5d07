//! The program that compares: small runs of it, from its command line to its report.

use std::process::Stdio;
use std::time::Duration;

use kadmos_interop::step_within;
use serde_json::Value;
use tokio::process::Command;

/// Far more than the runs here need.
const LIMIT: Duration = Duration::from_secs(120);

async fn bench(arguments: &[&str]) -> (Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = step_within(LIMIT, "the end of bench", command.output()).await.unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{words}");
    (serde_json::from_slice(&output.stdout).expect(&words), words)
}

/// Six nodes of each kind join through three and are judged: they know all others, or it is said who does not know whom.
/// That all do at once is not asked here: who joins at the same moment may miss each other.
#[tokio::test]
async fn both_kinds_join_and_are_judged() {
    let (report, words) = bench(&["bootstrap", "--nodes", "6", "--rounds", "1", "--limit", "5"]).await;
    let rounds = report["rounds"].as_array().unwrap();
    assert_eq!(rounds.iter().map(|round| &round["kind"]).collect::<Vec<_>>(), ["kadmos", "rust-libp2p"]);
    for round in rounds {
        let table = round["table"].as_f64().unwrap();
        if let Some(seconds) = round["time"]["exactly"].as_f64() {
            assert!(seconds > 0.0 && seconds < 6.0, "{words}");
            assert_eq!((&round["whole_percent"], table), (&100.0.into(), 8.0), "all the others: {words}");
            assert!(words.contains("6/6 nodes well"), "{words}");
        } else {
            assert_eq!(round["time"]["longer_than"], 5.0, "{words}");
            assert!((3.0..8.0).contains(&table), "at least the three: {words}");
            assert!(words.contains(" lacks number ["), "{words}");
        }
    }
    let both_are_well = rounds.iter().all(|round| round["time"]["exactly"].is_f64());
    assert_eq!(report["ratio"]["exactly"].is_f64(), both_are_well, "{words}");
    assert!(!report["ratio"].is_null(), "{words}");
}

/// All kinds run, each in a network of its own, and the kernel counts what they send.
#[tokio::test]
async fn idle_nodes_are_measured() {
    let (report, words) = bench(&["idle", "--minutes", "0.05", "--settle", "5", "--servers", "5"]).await;
    let nodes = report["nodes"].as_array().unwrap();
    let names: Vec<_> = nodes.iter().map(|node| node["node"].as_str().unwrap()).collect();
    let expected =
        ["kadmos server", "rust-libp2p server", "Kubo server", "kadmos client", "rust-libp2p client"];
    assert_eq!(names, expected);
    for node in nodes {
        let is_kubo = node["node"] == "Kubo server";
        assert_eq!(node["table"].is_null(), is_kubo, "{words}");
        // The five around it, and at most the other servers.
        assert!(is_kubo || (5..=8).contains(&node["table"].as_u64().unwrap()), "{words}");
        assert!(node["processor_seconds"].as_f64().unwrap() >= 0.0, "{words}");
    }
    assert!(words.contains("Kubo client: absent, because"), "{words}");
}
