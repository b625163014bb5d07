//! The test suites.

use crate::failure::Failure;
use crate::process::{Limit, run};
use crate::repo::Repo;

/// The package whose tests need foreign programs; it has a stage of its own.
pub(super) const INTEROP: &str = "kadmos-interop";

/// Unit and integration tests; nextest prints how many.
pub(super) fn nextest(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    let mut command = repo.cargo(["nextest", "run", "--workspace", "--exclude", INTEROP, "--locked"]);
    if repo.ci {
        command.args(["--profile", "ci"]);
    }
    run(&mut command, limit)?;
    Ok(String::new())
}

/// Examples in the documentation, which nextest does not run.
pub(super) fn doctests(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    run(&mut repo.cargo(["test", "--workspace", "--doc", "--locked"]), limit)?;
    Ok(String::new())
}
