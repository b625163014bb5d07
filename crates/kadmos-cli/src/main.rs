//! The `kadmos` program: daemon, command line and simulator. `docs/cli.md` describes it.

mod args;
mod commands;
mod config;
mod data_dir;
mod decode;
mod exit;
mod identity;
mod output;
mod parse;
mod protocol;
mod remembered;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::args::{Cli, Command};
use crate::data_dir::DataDir;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Style};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            // Help and version go to standard output; a reader that left early wants no more.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => return end(Err(Failure::usage(args::usage_sentence(&error)))),
    };
    end(run(cli))
}

/// Prints the sentence of a failure, and gives its code.
fn end(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                output::note(format_args!("kadmos: {failure}"));
            }
            failure.exit.into()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    let raw = matches!(&command, Command::Get(get) if get.raw);
    let mut output = Output::stdout(Style { json: global.json, verbose: global.verbose, raw });
    let home = || DataDir::locate(global.home.as_deref(), path_variable);
    match command {
        Command::Key(command) => commands::key::run(command, &home()?, &mut output),
        Command::Decode(decode) => commands::decode::run(&decode, &mut output),
        _ => Err(Failure::new(Exit::Failed, "not wired yet")),
    }
}

/// An environment variable that holds a path; empty counts as unset, as XDG has it.
fn path_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
