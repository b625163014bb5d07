//! This program in the place of rustc, for workspace members only: it adds coverage instrumentation.
//!
//! Cargo gives members built through a wrapper another fingerprint and leaves dependencies alone. So both kinds of
//! build share one target directory, the dependencies are built once, and they are not counted.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::failure::Failure;

/// Set while this program is the wrapper.
const ENABLED: &str = "KADMOS_XTASK_COVERAGE";

/// Makes a cargo command build the workspace's members instrumented.
pub(crate) fn instrument(command: &mut Command) -> Result<(), Failure> {
    let this = std::env::current_exe()
        .map_err(|error| Failure::wrong(format!("cannot tell where this program is: {error}")))?;
    command.env("RUSTC_WORKSPACE_WRAPPER", this).env(ENABLED, "1");
    Ok(())
}

/// The compiler to become, when cargo called this program as the wrapper.
pub(crate) fn compiler() -> Option<Command> {
    std::env::var_os(ENABLED)?;
    compile_with(std::env::args_os().skip(1))
}

fn compile_with(mut args: impl Iterator<Item = OsString>) -> Option<Command> {
    // Cargo's first argument is the compiler's path; a person's is a subcommand.
    let compiler = args.next().filter(|program| program.to_string_lossy().ends_with("rustc"))?;
    let mut command = Command::new(compiler);
    command.args(args).args(["-C", "instrument-coverage"]);
    Some(command)
}

/// Becomes the compiler; returns only when that fails.
pub(crate) fn become_compiler(mut command: Command) -> ExitCode {
    let error = command.exec();
    eprintln!("cannot run {}: {error}", command.get_program().to_string_lossy());
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> impl Iterator<Item = OsString> {
        words.iter().map(OsString::from).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn only_a_compiler_is_wrapped() {
        let command = compile_with(args(&["/usr/bin/rustc", "--crate-name", "x"])).unwrap();
        assert_eq!(command.get_program(), "/usr/bin/rustc");
        let words: Vec<_> = command.get_args().collect();
        assert_eq!(words, ["--crate-name", "x", "-C", "instrument-coverage"]);
        assert!(compile_with(args(&["test", "--list"])).is_none());
        assert!(compile_with(args(&[])).is_none());
    }
}
