//! A running node.

use std::ops::Deref;
use std::time::Duration;

use kadmos_libp2p::Dht;
use kadmos_libp2p::metrics::Metrics;
use kadmos_store::StoreError;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::ConnectError;

/// Requests to a node's task that are not taken yet; a caller that has one more waits.
pub(crate) const CONTROLS_MAX: usize = 64;

/// A running node: the [`Dht`] handle, and what only a whole node can do.
///
/// Cheap to clone. The node ends with [`Node::shutdown`], or when the last clone of it and of its [`Dht`] handles is
/// dropped.
#[derive(Clone, Debug)]
pub struct Node {
    peer_id: PeerId,
    dht: Dht,
    metrics: Metrics,
    control: mpsc::Sender<Control>,
    listen_addrs: watch::Receiver<Vec<Multiaddr>>,
}

/// What a [`Node`] asks of its task.
#[derive(Debug)]
pub(crate) enum Control {
    Connect { addr: Multiaddr, reply: oneshot::Sender<Result<PeerId, ConnectError>> },
    Connections(oneshot::Sender<Vec<Connection>>),
    Ping { peer: PeerId, reply: oneshot::Sender<Result<Duration, ConnectError>> },
    Shutdown,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// With whom.
    pub peer: PeerId,
    /// The other end.
    pub addr: Multiaddr,
    /// Whether this node made it.
    pub dialled: bool,
    /// What identify said the peer is, once it did.
    pub agent: Option<String>,
}

impl Node {
    pub(crate) fn new(
        peer_id: PeerId,
        dht: Dht,
        metrics: Metrics,
        control: mpsc::Sender<Control>,
        listen_addrs: watch::Receiver<Vec<Multiaddr>>,
    ) -> Self {
        Self { peer_id, dht, metrics, control, listen_addrs }
    }

    /// Who this node is.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// The handle to the DHT, which may outlive this one.
    pub fn dht(&self) -> &Dht {
        &self.dht
    }

    /// Where the node listens now, each interface by itself; empty after it has shut down.
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.listen_addrs.borrow().clone()
    }

    /// Where others on its networks reach this node: its listen addresses, each with `/p2p/<peer id>`.
    pub fn p2p_addrs(&self) -> Vec<Multiaddr> {
        let addrs = self.listen_addrs();
        addrs.into_iter().map(|addr| addr.with(libp2p::multiaddr::Protocol::P2p(self.peer_id))).collect()
    }

    /// Connects to a peer, unless it is connected; tells who it is. An address without `/p2p/<peer id>` takes
    /// whoever answers; `/p2p/<peer id>` alone uses the addresses that are known.
    ///
    /// Errors: [`ConnectError`].
    pub async fn connect(&self, addr: Multiaddr) -> Result<PeerId, ConnectError> {
        let (reply, connected) = oneshot::channel();
        self.request(Control::Connect { addr, reply }).await?;
        connected.await.map_err(|_| ConnectError::Closed)?
    }

    /// The round-trip time to a peer, which is connected to first if its addresses are known.
    ///
    /// Errors: [`ConnectError`].
    pub async fn ping(&self, peer: PeerId) -> Result<Duration, ConnectError> {
        let (reply, pinged) = oneshot::channel();
        self.request(Control::Ping { peer, reply }).await?;
        pinged.await.map_err(|_| ConnectError::Closed)?
    }

    /// All connections, in the order in which they were made.
    ///
    /// Errors: [`ConnectError::Closed`].
    pub async fn connections(&self) -> Result<Vec<Connection>, ConnectError> {
        let (reply, connections) = oneshot::channel();
        self.request(Control::Connections(reply)).await?;
        connections.await.map_err(|_| ConnectError::Closed)
    }

    /// What has happened at this node, counted: a page for Prometheus in the OpenMetrics text format. What each line
    /// means is in `docs/metrics.md`.
    ///
    /// Errors: [`StoreError`] when the store cannot tell how much it holds.
    pub async fn scrape(&self) -> Result<String, StoreError> {
        self.metrics.observe_table(&self.dht.table_now());
        // A node that has shut down has no health to look at.
        if let Ok(report) = self.dht.health().await {
            self.metrics.observe_health(&report.health);
        }
        self.metrics.observe_store(&self.dht.store().stats().await?);
        Ok(self.metrics.encode())
    }

    /// The registry behind [`Node::scrape`].
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Ends the node: running operations fail with [`kadmos_libp2p::error::OperationError::Closed`], connections are
    /// closed, sockets are free. Returns when that is done; further calls return at once.
    pub async fn shutdown(&self) {
        // When the task is gone already there is nothing to ask it for.
        let _ = self.control.send(Control::Shutdown).await;
        self.control.closed().await;
    }

    /// Where it listens, as that changes; it ends with the node, and keeps no node running.
    pub(crate) fn listening(&self) -> watch::Receiver<Vec<Multiaddr>> {
        self.listen_addrs.clone()
    }

    async fn request(&self, control: Control) -> Result<(), ConnectError> {
        self.control.send(control).await.map_err(|_| ConnectError::Closed)
    }
}

impl Deref for Node {
    type Target = Dht;

    fn deref(&self) -> &Dht {
        &self.dht
    }
}
