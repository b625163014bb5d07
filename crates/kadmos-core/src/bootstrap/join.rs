//! Joining a network through peers that are known beforehand.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use bytes::Bytes;

use super::phases::{Phases, is_over};
use super::refresh::{Buckets, Refresh};
use super::report::{Bootstrapped, Phase, SourceKind, SourceReport};
use crate::error::{BootstrapError, OperationError};
use crate::limits::{
    BOOTSTRAP_PEERS_AT_ONCE_MAX, CONNECT_BUDGET, VERIFY_AT_ONCE_MAX, VERIFY_BUDGET, VERIFY_MAX,
};
use crate::machine::{Context, Effect, Tag};
use crate::message::{Request, Response};
use crate::operation::Outcome;
use crate::peer::{Peer, PeerId, PeerInfo};
use crate::time::Timestamp;

/// Joins in phases that overlap: all sources and the nearest remembered peers are asked at once for our own id; as soon as
/// one of them has answered, the refresh begins, from that peer and those it names; what later ones name joins in.
///
/// A peer that does not answer delays nobody, a source that is still being looked up delays nobody, and a peer that names
/// nobody decides nothing: when a refresh has ended with fewer than k peers known, it begins again with the next one that
/// answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bootstrap {
    phases: Phases,
    /// Sources that were asked, and of which kind they are.
    asked: BTreeMap<PeerId, SourceKind>,
    waiting: BTreeSet<PeerId>,
    sources: BTreeMap<SourceKind, (usize, usize)>,
    /// Remembered peers still to be asked, and those being asked.
    to_verify: VecDeque<PeerInfo>,
    verifying: BTreeSet<PeerId>,
    refresh: Option<Refresh>,
    /// Requests of refreshes that have ended.
    requests: usize,
    /// How a refresh ended that left us with few peers, while others are still to answer.
    held: Option<Result<usize, BootstrapError>>,
    has_ended: bool,
}

/// Requests to sources; the refresh counts its own from 0.
const SOURCE: Tag = Tag::MAX;
/// Requests to remembered peers.
const VERIFY: Tag = Tag::MAX - 1;

impl Bootstrap {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn start(&mut self, cx: &mut Context<'_>) {
        self.phases = Phases::new(cx.now.monotonic);
        self.ask_sources(cx);
        let own_key = cx.table.view().local().peer.key;
        // The nearest first: they are the hardest to find anew.
        let near = cx.table.view().closest(&own_key, usize::MAX);
        let unverified = near.into_iter().filter(|info| !cx.is_verified(&info.peer)).take(VERIFY_MAX);
        self.to_verify = unverified.cloned().collect();
        self.verify_next(cx);
        if cx.has_verified() {
            self.begin_refresh(cx, &[]);
        } else {
            self.go_on(cx);
        }
    }

    /// Asks all sources that were not asked yet; more may be found while we join.
    pub(crate) fn ask_sources(&mut self, cx: &mut Context<'_>) {
        let own_id = cx.table.view().local().peer.id;
        let now = cx.now.monotonic;
        let key = Bytes::copy_from_slice(own_id.as_bytes());
        if !cx.pending_sources.is_empty() {
            self.phases.begin(Phase::Connect, now);
        }
        for (source, kind) in cx.bootstrap_peers.iter().zip(cx.source_kinds) {
            let id = source.peer.id;
            if id == own_id
                || self.asked.contains_key(&id)
                || self.waiting.len() >= BOOTSTRAP_PEERS_AT_ONCE_MAX
            {
                continue;
            }
            self.asked.insert(id, *kind);
            self.waiting.insert(id);
            self.sources.entry(*kind).or_default().0 += 1;
            self.phases.asks(Phase::Connect, now);
            cx.send(source.clone(), Request::FindNode { key: key.clone() }, SOURCE);
        }
    }

    /// The sources known, or those being looked up, have changed.
    pub(crate) fn sources_changed(&mut self, cx: &mut Context<'_>) {
        self.ask_sources(cx);
        self.go_on(cx);
    }

    pub(crate) fn answered(&mut self, cx: &mut Context<'_>, peer: &Peer, tag: Tag, response: &Response) {
        match tag {
            SOURCE if self.waiting.remove(&peer.id) => {
                self.phases.answer(Phase::Connect);
                if let Some(kind) = self.asked.get(&peer.id) {
                    self.sources.entry(*kind).or_default().1 += 1;
                }
                self.ask_sources(cx); // one place more
            }
            VERIFY if self.verifying.remove(&peer.id) => {
                self.phases.answer(Phase::Verify);
                self.sources.entry(SourceKind::Remembered).or_default().1 += 1;
                self.verify_next(cx);
            }
            SOURCE | VERIFY => return,
            _ => {
                self.phases.answer(Phase::Discover);
                if let Some(refresh) = &mut self.refresh {
                    refresh.answered(cx, peer, tag, response);
                }
                return self.settle(cx);
            }
        }
        // The node has put the peer into the table before it told us, if its addresses may be there.
        let seeds: Vec<PeerInfo> = response.closer().to_vec();
        match &mut self.refresh {
            Some(refresh) => refresh.seed(cx, &seeds),
            None => self.begin_refresh(cx, &seeds),
        }
        self.settle(cx);
    }

    pub(crate) fn failed(&mut self, cx: &mut Context<'_>, peer: &Peer, tag: Tag) {
        match tag {
            SOURCE => {
                self.waiting.remove(&peer.id);
                self.ask_sources(cx);
            }
            VERIFY => {
                self.verifying.remove(&peer.id);
                self.verify_next(cx);
            }
            _ => {
                if let Some(refresh) = &mut self.refresh {
                    refresh.failed(cx, peer, tag);
                }
                self.settle(cx);
            }
        }
        self.go_on(cx);
    }

    /// Whether our own id is being looked up, or will be.
    pub(crate) fn looks_itself_up(&self) -> bool {
        self.refresh.as_ref().is_none_or(Refresh::looks_itself_up)
    }

    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if let Some(refresh) = &mut self.refresh {
            refresh.handle_timeout(cx);
            self.settle(cx);
        }
        self.go_on(cx);
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        let budgets = [(Phase::Connect, CONNECT_BUDGET), (Phase::Verify, VERIFY_BUDGET)];
        let ends =
            budgets.map(|(phase, budget)| self.phases.running_since(phase).map(|since| since + budget));
        let refresh = self.refresh.as_ref().and_then(Refresh::next_timeout);
        ends.into_iter().chain([refresh]).flatten().min()
    }

    /// When time is up, whoever was met stays in the table.
    pub(crate) fn expired(&mut self, cx: &mut Context<'_>) -> Outcome {
        let buckets = match (&self.refresh, &self.held) {
            (Some(refresh), _) => Some(refresh.refreshed()),
            (None, Some(Ok(buckets))) => Some(*buckets),
            (None, _) => None,
        };
        let result = match buckets {
            Some(buckets) if !cx.table.view().is_empty() => Ok(self.report(cx, buckets, false)),
            _ => Err(OperationError::TimedOut.into()),
        };
        Outcome::Bootstrap(result)
    }

    fn verify_next(&mut self, cx: &mut Context<'_>) {
        let key = Bytes::copy_from_slice(cx.table.view().local().peer.id.as_bytes());
        while self.verifying.len() < VERIFY_AT_ONCE_MAX
            && let Some(info) = self.to_verify.pop_front()
        {
            // It may have answered or failed elsewhere meanwhile.
            if !cx.table.contains(&info.peer) || cx.is_verified(&info.peer) {
                continue;
            }
            self.verifying.insert(info.peer.id);
            self.phases.asks(Phase::Verify, cx.now.monotonic);
            self.sources.entry(SourceKind::Remembered).or_default().0 += 1;
            cx.send(info, Request::FindNode { key: key.clone() }, VERIFY);
        }
    }

    /// Whether somebody may still answer who leads into the network. Sources that are being looked up are waited for only
    /// while nobody is known: what they name later is joined through then.
    fn is_waiting(&self, cx: &Context<'_>) -> bool {
        let looked_up = !cx.pending_sources.is_empty()
            && cx.table.view().is_empty()
            && self.phases.running_since(Phase::Connect).is_some();
        looked_up || !self.waiting.is_empty() || !self.verifying.is_empty()
    }

    /// Ends phases that have nothing left to do or no time left, and the join if nobody is left to wait for.
    fn go_on(&mut self, cx: &mut Context<'_>) {
        if self.has_ended {
            return;
        }
        let now = cx.now.monotonic;
        let is_connected = self.waiting.is_empty() && cx.pending_sources.is_empty();
        let over = |phases: &Phases, phase, budget| {
            phases.running_since(phase).is_some_and(|since| is_over(since, budget, now))
        };
        if is_connected || over(&self.phases, Phase::Connect, CONNECT_BUDGET) {
            self.phases.end(cx, Phase::Connect, is_connected);
        }
        let is_verified = self.to_verify.is_empty() && self.verifying.is_empty();
        if is_verified || over(&self.phases, Phase::Verify, VERIFY_BUDGET) {
            self.phases.end(cx, Phase::Verify, is_verified);
            self.to_verify.clear(); // the rest is probed in the background
        }
        if self.refresh.is_some() || self.is_waiting(cx) {
            return;
        }
        if let Some(held) = self.held.take() {
            self.end(cx, held);
        } else if !cx.table.view().is_empty() {
            self.begin_refresh(cx, &[]);
        } else {
            let error = match self.phases.tried(Phase::Connect) + self.phases.tried(Phase::Verify) {
                0 => BootstrapError::NoSources,
                tried => BootstrapError::Unreachable { tried },
            };
            self.end(cx, Err(error));
        }
    }

    fn begin_refresh(&mut self, cx: &mut Context<'_>, seeds: &[PeerInfo]) {
        self.held = None;
        self.phases.begin(Phase::Discover, cx.now.monotonic);
        let mut refresh = Refresh::new(Buckets::All);
        refresh.start_from(cx, seeds);
        self.refresh = Some(refresh);
        self.settle(cx);
    }

    /// Ends with the refresh, or holds its end back while there are few peers and more may come.
    fn settle(&mut self, cx: &mut Context<'_>) {
        if self.has_ended || !matches!(cx.effects.last(), Some(Effect::Ended(_))) {
            return;
        }
        let Some(Effect::Ended(Outcome::Bootstrap(result))) = cx.effects.pop() else { return };
        self.requests += self.refresh.take().map_or(0, |refresh| refresh.requests());
        let result = result.map(|done| done.buckets);
        if self.is_waiting(cx) && cx.table.view().len() < cx.config.lookup.k.get() {
            self.held = Some(result);
        } else {
            self.end(cx, result);
        }
    }

    fn end(&mut self, cx: &mut Context<'_>, result: Result<usize, BootstrapError>) {
        self.has_ended = true;
        let report = self.report(cx, result.as_ref().map_or(0, |buckets| *buckets), true);
        cx.emit(Effect::Ended(Outcome::Bootstrap(result.map(|_| report))));
    }

    /// Ends the phases, and gathers what they came to.
    fn report(&mut self, cx: &mut Context<'_>, buckets: usize, discovered: bool) -> Bootstrapped {
        let is_connected = self.waiting.is_empty() && cx.pending_sources.is_empty();
        self.phases.end(cx, Phase::Connect, is_connected);
        self.phases.end(cx, Phase::Verify, self.to_verify.is_empty() && self.verifying.is_empty());
        let requests = self.requests + self.refresh.as_ref().map_or(0, Refresh::requests);
        self.phases.set_tried(Phase::Discover, requests);
        self.phases.end(cx, Phase::Discover, discovered);
        let now = cx.now.monotonic;
        let view = cx.table.view();
        let kinds = SourceKind::ALL.into_iter();
        let sources = kinds.filter_map(|kind| {
            let pending = cx.pending_sources.contains_key(&kind);
            let (tried, answered) = self.sources.get(&kind).copied().unwrap_or_default();
            (pending || tried > 0).then_some(SourceReport { kind, tried, answered, pending })
        });
        Bootstrapped {
            tried: self.phases.tried(Phase::Connect) + self.phases.tried(Phase::Verify),
            answered: self.phases.answers(Phase::Connect) + self.phases.answers(Phase::Verify),
            peers: view.len(),
            buckets,
            phases: Box::new(Phase::ALL.map(|phase| self.phases.report(phase, now))),
            sources: sources.collect(),
            prefixes: view.buckets().map(|(_, bucket)| bucket.len()).collect(),
            reasons: Vec::new(),
        }
    }
}
