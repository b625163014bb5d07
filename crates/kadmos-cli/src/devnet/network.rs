//! Starting the nodes and joining them.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kadmos::{Config, DhtBuilder, Keypair, Mode, Node, PeerAddrs};
use kadmos_core::Key;
use libp2p_core::Multiaddr;

use super::{BOOTSTRAP_NODES, PROTOCOL, Progress, TOLD_EVERY};
use crate::args;
use crate::exit::{Exit, Failure};

/// Nodes that join at once. Two processors make some 200 handshakes a second in a development build.
const JOINING_AT_ONCE: usize = 8;
/// Tables that have not changed for this long are taken to be settled: on one machine a probe takes some 10 ms.
const SETTLED_AFTER: Duration = Duration::from_millis(300);
/// Tables that change for longer than this never settle, and the check may begin.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the tables are looked at until then.
const SETTLE_LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running network.
#[derive(Debug)]
pub(super) struct Devnet {
    nodes: Vec<Member>,
    k: usize,
}

/// A node and what the outside knows about it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) node: Node,
    pub(super) keypair: Keypair,
    /// Its place in the keyspace, computed from its id here and not taken from its table.
    pub(super) key: Key,
}

impl Devnet {
    /// Starts `args.nodes` nodes; each knows only the first three, and joins through them.
    pub(super) async fn start(args: &args::Devnet, progress: &Progress) -> Result<Self, Failure> {
        let count = usize::from(args.nodes);
        let k = NonZeroUsize::new(usize::from(args.k)).unwrap_or(NonZeroUsize::MIN);
        progress.tell(format_args!("starting {count} nodes"));
        let mut nodes = Vec::with_capacity(count);
        for index in 0..count {
            nodes.push(Member::start(args.seed, index as u64, k).await?);
        }
        let devnet = Self { nodes, k: k.get() };
        devnet.join(progress).await?;
        Ok(devnet)
    }

    /// The first three find each other; then the others come, several at a time.
    async fn join(&self, progress: &Progress) -> Result<(), Failure> {
        let count = self.nodes.len();
        let (mut joined, mut told) = (0, Instant::now());
        let (first, others) = self.nodes.split_at(BOOTSTRAP_NODES.min(count));
        for member in first {
            self.join_one(member).await?;
            joined += 1;
        }
        let mut joining = futures::stream::iter(others)
            .map(|member| self.join_one(member))
            .buffer_unordered(JOINING_AT_ONCE);
        while let Some(result) = joining.next().await {
            result?;
            joined += 1;
            if told.elapsed() >= TOLD_EVERY {
                told = Instant::now();
                progress.tell(format_args!("{joined} of {count} nodes have joined"));
            }
        }
        let settled = self.settle().await;
        let sizes = self.table_sizes();
        progress.tell(format_args!(
            "{count} nodes have joined; their tables have {} to {} peers{}",
            sizes.iter().min().unwrap_or(&0),
            sizes.iter().max().unwrap_or(&0),
            if settled { "" } else { ", and still grow" }
        ));
        Ok(())
    }

    /// Waits until no table has changed for a while: a node that has joined is still being probed and admitted by
    /// those that it met. `false` when that takes too long.
    async fn settle(&self) -> bool {
        let began = Instant::now();
        let (mut sizes, mut changed) = (self.table_sizes(), Instant::now());
        while changed.elapsed() < SETTLED_AFTER {
            if began.elapsed() > SETTLE_TIMEOUT {
                return false;
            }
            tokio::time::sleep(SETTLE_LOOK_EVERY).await;
            let now = self.table_sizes();
            if now != sizes {
                (sizes, changed) = (now, Instant::now());
            }
        }
        true
    }

    fn table_sizes(&self) -> Vec<usize> {
        self.nodes.iter().map(|member| member.node.table_now().len()).collect()
    }

    async fn join_one(&self, member: &Member) -> Result<(), Failure> {
        let sources = self.nodes.iter().take(BOOTSTRAP_NODES).filter(|source| source.key != member.key);
        let sources = sources.map(|source| PeerAddrs::new(source.node.peer_id(), source.node.listen_addrs()));
        member.node.add_bootstrap_peers(sources).await.map_err(Failure::shutdown)?;
        let joined = member.node.bootstrap().await;
        joined.map(|_| ()).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format_args!("node {} did not join: {error}; {}", member.node.peer_id(), error.advice()),
            )
        })
    }

    /// All nodes; the first three are the bootstrap nodes.
    pub(super) fn nodes(&self) -> &[Member] {
        &self.nodes
    }

    /// Holders that a record should have.
    pub(super) fn k(&self) -> usize {
        self.k
    }

    /// One address a node.
    pub(super) fn addrs(&self) -> impl Iterator<Item = Multiaddr> {
        self.nodes.iter().filter_map(|member| member.node.p2p_addrs().into_iter().next())
    }

    /// Ends all nodes.
    pub(super) async fn shutdown(&self) {
        for member in &self.nodes {
            member.node.shutdown().await;
        }
    }
}

impl Member {
    async fn start(seed: u64, index: u64, k: NonZeroUsize) -> Result<Self, Failure> {
        let keypair = keypair(seed, index)?;
        let mut config = Config::private(PROTOCOL).replication(k);
        // 0 would stand for a seed drawn by the node.
        config.seed = seed.wrapping_mul(1_000_003).wrapping_add(index).max(1);
        // An address and a port that are always there; the constant parses.
        let listen: Multiaddr =
            Multiaddr::from(std::net::Ipv4Addr::LOCALHOST).with(libp2p_core::multiaddr::Protocol::Tcp(0));
        let node =
            DhtBuilder::new(keypair.clone()).config(config).mode(Mode::Server).listen(listen).start().await?;
        let key = Key::of(&node.peer_id().to_bytes());
        Ok(Self { node, keypair, key })
    }
}

/// The key of node `index`: the same for the same seed, so that a network can be had again.
fn keypair(seed: u64, index: u64) -> Result<Keypair, Failure> {
    let text = format!("kadmos devnet {seed} {index}");
    let mut secret = *Key::of(text.as_bytes()).as_bytes();
    Keypair::ed25519_from_bytes(&mut secret)
        .map_err(|error| Failure::new(Exit::Failed, format_args!("cannot make a key: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_from_seed_and_index() {
        let id = |seed, index| keypair(seed, index).unwrap().public().to_peer_id();
        assert_eq!(id(1, 2), id(1, 2));
        assert_ne!(id(1, 2), id(1, 3));
        assert_ne!(id(1, 2), id(2, 2));
    }
}
