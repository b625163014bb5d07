//! What two realms find for one caller, as one result.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use futures_timer::Delay;
use kadmos_core::error::{FindProvidersError, GetValueError, OperationError};
use kadmos_core::operation::Cost;
use kadmos_core::{Realm, Validators};
use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;

use crate::convert::PeerAddrs;
use crate::results::{FoundValue, ValueFrom};
use crate::streams::{ProviderSearch, ValueSearch};

/// When one realm has found a peer, the other has this long to add addresses. A lookup in the wide network takes about
/// half a second; a local one milliseconds.
const ADDRS_GRACE: Duration = Duration::from_secs(1);

/// Waits for both, but for a second one no longer than [`ADDRS_GRACE`] after the first has succeeded; `None` for one
/// that was not waited for.
pub(crate) async fn both_or_one<T, E>(
    wan: impl Future<Output = Result<T, E>>,
    lan: impl Future<Output = Result<T, E>>,
) -> (Option<Result<T, E>>, Option<Result<T, E>>) {
    async fn rest<T, E>(
        first: &Result<T, E>,
        other: impl Future<Output = Result<T, E>> + Unpin,
    ) -> Option<Result<T, E>> {
        if first.is_err() {
            return Some(other.await);
        }
        match select(other, Delay::new(ADDRS_GRACE)).await {
            Either::Left((result, _)) => Some(result),
            Either::Right(_) => None,
        }
    }
    match select(pin!(wan), pin!(lan)).await {
        Either::Left((wan, lan)) => {
            let lan = rest(&wan, lan).await;
            (Some(wan), lan)
        }
        Either::Right((lan, wan)) => {
            let wan = rest(&lan, wan).await;
            (wan, Some(lan))
        }
    }
}

/// The addresses of `more` that are not among those of `known` are added; tells whether there were any.
pub(crate) fn add_addrs(known: &mut Vec<Multiaddr>, more: Vec<Multiaddr>) -> bool {
    let before = known.len();
    for addr in more {
        if !known.contains(&addr) {
            known.push(addr);
        }
    }
    known.len() > before
}

/// The better of what two realms found; equal ones are the wide network's. Answers and corrections add up: no realm is
/// corrected with what another had.
pub(crate) fn better(key: &[u8], validators: &Validators, wan: FoundValue, lan: FoundValue) -> FoundValue {
    let lan_wins = validators.compare(key, &lan.best.value, &wan.best.value) == Ordering::Greater;
    FoundValue {
        answers: wan.answers + lan.answers,
        corrected: wan.corrected + lan.corrected,
        best: if lan_wins { lan.best } else { wan.best },
    }
}

fn sum(costs: impl IntoIterator<Item = Option<Cost>>) -> Option<Cost> {
    costs.into_iter().flatten().reduce(|a, b| Cost {
        requests: a.requests + b.requests,
        failures: a.failures + b.failures,
        hops: a.hops.max(b.hops),
        elapsed: a.elapsed.max(b.elapsed), // they ran side by side
    })
}

/// A search for providers in two realms.
#[derive(Debug)]
pub(crate) struct BothProviders {
    /// By [`Realm::index`]; `None` once it has ended.
    searches: [Option<ProviderSearch>; Realm::ALL.len()],
    costs: [Option<Cost>; Realm::ALL.len()],
    errors: [Option<FindProvidersError>; Realm::ALL.len()],
    /// Whom the reader was given, with the addresses so far. Each realm's search ends after 1,024 of them.
    given: BTreeMap<PeerId, Vec<Multiaddr>>,
    /// Ends after this many distinct ones; 0 does not.
    count: usize,
}

impl BothProviders {
    pub(crate) fn new(wan: ProviderSearch, lan: ProviderSearch, count: usize) -> Self {
        Self {
            searches: [Some(wan), Some(lan)],
            costs: [None, None],
            errors: [None, None],
            given: BTreeMap::new(),
            count,
        }
    }

    pub(crate) fn cost(&self) -> Option<Cost> {
        if self.searches.iter().any(Option::is_some) { None } else { sum(self.costs) }
    }

    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<PeerAddrs, FindProvidersError>>> {
        for realm in Realm::ALL {
            let place = realm.index();
            while let Some(search) = &mut self.searches[place] {
                match search.poll_next(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(provider))) => {
                        if let Some(provider) = self.merge(provider) {
                            return Poll::Ready(Some(Ok(provider)));
                        }
                    }
                    Poll::Ready(Some(Err(error))) => {
                        self.costs[place] = search.cost;
                        self.errors[place] = Some(error);
                        self.searches[place] = None;
                    }
                    Poll::Ready(None) => {
                        self.costs[place] = search.cost;
                        self.searches[place] = None;
                    }
                }
            }
        }
        if self.searches.iter().any(Option::is_some) {
            return Poll::Pending;
        }
        Poll::Ready(self.take_error().map(Err))
    }

    /// What the reader is to be told of a provider, if that is news. Ends both searches after the last one.
    fn merge(&mut self, provider: PeerAddrs) -> Option<PeerAddrs> {
        let PeerAddrs { id, addrs } = provider;
        let new = !self.given.contains_key(&id);
        let known = self.given.entry(id).or_default();
        if !add_addrs(known, addrs) && !new {
            return None;
        }
        let addrs = known.clone();
        if self.count > 0 && self.given.len() >= self.count {
            self.searches = [None, None];
            self.errors = [None, None];
        }
        Some(PeerAddrs { id, addrs })
    }

    fn take_error(&mut self) -> Option<FindProvidersError> {
        match [self.errors[0].take(), self.errors[1].take()] {
            [Some(wan), Some(lan)] => Some(FindProvidersError::of_realms(wan, lan)),
            [None, None] => None,
            // The other realm was searched to its end, and this one is not in use.
            [Some(FindProvidersError::Operation(OperationError::NoPeers)), None]
            | [None, Some(FindProvidersError::Operation(OperationError::NoPeers))] => None,
            [Some(error), None] => Some(FindProvidersError::Realms { failed: vec![(Realm::Wan, error)] }),
            [None, Some(error)] => Some(FindProvidersError::Realms { failed: vec![(Realm::Lan, error)] }),
        }
    }
}

/// A search for values in two realms.
#[derive(Debug)]
pub(crate) struct BothValues {
    key: Bytes,
    validators: Arc<Validators>,
    /// By [`Realm::index`]; `None` once it has ended.
    searches: [Option<ValueSearch>; Realm::ALL.len()],
    found: [Option<FoundValue>; Realm::ALL.len()],
    costs: [Option<Cost>; Realm::ALL.len()],
    errors: [Option<GetValueError>; Realm::ALL.len()],
    best: Option<ValueFrom>,
    result: Option<FoundValue>,
}

impl BothValues {
    pub(crate) fn new(wan: ValueSearch, lan: ValueSearch, key: Bytes, validators: Arc<Validators>) -> Self {
        Self {
            key,
            validators,
            searches: [Some(wan), Some(lan)],
            found: [None, None],
            costs: [None, None],
            errors: [None, None],
            best: None,
            result: None,
        }
    }

    pub(crate) fn found(&self) -> Option<&FoundValue> {
        self.result.as_ref()
    }

    pub(crate) fn cost(&self) -> Option<Cost> {
        if self.searches.iter().any(Option::is_some) { None } else { sum(self.costs) }
    }

    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<ValueFrom, GetValueError>>> {
        for realm in Realm::ALL {
            let place = realm.index();
            while let Some(search) = &mut self.searches[place] {
                match search.poll_next(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(value))) => {
                        let better = |best: &ValueFrom| {
                            self.validators.compare(&self.key, &value.value, &best.value) == Ordering::Greater
                        };
                        if self.best.as_ref().is_none_or(better) {
                            self.best = Some(value.clone());
                            return Poll::Ready(Some(Ok(value)));
                        }
                    }
                    Poll::Ready(end) => {
                        self.costs[place] = search.cost;
                        self.found[place] = search.found.take();
                        self.errors[place] = end.and_then(Result::err);
                        self.searches[place] = None;
                    }
                }
            }
        }
        if self.searches.iter().any(Option::is_some) {
            return Poll::Pending;
        }
        Poll::Ready(match [self.errors[0].take(), self.errors[1].take()] {
            [Some(wan), Some(lan)] => Some(Err(GetValueError::of_realms(wan, lan))),
            _ => {
                self.result = match [self.found[0].take(), self.found[1].take()] {
                    [Some(wan), Some(lan)] => Some(better(&self.key, &self.validators, wan, lan)),
                    [wan, lan] => wan.or(lan).or_else(|| self.result.take()),
                };
                None
            }
        })
    }
}

#[cfg(test)]
mod tests;
