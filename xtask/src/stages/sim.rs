//! The simulator, briefly: what it promises, equal hashes, and the proof that unequal ones would be noticed.

use std::time::Duration;

use serde_json::Value;

use crate::budget::OVERRUN;
use crate::failure::Failure;
use crate::process::{Limit, run as run_command, stdout_of};
use crate::repo::Repo;

/// Nodes, seed and lookups of the network whose hash is compared: small enough for the development profile.
const COMPARED: [&str; 3] = ["150", "7", "300"];
/// Nodes, seed and lookups of the network whose recall and speed are promised.
const LARGE: [&str; 3] = ["1000", "1", "10000"];
/// Share of the true closest peers that lookups find, in a network without faults.
const RECALL_MIN: f64 = 0.999;
/// How long [`LARGE`] may take. The promise is 30 s on two idle cores; a busy machine gets the slack of a budget.
const LARGE_TIME_MAX: Duration = Duration::from_secs(30 * OVERRUN as u64);
/// Requests of a lookup for closest peers, on average: what go-libp2p-kad-dht sends in networks of so many nodes.
const MESSAGES_MAX: [([&str; 3], f64); 2] = [(["50", "1", "1000"], 28.0), (["150", "1", "1000"], 38.0)];

/// Compares hashes of two runs and of two profiles, has the canary caught, and holds the promises.
pub(super) fn run(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    let expected = hash(&report(repo, limit, Profile::Development, &COMPARED)?)?;
    for (profile, what) in
        [(Profile::Development, "two runs"), (Profile::Release, "a development and a release build")]
    {
        let again = hash(&report(repo, limit, profile, &COMPARED)?)?;
        if again != expected {
            return Err(Failure::wrong(format!(
                "the simulator's hash differs between {what}: {expected} and {again}; `kadmos sim diff` finds the \
                 first event that does"
            )));
        }
    }
    canary(repo, limit)?;
    for (network, max) in MESSAGES_MAX {
        let report = report(repo, limit, Profile::Release, &network)?;
        at_least_recall(&report)?;
        let mean = number(&report["closest_peers"]["messages"]["mean"], "messages")?;
        if mean > max {
            return Err(Failure::wrong(format!(
                "a lookup among {} nodes sends {mean:.1} requests on average, promised are {max}",
                network[0]
            )));
        }
    }
    let large = report(repo, limit, Profile::Release, &LARGE)?;
    let recall = at_least_recall(&large)?;
    let seconds = number(&large["real_ms"], "real_ms")? / 1e3;
    if seconds > LARGE_TIME_MAX.as_secs_f64() {
        return Err(Failure::wrong(format!(
            "{} nodes and {} lookups took {seconds:.1} s, expected at most {} s",
            LARGE[0],
            LARGE[2],
            LARGE_TIME_MAX.as_secs()
        )));
    }
    Ok(format!("recall {recall:.5} in {seconds:.1} s, hash {}", expected.get(..12).unwrap_or(&expected)))
}

#[derive(Clone, Copy, Debug)]
enum Profile {
    Development,
    Release,
}

/// A build whose simulator keeps something in a randomly seeded map has to be caught: its own test says whether it is.
fn canary(repo: &Repo, limit: &Limit) -> Result<(), Failure> {
    let package =
        ["nextest", "run", "--package", "kadmos-sim", "--features", "canary-random-map", "--locked"];
    run_command(repo.cargo(package).args(["--test", "determinism", "canary"]), limit)
}

/// Runs a network. Without the rest of the program: a release build of that takes minutes.
fn report(repo: &Repo, limit: &Limit, profile: Profile, network: &[&str]) -> Result<Value, Failure> {
    let mut command =
        repo.cargo(["run", "--quiet", "--locked", "--package", "kadmos-sim", "--example", "json"]);
    if matches!(profile, Profile::Release) {
        command.arg("--release");
    }
    eprintln!("{} nodes, seed {}, {} lookups, {profile:?}", network[0], network[1], network[2]);
    let said = stdout_of(command.arg("--").args(network), limit)?;
    serde_json::from_str(&said)
        .map_err(|error| Failure::wrong(format!("the simulator did not print a report: {error}")))
}

fn hash(report: &Value) -> Result<String, Failure> {
    let hash = report["trace_hash"].as_str().filter(|hash| !hash.is_empty());
    hash.map(Into::into).ok_or_else(|| Failure::wrong("the simulator reported no trace_hash"))
}

fn number(value: &Value, name: &str) -> Result<f64, Failure> {
    value.as_f64().ok_or_else(|| Failure::wrong(format!("the simulator reported no {name}")))
}

fn at_least_recall(report: &Value) -> Result<f64, Failure> {
    let recall = &report["recall"];
    let recall = number(&recall["part"], "recall")? / number(&recall["whole"], "recall")?;
    if recall >= RECALL_MIN {
        return Ok(recall);
    }
    Err(Failure::wrong(format!("recall is {recall:.5}, promised are {RECALL_MIN}")))
}

#[cfg(test)]
mod sim_tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reports_are_read() {
        let report = |part, whole| json!({"trace_hash": "ab", "recall": {"part": part, "whole": whole}});
        assert_eq!(hash(&report(1, 1)).unwrap(), "ab");
        assert_eq!(at_least_recall(&report(9_990, 10_000)).unwrap(), 0.999);
        assert!(at_least_recall(&report(9_989, 10_000)).is_err());
        assert!(at_least_recall(&report(0, 0)).is_err());
        assert!(hash(&json!({})).is_err());
        assert!(at_least_recall(&json!({})).is_err());
    }
}
