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

#[derive(Debug, Default)]
pub(crate) struct Operations {
    running: BTreeMap<OperationId, Running>,
    /// One for each caller that has not dropped its end yet.
    cancellations: FuturesUnordered<Cancellation>,
    next_id: u64,
}

#[derive(Debug)]
struct Running {
    kind: OperationKind,
    updates: mpsc::Sender<Update>,
    ended: oneshot::Sender<Ended>,
}

impl Operations {
    /// Registers an operation under a new id.
    pub(crate) fn add(&mut self, kind: OperationKind, replies: Replies) -> OperationId {
        let id = OperationId(self.next_id);
        self.next_id += 1;
        let Replies { updates, ended, cancelled } = replies;
        self.running.insert(id, Running { kind, updates, ended });
        self.cancellations.push(Cancellation { id, cancelled });
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

    /// The next operation whose caller is gone.
    pub(crate) fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<OperationId> {
        while let Poll::Ready(Some(id)) = self.cancellations.poll_next_unpin(cx) {
            if self.running.remove(&id).is_some() {
                return Poll::Ready(id);
            }
        }
        Poll::Pending
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
