//! What is done unasked: records are sent again before others forget them, and the table is looked after.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use libp2p_identity::PeerId;

use super::config::Config;
use super::record::Key;
use super::store::RecordStore;

/// How soon a lookup of the own neighbourhood follows the first new peer of a small table: others come meanwhile.
const JOIN_THROTTLE: Duration = Duration::from_millis(500);

/// Queries of jobs at once. Each has up to 20 requests in flight at its end.
const JOBS_MAX: usize = 16;

/// Received values that are remembered so as not to be sent on at once; of more, some are sent on sooner than need be.
const RECEIVED_MAX: usize = 65_536;

/// A record to send again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// That this node provides something.
    Provide(Key),
    /// A value of this node.
    Publish(Key),
    /// A value of somebody else.
    Replicate(Key),
}

/// Something that is due every now and then.
#[derive(Debug)]
struct Every {
    interval: Duration,
    at: Instant,
}

impl Every {
    fn new(interval: Option<Duration>, now: Instant) -> Option<Self> {
        // Not more often than every second, and nothing that is due in centuries.
        let interval = interval?.max(Duration::from_secs(1));
        Some(Self { interval, at: now.checked_add(interval)? })
    }

    /// Whether it is due; the next time is an interval from now then.
    fn take(this: &mut Option<Self>, now: Instant) -> bool {
        let Some(every) = this.as_mut().filter(|every| every.at <= now) else { return false };
        every.at = now + every.interval; // fitted when it was made
        true
    }
}

/// When what is due, and the records that wait for their turn.
#[derive(Debug)]
pub(super) struct Jobs {
    provide: Option<Every>,
    publish: Option<Every>,
    replicate: Option<Every>,
    bootstrap: Option<Every>,
    /// When the neighbourhood is looked up because somebody has entered a small table.
    join_at: Option<Instant>,
    waiting: VecDeque<Job>,
    /// Values received since the last round: whoever sent them has sent them to the others, too.
    received: HashSet<Key>,
}

impl Jobs {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self {
            provide: Every::new(config.provider_publication_interval, now),
            publish: Every::new(config.publication_interval, now),
            replicate: Every::new(config.replication_interval, now),
            bootstrap: Every::new(config.periodic_bootstrap_interval, now),
            join_at: None,
            waiting: VecDeque::new(),
            received: HashSet::new(),
        }
    }

    /// A peer's value was stored.
    pub(super) fn received(&mut self, key: Key) {
        if self.replicate.is_some() && self.received.len() < RECEIVED_MAX {
            self.received.insert(key);
        }
    }

    /// Somebody has entered a table that is small.
    pub(super) fn join_soon(&mut self, now: Instant) {
        self.join_at.get_or_insert(now + JOIN_THROTTLE);
    }

    /// A bootstrap has begun, whoever wanted it.
    pub(super) fn bootstrapped(&mut self, now: Instant) {
        self.join_at = None;
        if let Some(every) = &mut self.bootstrap {
            every.at = now + every.interval; // fitted when it was made
        }
    }

    /// Whether a bootstrap is due.
    pub(super) fn take_bootstrap(&mut self, now: Instant) -> bool {
        let joins = self.join_at.is_some_and(|at| at <= now);
        if joins {
            self.join_at = None;
        }
        Every::take(&mut self.bootstrap, now) || joins
    }

    /// Puts the records of what is due in line, and frees those whose time is over.
    pub(super) fn collect<S: RecordStore>(&mut self, store: &mut S, local: &PeerId, now: Instant) {
        // A round that has not ended is not begun again.
        let busy = |waiting: &VecDeque<Job>, is: fn(&Job) -> bool| waiting.iter().any(is);
        if Every::take(&mut self.provide, now) && !busy(&self.waiting, |job| matches!(job, Job::Provide(_))) {
            let (expired, current): (Vec<_>, Vec<_>) = store
                .provided()
                .map(|record| (record.key.clone(), record.is_expired(now)))
                .partition(|(_, expired)| *expired);
            expired.iter().for_each(|(key, _)| store.remove_provider(key, local));
            self.waiting.extend(current.into_iter().map(|(key, _)| Job::Provide(key)));
        }
        let publish =
            Every::take(&mut self.publish, now) && !busy(&self.waiting, |job| matches!(job, Job::Publish(_)));
        let replicate = Every::take(&mut self.replicate, now)
            && !busy(&self.waiting, |job| matches!(job, Job::Replicate(_)));
        if !publish && !replicate {
            return;
        }
        let mut expired = Vec::new();
        for record in store.records() {
            if record.is_expired(now) {
                expired.push(record.key.clone());
            } else if record.publisher.as_ref() == Some(local) {
                self.waiting.extend(publish.then(|| Job::Publish(record.key.clone())));
            } else if replicate && !self.received.contains(&record.key) {
                self.waiting.push_back(Job::Replicate(record.key.clone()));
            }
        }
        expired.iter().for_each(|key| store.remove(key));
        if replicate {
            self.received.clear();
        }
    }

    /// The next record to send, while `running` queries of jobs leave room for one.
    pub(super) fn next(&mut self, running: usize) -> Option<Job> {
        if running < JOBS_MAX { self.waiting.pop_front() } else { None }
    }

    /// Whether [`Jobs::next`] has something.
    pub(super) fn has_next(&self, running: usize) -> bool {
        running < JOBS_MAX && !self.waiting.is_empty()
    }

    /// When something is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let every = [&self.provide, &self.publish, &self.replicate, &self.bootstrap];
        every.into_iter().flatten().map(|every| every.at).chain(self.join_at).min()
    }

    /// Makes everything due.
    #[cfg(test)]
    pub(super) fn hurry(&mut self, now: Instant) {
        for every in [&mut self.provide, &mut self.publish, &mut self.replicate].into_iter().flatten() {
            every.at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kad::record::{ProviderRecord, Record};
    use crate::kad::store::MemoryStore;

    #[test]
    fn each_record_waits_once_and_only_if_it_is_its_turn() {
        let (local, now) = (PeerId::random(), Instant::now());
        let mut store = MemoryStore::new(local);
        let key = |n: u8| Key::from(vec![n]);
        let expired = Record { expires: Some(now), ..Record::new(key(4), vec![]) };
        store.put(Record { publisher: Some(local), ..Record::new(key(1), vec![]) }).unwrap();
        store.put(Record::new(key(2), vec![])).unwrap();
        store.put(Record::new(key(3), vec![])).unwrap();
        store.put(expired).unwrap();
        store.add_provider(ProviderRecord::new(key(5), local, vec![])).unwrap();
        let mut jobs = Jobs::new(&Config::default(), now);
        jobs.received(key(3));
        jobs.collect(&mut store, &local, now);
        assert_eq!(jobs.next(0), None, "nothing is due");
        jobs.hurry(now);
        jobs.collect(&mut store, &local, now);
        jobs.hurry(now);
        jobs.collect(&mut store, &local, now);
        let mut waiting: Vec<_> = std::iter::from_fn(|| jobs.next(0)).collect();
        waiting.sort_by_key(|job| format!("{job:?}"));
        assert_eq!(waiting, [Job::Provide(key(5)), Job::Publish(key(1)), Job::Replicate(key(2))]);
        assert_eq!(store.records().count(), 3, "the expired one is gone");
        jobs.hurry(now);
        jobs.collect(&mut store, &local, now);
        assert_eq!(jobs.next(JOBS_MAX), None, "there is no room");
        assert_eq!(std::iter::from_fn(|| jobs.next(0)).count(), 4, "and 3's turn has come");
    }
}
