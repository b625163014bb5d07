//! The `kadmos` program: daemon, command line and simulator. `docs/cli.md` describes it.

mod args;
mod client;
mod commands;
mod config;
mod daemon;
mod data_dir;
mod decode;
mod devnet;
mod engine;
mod exit;
mod file_limit;
mod identity;
mod join;
mod lines;
mod output;
mod parse;
mod preflight;
mod protocol;
mod status;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command, Global};
use crate::client::Need;
use crate::config::Flags;
use crate::data_dir::DataDir;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Style};
use crate::protocol::Request;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            // Help and version go to standard output; a reader that left early wants no more.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output::note(error.render());
            return Exit::Usage.into();
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
    start_log(global.log.as_deref())?;
    let raw = matches!(&command, Command::Get(get) if get.raw);
    let mut output = Output::stdout(Style { json: global.json, verbose: global.verbose, raw });
    let output = &mut output;
    let home = || DataDir::locate(global.home.as_deref(), path_variable);
    match command {
        Command::Key(command) => commands::key::run(command, &home()?, output),
        Command::Decode(args) => commands::decode::run(&args, output),
        Command::Sim(command) => commands::sim::run(&command, output),
        Command::Serve(args) => {
            let flags = Flags { mode: args.mode, listen: args.listen, ..Flags::default() };
            let settings = client::settings(&global, flags)?;
            runtime()?.block_on(daemon::run(settings, home()?, output))
        }
        Command::Devnet(args) => match runtime()?.block_on(until_interrupt(devnet::run(&args, output))) {
            // Without a job, running until it is interrupted is all it is asked for.
            Err(failure) if failure.exit == Exit::Interrupted && !args.check => Ok(()),
            result => result,
        },
        command => runtime()?.block_on(until_interrupt(ask(command, &global, &home()?, output))),
    }
}

/// The commands that are one request.
async fn ask(command: Command, global: &Global, home: &DataDir, output: &mut Output) -> Result<(), Failure> {
    let (request, need) = match command {
        Command::Id => return commands::network::id(global, home, output).await,
        Command::Status => return commands::network::status(global, home, output).await,
        Command::Drain(args) => {
            let request = Request::Drain { deadline_seconds: args.deadline.0.as_secs_f64() };
            return commands::network::ask_daemon(request, global, home, output).await;
        }
        Command::Provide(args) => return commands::network::provide(args, global, home, output).await,
        Command::Put(args) => return commands::put::run(args, global, home, output).await,
        Command::FindPeer(args) => (Request::FindPeer { peer: args.peer.text }, Need::Peers),
        Command::FindProviders(args) => {
            (Request::FindProviders { content: args.content.text, count: args.count }, Need::Peers)
        }
        Command::Get(args) => (Request::Get { key: args.key.text, quorum: args.quorum }, Need::Peers),
        Command::Closest(args) => (Request::Closest { key: args.key.text }, Need::Peers),
        Command::Ping(args) => {
            let need = if args.peer.value.addr.is_some() { Need::Node } else { Need::Peers };
            (Request::Ping { peer: args.peer.text, count: args.count }, need)
        }
        Command::Decode(_) | Command::Devnet(_) | Command::Key(_) | Command::Serve(_) | Command::Sim(_) => {
            return Err(Failure::usage("this command asks the network nothing"));
        }
    };
    commands::network::ask(request, need, global, home, output).await
}

/// Ends `work` when the person interrupts it; dropping it cancels it.
async fn until_interrupt(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    tokio::select! {
        result = work => result,
        interrupted = tokio::signal::ctrl_c() => match interrupted {
            Ok(()) => Err(Failure::new(Exit::Interrupted, "interrupted")),
            Err(error) => Err(no_signals(error)),
        },
        _ = terminate.recv() => Err(Failure::new(Exit::Interrupted, "terminated")),
    }
}

fn no_signals(error: std::io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        format_args!("cannot listen for signals: {error}; run it outside this sandbox"),
    )
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::new(
            Exit::Failed,
            format_args!("cannot start threads: {error}; raise the limit with `ulimit -u`"),
        )
    })
}

/// Logs to standard error what the flag or `KADMOS_LOG` asks for; warnings without either.
fn start_log(flag: Option<&str>) -> Result<(), Failure> {
    let variable = std::env::var("KADMOS_LOG").ok();
    let text = flag.or(variable.as_deref()).unwrap_or("warn");
    let filter = EnvFilter::try_new(text).map_err(|error| {
        Failure::usage(format_args!(
            "read the log filter {text:?}, expected one such as info or kadmos=debug ({error}); correct --log or KADMOS_LOG"
        ))
    })?;
    // Nothing else in this program sets a subscriber, so this cannot be refused.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .try_init();
    Ok(())
}

/// An environment variable that holds a path; empty counts as unset, as XDG has it.
fn path_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
