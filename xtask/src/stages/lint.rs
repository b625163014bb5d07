//! What is checked without running anything.

use crate::failure::Failure;
use crate::process::{Limit, run};
use crate::repo::Repo;

/// Workspaces beside the main one.
const OTHER_WORKSPACES: [&str; 2] = ["fuzz/Cargo.toml", "xtask/nostd/Cargo.toml"];

/// Formatting of every workspace.
pub(super) fn fmt(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    run(&mut repo.cargo(["fmt", "--all", "--check"]), limit)?;
    for manifest in OTHER_WORKSPACES {
        run(&mut repo.cargo(["fmt", "--manifest-path", manifest, "--check"]), limit)?;
    }
    Ok(String::new())
}

/// Dependencies: what is banned, under which licence they are, from where they come. The advisory database is not
/// consulted: it is fetched from elsewhere at run time; `deny.toml` bans the versions it names.
pub(super) fn deny(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    run(&mut repo.cargo(["deny", "--workspace", "--locked", "check", "bans", "licenses", "sources"]), limit)?;
    Ok(String::new())
}

/// Lints of everything together, then of each library alone: alone it has only the features it asks for itself.
pub(super) fn clippy(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    let all = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    run(&mut repo.cargo(all), limit)?;
    let packages = repo.packages(limit)?;
    let libraries: Vec<_> = packages.iter().filter(|package| package.library).collect();
    for library in &libraries {
        let alone = ["clippy", "--package", &library.name, "--locked", "--", "-D", "warnings"];
        run(&mut repo.cargo(alone), limit)?;
    }
    Ok(format!("{} libraries alone", libraries.len()))
}

/// Documentation. The program first: it shares its name, and so its directory, with a library.
pub(super) fn docs(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    let common = ["--no-deps", "--document-private-items", "--locked"];
    for selection in [["--package", "kadmos-cli"].as_slice(), &["--workspace", "--exclude", "kadmos-cli"]] {
        let mut command = repo.cargo(["doc"]);
        run(command.args(selection).args(common).env("RUSTDOCFLAGS", "-D warnings"), limit)?;
    }
    Ok(String::new())
}
