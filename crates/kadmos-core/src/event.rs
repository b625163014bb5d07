//! The one stream of facts about a node: metrics, logs, dashboard and simulator checkers all read it.

use alloc::vec::Vec;
use core::time::Duration;

use crate::bootstrap::PhaseReport;
use crate::config::Mode;
use crate::error::{Fault, RequestFailure};
use crate::health::{Action, Code, Finding, Level};
use crate::message::MessageKind;
use crate::netsize::NetworkSize;
use crate::operation::{OperationId, OperationKind};
use crate::peer::Peer;

/// Something that happened. Names and fields are stable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The table took a peer.
    PeerAdmitted {
        /// Who.
        peer: Peer,
        /// Its common prefix length with this node.
        prefix_len: u16,
    },
    /// The table dropped a peer.
    PeerEvicted {
        /// Who.
        peer: Peer,
        /// Why.
        reason: Eviction,
    },
    /// The table did not take a peer.
    PeerRejected {
        /// Who.
        peer: Peer,
        /// Why.
        reason: Rejection,
    },
    /// A request of ours left the core.
    RequestSent {
        /// Its kind.
        kind: MessageKind,
        /// To whom.
        peer: Peer,
    },
    /// A request of ours was answered (or, for ADD_PROVIDER, flushed).
    RequestAnswered {
        /// Its kind.
        kind: MessageKind,
        /// By whom.
        peer: Peer,
        /// From the core's output to the driver's input.
        elapsed: Duration,
    },
    /// A request of ours failed.
    RequestFailed {
        /// Its kind.
        kind: MessageKind,
        /// To whom.
        peer: Peer,
        /// How.
        failure: RequestFailure,
    },
    /// An operation began.
    OperationStarted {
        /// Which.
        operation: OperationId,
        /// Its kind.
        kind: OperationKind,
    },
    /// An operation ended.
    OperationEnded {
        /// Which.
        operation: OperationId,
        /// Its kind.
        kind: OperationKind,
        /// `None` for success, else whose fault.
        fault: Option<Fault>,
        /// Requests it sent.
        requests: usize,
        /// Requests that failed.
        failures: usize,
        /// Longest chain of peers that named each other, from the table to a peer that answered.
        hops: usize,
        /// From start to end.
        elapsed: Duration,
    },
    /// A bucket's refresh ended.
    BucketRefreshed {
        /// The bucket's common prefix length.
        prefix_len: u16,
        /// Peers in the bucket afterwards.
        peers: usize,
    },
    /// A phase of joining ended; see [`crate::operation::Bootstrapped`].
    BootstrapPhaseEnded {
        /// Which, how, what was tried, and how long it took.
        report: PhaseReport,
    },
    /// A refresh ended, and the network's size was estimated anew; see [`crate::netsize`].
    NetworkSizeEstimated {
        /// The estimate and its error bar.
        size: NetworkSize,
    },
    /// Requests to several table peers failed and none was answered, not even of the best: it is us who are cut off. Until
    /// [`Event::OutageOver`] nobody leaves the table for not answering.
    OutageSuspected {
        /// Table peers that failed meanwhile.
        failed: usize,
    },
    /// Somebody answered again; all failures are forgiven.
    OutageOver {
        /// Since [`Event::OutageSuspected`].
        elapsed: Duration,
    },
    /// The node began or stopped serving.
    ModeChanged {
        /// The mode now.
        mode: Mode,
    },
    /// The node got better or worse, by the last rounds of the health rules together.
    HealthChanged {
        /// How well it is now.
        level: Level,
        /// What is not well, worst first; empty when all is.
        reasons: Vec<Finding>,
    },
    /// The node began to do something about what is not well.
    RecoveryBegan {
        /// What.
        action: Action,
        /// Why.
        code: Code,
    },
    /// A peer's answer or claim was refused.
    Refused {
        /// By whom it was sent.
        peer: Peer,
        /// Stable code.
        code: Refusal,
    },
}

/// Why the table dropped a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Eviction {
    /// `table.failures_max` requests in a row failed, or the first one to a peer that was only remembered.
    Failed,
    /// It fails, never answered or is the least of an IP group that has as many as it may.
    GroupFull,
    /// It no longer serves the protocol.
    NotServer,
    /// The caller removed it.
    Removed,
    /// Another took its place: one that answers where it failed, does better than it did as a newcomer, or is nearer to us.
    Replaced,
}

impl Eviction {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::Failed, Self::GroupFull, Self::NotServer, Self::Removed, Self::Replaced];

    /// Stable label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::GroupFull => "group_full",
            Self::NotServer => "not_server",
            Self::Removed => "removed",
            Self::Replaced => "replaced",
        }
    }
}

/// Why the table did not take a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// Its bucket is full of live peers.
    BucketFull,
    /// The caller's filter does not want it.
    Filtered,
    /// The table has as many of its IP group as it may.
    GroupFull,
    /// None of its addresses passes the address policy.
    NoAddress,
    /// Its answer named nobody.
    NotUseful,
    /// It did not answer the admission probe.
    ProbeFailed,
    /// Too many peers are waiting for a probe.
    ProbesFull,
}

impl Rejection {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::BucketFull,
        Self::Filtered,
        Self::GroupFull,
        Self::NoAddress,
        Self::NotUseful,
        Self::ProbeFailed,
        Self::ProbesFull,
    ];

    /// Stable label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::BucketFull => "bucket_full",
            Self::Filtered => "filtered",
            Self::GroupFull => "group_full",
            Self::NoAddress => "no_address",
            Self::NotUseful => "not_useful",
            Self::ProbeFailed => "probe_failed",
            Self::ProbesFull => "probes_full",
        }
    }
}

/// Why something a peer sent was refused, as a stable code. `docs/codes.md` has a paragraph for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// A frame or message that is no message.
    Malformed,
    /// A frame longer than `protocol.message_bytes_max`.
    FrameTooLarge,
    /// A message type that does not exist.
    UnknownType,
    /// A key that is empty or too long.
    KeyLength,
    /// A value that is too long.
    ValueLength,
    /// More peers than are taken; the rest was dropped.
    TooManyPeers,
    /// A value that its validator refuses.
    InvalidRecord,
    /// A value worse than the one held.
    OutdatedRecord,
    /// PUT_VALUE whose record has another key than the message, or none.
    KeyMismatch,
    /// ADD_PROVIDER for somebody else, or without an address.
    ForeignProvider,
    /// More requests than the peer's budget.
    RateLimited,
    /// More streams than a connection may hold.
    TooManyStreams,
    /// A stream that stayed idle.
    StreamIdle,
    /// A response of another kind than the request.
    WrongResponse,
    /// A request for a node that does not serve.
    NotServing,
    /// The store could not take a record.
    StoreFull,
}

impl Refusal {
    /// Every code.
    pub const ALL: [Self; 16] = [
        Self::Malformed,
        Self::FrameTooLarge,
        Self::UnknownType,
        Self::KeyLength,
        Self::ValueLength,
        Self::TooManyPeers,
        Self::InvalidRecord,
        Self::OutdatedRecord,
        Self::KeyMismatch,
        Self::ForeignProvider,
        Self::RateLimited,
        Self::TooManyStreams,
        Self::StreamIdle,
        Self::WrongResponse,
        Self::NotServing,
        Self::StoreFull,
    ];

    /// The stable code, as metrics, logs and `docs/codes.md` show it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::FrameTooLarge => "frame_too_large",
            Self::UnknownType => "unknown_type",
            Self::KeyLength => "key_length",
            Self::ValueLength => "value_length",
            Self::TooManyPeers => "too_many_peers",
            Self::InvalidRecord => "invalid_record",
            Self::OutdatedRecord => "outdated_record",
            Self::KeyMismatch => "key_mismatch",
            Self::ForeignProvider => "foreign_provider",
            Self::RateLimited => "rate_limited",
            Self::TooManyStreams => "too_many_streams",
            Self::StreamIdle => "stream_idle",
            Self::WrongResponse => "wrong_response",
            Self::NotServing => "not_serving",
            Self::StoreFull => "store_full",
        }
    }
}
