//! Joining a network through peers that are known beforehand.

use alloc::collections::BTreeSet;

use bytes::Bytes;

use super::refresh::{Buckets, Refresh};
use crate::error::{BootstrapError, OperationError};
use crate::limits::BOOTSTRAP_PEERS_AT_ONCE_MAX;
use crate::machine::{Context, Effect, Tag};
use crate::message::{Request, Response};
use crate::operation::{Bootstrapped, Outcome};
use crate::peer::{Peer, PeerId};
use crate::time::Timestamp;

/// Asks all bootstrap peers at once for our own id; as soon as one has answered, the refresh begins, and the others
/// may still come in. A peer that does not answer delays nobody.
#[derive(Clone, Debug)]
pub(crate) struct Bootstrap {
    waiting: BTreeSet<PeerId>,
    tried: usize,
    answered: usize,
    refresh: Option<Refresh>,
}

/// Requests to bootstrap peers; the refresh counts its own from 0.
const SOURCE: Tag = Tag::MAX;

impl Bootstrap {
    pub(crate) fn new() -> Self {
        Self { waiting: BTreeSet::new(), tried: 0, answered: 0, refresh: None }
    }

    pub(crate) fn start(&mut self, cx: &mut Context<'_>) {
        let own_id = cx.table.view().local().peer.id;
        let key = Bytes::copy_from_slice(own_id.as_bytes());
        for source in cx.bootstrap_peers.iter().filter(|info| info.peer.id != own_id) {
            if self.tried < BOOTSTRAP_PEERS_AT_ONCE_MAX && self.waiting.insert(source.peer.id) {
                self.tried += 1;
                cx.send(source.clone(), Request::FindNode { key: key.clone() }, SOURCE);
            }
        }
        if self.tried == 0 {
            if cx.table.view().is_empty() {
                cx.emit(Effect::Ended(Outcome::Bootstrap(Err(BootstrapError::NoSources))));
            } else {
                self.begin_refresh(cx); // remembered peers are as good
            }
        }
    }

    pub(crate) fn answered(&mut self, cx: &mut Context<'_>, peer: &Peer, tag: Tag, response: &Response) {
        if tag == SOURCE {
            if self.waiting.remove(&peer.id) {
                self.answered += 1;
                // The node has put the peer into the table before it told us.
                self.begin_refresh(cx);
            }
        } else if let Some(refresh) = &mut self.refresh {
            refresh.answered(cx, peer, tag, response);
            self.complete(cx);
        }
    }

    pub(crate) fn failed(&mut self, cx: &mut Context<'_>, peer: &Peer, tag: Tag) {
        if tag != SOURCE {
            if let Some(refresh) = &mut self.refresh {
                refresh.failed(cx, peer, tag);
                self.complete(cx);
            }
            return;
        }
        self.waiting.remove(&peer.id);
        if !self.waiting.is_empty() || self.refresh.is_some() {
            return;
        }
        if cx.table.view().is_empty() {
            let error = BootstrapError::Unreachable { tried: self.tried };
            cx.emit(Effect::Ended(Outcome::Bootstrap(Err(error))));
        } else {
            self.begin_refresh(cx);
        }
    }

    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if let Some(refresh) = &mut self.refresh {
            refresh.handle_timeout(cx);
            self.complete(cx);
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        self.refresh.as_ref().and_then(Refresh::next_timeout)
    }

    /// When time is up, whoever was met stays in the table.
    pub(crate) fn expired(&mut self, cx: &mut Context<'_>) -> Outcome {
        let peers = cx.table.view().len();
        Outcome::Bootstrap(match &self.refresh {
            Some(refresh) if peers > 0 => Ok(Bootstrapped {
                tried: self.tried,
                answered: self.answered,
                peers,
                buckets: refresh.refreshed(),
            }),
            _ => Err(OperationError::TimedOut.into()),
        })
    }

    fn begin_refresh(&mut self, cx: &mut Context<'_>) {
        if self.refresh.is_none() {
            let mut refresh = Refresh::new(Buckets::All);
            refresh.start(cx);
            self.refresh = Some(refresh);
            self.complete(cx);
        }
    }

    /// Adds what we know to the refresh's outcome, once it has ended.
    fn complete(&mut self, cx: &mut Context<'_>) {
        let (tried, answered, peers) = (self.tried, self.answered, cx.table.view().len());
        if let Some(Effect::Ended(Outcome::Bootstrap(Ok(done)))) = cx.effects.last_mut() {
            *done = Bootstrapped { tried, answered, peers, buckets: done.buckets };
        }
    }
}
