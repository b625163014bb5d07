//! Kadmos on libp2p: a [`NetworkBehaviour`](libp2p_swarm::NetworkBehaviour) for any swarm, and the asynchronous
//! handle to it.
//!
//! [`Behaviour`] drives a [`kadmos_core::Node`], or two, one for each realm: it turns what the swarm tells into the core's inputs, and the
//! core's outputs into dials, requests and store operations. Requests of other peers never pass it: each connection's
//! [`handler::Handler`] answers them from a snapshot of the table and the store's reader. [`Dht`] is what a program
//! holds.
//!
//! | File | Holds |
//! | --- | --- |
//! | `behaviour` | the shell around the core, in the swarm's task: `realm` one node, `swarm` what the swarm tells |
//! | `realm` | the networks that a node is in, and the border between them |
//! | `peers`, `identities`, `own_addrs` | connections, dials and requests; what identify told; our own addresses |
//! | `handler` | one connection: `outbound` our session, `inbound` the server, `framed` their streams |
//! | `shared` | what handlers read: table, responder, store, limits, counters |
//! | `dht`, `streams`, `results`, `events` | the handle, operations under way, what they give, what happens |
//! | `merge` | what two realms find, as one result |
//! | `command`, `operations` | between the handle and the behaviour |
//! | `kad` | the interface of libp2p-kad on all of this |
//! | `convert`, `clock`, `error` | libp2p's types and the core's, time, why things fail |
#![forbid(unsafe_code)]

pub mod behaviour;
pub mod clock;
mod command;
pub mod convert;
mod dht;
pub mod error;
mod events;
pub mod handler;
mod identities;
pub mod kad;
mod merge;
pub mod metrics;
mod operations;
mod own_addrs;
mod peers;
mod realm;
mod results;
mod shared;
mod streams;

pub use behaviour::{Behaviour, BehaviourEvent, Options, RealmConfig};
pub use clock::{Clock, SystemClock};
pub use convert::{PeerAddrs, PeerAddrsError};
pub use dht::{Dht, WeakDht};
pub use events::Events;
pub use realm::{Realm, RequestKey};
pub use results::{ClosestPeers, Drained, FoundValue, HealthReport, Load, PublishReport, ValueFrom};
pub use shared::{Counters, SessionLimits};
pub use streams::{Providers, Values};
