//! `cargo xtask`: the repository's commands, the same for people and for the build server.

mod budget;
mod demo;
mod dropin;
mod failure;
mod load;
mod process;
mod repo;
mod stages;
mod suite;
mod tools;
mod wrapper;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::process::{Interrupt, Limit, run};
use crate::repo::Repo;

const HELP: &str = "\
Usage: cargo xtask <command>

  demo [--once]          a network of 30 nodes on loopback and a daemon joined to it: announces content through one,
                         finds it from another, and stays running until Ctrl-C; --once ends after the finding
  test                   everything the build server checks, seconds per stage against xtask/budget.toml
       --list            name the stages
       --stage NAME...   only these
       --from NAME       from this one on
       --keep-going      run the rest after a failure, too
  coverage [--raise]     lines run by the tests, per crate, against xtask/coverage.toml; --raise raises the floors
  load [-- OPTION...]    many clients ask one server on loopback for 10 s: requests a second, latencies, memory
  dropin                 libp2p's facade, its metrics and libp2p-kad's own tests built against kadmos::kad in its place,
                         and both interfaces compared
  doc                    the documentation of every crate, in target/doc

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.";

/// For commands that have no budget of their own.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(3_600);

fn main() -> ExitCode {
    if let Some(compiler) = wrapper::compiler() {
        return wrapper::become_compiler(compiler);
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn dispatch(args: &[&str]) -> Result<(), Failure> {
    let (command, options) = args.split_first().unwrap_or((&"help", &[]));
    match (*command, options) {
        ("help" | "--help" | "-h", _) | (_, ["--help" | "-h", ..]) => {
            println!("{HELP}");
            Ok(())
        }
        ("demo", []) => demo::run(&Repo::locate()?, &limit()?, false),
        ("demo", ["--once"]) => demo::run(&Repo::locate()?, &limit()?, true),
        ("test", options) => {
            suite::run(&Repo::locate()?, &suite::Options::parse(options)?, Interrupt::install()?)
        }
        ("coverage", []) => stages::measure_coverage(&Repo::locate()?, &limit()?, false).map(said),
        ("coverage", ["--raise"]) => stages::measure_coverage(&Repo::locate()?, &limit()?, true).map(said),
        ("load", []) => load::run(&Repo::locate()?, &limit()?, &[]),
        ("load", ["--", options @ ..]) => load::run(&Repo::locate()?, &limit()?, options),
        ("dropin", []) => dropin::run_all(&Repo::locate()?, &limit()?),
        ("doc", []) => doc(&Repo::locate()?, &limit()?),
        ("demo" | "coverage" | "load" | "dropin" | "doc", _) => Err(Failure::Usage(format!(
            "cargo xtask {command}: unknown option {:?}\n\n{HELP}",
            options.join(" ")
        ))),
        _ => Err(Failure::Usage(format!("there is no command {command:?}\n\n{HELP}"))),
    }
}

/// The limit of a single command.
fn limit() -> Result<Limit, Failure> {
    Ok(Limit {
        interrupt: Interrupt::install()?,
        deadline: Instant::now() + COMMAND_TIME_MAX,
        reason: "after an hour".into(),
    })
}

fn said(summary: String) {
    println!("{summary}");
}

fn doc(repo: &Repo, limit: &Limit) -> Result<(), Failure> {
    run(&mut repo.cargo(["doc", "--workspace", "--exclude", "kadmos-cli", "--no-deps"]), limit)?;
    println!("{}", repo.target.join("doc/kadmos/index.html").display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_usage_errors() {
        for args in [&["tset"][..], &["demo", "--twice"], &["load", "x"], &["test", "--stage"], &["doc", "x"]]
        {
            assert_eq!(dispatch(args).unwrap_err().code(), 2, "{args:?}");
        }
    }

    #[test]
    fn help_names_every_command() {
        for command in ["demo", "test", "coverage", "load", "dropin", "doc"] {
            assert!(HELP.contains(&format!("\n  {command}")), "{command}");
        }
        assert!(dispatch(&["help"]).is_ok());
        assert!(dispatch(&["test", "--help"]).is_ok());
    }
}
