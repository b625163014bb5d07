//! What a swarm is told, with libp2p-kad's names and shapes.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::num::NonZeroUsize;

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_swarm::ConnectionId;

use super::addresses::Addresses;
use super::kbucket::{Distance, EntryView, Key as KBucketKey, NodeStatus};
use super::query::{QueryId, QueryStats};
use super::record::{Key, ProviderRecord, Record};

/// Something happened.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // the interface of libp2p-kad
pub enum Event {
    /// A request of a peer was served.
    InboundRequest {
        /// Which.
        request: InboundRequest,
    },
    /// A query gave something. The last one of a query has `step.last`, and no query ends without.
    OutboundQueryProgressed {
        /// Which.
        id: QueryId,
        /// What.
        result: QueryResult,
        /// What it cost so far.
        stats: QueryStats,
        /// How many results it has given.
        step: ProgressStep,
    },
    /// A peer entered the table, or has other addresses.
    RoutingUpdated {
        /// Who.
        peer: PeerId,
        /// Whether it entered.
        is_new_peer: bool,
        /// All its addresses.
        addresses: Addresses,
        /// The least and the greatest distance of its bucket.
        bucket_range: (Distance, Distance),
        /// Who had to leave for it.
        old_peer: Option<PeerId>,
    },
    /// A peer serves the DHT, but no address of it is known.
    UnroutablePeer {
        /// Who.
        peer: PeerId,
    },
    /// A peer serves the DHT and may be put into the table.
    RoutablePeer {
        /// Who.
        peer: PeerId,
        /// Where.
        address: Multiaddr,
    },
    /// A peer serves the DHT and waits for a place in its bucket.
    PendingRoutablePeer {
        /// Who.
        peer: PeerId,
        /// Where.
        address: Multiaddr,
    },
    /// This node began or stopped serving.
    ModeChanged {
        /// The mode now.
        new_mode: Mode,
    },
}

/// How many results a query has given.
#[derive(Clone, Copy, Debug)]
pub struct ProgressStep {
    /// This one included.
    pub count: NonZeroUsize,
    /// Whether there will be no other.
    pub last: bool,
}

impl ProgressStep {
    pub(super) const FIRST: Self = Self { count: NonZeroUsize::MIN, last: false };

    /// The step after this one.
    pub(super) fn next(self) -> Self {
        Self { count: self.count.saturating_add(1), last: false }
    }
}

/// A request of a peer.
#[derive(Clone, Debug)]
pub enum InboundRequest {
    /// FIND_NODE.
    FindNode {
        /// Peers named in the answer.
        num_closer_peers: usize,
    },
    /// GET_PROVIDERS.
    GetProvider {
        /// Peers named in the answer.
        num_closer_peers: usize,
        /// Providers named in the answer.
        num_provider_peers: usize,
    },
    /// ADD_PROVIDER.
    AddProvider {
        /// The record, with [`super::StoreInserts::FilterBoth`]; else it is stored already.
        record: Option<ProviderRecord>,
    },
    /// GET_VALUE.
    GetRecord {
        /// Peers named in the answer.
        num_closer_peers: usize,
        /// Whether the answer had a value.
        present_locally: bool,
    },
    /// PUT_VALUE.
    PutRecord {
        /// Who sent it.
        source: PeerId,
        /// On which connection.
        connection: ConnectionId,
        /// The record, with [`super::StoreInserts::FilterBoth`]; else it is stored already.
        record: Option<Record>,
    },
}

/// What a query gave.
#[derive(Clone, Debug)]
pub enum QueryResult {
    /// Of [`super::Behaviour::bootstrap`].
    Bootstrap(BootstrapResult),
    /// Of [`super::Behaviour::get_closest_peers`].
    GetClosestPeers(GetClosestPeersResult),
    /// Of [`super::Behaviour::get_providers`].
    GetProviders(GetProvidersResult),
    /// Of [`super::Behaviour::start_providing`].
    StartProviding(AddProviderResult),
    /// A record of [`super::Behaviour::start_providing`] was announced again.
    RepublishProvider(AddProviderResult),
    /// Of [`super::Behaviour::get_record`].
    GetRecord(GetRecordResult),
    /// Of [`super::Behaviour::put_record`] and [`super::Behaviour::put_record_to`].
    PutRecord(PutRecordResult),
    /// A record of [`super::Behaviour::put_record`] was published again.
    RepublishRecord(PutRecordResult),
}

/// A value and who had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRecord {
    /// Who; `None` for the own store.
    pub peer: Option<PeerId>,
    /// What.
    pub record: Record,
}

/// A peer and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Who.
    pub peer_id: PeerId,
    /// Where.
    pub addrs: Vec<Multiaddr>,
}

/// What [`super::Behaviour::get_record`] gives.
pub type GetRecordResult = Result<GetRecordOk, GetRecordError>;

/// What a search for a value found.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // the interface of libp2p-kad
pub enum GetRecordOk {
    /// A value. There may be others.
    FoundRecord(PeerRecord),
    /// There are no others.
    FinishedWithNoAdditionalRecord {
        /// The closest peers that had none, by distance to the key.
        cache_candidates: BTreeMap<Distance, PeerId>,
    },
}

/// Why a search for a value found none.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GetRecordError {
    /// Nobody had one.
    #[error("nobody who was asked had a value")]
    NotFound {
        /// Its key.
        key: Key,
        /// The closest peers that answered.
        closest_peers: Vec<PeerId>,
    },
    /// The time was up.
    #[error("the query's time was up")]
    Timeout {
        /// Its key.
        key: Key,
    },
}

/// What [`super::Behaviour::put_record`] gives.
pub type PutRecordResult = Result<PutRecordOk, PutRecordError>;

/// Enough peers have stored a value.
#[derive(Clone, Debug)]
pub struct PutRecordOk {
    /// Its key.
    pub key: Key,
}

/// Why a value was not stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PutRecordError {
    /// Too few peers stored it.
    #[error("fewer than {quorum} peers have stored the value")]
    QuorumFailed {
        /// Its key.
        key: Key,
        /// Those that did.
        success: Vec<PeerId>,
        /// How many would have been enough.
        quorum: NonZeroUsize,
    },
    /// The time was up.
    #[error("the query's time was up")]
    Timeout {
        /// Its key.
        key: Key,
        /// Those that did store it.
        success: Vec<PeerId>,
        /// How many would have been enough.
        quorum: NonZeroUsize,
    },
}

/// What [`super::Behaviour::bootstrap`] gives.
pub type BootstrapResult = Result<BootstrapOk, BootstrapError>;

/// One of the lookups of a bootstrap ended.
#[derive(Clone, Debug)]
pub struct BootstrapOk {
    /// What it looked up: this node first, then a peer id of each bucket.
    pub peer: PeerId,
    /// Lookups that are left.
    pub num_remaining: u32,
}

/// Why a bootstrap ended early.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The time of one of its lookups was up.
    #[error("the query's time was up")]
    Timeout {
        /// What it looked up.
        peer: PeerId,
        /// Lookups that are left; `None` if it was the first.
        num_remaining: Option<u32>,
    },
}

/// What [`super::Behaviour::get_closest_peers`] gives.
pub type GetClosestPeersResult = Result<GetClosestPeersOk, GetClosestPeersError>;

/// The peers closest to a key.
#[derive(Clone, Debug)]
pub struct GetClosestPeersOk {
    /// The key.
    pub key: Vec<u8>,
    /// The peers, closest first, each of which answered.
    pub peers: Vec<PeerInfo>,
}

/// Why the closest peers were not found.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GetClosestPeersError {
    /// The time was up.
    #[error("the query's time was up")]
    Timeout {
        /// The key.
        key: Vec<u8>,
        /// The closest of those that answered in time.
        peers: Vec<PeerInfo>,
    },
}

/// What [`super::Behaviour::get_providers`] gives.
pub type GetProvidersResult = Result<GetProvidersOk, GetProvidersError>;

/// What a search for providers found.
#[derive(Clone, Debug)]
pub enum GetProvidersOk {
    /// Providers, as one peer named them. There may be others, and these may come again.
    FoundProviders {
        /// The content's key.
        key: Key,
        /// Who provides it. Their addresses are in [`crate::Dht::find_providers`].
        providers: HashSet<PeerId>,
    },
    /// There are no others.
    FinishedWithNoAdditionalRecord {
        /// The closest peers that answered.
        closest_peers: Vec<PeerId>,
    },
}

/// Why a search for providers ended early.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GetProvidersError {
    /// The time was up.
    #[error("the query's time was up")]
    Timeout {
        /// The content's key.
        key: Key,
        /// The closest of those that answered in time.
        closest_peers: Vec<PeerId>,
    },
}

/// What [`super::Behaviour::start_providing`] gives.
pub type AddProviderResult = Result<AddProviderOk, AddProviderError>;

/// The closest peers were sent a provider record.
#[derive(Clone, Debug)]
pub struct AddProviderOk {
    /// The content's key.
    pub key: Key,
}

/// Why nobody was sent a provider record.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AddProviderError {
    /// The time was up, or none of the closest peers could be reached.
    #[error("nobody was sent the provider record")]
    Timeout {
        /// The content's key.
        key: Key,
    },
}

/// The key that each variant of an error has.
macro_rules! keyed {
    ($error:ty, $key:ty, $($variant:ident)|+) => {
        impl $error {
            /// What the query was about.
            pub fn key(&self) -> &$key {
                match self {
                    $(Self::$variant { key, .. })|+ => key,
                }
            }

            /// What the query was about.
            pub fn into_key(self) -> $key {
                match self {
                    $(Self::$variant { key, .. })|+ => key,
                }
            }
        }
    };
}

keyed!(AddProviderError, Key, Timeout);
keyed!(GetClosestPeersError, Vec<u8>, Timeout);
keyed!(GetProvidersError, Key, Timeout);
keyed!(GetRecordError, Key, NotFound | Timeout);
keyed!(PutRecordError, Key, QuorumFailed | Timeout);

/// Why a bootstrap did not begin: the table is empty.
#[derive(Clone, Debug)]
pub struct NoKnownPeers();

impl fmt::Display for NoKnownPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no peer is known: add the address of one first")
    }
}

impl std::error::Error for NoKnownPeers {}

/// What became of [`super::Behaviour::add_address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutingUpdate {
    /// The table has the address.
    Success,
    /// The bucket is full, and the peer waits for a place.
    Pending,
    /// It is not taken: it is this node's own, names another peer, or is none that this node deals with.
    Failed,
}

/// How many peers must store a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// One.
    One,
    /// More than half of the holders.
    Majority,
    /// All holders.
    All,
    /// So many, or all holders if there are fewer.
    N(NonZeroUsize),
}

impl Quorum {
    /// How many of `total` that is.
    pub(super) fn of(self, total: NonZeroUsize) -> NonZeroUsize {
        match self {
            Self::One => NonZeroUsize::MIN,
            Self::Majority => NonZeroUsize::MIN.saturating_add(total.get() / 2),
            Self::All => total,
            Self::N(count) => count.min(total),
        }
    }
}

/// Whether a node serves others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// It asks only.
    Client,
    /// It answers, too.
    Server,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

/// A peer as answers name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KadPeer {
    /// Who.
    pub node_id: PeerId,
    /// Where.
    pub multiaddrs: Vec<Multiaddr>,
    /// How whoever says so is connected to it.
    pub connection_ty: ConnectionType,
}

/// How somebody is connected to a peer. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionType {
    /// Not.
    NotConnected = 0,
    /// It is.
    Connected = 1,
    /// Not any more.
    CanConnect = 2,
    /// It tried in vain.
    CannotConnect = 3,
}

impl From<EntryView<KBucketKey<PeerId>, Addresses>> for KadPeer {
    fn from(entry: EntryView<KBucketKey<PeerId>, Addresses>) -> Self {
        let connection_ty = match entry.status {
            NodeStatus::Connected => ConnectionType::Connected,
            NodeStatus::Disconnected => ConnectionType::NotConnected,
        };
        let node_id = entry.node.key.into_preimage();
        Self { node_id, multiaddrs: entry.node.value.into_vec(), connection_ty }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_one_at_least_and_all_at_most() {
        let n = |count| NonZeroUsize::new(count).expect("above 0");
        let of = |quorum: Quorum| [1, 2, 3, 20].map(|total| quorum.of(n(total)).get());
        assert_eq!(of(Quorum::One), [1, 1, 1, 1]);
        assert_eq!(of(Quorum::Majority), [1, 2, 2, 11]);
        assert_eq!(of(Quorum::All), [1, 2, 3, 20]);
        assert_eq!(of(Quorum::N(n(3))), [1, 2, 3, 3]);
    }

    #[test]
    fn errors_say_what_their_query_was_about() {
        let key = Key::new(b"k");
        let errors = [
            GetRecordError::NotFound { key: key.clone(), closest_peers: Vec::new() },
            GetRecordError::Timeout { key: key.clone() },
        ];
        for error in errors {
            assert_eq!(error.key(), &key);
            assert!(!error.to_string().is_empty());
            assert_eq!(error.into_key(), key);
        }
        let quorum = NonZeroUsize::MIN;
        let error = PutRecordError::QuorumFailed { key: key.clone(), success: Vec::new(), quorum };
        assert_eq!(error.to_string(), "fewer than 1 peers have stored the value");
        assert_eq!(error.into_key(), key);
        assert!(NoKnownPeers().to_string().contains("address"));
        assert_eq!([Mode::Client, Mode::Server].map(|mode| mode.to_string()), ["client", "server"]);
    }
}
