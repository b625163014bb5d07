//! The simulator, briefly: fixed seeds, equal hashes, and the proof that unequal ones would be noticed.

use serde_json::Value;

use super::devnet;
use crate::failure::Failure;
use crate::process::{Limit, run as run_command, stdout_of};
use crate::repo::Repo;

/// A network small enough for the development profile.
const SMALL: [&str; 6] = ["--nodes", "150", "--lookups", "300", "--seed", "7"];
/// The network of the promise.
const LARGE: [&str; 6] = ["--nodes", "1000", "--lookups", "10000", "--seed", "1"];
/// Recall of the true closest peers that the promise names, in a network without faults.
const RECALL_MIN: f64 = 0.999;

/// Runs the small network twice in one profile, once in the other and once with a canary; then the large one.
pub(super) fn run(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    devnet::build(repo, limit)?;
    run_command(&mut repo.cargo(["build", "--package", "kadmos-cli", "--locked"]), limit)?;
    let first = report(repo, limit, "debug", &SMALL)?;
    let expected = hash(&first)?;
    for (profile, what) in [("debug", "two runs"), ("release", "a debug and a release build")] {
        let again = hash(&report(repo, limit, profile, &SMALL)?)?;
        if again != expected {
            return Err(Failure::wrong(format!(
                "the simulator's hash differs between {what}: {expected} and {again}; `kadmos sim diff {}` finds \
                 the first event that does",
                SMALL.join(" ")
            )));
        }
    }
    canary(repo, limit)?;
    let large = report(repo, limit, "release", &LARGE)?;
    let recall = ratio(&large["recall"]).ok_or_else(|| Failure::wrong("the simulator reported no recall"))?;
    if recall < RECALL_MIN {
        return Err(Failure::wrong(format!("recall is {recall:.5}, promised are {RECALL_MIN}")));
    }
    Ok(format!("recall {recall:.5}, hash {}", &expected[..expected.len().min(12)]))
}

/// A build whose simulator keeps something in a randomly seeded map has to be caught: its own test says whether it is.
fn canary(repo: &Repo, limit: &Limit) -> Result<(), Failure> {
    let package =
        ["nextest", "run", "--package", "kadmos-sim", "--features", "canary-random-map", "--locked"];
    run_command(repo.cargo(package).args(["--test", "determinism", "canary"]), limit)
}

/// Runs a network and reads its report, the last line of JSON.
fn report(repo: &Repo, limit: &Limit, profile: &str, network: &[&str]) -> Result<Value, Failure> {
    let mut command = repo.command(&repo.binary(profile, "kadmos").to_string_lossy());
    let said = stdout_of(command.args(["sim", "run", "--json"]).args(network), limit)?;
    let line = said.lines().last().unwrap_or_default();
    serde_json::from_str(line)
        .map_err(|error| Failure::wrong(format!("`kadmos sim run --json` ended with {line:?}: {error}")))
}

fn hash(report: &Value) -> Result<String, Failure> {
    let hash = report["trace_hash"].as_str().filter(|hash| !hash.is_empty());
    hash.map(Into::into).ok_or_else(|| Failure::wrong("the simulator reported no trace_hash"))
}

/// `{"part": 1, "whole": 2}` as 0.5.
fn ratio(value: &Value) -> Option<f64> {
    let whole = value["whole"].as_f64().filter(|whole| *whole > 0.0)?;
    Some(value["part"].as_f64()? / whole)
}

#[cfg(test)]
mod sim_tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reports_are_read() {
        let report = json!({"trace_hash": "ab", "recall": {"part": 999, "whole": 1000}});
        assert_eq!(hash(&report).unwrap(), "ab");
        assert_eq!(ratio(&report["recall"]), Some(0.999));
        assert!(hash(&json!({})).is_err());
        assert_eq!(ratio(&json!({"part": 0, "whole": 0})), None);
    }
}
