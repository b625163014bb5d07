//! The main job on real sockets.

use crate::failure::Failure;
use crate::process::{Limit, run};
use crate::repo::Repo;

/// The networks of the promise: every operation succeeds on them, and 95 % of the true closest hold each record.
const NETWORKS: [&[&str]; 2] = [&["--nodes", "50", "--check"], &["--nodes", "100", "--k", "4", "--check"]];

/// Runs each network; the program itself judges and exits with 1 when anything failed.
pub(super) fn check(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    run(&mut repo.cargo(["build", "--package", "kadmos-cli", "--locked"]), limit)?;
    let program = repo.binary("debug", "kadmos");
    for network in NETWORKS {
        run(repo.command(&program.to_string_lossy()).arg("devnet").args(network), limit)?;
    }
    Ok(format!("{} networks", NETWORKS.len()))
}
