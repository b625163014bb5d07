//! Records in memory.

use std::borrow::Cow;
use std::collections::hash_map::{self, Entry, HashMap};
use std::collections::hash_set::{self, HashSet};
use std::iter::Map;
use std::time::Instant;

use libp2p_identity::PeerId;

use super::{Error, Key, ProviderRecord, Record, RecordStore, Result};
use crate::kad::K_VALUE;

/// A [`RecordStore`] in memory.
#[derive(Debug)]
pub struct MemoryStore {
    local: PeerId,
    config: MemoryStoreConfig,
    values: HashMap<Key, Record>,
    /// By key, in the order in which they came.
    providers: HashMap<Key, Vec<ProviderRecord>>,
    /// Those of this node itself.
    provided: HashSet<ProviderRecord>,
}

/// Bounds of a [`MemoryStore`].
#[derive(Clone, Debug)]
pub struct MemoryStoreConfig {
    /// Values. Default 1,024.
    pub max_records: usize,
    /// Values must be shorter than this, in bytes. Default 65 KiB.
    pub max_value_bytes: usize,
    /// Providers of one key; further ones are left out. Default 20.
    pub max_providers_per_key: usize,
    /// Keys with providers. Default 1,024.
    pub max_provided_keys: usize,
}

impl Default for MemoryStoreConfig {
    fn default() -> Self {
        Self {
            max_records: 1_024,
            max_value_bytes: 65 << 10,
            max_providers_per_key: K_VALUE.get(),
            max_provided_keys: 1_024,
        }
    }
}

impl MemoryStore {
    /// An empty store of the node `local`.
    pub fn new(local: PeerId) -> Self {
        Self::with_config(local, MemoryStoreConfig::default())
    }

    /// As [`MemoryStore::new`], with other bounds.
    pub fn with_config(local: PeerId, config: MemoryStoreConfig) -> Self {
        Self { local, config, values: HashMap::new(), providers: HashMap::new(), provided: HashSet::new() }
    }

    /// Keeps only the values that `keep` wants.
    pub fn retain<F: FnMut(&Key, &mut Record) -> bool>(&mut self, keep: F) {
        self.values.retain(keep);
    }
}

impl RecordStore for MemoryStore {
    type RecordsIter<'a> = Map<hash_map::Values<'a, Key, Record>, fn(&'a Record) -> Cow<'a, Record>>;
    type ProvidedIter<'a> =
        Map<hash_set::Iter<'a, ProviderRecord>, fn(&'a ProviderRecord) -> Cow<'a, ProviderRecord>>;

    fn get(&self, k: &Key) -> Option<Cow<'_, Record>> {
        self.values.get(k).map(Cow::Borrowed)
    }

    fn put(&mut self, r: Record) -> Result<()> {
        if r.value.len() >= self.config.max_value_bytes {
            return Err(Error::ValueTooLarge);
        }
        if self.values.len() >= self.config.max_records && !self.values.contains_key(&r.key) {
            let now = Instant::now();
            self.values.retain(|_, held| !held.is_expired(now));
            if self.values.len() >= self.config.max_records {
                return Err(Error::MaxRecords);
            }
        }
        self.values.insert(r.key.clone(), r);
        Ok(())
    }

    fn remove(&mut self, k: &Key) {
        self.values.remove(k);
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        self.values.values().map(Cow::Borrowed)
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        if self.providers.len() >= self.config.max_provided_keys && !self.providers.contains_key(&record.key)
        {
            let now = Instant::now();
            self.provided.retain(|held| !held.is_expired(now));
            self.providers.retain(|_, held| {
                held.retain(|held| !held.is_expired(now));
                !held.is_empty()
            });
        }
        let keys = self.providers.len();
        let providers = match self.providers.entry(record.key.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if keys >= self.config.max_provided_keys => {
                return Err(Error::MaxProvidedKeys);
            }
            Entry::Vacant(new) => new.insert(Vec::new()),
        };
        let place = providers.iter().position(|known| known.provider == record.provider);
        if place.is_none() && providers.len() >= self.config.max_providers_per_key {
            return Ok(());
        }
        if record.provider == self.local {
            self.provided.replace(record.clone());
        }
        match place {
            Some(place) => providers[place] = record,
            None => providers.push(record),
        }
        Ok(())
    }

    fn providers(&self, key: &Key) -> Vec<ProviderRecord> {
        self.providers.get(key).cloned().unwrap_or_default()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        self.provided.iter().map(Cow::Borrowed)
    }

    fn remove_provider(&mut self, k: &Key, p: &PeerId) {
        let Some(providers) = self.providers.get_mut(k) else { return };
        providers.retain(|known| known.provider != *p);
        if providers.is_empty() {
            self.providers.remove(k);
        }
        if *p == self.local {
            self.provided.retain(|known| known.key != *k);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_store_gives_the_places_of_those_whose_time_is_over() {
        let local = PeerId::random();
        let config = MemoryStoreConfig { max_records: 1, max_provided_keys: 1, ..Default::default() };
        let mut store = MemoryStore::with_config(local, config);
        let over = Some(Instant::now());
        let record = |key: u8, expires| Record { expires, ..Record::new(vec![key], vec![1]) };
        assert!(store.put(record(1, over)).is_ok() && store.put(record(2, None)).is_ok());
        assert!(matches!(store.put(record(3, None)), Err(Error::MaxRecords)));
        let provider = |key: u8, expires| ProviderRecord {
            expires,
            ..ProviderRecord::new(vec![key], PeerId::random(), Vec::new())
        };
        assert!(
            store.add_provider(provider(1, over)).is_ok() && store.add_provider(provider(2, None)).is_ok()
        );
        assert!(matches!(store.add_provider(provider(3, None)), Err(Error::MaxProvidedKeys)));
        assert!(store.providers(&vec![1].into()).is_empty() && store.get(&vec![1].into()).is_none());
    }

    #[test]
    fn its_bounds_hold_and_known_keys_are_always_replaced() {
        let local = PeerId::random();
        let config = MemoryStoreConfig {
            max_records: 1,
            max_value_bytes: 3,
            max_providers_per_key: 1,
            max_provided_keys: 1,
        };
        let mut store = MemoryStore::with_config(local, config);
        let put = |store: &mut MemoryStore, key: u8, value: &[u8]| {
            store.put(Record::new(vec![key], value.to_vec()))
        };
        assert!(put(&mut store, 1, b"ab").is_ok() && put(&mut store, 1, b"cd").is_ok());
        assert!(matches!(put(&mut store, 2, b"ab"), Err(Error::MaxRecords)));
        assert!(matches!(put(&mut store, 1, b"abc"), Err(Error::ValueTooLarge)));
        assert_eq!(store.get(&vec![1].into()).unwrap().value, b"cd");

        let provide = |store: &mut MemoryStore, key: u8, peer| {
            store.add_provider(ProviderRecord::new(vec![key], peer, Vec::new()))
        };
        assert!(provide(&mut store, 1, local).is_ok() && provide(&mut store, 1, local).is_ok());
        assert!(provide(&mut store, 1, PeerId::random()).is_ok(), "left out, silently");
        assert!(matches!(provide(&mut store, 2, local), Err(Error::MaxProvidedKeys)));
        assert_eq!((store.providers(&vec![1].into()).len(), store.provided().count()), (1, 1));
        store.remove_provider(&vec![1].into(), &local);
        assert_eq!((store.providers(&vec![1].into()).len(), store.provided().count()), (0, 0));
        assert!(provide(&mut store, 2, local).is_ok(), "there is room again");
        store.retain(|_, _| false);
        assert_eq!(store.records().count(), 0);
    }
}
