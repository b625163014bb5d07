//! All records of a store, in memory, and the operations on them.

use std::ops::ControlFlow;

use kadmos_core::record::{ProviderRecord, StoredValue, ValueWrite};
use kadmos_core::time::{Now, UnixTime};
use kadmos_core::{Peer, PeerInfo};

use crate::error::WriteError;
use crate::memory::clock::{Clock, Moment};
use crate::memory::limits::MemoryLimits;
use crate::memory::log::{ClaimDates, Held, Log};
use crate::memory::providers::Providers;
use crate::memory::roster::Place;
use crate::memory::values::Values;
use crate::store::{Expired, KeyPage, RecordKind, StoreStats};

/// What a store knows. [`crate::MemoryStore`] is this behind a lock; [`crate::DiskStore`] writes down what changes, too.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) clock: Clock,
    pub(super) values: Values,
    pub(super) providers: Providers,
}

impl Default for State {
    fn default() -> Self {
        Self { clock: Clock::default(), values: Values::new(), providers: Providers::new() }
    }
}

impl State {
    /// Writes a value; returns the one it replaced.
    pub(crate) fn put_value(
        &mut self,
        write: &ValueWrite,
        now: UnixTime,
        limits: &MemoryLimits,
        log: &mut dyn Log,
    ) -> Result<Option<Held>, WriteError> {
        let at = self.clock.moment(now);
        self.values.put(write, &at, limits, log)
    }

    /// Removes a value; returns it.
    pub(crate) fn remove_value(&mut self, key: &[u8], version: Option<u64>) -> Option<Held> {
        self.values.remove(key, version)
    }

    /// Makes the value under `key` what it was before.
    pub(crate) fn restore_value(&mut self, key: &[u8], before: Option<Held>) {
        self.values.restore(key, before);
    }

    /// Takes a value that was kept over a restart. Errors: [`WriteError::Full`].
    pub(crate) fn load_value(
        &mut self,
        key: &[u8],
        held: Held,
        limits: &MemoryLimits,
    ) -> Result<(), WriteError> {
        self.values.load(key, held, limits)
    }

    /// A version that no value had yet.
    pub(crate) fn next_version(&mut self) -> u64 {
        self.values.next_version()
    }

    /// Makes versions up to this one count as given.
    pub(crate) fn skip_versions(&mut self, last: u64) {
        self.values.skip_versions(last);
    }

    /// The latest version given.
    pub(crate) fn last_version(&self) -> u64 {
        self.values.last_version()
    }

    /// The values whose keys are after `after`, in their order, expired ones included.
    pub(crate) fn values_after(&self, after: Option<&[u8]>) -> impl Iterator<Item = (&bytes::Bytes, &Held)> {
        self.values.after(after)
    }

    pub(crate) fn add_provider(
        &mut self,
        record: &ProviderRecord,
        now: UnixTime,
        limits: &MemoryLimits,
        log: &mut dyn Log,
    ) -> Result<(), WriteError> {
        let at = self.clock.moment(now);
        self.providers.add(record, &at, limits, log)
    }

    /// Takes a record that was kept over a restart; `now` is in store time, too. `hint` is where
    /// its provider was last time. Returns where it is, and whether the record replaced one that would have lived into a
    /// later hour.
    pub(crate) fn load_provider(
        &mut self,
        key: &[u8],
        provider: &PeerInfo,
        dates: ClaimDates,
        now: UnixTime,
        limits: &MemoryLimits,
        hint: Option<Place>,
    ) -> Result<(Place, bool), WriteError> {
        self.providers.load(key, provider, dates, &Moment::of(now), limits, hint)
    }

    /// Records that expire in this hour since 1970, in store time.
    pub(crate) fn claims_in(&self, hour: u32) -> u64 {
        self.providers.claims_in(hour)
    }

    /// Whether exactly this record is held.
    pub(crate) fn has_claim(&self, key: &[u8], provider: &Peer, dates: &ClaimDates) -> bool {
        self.providers.has(key, provider, dates)
    }

    pub(crate) fn remove_provider(&mut self, key: &[u8], provider: &Peer) -> bool {
        self.providers.remove(key, provider)
    }

    pub(crate) fn expire(&mut self, now: Now, budget: usize, log: &mut dyn Log) -> Expired {
        let Self { clock, values, providers } = self;
        let at = clock.tend(now);
        let mut expired = Expired::default();
        for _ in 0..budget {
            // Whichever was due first, so that neither kind waits for the other.
            let values_first = match (values.first_due(), providers.first_due()) {
                (Some(value), Some(provider)) => value <= provider,
                (value, _) => value.is_some(),
            };
            if values_first && let Some(freed) = values.visit_due(at.now) {
                expired.values += freed;
            } else if !values_first && let Some(freed) = providers.visit_due(&at, log) {
                expired.providers += freed;
            } else if !values.visit_misdated(&at, log) && !providers.visit_misdated(&at, log) {
                break;
            }
        }
        expired.more =
            [values.first_due(), providers.first_due()].into_iter().flatten().any(|due| due <= at.now);
        expired
    }

    pub(crate) fn value(&self, key: &[u8], now: UnixTime) -> Option<StoredValue> {
        self.values.get(key, &self.clock.moment(now))
    }

    pub(crate) fn providers(&self, key: &[u8], count: usize, now: UnixTime) -> Vec<PeerInfo> {
        let mut found = Vec::new();
        if count > 0 {
            self.visit_providers(key, now, &mut |provider| {
                found.push(provider.clone());
                if found.len() < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
        }
        found
    }

    /// Visits the providers of `key`; returns how many.
    pub(crate) fn visit_providers(
        &self,
        key: &[u8],
        now: UnixTime,
        visit: &mut dyn FnMut(&PeerInfo) -> ControlFlow<()>,
    ) -> usize {
        self.providers.visit(key, &self.clock.moment(now), visit)
    }

    pub(crate) fn holds(&self, key: &[u8], now: UnixTime) -> bool {
        let at = self.clock.moment(now);
        self.values.get(key, &at).is_some() || self.providers.contains(key, &at)
    }

    pub(crate) fn keys(
        &self,
        kind: RecordKind,
        after: Option<&[u8]>,
        limit: usize,
        now: UnixTime,
    ) -> KeyPage {
        let at = self.clock.moment(now);
        match kind {
            RecordKind::Provider => self.providers.keys(after, limit, &at),
            RecordKind::Value => self.values.keys(after, limit, &at),
        }
    }

    pub(crate) fn stats(&self) -> StoreStats {
        let Self { values, providers, .. } = self;
        StoreStats {
            values: values.len(),
            value_bytes: values.bytes(),
            provider_keys: providers.keys_len(),
            provider_records: providers.records(),
            providers: providers.providers_len(),
            provider_bytes: providers.bytes(),
        }
    }
}
