//! Where records are, under libp2p-kad's names. A [`RecordStore`] is called in the swarm's task.

mod memory;

use std::borrow::Cow;

use libp2p_identity::PeerId;

pub use self::memory::{MemoryStore, MemoryStoreConfig};
use super::record::{Key, ProviderRecord, Record};

/// What a store gives.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a store did not take a record.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// It holds as many values as it may.
    #[error("the store holds as many values as it may")]
    MaxRecords,
    /// It holds providers of as many keys as it may.
    #[error("the store holds providers of as many keys as it may")]
    MaxProvidedKeys,
    /// The value is longer than the store takes.
    #[error("the value is longer than the store takes")]
    ValueTooLarge,
}

/// A store of records. Calls come from the swarm's task, one at a time: one that is slow holds up the whole swarm.
pub trait RecordStore {
    /// Of [`RecordStore::records`].
    type RecordsIter<'a>: Iterator<Item = Cow<'a, Record>>
    where
        Self: 'a;
    /// Of [`RecordStore::provided`].
    type ProvidedIter<'a>: Iterator<Item = Cow<'a, ProviderRecord>>
    where
        Self: 'a;

    /// The value under a key.
    fn get(&self, k: &Key) -> Option<Cow<'_, Record>>;

    /// Stores a value in place of the one before.
    fn put(&mut self, r: Record) -> Result<()>;

    /// Forgets a value.
    fn remove(&mut self, k: &Key);

    /// All values.
    fn records(&self) -> Self::RecordsIter<'_>;

    /// Stores a provider of a key, in place of what it said before.
    fn add_provider(&mut self, record: ProviderRecord) -> Result<()>;

    /// The providers of a key.
    fn providers(&self, key: &Key) -> Vec<ProviderRecord>;

    /// The records by which this node is a provider itself.
    fn provided(&self) -> Self::ProvidedIter<'_>;

    /// Forgets a provider of a key.
    fn remove_provider(&mut self, k: &Key, p: &PeerId);
}
