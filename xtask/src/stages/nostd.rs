//! kadmos-core without std, proven by linking a program that has none and running it.

use crate::failure::Failure;
use crate::process::{Limit, run, stdout_of};
use crate::repo::Repo;

const MANIFEST: &str = "xtask/nostd/Cargo.toml";
/// What the program says when its lookup has ended well.
const SAID: &str = "kadmos-core ran without std";

/// Builds and runs the program, in a target directory of its own so that features of other members stay out.
pub(super) fn run_check(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    let target = repo.target.join("nostd");
    let mut build = repo.cargo(["build", "--manifest-path", MANIFEST, "--locked"]);
    run(build.env("CARGO_TARGET_DIR", &target).env_remove("RUSTFLAGS"), limit)?;

    let program = target.join("debug/kadmos-core-nostd");
    let said = stdout_of(&mut repo.command(&program.to_string_lossy()), limit)?;
    if said.trim() != SAID {
        return Err(Failure::wrong(format!("{} said {said:?}, expected {SAID:?}", program.display())));
    }

    // Linking has shown that nothing needs std. That nothing asks for it either is told by the features.
    let mut tree =
        repo.cargo(["tree", "--manifest-path", MANIFEST, "--locked", "--edges", "normal,features"]);
    let features = stdout_of(tree.args(["--prefix", "none"]).env("CARGO_TARGET_DIR", &target), limit)?;
    match features.lines().find(|line| line.contains("feature \"std\"")) {
        Some(line) => Err(Failure::wrong(format!("a dependency of kadmos-core has std switched on: {line}"))),
        None => Ok("links and runs".into()),
    }
}
