//! The sans-IO core of Kadmos, the libp2p / IPFS Kademlia DHT.
//!
//! Every protocol decision is here, and no socket, clock, thread, disk or global randomness. A [`Node`] takes facts
//! ([`Node::handle_input`]) and gives effects ([`Node::poll_output`]); the real network and the simulator drive the
//! same `Node` with the same loop. The server half is a pure function over an immutable view of the table,
//! [`server::Responder`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod addr;
mod bootstrap;
pub mod config;
pub mod error;
pub mod event;
pub mod health;
pub mod key;
pub mod limits;
mod lookup;
mod machine;
pub mod memory;
pub mod message;
pub mod netsize;
pub mod node;
pub mod operation;
pub mod peer;
mod publish;
pub mod realm;
pub mod record;
pub mod retry;
pub mod routing;
pub mod server;
pub mod time;
pub mod wire;

pub use addr::AddrList;
pub use bootstrap::Preimages;
pub use config::{AddressPolicy, Config, ConfigError, Mode};
pub use event::Event;
pub use health::{Health, HealthConfig};
pub use key::{Distance, Key};
pub use memory::{Memory, MemoryError, RememberedPeer};
pub use netsize::NetworkSize;
pub use node::{Input, InputError, Node, Output, PeerFilter, Purpose, RequestId, StoreId};
pub use operation::{Operation, OperationId, OperationOptions, Outcome, Update};
pub use peer::{Peer, PeerId, PeerInfo};
pub use realm::Realm;
pub use record::{Reader, Validator, Validators};
pub use retry::RetryPolicy;
pub use time::{Now, Timestamp, UnixTime};
