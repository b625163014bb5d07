//! What handles tell the behaviour.

use std::convert::Infallible;

use kadmos_core::health::Reachability;
use kadmos_core::operation::{Cost, SourceKind};
use kadmos_core::routing::TableSnapshot;
use kadmos_core::{Mode, NetworkSize, Operation, OperationOptions, Outcome, PeerId, PeerInfo, Update};
use tokio::sync::{mpsc, oneshot};

use crate::realm::Realm;
use crate::results::{HealthReport, Load};

/// Commands on their way to the behaviour; a handle that sends one more waits. Each is taken in microseconds.
pub(crate) const COMMANDS_MAX: usize = 256;

/// A command.
#[derive(Debug)]
pub(crate) enum Command {
    /// Begin an operation.
    Start { realm: Realm, operation: Operation, options: OperationOptions, replies: Replies },
    /// Change the node.
    Change { realm: Realm, change: Change, done: oneshot::Sender<()> },
    /// Tell what the node is busy with.
    Load(oneshot::Sender<Load>),
    /// Tell how well the node is.
    Health { realm: Realm, reply: oneshot::Sender<HealthReport> },
    /// Tell how large the network is.
    NetworkSize { realm: Realm, reply: oneshot::Sender<Option<NetworkSize>> },
    /// Tell the table as it is now.
    Table { realm: Realm, reply: oneshot::Sender<TableSnapshot> },
}

/// A change that is acknowledged once it is in force.
#[derive(Debug)]
pub(crate) enum Change {
    AddBootstrapPeers {
        kind: SourceKind,
        peers: Vec<PeerInfo>,
    },
    SourceLookup {
        kind: SourceKind,
        began: bool,
    },
    AddPeer(PeerInfo),
    RemovePeer(PeerId),
    SetMode(Mode),
    SetReachability(Reachability),
    /// To client mode; requests of peers that were read are still answered.
    Drain,
}

/// Where an operation's updates go.
#[derive(Debug)]
pub(crate) struct Replies {
    /// Streamed results; full when the reader is slow.
    pub(crate) updates: mpsc::Sender<Update>,
    /// The end. Dropped without one when the behaviour is gone.
    pub(crate) ended: oneshot::Sender<Ended>,
    /// Resolves when the caller has dropped its end: nobody wants the result.
    pub(crate) cancelled: oneshot::Receiver<Infallible>,
}

/// How an operation ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) cost: Cost,
}
