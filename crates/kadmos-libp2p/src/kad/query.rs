//! What is seen of a query, with libp2p-kad's names and shapes.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;

use super::event::ProgressStep;
use super::kbucket::{Distance, Key as KBucketKey};
use super::queries::Query;
use super::record::{Key, Record};

/// Names a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub(super) usize);

impl fmt::Display for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a query has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryStats {
    pub(super) requests: u32,
    pub(super) successes: u32,
    pub(super) failures: u32,
    pub(super) start: Option<Instant>,
    pub(super) end: Option<Instant>,
}

impl QueryStats {
    /// Nothing yet.
    pub fn empty() -> Self {
        Self { requests: 0, successes: 0, failures: 0, start: None, end: None }
    }

    /// Requests sent.
    pub fn num_requests(&self) -> u32 {
        self.requests
    }

    /// Of those, answered ones; for ADD_PROVIDER, which has no answer, flushed ones.
    pub fn num_successes(&self) -> u32 {
        self.successes
    }

    /// Of those, failed ones.
    pub fn num_failures(&self) -> u32 {
        self.failures
    }

    /// Those of which nothing is known.
    pub fn num_pending(&self) -> u32 {
        self.requests.saturating_sub(self.successes + self.failures)
    }

    /// From the start to the end, or to now; `None` before the start.
    pub fn duration(&self) -> Option<Duration> {
        let end = self.end.unwrap_or_else(Instant::now);
        self.start.map(|start| end.saturating_duration_since(start))
    }

    /// Of both together.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            successes: self.successes + other.successes,
            failures: self.failures + other.failures,
            start: [self.start, other.start].into_iter().flatten().min(),
            end: self.end.max(other.end),
        }
    }
}

/// What a query is about.
#[derive(Clone, Debug)]
pub enum QueryInfo {
    /// Of [`super::Behaviour::bootstrap`].
    Bootstrap {
        /// What is being looked up.
        peer: PeerId,
        /// What is to be looked up next; `None` until this node itself has been.
        remaining: Option<std::vec::IntoIter<KBucketKey<PeerId>>>,
        /// The next result's.
        step: ProgressStep,
    },
    /// Of [`super::Behaviour::get_closest_peers`].
    GetClosestPeers {
        /// To what.
        key: Vec<u8>,
        /// The next result's.
        step: ProgressStep,
        /// Most peers of the result.
        num_results: NonZeroUsize,
    },
    /// Of [`super::Behaviour::get_providers`].
    GetProviders {
        /// The content's key.
        key: Key,
        /// Providers named so far, repetitions included.
        providers_found: usize,
        /// The next result's.
        step: ProgressStep,
    },
    /// Of [`super::Behaviour::start_providing`].
    AddProvider {
        /// The content's key.
        key: Key,
        /// How far it is.
        phase: AddProviderPhase,
        /// For whom.
        context: AddProviderContext,
    },
    /// Of [`super::Behaviour::put_record`].
    PutRecord {
        /// What is stored.
        record: Record,
        /// How many peers must store it.
        quorum: NonZeroUsize,
        /// How far it is.
        phase: PutRecordPhase,
        /// For whom.
        context: PutRecordContext,
    },
    /// Of [`super::Behaviour::get_record`].
    GetRecord {
        /// The value's key.
        key: Key,
        /// The next result's.
        step: ProgressStep,
        /// Whether a value was found.
        found_a_record: bool,
        /// The closest peers that had none.
        cache_candidates: BTreeMap<Distance, PeerId>,
    },
}

impl QueryInfo {
    /// Where the steps of a query with more than one result are counted.
    pub(super) fn step_mut(&mut self) -> Option<&mut ProgressStep> {
        match self {
            Self::Bootstrap { step, .. }
            | Self::GetClosestPeers { step, .. }
            | Self::GetProviders { step, .. }
            | Self::GetRecord { step, .. } => Some(step),
            Self::AddProvider { .. } | Self::PutRecord { .. } => None,
        }
    }
}

/// For whom a provider record is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddProviderContext {
    /// For the user.
    Publish,
    /// For the job that announces again.
    Republish,
}

/// For whom a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutRecordContext {
    /// For the user.
    Publish,
    /// For the job that publishes own values again.
    Republish,
    /// For the job that sends on others' values.
    Replicate,
    /// For the user, with peers of their choice.
    Custom,
}

/// How far an announcement is. Here it is [`AddProviderPhase::GetClosestPeers`] until its end.
#[derive(Clone, Debug)]
pub enum AddProviderPhase {
    /// It looks for the closest peers and sends them the record.
    GetClosestPeers,
    /// It sends them the record. Not told by this implementation.
    AddProvider {
        /// Who provides.
        provider_id: PeerId,
        /// Where.
        external_addresses: Vec<Multiaddr>,
        /// What the lookup cost.
        get_closest_peers_stats: QueryStats,
    },
}

/// How far storing a value is. Here a lookup and what follows it are one: [`PutRecordPhase::GetClosestPeers`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutRecordPhase {
    /// It looks for the closest peers and sends them the value.
    GetClosestPeers,
    /// It sends the value to peers that the user chose.
    PutRecord {
        /// Those that have stored it. Empty until the end.
        success: Vec<PeerId>,
        /// What the lookup cost: nothing, there is none.
        get_closest_peers_stats: QueryStats,
    },
}

/// A running query.
#[derive(Debug)]
pub struct QueryRef<'a> {
    pub(super) query: &'a Query,
    pub(super) stats: QueryStats,
}

impl QueryRef<'_> {
    /// Its name.
    pub fn id(&self) -> QueryId {
        self.query.id
    }

    /// What it is about.
    pub fn info(&self) -> &QueryInfo {
        &self.query.info
    }

    /// What it has cost so far.
    pub fn stats(&self) -> &QueryStats {
        &self.stats
    }
}

/// A running query that can be ended.
#[derive(Debug)]
pub struct QueryMut<'a> {
    pub(super) query: &'a mut Query,
    pub(super) stats: QueryStats,
}

impl QueryMut<'_> {
    /// Its name.
    pub fn id(&self) -> QueryId {
        self.query.id
    }

    /// What it is about.
    pub fn info(&self) -> &QueryInfo {
        &self.query.info
    }

    /// What it has cost so far.
    pub fn stats(&self) -> &QueryStats {
        &self.stats
    }

    /// Ends it: its last event, with what there is, comes next.
    pub fn finish(&mut self) {
        self.query.finished = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_of_two_parts_add_up() {
        let start = Instant::now();
        let later = start + Duration::from_secs(2);
        let part = |start, end| QueryStats { requests: 5, successes: 2, failures: 1, start, end };
        let both = part(Some(later), None).merge(part(Some(start), Some(later)));
        assert_eq!((both.num_requests(), both.num_successes(), both.num_failures()), (10, 4, 2));
        assert_eq!((both.num_pending(), both.duration()), (4, Some(Duration::from_secs(2))));
        assert_eq!(QueryStats::empty().duration(), None);
    }
}
