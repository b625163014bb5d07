//! What `cargo xtask test` runs, in order.

mod coverage;
mod devnet;
mod fuzz;
mod lab;
mod lint;
mod nostd;
mod peers;
mod sim;
mod tests;

use crate::failure::Failure;
use crate::process::Limit;
use crate::repo::Repo;
use crate::{demo, tools};

pub(crate) use self::coverage::measure as measure_coverage;

/// One step of the test run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stage {
    /// Its name on the command line and in the budget.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) about: &'static str,
    /// Does it; returns a few words for the summary, possibly none.
    pub(crate) run: fn(&Repo, &Limit) -> Result<String, Failure>,
}

/// Cheap ones first; those that use the same build beside each other.
pub(crate) const STAGES: [Stage; 14] = [
    Stage {
        name: "tools",
        about: "programs and packages the others need, installed if missing",
        run: tools::provide,
    },
    Stage { name: "fmt", about: "formatting", run: lint::fmt },
    Stage { name: "deny", about: "dependencies: bans, licences, sources", run: lint::deny },
    Stage { name: "nostd", about: "kadmos-core linked and run without std", run: nostd::run_check },
    Stage { name: "clippy", about: "lints of all targets, and of each library alone", run: lint::clippy },
    Stage { name: "docs", about: "documentation without warnings, private items included", run: lint::docs },
    Stage {
        name: "tests",
        about: "unit and integration tests, and the lines they run against xtask/coverage.toml",
        run: tests::all,
    },
    Stage { name: "doctests", about: "examples in the documentation", run: tests::doctests },
    Stage { name: "demo", about: "`cargo xtask demo --once`", run: demo::stage },
    Stage {
        name: "devnet",
        about: "the main job on real sockets: 50 nodes, then 100 with k = 4",
        run: devnet::check,
    },
    Stage {
        name: "interop",
        about: "real peers: rust-libp2p kad and Kubo, both directions",
        run: peers::interop,
    },
    Stage {
        name: "sim",
        about: "simulator: recall, messages, equal hashes of two runs and two profiles, a canary that breaks them",
        run: sim::run,
    },
    Stage {
        name: "lab",
        about: "laboratory: 200 seeds checked, the model against published times, trials with thresholds",
        run: lab::run,
    },
    Stage { name: "fuzz", about: "each fuzz target for 10 s", run: fuzz::run_targets },
];

/// The stages' names, in order.
pub(crate) fn names() -> Vec<&'static str> {
    STAGES.iter().map(|stage| stage.name).collect()
}

/// Those named, in order; or those from one on; or all.
pub(crate) fn select(named: &[String], from: Option<&str>) -> Result<Vec<Stage>, Failure> {
    for name in named.iter().map(String::as_str).chain(from) {
        if !names().contains(&name) {
            return Err(Failure::Usage(format!(
                "there is no stage {name:?}; there are {}",
                names().join(", ")
            )));
        }
    }
    let first = from.and_then(|from| STAGES.iter().position(|stage| stage.name == from)).unwrap_or(0);
    let wanted = |stage: &Stage| named.is_empty() || named.iter().any(|name| name == stage.name);
    Ok(STAGES[first..].iter().copied().filter(wanted).collect())
}

#[cfg(test)]
mod select_tests {
    use super::*;

    fn selected(named: &[&str], from: Option<&str>) -> Vec<&'static str> {
        let named: Vec<_> = named.iter().map(ToString::to_string).collect();
        select(&named, from).unwrap().iter().map(|stage| stage.name).collect()
    }

    #[test]
    fn stages_are_selected_in_their_own_order() {
        assert_eq!(selected(&[], None), names());
        assert_eq!(selected(&["docs", "fmt"], None), ["fmt", "docs"]);
        assert_eq!(selected(&[], Some("sim")), ["sim", "lab", "fuzz"]);
        let error = select(&["tset".into()], None).unwrap_err();
        assert_eq!(error.code(), 2);
        assert!(error.to_string().contains("tests"), "{error}");
    }
}
