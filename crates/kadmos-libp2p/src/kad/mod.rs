//! The interface of libp2p-kad 0.49 on Kadmos' core: for programs that use `libp2p::kad`, one changed import.
//!
//! Names, shapes, defaults and the order of events are libp2p-kad's; `docs/kad.md` has what cannot match and why,
//! `docs/migrating.md` what to change beyond the import. [`Behaviour::handle`] is the way to everything that libp2p-kad
//! has not.
//!
//! ```
//! use kadmos_libp2p::kad; // was: use libp2p::kad;
//! use libp2p_identity::PeerId;
//!
//! let id = PeerId::random();
//! let mut kademlia = kad::Behaviour::new(id, kad::store::MemoryStore::new(id));
//! let peer = PeerId::random();
//! let update = kademlia.add_address(&peer, "/ip4/192.0.2.1/tcp/4001".parse()?);
//! assert_eq!(update, kad::RoutingUpdate::Success);
//! let query = kademlia.get_closest_peers(peer);
//! assert!(kademlia.query(&query).is_some());
//! # Ok::<(), libp2p_core::multiaddr::Error>(())
//! ```
//!
//! | File | Holds |
//! | --- | --- |
//! | `behaviour` | what is called: queries, records, mode; `table` the table; `network` what the swarm tells |
//! | `config`, `event`, `query`, `record`, `store`, `addresses` | libp2p-kad's types |
//! | `key`, `kbucket`, `u256` | keys, distances, and what is seen of the table |
//! | `queries` | the core's updates as results |
//! | `bridge` | connections and the core at a store in the swarm's task |
//! | `jobs` | what is done unasked |

mod addresses;
mod behaviour;
mod bridge;
mod config;
mod event;
mod jobs;
mod kbucket;
mod key;
mod queries;
mod query;
mod record;
pub mod store;
mod u256;

use std::num::NonZeroUsize;

use libp2p_swarm::StreamProtocol;

pub use self::addresses::Addresses;
pub use self::behaviour::Behaviour;
pub use self::config::{BucketInserts, Caching, Config, StoreInserts};
pub use self::event::{
    AddProviderError, AddProviderOk, AddProviderResult, BootstrapError, BootstrapOk, BootstrapResult,
    ConnectionType, Event, GetClosestPeersError, GetClosestPeersOk, GetClosestPeersResult, GetProvidersError,
    GetProvidersOk, GetProvidersResult, GetRecordError, GetRecordOk, GetRecordResult, InboundRequest,
    KadPeer, Mode, NoKnownPeers, PeerInfo, PeerRecord, ProgressStep, PutRecordError, PutRecordOk,
    PutRecordResult, QueryResult, Quorum, RoutingUpdate,
};
pub use self::kbucket::{
    Distance as KBucketDistance, EntryRefView, EntryView, KBucketRef, Key as KBucketKey, KeyBytes, Node,
    NodeRefView, NodeStatus, U256,
};
pub use self::query::{
    AddProviderContext, AddProviderPhase, PutRecordContext, PutRecordPhase, QueryId, QueryInfo, QueryMut,
    QueryRef, QueryStats,
};
pub use self::record::{Key as RecordKey, ProviderRecord, Record};

/// Peers of a bucket, of an answer and of a lookup's result; holders of a record unless set otherwise.
pub const K_VALUE: NonZeroUsize = match NonZeroUsize::new(20) {
    Some(k) => k,
    None => NonZeroUsize::MIN,
};

/// Requests of a query in flight, unless set otherwise.
pub const ALPHA_VALUE: NonZeroUsize = match NonZeroUsize::new(3) {
    Some(alpha) => alpha,
    None => NonZeroUsize::MIN,
};

/// Protocol id of the public IPFS DHT.
pub const PROTOCOL_NAME: StreamProtocol = StreamProtocol::new(kadmos_core::config::AMINO_PROTOCOL);
