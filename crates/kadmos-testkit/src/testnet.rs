//! A real network on loopback, in this process.

use std::num::NonZeroUsize;
use std::ops::Index;
use std::sync::Arc;

use futures::future::join_all;
use kadmos::core::Key;
use kadmos::{Clock, Config, DhtBuilder, Keypair, Mode, Multiaddr, Node, PeerId};

/// The protocol of test networks: one of their own, so that every setting is free.
const PROTOCOL: &str = "/kadmos/testnet/1";

/// Nodes that have joined through the first three, each on its own TCP socket on 127.0.0.1.
///
/// They end with [`Testnet::shutdown`] or when dropped.
#[derive(Debug)]
pub struct Testnet {
    settings: TestnetBuilder,
    nodes: Vec<Node>,
}

/// Describes a [`Testnet`].
#[derive(Clone, Debug)]
pub struct TestnetBuilder {
    nodes: usize,
    config: Config,
    clock: Option<Arc<dyn Clock>>,
}

impl Testnet {
    /// Nodes that others know beforehand.
    pub const BOOTSTRAP_NODES: usize = 3;

    /// `nodes` servers with default settings that have joined and know each other.
    ///
    /// Panics: if the machine cannot run them, for example for want of file descriptors (each node needs about two
    /// for each other node).
    pub async fn new(nodes: usize) -> Self {
        Self::builder().nodes(nodes).start().await
    }

    /// Describes another network.
    pub fn builder() -> TestnetBuilder {
        TestnetBuilder { nodes: 20, config: Config::private(PROTOCOL), clock: None }
    }

    /// The nodes, in the order in which they started.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The settings of every node; `seed` and mode are each node's own.
    pub fn config(&self) -> &Config {
        &self.settings.config
    }

    /// The addresses of the bootstrap nodes, for whoever wants to join.
    pub fn bootstrap_addrs(&self) -> Vec<Multiaddr> {
        self.nodes.iter().take(Self::BOOTSTRAP_NODES).flat_map(Node::p2p_addrs).collect()
    }

    /// A builder for one more node of this network, which joins through its bootstrap nodes.
    pub fn builder_for_node(&self, mode: Mode) -> DhtBuilder {
        let builder = self.settings.node(mode);
        self.bootstrap_addrs().into_iter().fold(builder, DhtBuilder::bootstrap)
    }

    /// The `count` nodes truly closest to `key` (raw bytes, not hashed yet), closest first.
    pub fn closest(&self, key: &[u8], count: usize) -> Vec<PeerId> {
        let target = Key::of(key);
        let mut ids: Vec<_> = self.nodes.iter().map(Node::peer_id).collect();
        ids.sort_by_key(|id| Key::of(&id.to_bytes()).distance(&target));
        ids.truncate(count);
        ids
    }

    /// Ends every node; returns when all sockets are free.
    pub async fn shutdown(self) {
        join_all(self.nodes.iter().map(Node::shutdown)).await;
    }
}

impl Index<usize> for Testnet {
    type Output = Node;

    fn index(&self, index: usize) -> &Node {
        &self.nodes[index]
    }
}

impl TestnetBuilder {
    /// How many servers. Default 20.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Peers in an answer, in a result and in a bucket. Default 20.
    #[must_use]
    pub fn k(mut self, k: NonZeroUsize) -> Self {
        self.config = self.config.replication(k);
        self
    }

    /// Changes the settings of every node.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// The clock of every node. Default: the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Starts the network on the current tokio runtime, and returns once all nodes have joined.
    ///
    /// Panics: as [`Testnet::new`].
    pub async fn start(self) -> Testnet {
        let mut net = Testnet { nodes: Vec::with_capacity(self.nodes), settings: self };
        for _ in 0..net.settings.nodes {
            let builder = net.builder_for_node(Mode::Server);
            let node = builder.start().await.unwrap_or_else(|error| panic!("a test node: {error}"));
            net.nodes.push(node);
        }
        // The first nodes knew nobody when they started.
        let addrs = net.bootstrap_addrs();
        let known: Vec<_> = addrs.into_iter().filter_map(|addr| addr.try_into().ok()).collect();
        for node in net.nodes.iter().take(Testnet::BOOTSTRAP_NODES) {
            node.add_bootstrap_peers(known.clone())
                .await
                .unwrap_or_else(|error| panic!("a test node: {error}"));
        }
        // Who joins early cannot know who joins late; the second round tells.
        for _ in 0..2 {
            for joined in join_all(net.nodes.iter().map(|node| node.bootstrap())).await {
                if net.nodes.len() > 1 {
                    joined.unwrap_or_else(|error| panic!("a test node joins: {error}"));
                }
            }
        }
        net
    }

    fn node(&self, mode: Mode) -> DhtBuilder {
        // Loopback cannot fail; the address is well-formed.
        let addr = "/ip4/127.0.0.1/tcp/0".parse().expect("a multiaddress");
        let builder = DhtBuilder::new(Keypair::generate_ed25519()).config(self.config.clone()).mode(mode);
        let builder = match &self.clock {
            Some(clock) => builder.clock(Arc::clone(clock)),
            None => builder,
        };
        builder.listen(addr)
    }
}
