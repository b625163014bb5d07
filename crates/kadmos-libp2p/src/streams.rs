//! Operations under way, as their callers see them.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use kadmos_core::error::{FindProvidersError, GetValueError, OperationError};
use kadmos_core::operation::{Cost, OperationKind};
use kadmos_core::{Operation, OperationOptions, Outcome, Update, Validators};
use tokio::sync::{mpsc, oneshot};

use crate::command::{Command, Ended, Replies};
use crate::convert::PeerAddrs;
use crate::error::mismatch;
use crate::merge::{BothProviders, BothValues};
use crate::realm::Realm;
use crate::results::{FoundValue, ValueFrom};

/// Providers found and not read yet. A reader that leaves more unread ends its search: pausing one would leave its
/// requests' answers nowhere to go. 8,192 providers, which share their addresses with the answers they came in, hold
/// a few MiB at most.
pub(crate) const PROVIDERS_UNREAD_MAX: usize = 8_192;

/// Values found and not read yet; more are skipped, since each is better than those before.
pub(crate) const VALUES_UNREAD_MAX: usize = 16;

/// One operation. Begins when it is first polled; dropping it cancels the operation.
pub(crate) struct Call {
    /// Hands the command over; `None` once that is done.
    starting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    updates: mpsc::Receiver<Update>,
    /// `None` once the end was taken.
    ended: Option<oneshot::Receiver<Ended>>,
    /// The behaviour notices when this is dropped.
    _alive: oneshot::Sender<Infallible>,
    /// Keeps the node running for as long as somebody waits for it.
    _commands: mpsc::Sender<Command>,
}

impl Call {
    pub(crate) fn new(
        commands: &mpsc::Sender<Command>,
        realm: Realm,
        operation: Operation,
        options: OperationOptions,
        unread_max: usize,
    ) -> Self {
        let (updates_sender, updates) = mpsc::channel(unread_max);
        let (ended_sender, ended) = oneshot::channel();
        let (alive, cancelled) = oneshot::channel();
        let replies = Replies { updates: updates_sender, ended: ended_sender, cancelled };
        let sender = commands.clone();
        let starting = Box::pin(async move {
            // When the behaviour is gone the replies go down with the command, which ends this call.
            let _ = sender.send(Command::Start { realm, operation, options, replies }).await;
        });
        Self {
            starting: Some(starting),
            updates,
            ended: Some(ended),
            _alive: alive,
            _commands: commands.clone(),
        }
    }

    /// The next streamed result; `None` after the last.
    pub(crate) fn poll_update(&mut self, cx: &mut Context<'_>) -> Poll<Option<Update>> {
        if let Some(starting) = &mut self.starting {
            ready!(starting.as_mut().poll(cx));
            self.starting = None;
        }
        self.updates.poll_recv(cx)
    }

    /// The end. Streamed results that were not taken stay.
    ///
    /// Errors: [`OperationError::Closed`] when the node has shut down, or when the end was taken before.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<Ended, OperationError>> {
        if let Some(starting) = &mut self.starting {
            ready!(starting.as_mut().poll(cx));
            self.starting = None;
        }
        let Some(ended) = &mut self.ended else { return Poll::Ready(Err(OperationError::Closed)) };
        let result = ready!(Pin::new(ended).poll(cx)).map_err(|_| OperationError::Closed);
        self.ended = None;
        Poll::Ready(result)
    }

    /// Waits for the end and leaves streamed results alone.
    pub(crate) async fn end(mut self) -> Result<Ended, OperationError> {
        poll_fn(|cx| self.poll_end(cx)).await
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("ended", &self.ended.is_none()).finish_non_exhaustive()
    }
}

/// The providers of some content, as they are found. Dropping it ends the search.
///
/// Each provider comes once, or again when further addresses become known, with all of them. The stream ends after the
/// last one, or with one error. A reader that leaves 8,192 providers unread ends its search: it is still given those,
/// and then [`OperationError::Cancelled`].
///
/// A search of two realms merges what both find. It fails when both fail, or when one does for another reason than that
/// nobody there can be asked.
#[derive(Debug)]
#[must_use = "a search begins when it is first polled"]
pub struct Providers(Searching<ProviderSearch, BothProviders>);

/// The values under a key, each better than the one before, as they are found. Dropping it ends the search.
///
/// The last value is the best. The stream ends after it, or with one error. A slow reader misses values that better
/// ones have superseded, never the best.
///
/// A search of two realms gives the values of both, and fails when both fail.
#[derive(Debug)]
#[must_use = "a search begins when it is first polled"]
pub struct Values(Searching<ValueSearch, BothValues>);

/// A search of one realm or of two.
#[derive(Debug)]
enum Searching<S, B> {
    One(S),
    Both(Box<B>),
}

impl Providers {
    pub(crate) fn new(call: Call) -> Self {
        Self(Searching::One(ProviderSearch { call, cost: None }))
    }

    pub(crate) fn of_both(wan: Call, lan: Call, count: usize) -> Self {
        let [wan, lan] = [wan, lan].map(|call| ProviderSearch { call, cost: None });
        Self(Searching::Both(Box::new(BothProviders::new(wan, lan, count))))
    }

    /// What the search cost, once the stream has ended; of two realms, what those that ended by themselves cost
    /// together.
    pub fn cost(&self) -> Option<Cost> {
        match &self.0 {
            Searching::One(search) => search.cost,
            Searching::Both(both) => both.cost(),
        }
    }
}

impl Stream for Providers {
    type Item = Result<PeerAddrs, FindProvidersError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.0 {
            Searching::One(search) => search.poll_next(cx),
            Searching::Both(both) => both.poll_next(cx),
        }
    }
}

impl Values {
    pub(crate) fn new(call: Call) -> Self {
        Self(Searching::One(ValueSearch::new(call)))
    }

    pub(crate) fn of_both(wan: Call, lan: Call, key: Bytes, validators: Arc<Validators>) -> Self {
        let (wan, lan) = (ValueSearch::new(wan), ValueSearch::new(lan));
        Self(Searching::Both(Box::new(BothValues::new(wan, lan, key, validators))))
    }

    /// The result, once the stream has ended without an error.
    pub fn found(&self) -> Option<&FoundValue> {
        match &self.0 {
            Searching::One(search) => search.found.as_ref(),
            Searching::Both(both) => both.found(),
        }
    }

    /// What the search cost, once the stream has ended; of two realms, both together.
    pub fn cost(&self) -> Option<Cost> {
        match &self.0 {
            Searching::One(search) => search.cost,
            Searching::Both(both) => both.cost(),
        }
    }
}

impl Stream for Values {
    type Item = Result<ValueFrom, GetValueError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.0 {
            Searching::One(search) => search.poll_next(cx),
            Searching::Both(both) => both.poll_next(cx),
        }
    }
}

/// The search for providers in one realm.
#[derive(Debug)]
pub(crate) struct ProviderSearch {
    call: Call,
    pub(crate) cost: Option<Cost>,
}

impl ProviderSearch {
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<PeerAddrs, FindProvidersError>>> {
        while let Some(update) = ready!(self.call.poll_update(cx)) {
            if let Update::Provider(provider) = update {
                return Poll::Ready(Some(Ok(provider.into())));
            }
        }
        if self.call.ended.is_none() {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.call.poll_end(cx)) {
            Err(closed) => Some(Err(closed.into())),
            Ok(Ended { outcome: Outcome::FindProviders(result), cost }) => {
                self.cost = Some(cost);
                result.err().map(Err)
            }
            Ok(_) => Some(Err(mismatch(OperationKind::FindProviders).into())),
        })
    }
}

/// The search for values in one realm.
#[derive(Debug)]
pub(crate) struct ValueSearch {
    call: Call,
    last: Option<ValueFrom>,
    pub(crate) found: Option<FoundValue>,
    pub(crate) cost: Option<Cost>,
}

impl ValueSearch {
    fn new(call: Call) -> Self {
        Self { call, last: None, found: None, cost: None }
    }

    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<ValueFrom, GetValueError>>> {
        while let Some(update) = ready!(self.call.poll_update(cx)) {
            if let Update::Value(value) = update {
                let value = ValueFrom::from(value);
                self.last = Some(value.clone());
                return Poll::Ready(Some(Ok(value)));
            }
        }
        if self.call.ended.is_none() {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.call.poll_end(cx)) {
            Err(closed) => Some(Err(closed.into())),
            Ok(Ended { outcome: Outcome::GetValue(result), cost }) => {
                self.cost = Some(cost);
                match result {
                    Err(error) => Some(Err(error)),
                    Ok(found) => {
                        let found = FoundValue::from(found);
                        let missed = self.last.as_ref().is_none_or(|last| last.value != found.best.value);
                        let best = missed.then(|| Ok(found.best.clone()));
                        self.found = Some(found);
                        best
                    }
                }
            }
            Ok(_) => Some(Err(mismatch(OperationKind::GetValue).into())),
        })
    }
}
