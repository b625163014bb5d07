//! Record stores: where a node keeps the values and provider records that others, and its own user, gave it.
//!
//! [`Store`] is what a node needs of a store; [`MemoryStore`] keeps everything in memory, [`DiskStore`] on disk, too. A store
//! belongs to one realm: a node of the public network and one of the local network never share one.
//!
//! ```
//! use bytes::Bytes;
//! use kadmos_core::message::Record;
//! use kadmos_core::record::ValueWrite;
//! use kadmos_core::time::UnixTime;
//! use kadmos_store::{MemoryLimits, MemoryStore, WriteError};
//!
//! let store = MemoryStore::new(MemoryLimits::default());
//! let now = UnixTime::from_secs(1_795_515_912);
//! let record = Record { key: Bytes::from_static(b"/v/hello"), value: Bytes::from_static(b"world") };
//! let write = ValueWrite { record, received: now, expires: UnixTime::from_secs(1_795_688_712), expected: None };
//!
//! store.put_value(&write, now)?;
//! assert_eq!(store.value(b"/v/hello", now).unwrap().record.value, "world");
//! // A second writer who also saw nothing there must read again.
//! assert_eq!(store.put_value(&write, now), Err(WriteError::Conflict));
//! # Ok::<(), WriteError>(())
//! ```
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod disk;
mod error;
mod execute;
pub mod memory;
mod store;

pub use disk::{DiskConfig, DiskStore};
pub use error::{Capacity, StoreError, WriteError};
pub use execute::execute;
pub use memory::{MemoryLimits, MemoryStore};
pub use store::{BoxFuture, Condition, Expired, KeyPage, RecordKind, Store, StoreStats};
