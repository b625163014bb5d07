//! `kadmos devnet`: a network of whole nodes in this process, on loopback.
//!
//! With `--check` it does the main job on real sockets and judges it from outside: [`checker`] knows every node and
//! reads every store, which no node can.

mod checker;
mod job;
mod network;
mod report;

use std::time::{Duration, Instant};

use libp2p_core::Multiaddr;
use serde::Serialize;

use self::network::Devnet;
use self::report::{CheckResult, write_table};
use crate::exit::{Exit, Failure};
use crate::output::{Output, note};
use crate::{args, file_limit};

/// The nodes' protocol id: a network of its own, free of the public network's rules.
pub(crate) const PROTOCOL: &str = "/kadmos/devnet/1";
/// Nodes that all others know at the start.
const BOOTSTRAP_NODES: usize = 3;
/// Holders that each record must have, in hundredths of its true k closest.
const HOLDERS_PERCENT_MIN: usize = 95;

/// What a network without `--check` says once it is up.
#[derive(Serialize)]
struct Ready {
    schema: &'static str,
    /// For `--network`.
    network: String,
    nodes: usize,
    k: u16,
    /// For `--bootstrap`: the nodes that all others joined through.
    bootstrap: Vec<Multiaddr>,
    /// One address a node, with `/p2p/<id>`.
    addrs: Vec<Multiaddr>,
}

/// Runs the command. Dropping the future ends the network.
pub(crate) async fn run(args: &args::Devnet, output: &mut Output) -> Result<(), Failure> {
    let who = format!("{} nodes in one process", args.nodes);
    file_limit::raise(&who, file_limit::needed_by_network(usize::from(args.nodes)));
    let began = Instant::now();
    let progress = Progress { began };
    let devnet = Devnet::start(args, &progress).await?;
    if args.check {
        let result = check(&devnet, args, &progress, output).await;
        devnet.shutdown().await;
        return result;
    }
    let ready = Ready {
        schema: "kadmos.devnet/1",
        network: format!("private:{PROTOCOL}"),
        nodes: devnet.nodes().len(),
        k: args.k,
        bootstrap: devnet.addrs().take(BOOTSTRAP_NODES).collect(),
        addrs: devnet.addrs().collect(),
    };
    output.print(&ready, |to, _| ready.addrs.iter().try_for_each(|addr| writeln!(to, "{addr}")))?;
    note(format_args!(
        "{} nodes are up; others join with --network {} and one of these addresses as --bootstrap. Interrupt to end.",
        ready.nodes, ready.network
    ));
    std::future::pending().await
}

/// Does the job and prints what it came to. Errors: something did not work, or is held by too few.
async fn check(
    devnet: &Devnet,
    args: &args::Devnet,
    progress: &Progress,
    output: &mut Output,
) -> Result<(), Failure> {
    let job::Done { operations, holders } = job::run(devnet, args.seed, progress).await;
    for operation in &operations {
        if output.style().json {
            output.print(operation, |_, _| Ok(()))?;
        }
    }
    for held in &holders {
        if output.style().json {
            output.print(held, |_, _| Ok(()))?;
        }
    }
    let result =
        CheckResult::new(devnet.nodes().len(), args.k, progress.began.elapsed(), &operations, &holders);
    output.print(&result, |to, _| write_table(to, &result, &operations, &holders))?;
    if result.passed {
        return Ok(());
    }
    for reason in operations.iter().flat_map(|operation| &operation.reasons) {
        note(reason);
    }
    Err(Failure::new(
        Exit::Failed,
        format_args!(
            "{} operations failed and {} records are held by less than {HOLDERS_PERCENT_MIN} % of their true closest, expected none of either; the reasons are above",
            result.failed, result.held_too_little
        ),
    ))
}

/// Tells a person how far it is, on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
}

/// How often a part of the job that takes long is heard of.
const TOLD_EVERY: Duration = Duration::from_secs(2);

impl Progress {
    fn tell(&self, text: impl std::fmt::Display) {
        note(format_args!("{:7.1} s  {text}", self.began.elapsed().as_secs_f64()));
    }
}
