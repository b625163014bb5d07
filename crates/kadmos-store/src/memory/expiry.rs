//! Which key is due next.

use std::collections::BTreeSet;

use kadmos_core::time::UnixTime;

/// Keys ordered by the date at which they want a visit. Each key is filed at most once; its owner remembers under
/// which date.
#[derive(Clone, Debug)]
pub(super) struct DueIndex<K>(BTreeSet<(UnixTime, K)>);

impl<K: Clone + Ord> DueIndex<K> {
    pub(super) fn new() -> Self {
        Self(BTreeSet::new())
    }

    /// Files `key` under `due`. Cost: O(log n), as all here.
    pub(super) fn file(&mut self, due: UnixTime, key: K) {
        let fresh = self.0.insert((due, key));
        debug_assert!(fresh, "a key is filed once");
    }

    /// Takes `key` out, which is filed under `due`.
    pub(super) fn unfile(&mut self, due: UnixTime, key: K) {
        let filed = self.0.remove(&(due, key));
        debug_assert!(filed, "the owner knows where its key is filed");
    }

    /// The first date, when a key is filed at all.
    pub(super) fn first_due(&self) -> Option<UnixTime> {
        self.0.first().map(|(due, _)| *due)
    }

    /// The first key, if its date has come.
    pub(super) fn due_key(&self, now: UnixTime) -> Option<K> {
        self.0.first().filter(|(due, _)| *due <= now).map(|(_, key)| key.clone())
    }

    /// The key filed under the last date.
    pub(super) fn last(&self) -> Option<(UnixTime, K)> {
        self.0.last().cloned()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
