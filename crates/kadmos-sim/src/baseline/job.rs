//! An operation of a modelled client: what it wants, and how far it is.

use std::collections::BTreeSet;

use bytes::Bytes;
use kadmos_core::error::{
    BootstrapError, FindPeerError, GetValueError, OperationError, PublishReport, RequestFailure,
};
use kadmos_core::message::Record;
use kadmos_core::operation::{Bootstrapped, ClosestPeers, OperationKind, Outcome};
use kadmos_core::{Key, OperationId, Peer, PeerId, PeerInfo, Timestamp};

use super::go::{RETURN_AFTER, Thresholds};
use super::go_upkeep::Refresh;
use super::values::Getting;
use super::walk::Walk;

/// An operation under way.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// `None` for upkeep, and once the user has been told the outcome.
    pub(super) user: Option<OperationId>,
    pub(super) kind: OperationKind,
    pub(super) key: Bytes,
    pub(super) started: Timestamp,
    pub(super) deadline: Timestamp,
    /// When the walk ends with what there is.
    pub(super) walk_until: Option<Timestamp>,
    pub(super) walk: Option<Walk>,
    pub(super) goal: Goal,
    pub(super) hops: usize,
    pub(super) requests: usize,
    pub(super) failures: usize,
    /// Requests that are under way, or wait for another try.
    pub(super) open: usize,
}

/// What an operation wants.
#[derive(Clone, Debug)]
pub(super) enum Goal {
    Bootstrap(Joining),
    Closest(Vec<PeerInfo>),
    Peer { id: PeerId, found: Option<PeerInfo>, answered: usize },
    Provide(Publishing),
    Providers { count: usize, seen: BTreeSet<PeerId> },
    Value(Getting),
}

/// How far a bootstrap is.
#[derive(Clone, Debug, Default)]
pub(super) struct Joining {
    /// Bootstrap peers that were contacted, and those that answered.
    pub(super) tried: usize,
    pub(super) answered: usize,
    /// Keys to look up, the next one last; `None` until the bootstrap peers have answered or failed.
    pub(super) targets: Option<Vec<Bytes>>,
    pub(super) looked_up: usize,
    /// How far it is as one of go's refreshes.
    pub(super) refresh: Refresh,
}

/// How far a provide is.
#[derive(Clone, Debug, Default)]
pub(super) struct Publishing {
    /// The value that is put; `None` when a provider record is sent.
    pub(super) record: Option<Record>,
    /// Set when the record is sent during the walk.
    pub(super) optimistic: Option<Thresholds>,
    /// Each holder and how the send ended, in the order of the sends.
    pub(super) sends: Vec<(Peer, Option<Result<(), RequestFailure>>)>,
    pub(super) has_walked: bool,
    /// Holders that wait for their turn, the next one last.
    pub(super) queue: Vec<PeerInfo>,
}

impl Publishing {
    pub(super) fn is_scheduled(&self, peer: &Peer) -> bool {
        self.sends.iter().any(|(known, _)| known == peer)
    }

    pub(super) fn ended(&mut self, peer: &Peer, result: Result<(), RequestFailure>) {
        if let Some((_, state)) =
            self.sends.iter_mut().find(|(known, state)| known == peer && state.is_none())
        {
            *state = Some(result);
        }
    }

    /// Whether the user is told: all sends have ended, or, of an optimistic one, fifteen.
    pub(super) fn returns(&self) -> bool {
        let ended = self.sends.iter().filter(|(_, state)| state.is_some()).count();
        self.has_walked
            && (ended == self.sends.len() && self.queue.is_empty()
                || self.optimistic.is_some() && ended >= RETURN_AFTER)
    }

    /// Sends under way.
    pub(super) fn waiting(&self) -> usize {
        self.sends.iter().filter(|(_, state)| state.is_none()).count()
    }

    /// Sends that have not failed. Source: go's `lookup_optim.go`, `scheduledAndSuccessCount`.
    pub(super) fn hopeful(&self) -> usize {
        self.sends.iter().filter(|(_, state)| !matches!(state, Some(Err(_)))).count()
    }

    fn report(&self) -> PublishReport {
        let sent: Vec<_> = self.sends.iter().filter(|(_, state)| *state == Some(Ok(()))).collect();
        PublishReport {
            attempted: self.sends.len(),
            sent: sent.len(),
            // A put is answered, a provider record is not.
            stored: if self.record.is_some() { sent.len() } else { 0 },
            holders: sent.into_iter().map(|(peer, _)| peer.clone()).collect(),
            failed: self
                .sends
                .iter()
                .filter_map(|(peer, state)| Some((peer.clone(), state.as_ref()?.err()?)))
                .collect(),
            local_failure: None,
        }
    }
}

impl Job {
    pub(super) fn target(&self) -> Key {
        Key::of(&self.key)
    }

    /// The outcome as things stand. `peers` is the size of the table.
    pub(super) fn outcome(&self, expired: bool, peers: usize) -> Outcome {
        match &self.goal {
            Goal::Bootstrap(Joining { tried: 0, .. }) if peers == 0 => {
                Outcome::Bootstrap(Err(BootstrapError::NoSources))
            }
            Goal::Bootstrap(Joining { tried, answered: 0, .. }) if peers == 0 => {
                Outcome::Bootstrap(Err(BootstrapError::Unreachable { tried: *tried }))
            }
            Goal::Bootstrap(Joining { tried, answered, looked_up, .. }) => {
                Outcome::Bootstrap(Ok(Bootstrapped {
                    tried: *tried,
                    answered: *answered,
                    peers,
                    buckets: looked_up.saturating_sub(1), // the first is our own id
                    ..Bootstrapped::default()
                }))
            }
            Goal::Closest(found) => {
                let walked = self.walk.as_ref().map(Walk::closest);
                let found = walked.unwrap_or_else(|| found.clone());
                Outcome::ClosestPeers(if found.is_empty() {
                    Err(OperationError::NoPeers.into())
                } else {
                    Ok(ClosestPeers { peers: found, complete: !expired })
                })
            }
            Goal::Peer { found: Some(found), .. } => Outcome::FindPeer(Ok(found.clone())),
            Goal::Peer { answered, .. } => {
                Outcome::FindPeer(Err(FindPeerError::NotFound { answered: *answered }))
            }
            Goal::Providers { seen, .. } => Outcome::FindProviders(Ok(seen.len())),
            Goal::Value(getting) => {
                let not_found = GetValueError::NotFound { answered: getting.answered };
                Outcome::GetValue(getting.found().ok_or(not_found))
            }
            // Whatever became of the sends: neither go nor rust-libp2p tells their users.
            Goal::Provide(publishing) => {
                let error = if expired { OperationError::TimedOut } else { OperationError::NoPeers };
                match (&publishing.record, publishing.sends.is_empty()) {
                    (None, true) => Outcome::Provide(Err(error.into())),
                    (None, false) => Outcome::Provide(Ok(publishing.report())),
                    (Some(_), true) => Outcome::PutValue(Err(error.into())),
                    (Some(_), false) => Outcome::PutValue(Ok(publishing.report())),
                }
            }
        }
    }
}
