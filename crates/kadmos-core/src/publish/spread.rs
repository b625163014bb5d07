//! One record to many holders, with retries.

use alloc::vec::Vec;

use crate::error::{PublishReport, RequestFailure};
use crate::event::Refusal;
use crate::machine::{Context, Effect};
use crate::message::{Request, Response};
use crate::peer::{Peer, PeerInfo};
use crate::retry::RetryPolicy;
use crate::time::Timestamp;

/// Sends one request to each of some holders and counts what became of it. Failures of the network are retried
/// by the given policy; refusals and broken answers are not.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    request: Request,
    retry: RetryPolicy,
    holders: Vec<Holder>,
}

#[derive(Clone, Debug)]
struct Holder {
    info: PeerInfo,
    failed_tries: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// To be sent again at this time.
    Retry {
        at: Timestamp,
        failure: RequestFailure,
    },
    /// Sent; for values, answered without the record.
    Sent,
    /// Echoed.
    Stored,
    Failed(RequestFailure),
}

impl Spread {
    pub(crate) fn new(request: Request, holders: Vec<PeerInfo>, retry: RetryPolicy) -> Self {
        let holders =
            holders.into_iter().map(|info| Holder { info, failed_tries: 0, state: State::Waiting }).collect();
        Self { request, retry, holders }
    }

    pub(crate) fn start(&mut self, cx: &mut Context<'_>) {
        for holder in &self.holders {
            cx.send(holder.info.clone(), self.request.clone(), 0);
        }
    }

    pub(crate) fn answered(&mut self, cx: &mut Context<'_>, peer: &Peer, response: &Response) {
        let state = match (&self.request, response) {
            (Request::PutValue { record }, Response::PutValue { record: Some(echo) })
                if echo.value == record.value =>
            {
                State::Stored
            }
            // Some implementations leave the record out: it was sent, and nothing more is known.
            (Request::PutValue { .. }, Response::PutValue { record: None }) => State::Sent,
            (Request::AddProvider { .. }, Response::AddProvider) => State::Sent,
            _ => {
                cx.emit(Effect::Refused { peer: peer.clone(), code: Refusal::WrongResponse });
                State::Failed(RequestFailure::Malformed)
            }
        };
        self.settle(peer, state);
    }

    pub(crate) fn flushed(&mut self, _cx: &mut Context<'_>, peer: &Peer) {
        self.settle(peer, State::Sent);
    }

    pub(crate) fn failed(&mut self, cx: &mut Context<'_>, peer: &Peer, failure: RequestFailure) {
        let retry = self.retry;
        let Some(holder) = self.waiting(peer) else { return };
        holder.failed_tries += 1;
        let delay = if failure.is_retryable() { retry.delay(holder.failed_tries, cx.rng) } else { None };
        holder.state = match delay {
            Some(delay) => State::Retry { at: cx.now.monotonic + delay, failure },
            None => State::Failed(failure),
        };
    }

    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        for holder in &mut self.holders {
            if matches!(holder.state, State::Retry { at, .. } if at <= cx.now.monotonic) {
                holder.state = State::Waiting;
                cx.send(holder.info.clone(), self.request.clone(), 0);
            }
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        let retry = |holder: &Holder| match holder.state {
            State::Retry { at, .. } => Some(at),
            _ => None,
        };
        self.holders.iter().filter_map(retry).min()
    }

    pub(crate) fn has_ended(&self) -> bool {
        !self.holders.iter().any(|holder| matches!(holder.state, State::Waiting | State::Retry { .. }))
    }

    /// What became of the record so far; holders that have not answered count as failed with `pending`.
    pub(crate) fn take_report(&mut self, pending: RequestFailure) -> PublishReport {
        let is_value = matches!(self.request, Request::PutValue { .. });
        let mut report = PublishReport { attempted: self.holders.len(), ..PublishReport::default() };
        for holder in self.holders.drain(..) {
            let peer = holder.info.peer;
            match holder.state {
                State::Stored => {
                    report.sent += 1;
                    report.stored += 1;
                    report.holders.push(peer);
                }
                State::Sent => {
                    report.sent += 1;
                    if !is_value {
                        report.holders.push(peer);
                    }
                }
                State::Failed(failure) | State::Retry { failure, .. } => report.failed.push((peer, failure)),
                State::Waiting => report.failed.push((peer, pending)),
            }
        }
        report
    }

    fn settle(&mut self, peer: &Peer, state: State) {
        if let Some(holder) = self.waiting(peer) {
            holder.state = state;
        }
    }

    fn waiting(&mut self, peer: &Peer) -> Option<&mut Holder> {
        self.holders.iter_mut().find(|holder| holder.info.peer == *peer && holder.state == State::Waiting)
    }
}
