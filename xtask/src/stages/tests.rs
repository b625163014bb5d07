//! The test suites.

use super::coverage;
use crate::failure::Failure;
use crate::process::{Limit, run};
use crate::repo::Repo;

/// The package whose tests need foreign programs; it has a stage of its own.
pub(super) const INTEROP: &str = "kadmos-interop";

/// Unit and integration tests: those of this program as they are, all others instrumented, so that each runs once and the
/// lines it runs are counted.
pub(super) fn all(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    run(&mut repo.cargo(["nextest", "run", "--package", "xtask", "--locked"]), limit)?;
    coverage::measure(repo, limit, false)
}

/// Examples in the documentation, which nextest does not run.
pub(super) fn doctests(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    run(&mut repo.cargo(["test", "--workspace", "--doc", "--locked"]), limit)?;
    Ok(String::new())
}
