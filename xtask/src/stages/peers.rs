//! Other implementations as peers.

use super::tests::INTEROP;
use crate::failure::Failure;
use crate::process::{Limit, run};
use crate::repo::Repo;

/// rust-libp2p's kad and Kubo, both directions. What they need is installed by `interop/` itself.
pub(super) fn interop(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    let mut command = repo.cargo(["nextest", "run", "--package", INTEROP, "--locked"]);
    if repo.ci {
        command.args(["--profile", "ci"]);
    }
    run(&mut command, limit)?;
    Ok(String::new())
}
