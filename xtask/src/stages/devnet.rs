//! The main job on real sockets.

use crate::failure::Failure;
use crate::process::{Limit, run};
use crate::repo::Repo;

/// The networks of the promise: every operation succeeds on them.
const NETWORKS: [&[&str]; 2] = [&["--nodes", "50", "--check"], &["--nodes", "100", "--k", "4", "--check"]];

/// The program as people use it.
pub(super) fn build(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    run(&mut repo.cargo(["build", "--release", "--package", "kadmos-cli", "--locked"]), limit)?;
    Ok(String::new())
}

/// Runs each network; the program itself judges and exits with 1 when anything failed.
pub(super) fn check(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    build(repo, limit)?;
    let program = repo.binary("release", "kadmos");
    for network in NETWORKS {
        run(repo.command(&program.to_string_lossy()).arg("devnet").args(network), limit)?;
    }
    Ok(format!("{} networks", NETWORKS.len()))
}
