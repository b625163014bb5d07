//! What a user can ask a node to do, and what comes back.

use alloc::vec::Vec;
use core::num::NonZeroUsize;
use core::time::Duration;

use bytes::Bytes;

pub use crate::bootstrap::{Bootstrapped, Phase, PhaseOutcome, PhaseReport, SourceKind, SourceReport};
use crate::error::{
    BootstrapError, ClosestPeersError, Fault, FindPeerError, FindProvidersError, GetValueError,
    OperationError, ProvideError, PublishReport, PutValueError,
};
use crate::message::{Record, Response};
use crate::peer::{Peer, PeerId, PeerInfo};
use crate::record::ValueFrom;

/// Names an operation; chosen by the driver, carried back by every [`Update`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// Something to do on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Join the network: connect to the bootstrap peers, find our own neighbourhood, fill the buckets.
    Bootstrap,
    /// Find the k peers closest to `key`.
    ClosestPeers {
        /// Any bytes, hashed into the keyspace.
        key: Bytes,
    },
    /// Find the addresses of a peer.
    FindPeer {
        /// Whom.
        id: PeerId,
    },
    /// Find providers; each arrives as [`Update::Provider`].
    FindProviders {
        /// Multihash of the content.
        key: Bytes,
        /// End after this many distinct providers; 0 walks to the end.
        count: usize,
    },
    /// Find the best value; each better one arrives as [`Update::Value`]. Holders of worse ones are corrected.
    GetValue {
        /// Binary record key.
        key: Bytes,
        /// End after exactly this many valid answers, the own store's included; `None` takes `lookup.quorum`, 0
        /// walks to the end.
        quorum: Option<usize>,
    },
    /// Announce this node as provider to the k closest peers.
    Provide {
        /// Multihash of the content.
        key: Bytes,
    },
    /// Ask everybody on the way to the k peers closest to `key`; each answer arrives as [`Update::Answered`], as it came:
    /// the own store is not asked, no validator judges values, nobody is corrected. Ends as a lookup of closest peers
    /// does. For hosts with rules of their own.
    Survey {
        /// What is asked about; its hash is walked to.
        key: Bytes,
        /// What is asked.
        question: Question,
    },
    /// Send a record as it is, without a look at the own store or at a validator, to these peers or to those closest to
    /// its key. Answers on the way there arrive as [`Update::Answered`]. For hosts with rules of their own.
    Deliver {
        /// What is sent.
        delivery: Delivery,
        /// To whom.
        holders: Holders,
    },
    /// Store a value on the k closest peers.
    PutValue {
        /// Binary record key.
        key: Bytes,
        /// What its namespace's validator accepts.
        value: Bytes,
    },
}

impl Operation {
    /// The operation's kind.
    pub const fn kind(&self) -> OperationKind {
        match self {
            Self::Bootstrap => OperationKind::Bootstrap,
            Self::ClosestPeers { .. } => OperationKind::ClosestPeers,
            Self::FindPeer { .. } => OperationKind::FindPeer,
            Self::FindProviders { .. } => OperationKind::FindProviders,
            Self::GetValue { .. } => OperationKind::GetValue,
            Self::Provide { .. } => OperationKind::Provide,
            Self::PutValue { .. } => OperationKind::PutValue,
            Self::Survey { .. } => OperationKind::ClosestPeers,
            Self::Deliver { delivery: Delivery::Provider { .. }, .. } => OperationKind::Provide,
            Self::Deliver { delivery: Delivery::Value(_), .. } => OperationKind::PutValue,
        }
    }
}

/// What [`Operation::Survey`] asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// FIND_NODE.
    ClosestPeers,
    /// GET_PROVIDERS.
    Providers,
    /// GET_VALUE.
    Value,
}

/// To whom [`Operation::Deliver`] sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holders {
    /// So many of the peers closest to the key, at most k, which are looked up.
    Closest(NonZeroUsize),
    /// These.
    Peers(Vec<PeerInfo>),
}

/// What [`Operation::Deliver`] sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// ADD_PROVIDER.
    Provider {
        /// Multihash of the content.
        key: Bytes,
        /// Who provides it; servers take it only from the provider itself.
        provider: PeerInfo,
    },
    /// PUT_VALUE.
    Value(Record),
}

impl Delivery {
    /// The record's key.
    pub const fn key(&self) -> &Bytes {
        match self {
            Self::Provider { key, .. } => key,
            Self::Value(record) => &record.key,
        }
    }
}

/// Kind of an operation, for events and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum OperationKind {
    /// [`Operation::Bootstrap`].
    Bootstrap,
    /// [`Operation::ClosestPeers`].
    ClosestPeers,
    /// [`Operation::FindPeer`].
    FindPeer,
    /// [`Operation::FindProviders`].
    FindProviders,
    /// [`Operation::GetValue`].
    GetValue,
    /// [`Operation::Provide`].
    Provide,
    /// [`Operation::PutValue`].
    PutValue,
}

impl OperationKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Bootstrap,
        Self::ClosestPeers,
        Self::FindPeer,
        Self::FindProviders,
        Self::GetValue,
        Self::Provide,
        Self::PutValue,
    ];

    /// Stable label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::ClosestPeers => "closest_peers",
            Self::FindPeer => "find_peer",
            Self::FindProviders => "find_providers",
            Self::GetValue => "get_value",
            Self::Provide => "provide",
            Self::PutValue => "put_value",
        }
    }
}

/// Settings of one operation that differ from the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperationOptions {
    /// Ends the operation after this long; `None` takes `lookup.deadline`.
    pub deadline: Option<Duration>,
    /// Requests in flight; `None` takes `lookup.alpha`.
    pub alpha: Option<NonZeroUsize>,
}

/// Something an operation produced. Any number of streamed ones, then exactly one [`Update::Ended`], unless the
/// operation was cancelled: then nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// A peer answered a [`Operation::Survey`], or a [`Operation::Deliver`] on the way.
    Answered {
        /// Who.
        peer: Peer,
        /// What, without addresses and peers that the node does not deal with.
        response: Response,
    },
    /// A provider that was not reported before, or was reported with fewer addresses; always with all known so far.
    Provider(PeerInfo),
    /// A value better than all before.
    Value(ValueFrom),
    /// The last update.
    Ended {
        /// The result.
        outcome: Outcome,
        /// What it cost.
        cost: Cost,
    },
}

/// What an operation cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Requests sent.
    pub requests: usize,
    /// Requests that failed.
    pub failures: usize,
    /// Longest chain of peers that named each other, from the table to a peer that answered.
    pub hops: usize,
    /// From start to end.
    pub elapsed: Duration,
}

/// How an operation ended, one variant per [`Operation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Of [`Operation::Bootstrap`].
    Bootstrap(Result<Bootstrapped, BootstrapError>),
    /// Of [`Operation::ClosestPeers`].
    ClosestPeers(Result<ClosestPeers, ClosestPeersError>),
    /// Of [`Operation::FindPeer`].
    FindPeer(Result<PeerInfo, FindPeerError>),
    /// Of [`Operation::FindProviders`]: how many distinct providers were reported.
    FindProviders(Result<usize, FindProvidersError>),
    /// Of [`Operation::GetValue`].
    GetValue(Result<FoundValue, GetValueError>),
    /// Of [`Operation::Provide`].
    Provide(Result<PublishReport, ProvideError>),
    /// Of [`Operation::PutValue`].
    PutValue(Result<PublishReport, PutValueError>),
}

impl Outcome {
    /// The outcome of an operation that failed for a reason every operation shares.
    pub fn failed(kind: OperationKind, error: OperationError) -> Self {
        match kind {
            OperationKind::Bootstrap => Self::Bootstrap(Err(error.into())),
            OperationKind::ClosestPeers => Self::ClosestPeers(Err(error.into())),
            OperationKind::FindPeer => Self::FindPeer(Err(error.into())),
            OperationKind::FindProviders => Self::FindProviders(Err(error.into())),
            OperationKind::GetValue => Self::GetValue(Err(error.into())),
            OperationKind::Provide => Self::Provide(Err(error.into())),
            OperationKind::PutValue => Self::PutValue(Err(error.into())),
        }
    }

    /// `None` for success, else whose fault the failure is.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Bootstrap(Err(error)) => Some(error.fault()),
            Self::ClosestPeers(Err(error)) => Some(error.fault()),
            Self::FindPeer(Err(error)) => Some(error.fault()),
            Self::FindProviders(Err(error)) => Some(error.fault()),
            Self::GetValue(Err(error)) => Some(error.fault()),
            Self::Provide(Err(error)) => Some(error.fault()),
            Self::PutValue(Err(error)) => Some(error.fault()),
            _ => None,
        }
    }
}

/// The peers closest to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosestPeers {
    /// At most k peers, strictly increasing distance, each of which answered; never the node itself.
    pub peers: Vec<PeerInfo>,
    /// Whether all closer candidates had answered or failed when the lookup ended; `false` when the follow-up's
    /// time was up first.
    pub complete: bool,
}

/// The best value found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundValue {
    /// The value and who had it.
    pub best: ValueFrom,
    /// Valid answers, the own store's included.
    pub answers: usize,
    /// Peers that held a worse value, or none although they are among the closest, and were sent the best.
    pub corrected: usize,
}
