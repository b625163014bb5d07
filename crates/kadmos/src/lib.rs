//! A whole node of the libp2p / IPFS Kademlia DHT.
//!
//! [`DhtBuilder`] makes a [`Node`]: TCP (noise, TLS, yamux) and QUIC, DNS, identify, ping, connection limits and the
//! DHT. A [`Node`] is a [`Dht`] handle too: it finds peers, providers and values, and publishes them.
//!
//! ```
//! use futures::StreamExt;
//! use kadmos::{Config, DhtBuilder, Keypair, Mode};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = || {
//!     DhtBuilder::new(Keypair::generate_ed25519())
//!         .config(Config::private("/example/kad/1.0.0"))
//!         .mode(Mode::Server)
//!         .listen("/ip4/127.0.0.1/tcp/0".parse().expect("a multiaddress"))
//! };
//! let alice = node().start().await?;
//! let bob = node().bootstrap(alice.p2p_addrs()[0].clone()).start().await?;
//! bob.bootstrap().await?;
//!
//! let multihash = [&[0x12, 0x20][..], &[7; 32]].concat(); // SHA-256 of some content
//! bob.provide(multihash.clone()).await?;
//! let provider = alice.find_providers(multihash, 1).next().await.expect("there is one")?;
//! assert_eq!(provider.id, bob.peer_id());
//!
//! alice.shutdown().await;
//! bob.shutdown().await;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod builder;
mod error;
#[cfg(feature = "url")]
mod http;
mod keeper;
mod listen;
mod memory;
#[cfg(feature = "mdns")]
mod nearby;
mod network;
mod node;
mod ping;
mod reach;
mod sources;
mod task;

pub use kadmos_core::operation::{
    Bootstrapped, OperationOptions, Phase, PhaseOutcome, PhaseReport, SourceKind, SourceReport,
};
pub use kadmos_core::routing::{AsnError, AsnMap};
pub use kadmos_core::{
    AddressPolicy, Config, Event, Mode, NetworkSize, PeerFilter, RetryPolicy, UnixTime, Validator, Validators,
};
pub use kadmos_libp2p::error::{
    BootstrapError, ClosestPeersError, ConfigError, Fault, FindPeerError, FindProvidersError, GetValueError,
    OperationError, ProvideError, PutValueError, RequestFailure,
};
pub use kadmos_libp2p::metrics::{self, Metrics};
pub use kadmos_libp2p::{
    Behaviour, BehaviourEvent, Clock, ClosestPeers, Counters, Dht, Drained, Events, FoundValue, HealthReport,
    Load, PeerAddrs, PeerAddrsError, Providers, PublishReport, Realm, SessionLimits, ValueFrom, Values,
};
pub use kadmos_libp2p::{convert, kad};
pub use kadmos_records::{amino_validators, ipns, pk};
pub use kadmos_store::{MemoryLimits, MemoryStore, Store};
pub use libp2p::identity::Keypair;
pub use libp2p::{Multiaddr, PeerId};
/// The parts, for what is not re-exported one by one.
pub use {kadmos_core as core, kadmos_records as records, kadmos_store as store, libp2p};

pub use self::builder::{ConnectionLimits, DhtBuilder};
pub use self::error::{BuildError, ConnectError};
#[cfg(feature = "url")]
pub use self::http::{PageUrl, PageUrlError};
pub use self::memory::{MemoryFile, MemoryFileError};
pub use self::node::{Connection, Node};
pub use self::reach::AutoMode;

/// The examples of the repository's README, so that they are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}
