//! What goes into a node and what comes out.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::addr::AddrList;
use crate::config::Mode;
use crate::error::{Fault, RequestFailure};
use crate::event::Event;
use crate::health::Reachability;
use crate::memory::Memory;
use crate::message::{Request, Response};
use crate::operation::{Operation, OperationId, OperationOptions, SourceKind, Update};
use crate::peer::{PeerId, PeerInfo};
use crate::record::{StoreReply, StoreRequest};

/// Names a request; chosen by the core, carried back by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names a store operation; chosen by the core, carried back by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u64);

/// A fact. [`crate::Node::handle_input`] takes one at a time, with the time at which it became known.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The time asked for by [`crate::Node::next_timeout`] has come. Early or extra calls do nothing.
    Timeout,
    /// Begin an operation. Its id must be unused.
    Start {
        /// Carried back by each [`Output::Update`].
        id: OperationId,
        /// What to do.
        operation: Operation,
        /// How.
        options: OperationOptions,
    },
    /// End an operation at once: no further update, no further request; unknown ids do nothing.
    Cancel(OperationId),
    /// Join the network through these peers, too; a join that is under way asks them at once.
    AddBootstrapPeers {
        /// From where they are known.
        kind: SourceKind,
        /// Who and where.
        peers: Vec<PeerInfo>,
    },
    /// A source of such peers is being looked up. A join waits for it, within its budget, before it gives up.
    SourceLookupBegan(SourceKind),
    /// What one [`Input::SourceLookupBegan`] announced has ended, whatever came of it.
    SourceLookupEnded(SourceKind),
    /// What this node kept from an earlier run; see [`crate::Node::memory`].
    Remember(Box<Memory>),
    /// A peer whose addresses were learnt outside the DHT; probed and admitted like any other.
    AddPeer(PeerInfo),
    /// Put a peer into the table unasked, if its bucket has room, or else in line for the next place; one that is there gets
    /// these addresses. The caller knows that it serves.
    InsertPeer(PeerInfo),
    /// Drop a peer from the table.
    RemovePeer(PeerId),
    /// Begin or stop serving.
    SetMode(Mode),
    /// The addresses at which others reach this node, all of them.
    SetAddrs(AddrList),
    /// What is known of whether others can open connections to this node.
    SetReachability(Reachability),
    /// The first connection to a peer is up, or one to another address than before.
    Connected {
        /// Who.
        peer: PeerId,
        /// The IP address at the other end, which tells the peer's group; `None` if there is none or it is not the peer's,
        /// as through a relay.
        remote: Option<IpAddr>,
    },
    /// The last connection to a peer is gone.
    Disconnected(PeerId),
    /// Our own interfaces or addresses changed, as when a laptop moves: whoever was reached before may be so no longer.
    NetworkChanged,
    /// Identify told whether a connected peer serves our protocol, and where it listens. Sent again on each change.
    Identified {
        /// Who.
        peer: PeerId,
        /// Whether our protocol id is among its protocols.
        serves: bool,
        /// Its listen addresses, own `/p2p` suffix stripped.
        addrs: AddrList,
    },
    /// A request was answered.
    Answered {
        /// From [`Output::Send`].
        request: RequestId,
        /// The decoded answer.
        response: Response,
    },
    /// A request without an answer (ADD_PROVIDER) was flushed to a stream that was not reset since.
    Flushed(RequestId),
    /// A request failed.
    Failed {
        /// From [`Output::Send`].
        request: RequestId,
        /// How.
        failure: RequestFailure,
    },
    /// A store operation ended.
    Stored {
        /// From [`Output::Store`].
        id: StoreId,
        /// How.
        reply: StoreReply,
    },
}

/// An effect for the driver to carry out.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a request; dial first if there is no connection. Answered by exactly one [`Input::Answered`],
    /// [`Input::Flushed`] or [`Input::Failed`], unless cancelled before.
    Send {
        /// Carried back.
        request: RequestId,
        /// To whom.
        to: PeerInfo,
        /// What.
        message: Request,
        /// From now until the driver must report a failure: dial, stream and answer together.
        timeout: Duration,
    },
    /// The answer is no longer wanted. The driver may drop the request, and need not report on it.
    CancelRequest(RequestId),
    /// Run a store operation. Answered by exactly one [`Input::Stored`].
    Store {
        /// Carried back.
        id: StoreId,
        /// What.
        request: StoreRequest,
    },
    /// Tell the user.
    Update {
        /// Which operation.
        id: OperationId,
        /// What.
        update: Update,
    },
    /// The table or our own addresses changed: publish a new snapshot to the responder.
    TableChanged {
        /// `true` after a removal: at once; else within 10 ms, so that bursts share one.
        urgent: bool,
    },
    /// Something happened.
    Event(Event),
}

/// Why an input was refused; apart from its clock the node is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// An operation with this id is running.
    #[error("operation {0:?} is already running")]
    DuplicateOperation(OperationId),
    /// A request id that is not in flight: answered, cancelled or never sent.
    #[error("request {0:?} is not in flight")]
    UnknownRequest(RequestId),
    /// A store id that is not in flight.
    #[error("store operation {0:?} is not in flight")]
    UnknownStore(StoreId),
}

impl InputError {
    /// The driver's, which is part of this node.
    pub const fn fault(&self) -> Fault {
        Fault::Us
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::DuplicateOperation(_) => "give each operation an id that was never used",
            Self::UnknownRequest(_) => "nothing, if the request was cancelled; else report each request once",
            Self::UnknownStore(_) => "report each store operation once",
        }
    }
}
