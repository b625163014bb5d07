//! The operations that handles have started, and where their updates go.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kadmos_core::error::OperationError;
use kadmos_core::operation::{Cost, OperationKind};
use kadmos_core::{OperationId, Outcome, Update};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::command::{Ended, Replies};
use crate::realm::Realm;

#[derive(Debug, Default)]
pub(crate) struct Operations {
    running: BTreeMap<OperationId, Running>,
    /// One for each caller that has not dropped its end yet.
    cancellations: FuturesUnordered<Cancellation>,
    next_id: u64,
}

#[derive(Debug)]
struct Running {
    realm: Realm,
    kind: OperationKind,
    updates: mpsc::Sender<Update>,
    ended: oneshot::Sender<Ended>,
}

impl Operations {
    /// Registers an operation of a realm under a new id, which no realm has used.
    pub(crate) fn add(&mut self, realm: Realm, kind: OperationKind, replies: Replies) -> OperationId {
        let id = self.next_id();
        let Replies { updates, ended, cancelled } = replies;
        self.running.insert(id, Running { realm, kind, updates, ended });
        self.cancellations.push(Cancellation { id, cancelled });
        id
    }

    /// An id for an operation whose updates go elsewhere.
    pub(crate) fn next_id(&mut self) -> OperationId {
        let id = OperationId(self.next_id);
        self.next_id += 1;
        id
    }

    /// Passes an update on, without ever waiting for its reader. Returns whether the operation must be cancelled.
    ///
    /// A reader that is slow is given what fits its channel. Better values supersede those before, and the best comes
    /// with the end, so one that does not fit is left out. A provider would be lost: the search ends instead, and its
    /// reader is told so after all it was given.
    pub(crate) fn update(&mut self, id: OperationId, update: Update) -> bool {
        if let Update::Ended { outcome, cost } = update {
            self.end(id, outcome, cost);
            return false;
        }
        let Some(running) = self.running.get(&id) else { return false };
        match running.updates.try_send(update) {
            Err(TrySendError::Full(Update::Provider(_))) => {
                let outcome = Outcome::failed(running.kind, OperationError::Cancelled);
                self.end(id, outcome, Cost::default());
                true
            }
            // A reader that is gone is noticed by its cancellation.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Closed(_)) => false,
        }
    }

    /// The next operation whose caller is gone, and its realm.
    pub(crate) fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<(Realm, OperationId)> {
        while let Poll::Ready(Some(id)) = self.cancellations.poll_next_unpin(cx) {
            if let Some(running) = self.running.remove(&id) {
                return Poll::Ready((running.realm, id));
            }
        }
        Poll::Pending
    }

    /// Ends all operations without a result, which tells their callers that the node is gone.
    pub(crate) fn close(&mut self) -> Vec<(Realm, OperationId)> {
        std::mem::take(&mut self.running).into_iter().map(|(id, running)| (running.realm, id)).collect()
    }

    /// Operations under way.
    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    fn end(&mut self, id: OperationId, outcome: Outcome, cost: Cost) {
        if let Some(running) = self.running.remove(&id) {
            // A caller that is gone does not care.
            let _ = running.ended.send(Ended { outcome, cost });
        }
    }
}

/// Resolves when the caller of an operation has dropped its end, before or after the operation's own end.
#[derive(Debug)]
struct Cancellation {
    id: OperationId,
    cancelled: oneshot::Receiver<Infallible>,
}

impl Future for Cancellation {
    type Output = OperationId;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<OperationId> {
        match Pin::new(&mut self.cancelled).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => Poll::Ready(self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use futures::executor::block_on;
    use futures::task::noop_waker_ref;
    use kadmos_core::error::FindProvidersError;
    use kadmos_core::operation::FoundValue;
    use kadmos_core::record::ValueFrom;
    use kadmos_core::{AddrList, Operation, OperationOptions, Peer, PeerId, PeerInfo};

    use super::*;
    use crate::command::Command;
    use crate::streams::{Call, PROVIDERS_UNREAD_MAX, Providers, VALUES_UNREAD_MAX, Values};

    /// An operation as the behaviour and as its caller see it, with its first poll done.
    fn start<T>(
        operations: &mut Operations,
        operation: Operation,
        unread_max: usize,
        wrap: impl Fn(Call) -> T,
        poll: impl Fn(&mut T, &mut Context<'_>) -> bool,
    ) -> (OperationId, T) {
        let (sender, mut commands) = mpsc::channel(1);
        let mut caller =
            wrap(Call::new(&sender, Realm::Wan, operation, OperationOptions::default(), unread_max));
        assert!(commands.try_recv().is_err(), "it begins when it is polled");
        assert!(!poll(&mut caller, &mut Context::from_waker(noop_waker_ref())));
        let Ok(Command::Start { operation, replies, .. }) = commands.try_recv() else { panic!() };
        (operations.add(Realm::Wan, operation.kind(), replies), caller)
    }

    fn search(operations: &mut Operations) -> (OperationId, Providers) {
        let operation = Operation::FindProviders { key: vec![1].into(), count: 0 };
        start(operations, operation, PROVIDERS_UNREAD_MAX, Providers::new, |caller, cx| {
            caller.poll_next_unpin(cx).is_ready()
        })
    }

    fn provider(index: usize) -> Update {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&index.to_be_bytes());
        Update::Provider(PeerInfo::new(Peer::new(PeerId::from_digest(digest)), AddrList::EMPTY))
    }

    #[test]
    fn a_reader_that_never_reads_ends_its_search_and_loses_nothing_before() {
        let mut operations = Operations::default();
        let (id, providers) = search(&mut operations);
        let (other, _kept) = search(&mut operations);
        for index in 0..PROVIDERS_UNREAD_MAX {
            assert!(!operations.update(id, provider(index)));
        }
        assert!(operations.update(id, provider(usize::MAX)), "cancelled");
        assert!(!operations.update(other, provider(0)), "another search goes on");
        assert_eq!(operations.len(), 1);
        let read: Vec<_> = block_on(providers.collect());
        assert_eq!(read.len(), PROVIDERS_UNREAD_MAX + 1);
        let cancelled = FindProvidersError::Operation(OperationError::Cancelled);
        assert_eq!(read.last(), Some(&Err(cancelled)));
    }

    #[test]
    fn a_slow_reader_of_values_misses_none_but_superseded_ones() {
        let mut operations = Operations::default();
        let operation = Operation::GetValue { key: vec![1].into(), quorum: None };
        let (id, mut values) =
            start(&mut operations, operation, VALUES_UNREAD_MAX, Values::new, |caller, cx| {
                caller.poll_next_unpin(cx).is_ready()
            });
        let value = |byte: u8| ValueFrom { value: vec![byte].into(), peer: None };
        for byte in 0..100 {
            assert!(!operations.update(id, Update::Value(value(byte))));
        }
        let found = FoundValue { best: value(99), answers: 7, corrected: 0 };
        let outcome = Outcome::GetValue(Ok(found));
        operations.update(id, Update::Ended { outcome, cost: Cost { requests: 3, ..Cost::default() } });
        let read: Vec<_> = block_on(values.by_ref().try_collect()).unwrap();
        assert_eq!(read.len(), VALUES_UNREAD_MAX + 1);
        assert_eq!(read.last().unwrap().value, vec![99]);
        assert_eq!(values.found().unwrap().answers, 7);
        assert_eq!(values.cost().unwrap().requests, 3);
        assert!(block_on(values.next()).is_none());
    }

    #[test]
    fn dropping_the_caller_cancels_once() {
        let mut operations = Operations::default();
        let mut cx = Context::from_waker(noop_waker_ref());
        let (id, providers) = search(&mut operations);
        assert!(operations.poll_cancelled(&mut cx).is_pending());
        drop(providers);
        assert_eq!(operations.poll_cancelled(&mut cx), Poll::Ready((Realm::Wan, id)));
        assert!(operations.poll_cancelled(&mut cx).is_pending());

        let (id, providers) = search(&mut operations);
        operations
            .update(id, Update::Ended { outcome: Outcome::FindProviders(Ok(0)), cost: Cost::default() });
        drop(providers);
        assert!(operations.poll_cancelled(&mut cx).is_pending(), "it had ended");
        assert!(operations.cancellations.is_empty());
    }

    #[test]
    fn callers_of_a_behaviour_that_is_gone_are_told_so() {
        let closed = FindProvidersError::Operation(OperationError::Closed);
        let mut operations = Operations::default();
        let (_, mut providers) = search(&mut operations);
        drop(operations);
        assert_eq!(block_on(providers.next()), Some(Err(closed.clone())));
        assert_eq!(block_on(providers.next()), None);

        let (sender, commands) = mpsc::channel(1);
        drop(commands);
        let operation = Operation::FindProviders { key: vec![1].into(), count: 0 };
        let mut providers =
            Providers::new(Call::new(&sender, Realm::Wan, operation, OperationOptions::default(), 1));
        assert_eq!(block_on(providers.next()), Some(Err(closed)));
        assert_eq!(block_on(providers.next()), None);
    }
}
