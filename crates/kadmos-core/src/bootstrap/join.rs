//! Joining a network through peers that are known beforehand.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use bytes::Bytes;

use super::refresh::{Buckets, Refresh};
use crate::error::{BootstrapError, OperationError};
use crate::limits::BOOTSTRAP_PEERS_AT_ONCE_MAX;
use crate::machine::{Context, Effect, Tag};
use crate::message::{Request, Response};
use crate::operation::{Bootstrapped, Outcome};
use crate::peer::{Peer, PeerId, PeerInfo};
use crate::time::Timestamp;

/// Asks all bootstrap peers at once for our own id. As soon as one has answered, the refresh begins, from that peer and
/// those it names; what later ones name joins in.
///
/// A peer that does not answer delays nobody, and one that names nobody decides nothing: when a refresh has ended
/// with fewer than k peers known, it begins again with the next bootstrap peer that answers.
#[derive(Clone, Debug)]
pub(crate) struct Bootstrap {
    waiting: BTreeSet<PeerId>,
    tried: usize,
    answered: usize,
    refresh: Option<Refresh>,
    /// How a refresh ended that left us with few peers, while bootstrap peers are still to answer.
    held: Option<Result<Bootstrapped, BootstrapError>>,
}

/// Requests to bootstrap peers; the refresh counts its own from 0.
const SOURCE: Tag = Tag::MAX;

impl Bootstrap {
    pub(crate) fn new() -> Self {
        Self { waiting: BTreeSet::new(), tried: 0, answered: 0, refresh: None, held: None }
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
                self.begin_refresh(cx, &[]); // remembered peers are as good
            }
        }
    }

    pub(crate) fn answered(&mut self, cx: &mut Context<'_>, peer: &Peer, tag: Tag, response: &Response) {
        if tag == SOURCE {
            if !self.waiting.remove(&peer.id) {
                return;
            }
            self.answered += 1;
            // The node has put the source into the table before it told us, if its addresses may be there.
            let seeds: Vec<PeerInfo> = response.closer().to_vec();
            match &mut self.refresh {
                Some(refresh) => refresh.seed(cx, &seeds),
                None => return self.begin_refresh(cx, &seeds),
            }
        } else if let Some(refresh) = &mut self.refresh {
            refresh.answered(cx, peer, tag, response);
        }
        self.settle(cx);
    }

    pub(crate) fn failed(&mut self, cx: &mut Context<'_>, peer: &Peer, tag: Tag) {
        if tag != SOURCE {
            if let Some(refresh) = &mut self.refresh {
                refresh.failed(cx, peer, tag);
            }
            return self.settle(cx);
        }
        self.waiting.remove(&peer.id);
        if !self.waiting.is_empty() || self.refresh.is_some() {
            return;
        }
        if let Some(held) = self.held.take() {
            self.end(cx, held);
        } else if cx.table.view().is_empty() {
            let error = BootstrapError::Unreachable { tried: self.tried };
            cx.emit(Effect::Ended(Outcome::Bootstrap(Err(error))));
        } else {
            self.begin_refresh(cx, &[]);
        }
    }

    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if let Some(refresh) = &mut self.refresh {
            refresh.handle_timeout(cx);
            self.settle(cx);
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        self.refresh.as_ref().and_then(Refresh::next_timeout)
    }

    /// When time is up, whoever was met stays in the table.
    pub(crate) fn expired(&mut self, cx: &mut Context<'_>) -> Outcome {
        let peers = cx.table.view().len();
        let buckets = match (&self.refresh, &self.held) {
            (Some(refresh), _) => Some(refresh.refreshed()),
            (None, Some(Ok(done))) => Some(done.buckets),
            (None, _) => None,
        };
        Outcome::Bootstrap(match buckets {
            Some(buckets) if peers > 0 => {
                Ok(Bootstrapped { tried: self.tried, answered: self.answered, peers, buckets })
            }
            _ => Err(OperationError::TimedOut.into()),
        })
    }

    fn begin_refresh(&mut self, cx: &mut Context<'_>, seeds: &[PeerInfo]) {
        self.held = None;
        let mut refresh = Refresh::new(Buckets::All);
        refresh.start_from(cx, seeds);
        self.refresh = Some(refresh);
        self.settle(cx);
    }

    /// Ends with the refresh, or holds its end back while there are few peers and more may come.
    fn settle(&mut self, cx: &mut Context<'_>) {
        if !matches!(cx.effects.last(), Some(Effect::Ended(_))) {
            return;
        }
        let Some(Effect::Ended(Outcome::Bootstrap(result))) = cx.effects.pop() else { return };
        self.refresh = None;
        if !self.waiting.is_empty() && cx.table.view().len() < cx.config.lookup.k.get() {
            self.held = Some(result);
        } else {
            self.end(cx, result);
        }
    }

    fn end(&self, cx: &mut Context<'_>, result: Result<Bootstrapped, BootstrapError>) {
        let (tried, answered, peers) = (self.tried, self.answered, cx.table.view().len());
        let result = result.map(|done| Bootstrapped { tried, answered, peers, buckets: done.buckets });
        cx.emit(Effect::Ended(Outcome::Bootstrap(result)));
    }
}
