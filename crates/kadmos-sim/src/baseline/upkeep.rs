//! How the operations of a modelled node go on, and what those other than go's do unasked.

use bytes::Bytes;
use kadmos_core::message::{Request, Response};
use kadmos_core::operation::OperationKind;
use kadmos_core::{Key, PeerInfo, Update};
use rand_core::Rng;

use super::client::{Client, Role, Serial};
use super::job::{Goal, Joining};
use super::walk::Walk;
use super::{Baseline, go, original, rust_libp2p};

impl Client {
    /// Begins a job's walk to its key, from the nearest peers of the table.
    pub(super) fn begin_walk(&mut self, serial: Serial) {
        let now = self.now.monotonic;
        let Some(job) = self.jobs.get_mut(&serial) else { return };
        let view = self.table.view();
        let seeds = match self.baseline {
            // Source: `runLookupWithFollowup`, which begins with every peer of the table.
            Baseline::Original => view.iter().collect(),
            Baseline::Go | Baseline::GoOptimistic => view.closest(&job.target(), go::K),
            Baseline::RustLibp2p => view.closest(&job.target(), rust_libp2p::K),
        };
        job.walk = Some(Walk::new(self.baseline, &job.key, seeds));
        job.walk_until = self.baseline.walk_timeout().map(|limit| now + limit);
    }

    /// Contacts the bootstrap peers.
    pub(super) fn begin_bootstrap(&mut self, serial: Serial) {
        let own_id = Bytes::copy_from_slice(self.table.view().local().peer.id.as_bytes());
        let peers = self.bootstrap_peers.clone();
        if let Some(Goal::Bootstrap(joining)) = self.jobs.get_mut(&serial).map(|job| &mut job.goal) {
            joining.tried = peers.len();
        }
        for info in peers {
            self.ask(Role::Contact(serial), info, Request::FindNode { key: own_id.clone() });
        }
    }

    /// Takes what an answer says to a job.
    pub(super) fn note_answer(
        &mut self,
        serial: Serial,
        role: Role,
        from: &PeerInfo,
        response: &Response,
        closer: &[PeerInfo],
    ) {
        let Some(job) = self.jobs.get_mut(&serial) else { return };
        if let Role::Put(_) = role {
            // A value is answered.
            if let Goal::Provide(publishing) = &mut job.goal {
                publishing.ended(&from.peer, Ok(()));
            }
            return;
        }
        if let Some(walk) = &mut job.walk {
            walk.answered(&from.peer, closer);
        }
        if let (Goal::Value(getting), Response::GetValue { record, .. }) = (&mut job.goal, response) {
            getting.answered += 1;
            if let Some(record) = record {
                self.note_value(serial, Some(&from.peer), record);
            }
            return;
        }
        let user = job.user;
        let mut news = Vec::new();
        match &mut job.goal {
            Goal::Bootstrap(joining) => {
                if role == Role::Contact(serial) {
                    joining.answered += usize::from(joining.targets.is_none());
                    // The original puts whoever is named into its table, unasked; the others ask first.
                    if self.baseline == Baseline::Original {
                        closer.iter().for_each(|info| self.admit(info.clone()));
                    }
                }
            }
            Goal::Peer { id, found, answered } => {
                *answered += 1;
                let named = closer.iter().find(|info| info.peer.id == *id);
                // go's search ends when it is connected to the peer, the others' when somebody names its addresses.
                let is_go = matches!(self.baseline, Baseline::Go | Baseline::GoOptimistic);
                if from.peer.id == *id {
                    *found = Some(from.clone());
                } else if let Some(named) = named.filter(|_| !is_go) {
                    *found = Some(named.clone());
                }
            }
            Goal::Providers { seen, count } => {
                if let Response::GetProviders { providers, .. } = response {
                    for provider in providers {
                        if (*count == 0 || seen.len() < *count) && seen.insert(provider.peer.id) {
                            news.push(provider.clone());
                        }
                    }
                }
            }
            Goal::Closest(_) | Goal::Provide(_) | Goal::Value(_) => {}
        }
        if let Some(id) = user {
            news.into_iter().for_each(|provider| self.tell(id, Update::Provider(provider)));
        }
    }

    /// Lets a job do what it can do now, until it waits for somebody or is over.
    pub(super) fn advance(&mut self, serial: Serial) {
        loop {
            let stop = self.wants_stop(serial);
            let now = self.now.monotonic;
            let Some(job) = self.jobs.get_mut(&serial) else { return };
            let is_late = job.walk_until.is_some_and(|at| at <= now);
            let Some(mut walk) = job.walk.take() else { break };
            let called_off = walk.advance(stop, |peer| self.is_connected(peer));
            if is_late {
                walk.stop();
            }
            self.call_off(serial, |peer| called_off.contains(peer));
            let Some(job) = self.jobs.get_mut(&serial) else { return };
            let mut to_ask = Vec::new();
            while let Some(info) = walk.next_peer(now) {
                let key = job.key.clone();
                let message = match job.goal {
                    Goal::Providers { .. } => Request::GetProviders { key },
                    Goal::Value(_) => Request::GetValue { key },
                    _ => Request::FindNode { key },
                };
                to_ask.push((info, message));
            }
            let has_ended = walk.has_ended();
            job.walk = Some(walk);
            for (info, message) in to_ask {
                self.ask(Role::Ask(serial), info, message);
            }
            if !has_ended {
                return;
            }
            self.call_off(serial, |_| true);
            self.walk_ended(serial, !stop && !is_late);
        }
        self.advance_after_walk(serial);
    }

    /// Whether a job has what it wanted of its walk. An optimistic provide sends records on the way.
    fn wants_stop(&mut self, serial: Serial) -> bool {
        let Some(job) = self.jobs.get(&serial) else { return false };
        match &job.goal {
            Goal::Providers { count, seen } => *count > 0 && seen.len() >= *count,
            Goal::Peer { found, .. } => found.is_some(),
            Goal::Value(getting) => getting.is_enough(),
            Goal::Provide(publishing) => {
                let (Some(thresholds), Some(Walk::Go(walk))) = (publishing.optimistic, &job.walk) else {
                    return false;
                };
                let (closest, target) = (walk.closest(), job.target());
                let near: Vec<_> = closest
                    .iter()
                    .filter(|info| go::share(&target, &info.peer) <= thresholds.individual)
                    .filter(|info| !publishing.is_scheduled(&info.peer))
                    .cloned()
                    .collect();
                near.into_iter().for_each(|info| self.put(serial, info));
                let hopeful = self.jobs.get(&serial).map_or(0, |job| match &job.goal {
                    Goal::Provide(publishing) => publishing.hopeful(),
                    _ => 0,
                });
                hopeful >= go::K || thresholds.is_near(&target, &closest)
            }
            Goal::Bootstrap(_) | Goal::Closest(_) => false,
        }
    }

    /// `complete` is whether the walk ended by itself.
    fn walk_ended(&mut self, serial: Serial, complete: bool) {
        let Some(job) = self.jobs.get_mut(&serial) else { return };
        let Some(walk) = job.walk.take() else { return };
        job.hops = job.hops.max(walk.hops());
        let closest = walk.closest();
        let target = job.target();
        match &mut job.goal {
            Goal::Closest(found) => *found = closest,
            Goal::Provide(publishing) => {
                publishing.has_walked = true;
                publishing.queue = closest
                    .into_iter()
                    .take(self.baseline.holders())
                    .filter(|info| !publishing.is_scheduled(&info.peer))
                    .collect();
                publishing.queue.reverse(); // they are popped, nearest first
            }
            Goal::Bootstrap(joining) => joining.looked_up += 1,
            Goal::Value(getting) => getting.closest = if complete { closest } else { Vec::new() },
            Goal::Peer { .. } | Goal::Providers { .. } => {}
        }
        if let Walk::Go(walk) = &walk
            && complete
        {
            let now = self.now.monotonic;
            let prefix_len = self.table.prefix_len(&target);
            self.upkeep.refreshed(prefix_len, now);
            if matches!(job.goal, Goal::Providers { .. } | Goal::Peer { .. } | Goal::Value(_)) {
                return;
            }
            let closest = walk.closest_of_all();
            self.sizes.track(self.now.monotonic, &target, &closest, self.table.view());
        }
    }

    fn advance_after_walk(&mut self, serial: Serial) {
        let Some(job) = self.jobs.get_mut(&serial) else { return };
        match &mut job.goal {
            Goal::Bootstrap(_) => self.advance_bootstrap(serial),
            Goal::Provide(publishing) => {
                let at_once = if self.baseline == Baseline::Original { 1 } else { usize::MAX };
                if publishing.waiting() < at_once
                    && let Some(info) = publishing.queue.pop()
                {
                    self.put(serial, info);
                    return self.advance_after_walk(serial);
                }
                if publishing.returns() {
                    self.finish(serial, false);
                }
            }
            Goal::Value(_) => {
                self.correct(serial);
                self.finish(serial, false);
            }
            Goal::Closest(_) | Goal::Peer { .. } | Goal::Providers { .. } => self.finish(serial, false),
        }
    }

    /// Sends the job's record to a holder.
    fn put(&mut self, serial: Serial, to: PeerInfo) {
        let provider = self.table.view().local().clone();
        let Some(job) = self.jobs.get_mut(&serial) else { return };
        let Goal::Provide(publishing) = &mut job.goal else { return };
        publishing.sends.push((to.peer.clone(), None));
        let message = match &publishing.record {
            Some(record) => Request::PutValue { record: record.clone() },
            None => Request::AddProvider { key: job.key.clone(), providers: vec![provider] },
        };
        self.ask(Role::Put(serial), to, message);
    }

    /// After the bootstrap peers: our own id, then the buckets, one after the other.
    fn advance_bootstrap(&mut self, serial: Serial) {
        let Some(job) = self.jobs.get_mut(&serial) else { return };
        if job.open > 0 {
            return;
        }
        if self.baseline.is_go() {
            return self.advance_refresh(serial);
        }
        let Goal::Bootstrap(joining) = &mut job.goal else { return };
        let own_id = Bytes::copy_from_slice(self.table.view().local().peer.id.as_bytes());
        if self.baseline == Baseline::Original {
            // One hop: three peers of the table are asked for our own id, once.
            let asked: Vec<_> = self.table.view().iter().take(original::BOOTSTRAP_ASKED).cloned().collect();
            if joining.targets.is_some() || asked.is_empty() {
                return self.finish(serial, false);
            }
            joining.targets = Some(Vec::new());
            joining.looked_up = 1;
            for info in asked {
                self.ask(Role::Contact(serial), info, Request::FindNode { key: own_id.clone() });
            }
            return;
        }
        let next = match (&mut joining.targets, joining.looked_up) {
            (targets @ None, _) => {
                *targets = Some(Vec::new());
                Some(own_id)
            }
            (Some(_), 1) => {
                let mut targets = self.bucket_targets();
                let next = targets.pop();
                if let Some(Goal::Bootstrap(joining)) = self.jobs.get_mut(&serial).map(|job| &mut job.goal) {
                    joining.targets = Some(targets);
                }
                next
            }
            (Some(targets), _) => targets.pop(),
        };
        match next.filter(|_| !self.table.view().is_empty()) {
            Some(key) => {
                if let Some(job) = self.jobs.get_mut(&serial) {
                    job.key = key;
                }
                self.begin_walk(serial);
                self.advance(serial);
            }
            None => self.finish(serial, false),
        }
    }

    /// A random key in each bucket that the policy refreshes, the first one last.
    fn bucket_targets(&mut self) -> Vec<Bytes> {
        let filled: Vec<_> = self
            .table
            .view()
            .buckets()
            .filter(|(_, bucket)| !bucket.is_empty())
            .map(|(index, _)| index)
            .collect();
        let deepest = filled.last().copied().unwrap_or(0);
        let mut order: Vec<u16> = match self.baseline {
            // Its refresh is its own. Source: `rt_refresh_manager.go`.
            Baseline::Go | Baseline::GoOptimistic => Vec::new(),
            // Every bucket farther than the first that has peers, nearest first. Source: `behaviour.rs`,
            // `query_finished` of a bootstrap.
            Baseline::RustLibp2p => (0..deepest.min(go::REFRESH_PREFIX_MAX)).rev().collect(),
            Baseline::Original => Vec::new(),
        };
        order.reverse();
        order.into_iter().filter_map(|prefix_len| self.key_in_bucket(prefix_len)).collect()
    }

    /// Bytes whose hash shares exactly `prefix_len` bits with our own key.
    pub(super) fn key_in_bucket(&mut self, prefix_len: u16) -> Option<Bytes> {
        let local = self.table.view().local().peer.key;
        if let Some(preimages) = &self.preimages {
            let id = preimages.pick(&local, prefix_len, &mut self.rng);
            return Some(Bytes::copy_from_slice(id.as_bytes()));
        }
        // One of 2^(n + 1) does; after 32 times as many draws, the chance of none is e^-32.
        for _ in 0..1u64 << (prefix_len.min(go::REFRESH_PREFIX_MAX) + 6) {
            let mut key = [0; 34];
            self.rng.fill_bytes(&mut key);
            (key[0], key[1]) = (0x12, 0x20);
            if Key::of(&key).common_prefix_len(&local) == prefix_len {
                return Some(Bytes::copy_from_slice(&key));
            }
        }
        None
    }

    /// Tells the user how a job ended. Sends that are under way go on without a user.
    pub(super) fn finish(&mut self, serial: Serial, expired: bool) {
        let Some(mut job) = self.jobs.remove(&serial) else { return };
        self.tell_ended(&mut job, expired);
        let goes_on = !expired && job.open > 0 && matches!(job.goal, Goal::Provide(_));
        if goes_on {
            self.jobs.insert(serial, job);
        } else {
            self.drop_orphans();
        }
    }

    /// Does what is due unasked.
    pub(super) fn run_upkeep(&mut self) {
        let now = self.now.monotonic;
        self.run_go_upkeep();
        let Some(every) = self.baseline.refresh_interval() else { return };
        if self.refresh_at.is_none_or(|at| at > now) {
            return;
        }
        self.refresh_at = Some(now + every);
        self.refresh(Joining { refresh: super::go_upkeep::Refresh::Due, ..Joining::default() });
    }

    /// Refreshes the table, unless it is empty or being refreshed.
    pub(super) fn refresh(&mut self, joining: Joining) {
        let is_refreshing = self.jobs.values().any(|job| matches!(job.goal, Goal::Bootstrap(_)));
        if is_refreshing || self.table.is_empty() {
            return;
        }
        let goal = Goal::Bootstrap(joining);
        let deadline = self.baseline.refresh_interval();
        let job = self.job(None, OperationKind::Bootstrap, Bytes::new(), goal, deadline);
        self.launch(job);
    }
}
