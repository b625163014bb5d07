//! `bench subject`: one node in a process of its own, which tells on request what it has done.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};

use crate::member::{Kind, Member};
use crate::{Failure, runtime};

/// What `bench subject` takes. It answers each line of standard input with a [`Done`] in JSON, and ends with it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Whose node.
    #[arg(long, value_enum)]
    kind: Kind,
    /// Where it serves; without it, it is a client.
    #[arg(long)]
    host: Option<Ipv4Addr>,
    /// Whom it joins through.
    #[arg(required = true)]
    through: Vec<Multiaddr>,
}

/// What a node has done since its start.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Done {
    /// Requests sent, and answered.
    pub(crate) requests: [u64; 2],
    /// Peers in its table now.
    pub(crate) table: usize,
}

/// Runs until standard input ends.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let runtime = runtime()?;
    let member = runtime.block_on(Member::start(arguments.kind, arguments.host))?;
    // Joining spawns tasks.
    runtime.block_on(async { member.join(&arguments.through) });
    for line in std::io::stdin().lines() {
        line?;
        let requests = runtime.block_on(member.requests())?;
        println!("{}", serde_json::to_string(&Done { requests, table: member.table().len() })?);
    }
    runtime.block_on(member.stop());
    Ok(ExitCode::SUCCESS)
}
