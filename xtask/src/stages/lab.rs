//! The laboratory: worlds drawn from seeds, the model held to published times, and trials with thresholds.

use crate::failure::Failure;
use crate::process::{Limit, run as run_command};
use crate::repo::Repo;

/// Each an example of the simulator with its arguments: the whole program takes minutes to build for release.
const RUNS: [(&str, &[&str]); 3] = [("check", &["0", "200"]), ("study", &["lookup"]), ("trial", &[])];

/// Runs them; each fails by itself.
pub(super) fn run(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    for (example, args) in RUNS {
        let mut command =
            repo.cargo(["run", "--quiet", "--locked", "--release", "--package", "kadmos-sim", "--example"]);
        run_command(command.arg(example).arg("--").args(args), limit)?;
    }
    Ok("200 seeds, lookup study, all trials".into())
}
