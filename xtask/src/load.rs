//! `cargo xtask load`: how much one server answers.

use crate::failure::Failure;
use crate::process::{Limit, run as run_command};
use crate::repo::Repo;

/// Builds the load generator and runs it with these options.
pub(crate) fn run(repo: &Repo, limit: &Limit, options: &[&str]) -> Result<(), Failure> {
    let mut command =
        repo.cargo(["run", "--release", "--locked", "--package", "kadmos-testkit", "--example", "load"]);
    if !options.is_empty() {
        command.arg("--").args(options);
    }
    run_command(&mut command, limit)
}
