//! Lookups that ask something on the way: for closest peers, a peer, providers, a value.

mod providers;
mod value;

use alloc::vec::Vec;

use bytes::Bytes;

use self::providers::ProviderSearch;
use self::value::ValueSearch;
use super::walk::Walk;
use crate::error::{
    ClosestPeersError, FindPeerError, FindProvidersError, GetValueError, OperationError, RequestFailure,
};
use crate::event::Refusal;
use crate::key::Key;
use crate::machine::{Context, Effect};
use crate::message::{Request, Response};
use crate::operation::{ClosestPeers, Outcome, Question, Update};
use crate::peer::{Peer, PeerId, PeerInfo};
use crate::record::{StoreReply, StoreRequest};
use crate::time::Timestamp;

/// A walk with a question. `walk` is `None` until the own store has answered, where it is asked first.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    key: Bytes,
    goal: Goal,
    walk: Option<Walk>,
}

#[derive(Clone, Debug)]
enum Goal {
    ClosestPeers,
    Peer {
        id: PeerId,
        /// The target as others name it; it may be out of reach.
        named: Option<PeerInfo>,
    },
    Providers(ProviderSearch),
    /// Every answer is passed on.
    Survey(Question),
    Value(ValueSearch),
}

impl Query {
    pub(crate) fn closest_peers(key: Bytes) -> Self {
        Self { key, goal: Goal::ClosestPeers, walk: None }
    }

    pub(crate) fn peer(id: PeerId) -> Self {
        Self { key: Bytes::copy_from_slice(id.as_bytes()), goal: Goal::Peer { id, named: None }, walk: None }
    }

    /// `count` 0 means all.
    pub(crate) fn providers(key: Bytes, count: usize) -> Self {
        Self { key, goal: Goal::Providers(ProviderSearch::new(count)), walk: None }
    }

    /// `quorum` 0 means none.
    pub(crate) fn value(key: Bytes, quorum: usize) -> Self {
        Self { key, goal: Goal::Value(ValueSearch::new(quorum)), walk: None }
    }

    pub(crate) fn survey(key: Bytes, question: Question) -> Self {
        Self { key, goal: Goal::Survey(question), walk: None }
    }

    pub(crate) fn start(&mut self, cx: &mut Context<'_>) {
        match &self.goal {
            Goal::ClosestPeers | Goal::Survey(_) => self.start_walk(cx),
            Goal::Peer { id, .. } => {
                if cx.table.view().local().peer.id == *id {
                    cx.emit(Effect::Ended(Outcome::FindPeer(Err(FindPeerError::IsSelf))));
                } else if let Some(known) = cx.table.view().client(id) {
                    // It is connected, but serves nothing that a walk could ask.
                    let known = known.clone();
                    cx.emit(Effect::Ended(Outcome::FindPeer(Ok(known))));
                } else {
                    self.start_walk(cx);
                }
            }
            Goal::Providers(search) => {
                let count = search.store_count();
                cx.emit(Effect::Store(StoreRequest::Providers { key: self.key.clone(), count }));
            }
            Goal::Value(_) => match cx.validators.accepts(&self.key) {
                Ok(()) => cx.emit(Effect::Store(StoreRequest::Value { key: self.key.clone() })),
                Err(invalid) => {
                    cx.emit(Effect::Ended(Outcome::GetValue(Err(GetValueError::Key { invalid }))));
                }
            },
        }
    }

    /// The own store's answer; a store that fails is as good as an empty one, since the network may know.
    pub(crate) fn stored(&mut self, cx: &mut Context<'_>, reply: StoreReply) {
        if self.walk.is_some() {
            return; // a correction of our own copy was written
        }
        let done = match (&mut self.goal, reply) {
            (Goal::Providers(search), StoreReply::Providers(providers)) => search.add(cx, &providers),
            (Goal::Value(search), StoreReply::Value(Some(stored))) => {
                search.add_local(cx, &self.key, &stored)
            }
            _ => false,
        };
        if done { self.end(cx) } else { self.start_walk(cx) }
    }

    pub(crate) fn answered(&mut self, cx: &mut Context<'_>, peer: &Peer, response: Response) {
        let now = cx.now.monotonic;
        let Some(walk) = &mut self.walk else { return };
        let mut done = false;
        match (&mut self.goal, &response) {
            (Goal::ClosestPeers, Response::FindNode { .. }) => {}
            (Goal::Peer { id, named }, Response::FindNode { closer }) => {
                if peer.id == *id {
                    done = true;
                } else if let Some(info) = closer.iter().find(|info| info.peer.id == *id) {
                    *named = Some(match named {
                        Some(known) => PeerInfo::new(known.peer.clone(), known.addrs.merged(&info.addrs)),
                        None => info.clone(),
                    });
                }
            }
            (Goal::Providers(search), Response::GetProviders { providers, .. }) => {
                done = search.add(cx, providers);
            }
            (Goal::Value(search), Response::GetValue { record, .. }) => {
                done = search.add(cx, &self.key, peer, record.as_ref());
            }
            (Goal::Survey(Question::ClosestPeers), Response::FindNode { .. })
            | (Goal::Survey(Question::Providers), Response::GetProviders { .. })
            | (Goal::Survey(Question::Value), Response::GetValue { .. }) => {
                let (peer, response) = (peer.clone(), response.clone());
                cx.emit(Effect::Update(Update::Answered { peer, response }));
            }
            _ => {
                cx.emit(Effect::Refused { peer: peer.clone(), code: Refusal::WrongResponse });
                walk.failed(peer, now);
                return self.advance(cx);
            }
        }
        walk.answered(peer, response.closer(), now);
        if done { self.end(cx) } else { self.advance(cx) }
    }

    pub(crate) fn failed(&mut self, cx: &mut Context<'_>, peer: &Peer, failure: RequestFailure) {
        let Some(walk) = &mut self.walk else { return };
        walk.failed(peer, cx.now.monotonic);
        if let Goal::Peer { id, named } = &mut self.goal
            && peer.id == *id
            && failure == RequestFailure::Unsupported
        {
            // The target was reached and is no server: found all the same.
            if named.is_none() {
                *named = cx.table.view().get(id).cloned();
            }
            return self.end(cx);
        }
        self.advance(cx);
    }

    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if let Some(walk) = &mut self.walk {
            walk.handle_timeout(cx.now.monotonic);
            self.advance(cx);
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        self.walk.as_ref().and_then(Walk::next_timeout)
    }

    pub(crate) fn hops(&self) -> usize {
        self.walk.as_ref().map_or(0, Walk::hops)
    }

    /// What there is when time is up: whoever answered, a value that was found; an unfinished search for providers
    /// has reported what it has.
    pub(crate) fn expired(&mut self) -> Outcome {
        let late = OperationError::TimedOut;
        match &mut self.goal {
            Goal::ClosestPeers | Goal::Survey(_) => Outcome::ClosestPeers(match &self.walk {
                Some(walk) if walk.answers() > 0 => {
                    Ok(ClosestPeers { peers: walk.closest(), complete: false })
                }
                _ => Err(late.into()),
            }),
            Goal::Peer { named: Some(named), .. } => Outcome::FindPeer(Ok(named.clone())),
            Goal::Peer { named: None, .. } => Outcome::FindPeer(Err(late.into())),
            Goal::Providers(_) => Outcome::FindProviders(Err(late.into())),
            Goal::Value(search) => Outcome::GetValue(search.found(0).ok_or(GetValueError::Operation(late))),
        }
    }

    fn start_walk(&mut self, cx: &mut Context<'_>) {
        self.walk = Some(cx.walk(Key::of(&self.key)));
        self.advance(cx);
    }

    /// Asks whoever is next, or ends.
    fn advance(&mut self, cx: &mut Context<'_>) {
        let Some(walk) = &mut self.walk else { return };
        if cx.has_ended(walk) {
            return self.end(cx);
        }
        while let Some(to) = walk.next_peer() {
            let key = self.key.clone();
            let message = match self.goal {
                Goal::ClosestPeers | Goal::Peer { .. } | Goal::Survey(Question::ClosestPeers) => {
                    Request::FindNode { key }
                }
                Goal::Providers(_) | Goal::Survey(Question::Providers) => Request::GetProviders { key },
                Goal::Value(_) | Goal::Survey(Question::Value) => Request::GetValue { key },
            };
            cx.send(to, message, 0);
        }
    }

    fn end(&mut self, cx: &mut Context<'_>) {
        if let Some(walk) = &self.walk
            && walk.is_complete()
        {
            let prefix_len = cx.table.prefix_len(walk.target());
            cx.emit(Effect::Refreshed { prefix_len, answered: walk_failure(walk).is_none() });
        }
        let (answers, failure) = match &self.walk {
            Some(walk) => (walk.answers(), walk_failure(walk)),
            None => (0, None),
        };
        let outcome = match &mut self.goal {
            Goal::ClosestPeers | Goal::Survey(_) => Outcome::ClosestPeers(match (&self.walk, failure) {
                (Some(walk), None) => {
                    Ok(ClosestPeers { peers: walk.closest(), complete: walk.is_complete() })
                }
                (_, Some(error)) => Err(ClosestPeersError::Operation(error)),
                (None, None) => Err(ClosestPeersError::Operation(OperationError::NoPeers)),
            }),
            Goal::Peer { id, named } => {
                Outcome::FindPeer(match (found_peer(id, named, &self.walk), failure) {
                    (Some(info), _) => Ok(info),
                    (None, Some(error)) => Err(FindPeerError::Operation(error)),
                    (None, None) => Err(FindPeerError::NotFound { answered: answers }),
                })
            }
            Goal::Providers(search) => Outcome::FindProviders(match failure {
                Some(error) if search.found() == 0 => Err(FindProvidersError::Operation(error)),
                _ => Ok(search.found()),
            }),
            Goal::Value(search) => {
                let closest = self.walk.as_ref().filter(|walk| walk.is_complete()).map(Walk::closest);
                let corrected = search.correct(cx, &self.key, &closest.unwrap_or_default());
                Outcome::GetValue(match (search.found(corrected), failure) {
                    (Some(found), _) => Ok(found),
                    (None, Some(error)) => Err(GetValueError::Operation(error)),
                    (None, None) => Err(GetValueError::NotFound { answered: answers }),
                })
            }
        };
        cx.emit(Effect::Ended(outcome));
    }
}

/// Why a walk that nobody answered failed; `None` when somebody did.
pub(crate) fn walk_failure(walk: &Walk) -> Option<OperationError> {
    match (walk.answers(), walk.asked()) {
        (0, 0) => Some(OperationError::NoPeers),
        (0, asked) => Some(OperationError::NoAnswers { asked }),
        _ => None,
    }
}

/// The target as it answered itself, else as others named it.
fn found_peer(id: &PeerId, named: &Option<PeerInfo>, walk: &Option<Walk>) -> Option<PeerInfo> {
    let closest: Vec<_> = walk.as_ref().map(Walk::closest).unwrap_or_default();
    closest.into_iter().find(|info| info.peer.id == *id).or_else(|| named.clone())
}
