//! Kadmos beside rust-libp2p and Kubo on real sockets, by time and cost. What it measures and how is in
//! `docs/benchmarks.md`.

mod bootstrap;
mod idle;
mod machine;
mod member;
mod namespace;
mod rule;
mod stats;
mod subject;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Compares Kadmos with rust-libp2p's kad and Kubo on real sockets of this machine.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Times how long a network of each kind takes until its nodes know whom they must know.
    Bootstrap(bootstrap::Arguments),
    /// Measures what nodes cost that nobody uses: dials, messages, bytes, processor time.
    Idle(idle::Arguments),
    /// One node, for `idle`, which starts it.
    #[command(hide = true)]
    Subject(subject::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Bootstrap(arguments) => bootstrap::run(&arguments),
        Command::Idle(arguments) => idle::run(&arguments),
        Command::Subject(arguments) => subject::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("bench: {error}");
        ExitCode::from(2)
    })
}

/// Why a measurement could not be made, for a person.
type Failure = Box<dyn core::error::Error>;

/// The runtime that every measurement runs on: a thread per processor.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
