//! Our requests to one peer over one connection: a few streams, kept and reused.
//!
//! The protocol has no request ids, and servers answer the requests of a stream in order. So each stream carries one
//! request at a time, and its next frame is the answer. A request that times out resets its stream: a late answer
//! would be taken for the next one's. ADD_PROVIDER has no answer and frees its stream once it is flushed.
//!
//! Some servers answer once and then close or forget the stream. A stream that breaks on reuse before the answer's
//! first byte costs no failure: the request is sent again on a fresh stream, once. After [`BREAKS_MAX`] such breaks
//! each request gets its own stream. go-libp2p-kad-dht and nim-libp2p do the same.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use kadmos_core::Timestamp;
use kadmos_core::error::RequestFailure;
use kadmos_core::event::Refusal;
use kadmos_core::message::{MessageKind, Response};
use kadmos_core::wire::{decode_response, frame};
use libp2p_core::upgrade::NegotiationError;

use super::framed::{Framed, ReadEnd};
use super::{FromHandler, Outgoing};
use crate::realm::RequestKey;
use crate::shared::{Counters, SessionLimits};

/// Reused streams that broke before the peer counts as one that answers once per stream, as go-libp2p-kad-dht has it.
const BREAKS_MAX: u32 = 3;

/// What a [`Session`] wants of its handler.
#[derive(Debug)]
pub(super) enum Action {
    /// Open a stream; answered by [`Session::opened`] or [`Session::open_failed`].
    Open,
    /// Tell the behaviour.
    Report(FromHandler),
}

/// The client side of one connection.
#[derive(Debug)]
pub(super) struct Session<S> {
    limits: SessionLimits,
    frame_bytes_max: usize,
    queue: VecDeque<Queued>,
    /// Streams asked for and not there yet.
    opening: usize,
    streams: Vec<OutStream<S>>,
    reports: VecDeque<FromHandler>,
    /// Requests taken.
    requests: u64,
    /// Reused streams that broke.
    breaks: u32,
    /// Whether the peer has answered a second request on one stream.
    reuse_proven: bool,
}

#[derive(Debug)]
struct Queued {
    request: Outgoing,
    /// It broke a reused stream, so it waits for a fresh one.
    retried: bool,
}

#[derive(Debug)]
struct OutStream<S> {
    framed: Framed<S>,
    state: State,
    /// Requests it has carried, the one under way included.
    carried: u32,
    /// Answers it has given.
    answers: u32,
    /// ADD_PROVIDERs of which an echo may still come.
    unechoed: u32,
}

#[derive(Debug)]
enum State {
    /// Kept for the next request until this time.
    Parked { until: Timestamp },
    /// A request is being written or waits for its answer.
    Busy(Busy),
}

#[derive(Debug)]
struct Busy {
    request: Outgoing,
    retried: bool,
    flushed: bool,
    /// [`Framed::bytes_read`] when the request was taken: more means that the answer has begun.
    read_before: u64,
    /// Nobody waits for the answer; it is read to keep the stream usable.
    cancelled: bool,
}

/// What became of a stream's request.
enum Progress {
    Answered(Response),
    Flushed,
    /// The stream is of no further use.
    Ended(StreamEnd),
}

enum StreamEnd {
    /// It broke, or the peer closed it.
    Broken,
    /// What came is no answer.
    Refused(Refusal),
    /// The peer does not speak the protocol.
    Unsupported,
    /// It was parked for long enough.
    Expired,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) fn new(limits: SessionLimits, frame_bytes_max: usize) -> Self {
        Self {
            limits,
            frame_bytes_max,
            queue: VecDeque::new(),
            opening: 0,
            streams: Vec::new(),
            reports: VecDeque::new(),
            requests: 0,
            breaks: 0,
            reuse_proven: false,
        }
    }

    /// Takes a request; it is answered by exactly one report, unless cancelled.
    pub(super) fn send(&mut self, request: Outgoing) {
        self.requests += 1;
        if self.queue.len() >= self.limits.outbound_queue_max {
            self.fail(request.key, RequestFailure::Overloaded);
        } else {
            self.queue.push_back(Queued { request, retried: false });
        }
    }

    /// Forgets a request. One that is under way leaves its stream busy until the answer has been read.
    pub(super) fn cancel(&mut self, id: RequestKey) {
        self.queue.retain(|queued| queued.request.key != id);
        for stream in &mut self.streams {
            if let State::Busy(busy) = &mut stream.state
                && busy.request.key == id
            {
                busy.cancelled = true;
            }
        }
    }

    /// A stream asked for is there.
    pub(super) fn opened(&mut self, io: S, now: Timestamp) {
        self.opening = self.opening.saturating_sub(1);
        let state = State::Parked { until: now + self.limits.stream_park_timeout };
        let framed = Framed::new(io, self.frame_bytes_max);
        self.streams.push(OutStream { framed, state, carried: 0, answers: 0, unechoed: 0 });
    }

    /// A stream asked for could not be opened. A peer that does not speak the protocol fails all that wait; another
    /// reason the one that waited longest.
    pub(super) fn open_failed(&mut self, failure: RequestFailure) {
        self.opening = self.opening.saturating_sub(1);
        let failed =
            if failure == RequestFailure::Unsupported { self.queue.len() } else { self.queue.len().min(1) };
        for _ in 0..failed {
            if let Some(queued) = self.queue.pop_front() {
                self.fail(queued.request.key, failure);
            }
        }
    }

    /// Drives all streams. `scratch` is a read buffer without meaning between calls.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        now: Timestamp,
        scratch: &mut [u8],
        counters: &Counters,
    ) -> Poll<Action> {
        self.drive_streams(cx, now, scratch, counters);
        self.expire(now);
        while self.assign(counters) {
            self.drive_streams(cx, now, scratch, counters);
        }
        if let Some(report) = self.reports.pop_front() {
            return Poll::Ready(Action::Report(report));
        }
        if self.wants_stream() {
            self.opening += 1;
            return Poll::Ready(Action::Open);
        }
        Poll::Pending
    }

    /// When it wants to be polled again at the latest.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let queued = self.queue.iter().map(|queued| queued.request.deadline);
        let streams = self.streams.iter().map(|stream| match &stream.state {
            State::Parked { until } => *until,
            State::Busy(busy) => busy.request.deadline,
        });
        queued.chain(streams).min()
    }

    /// Requests taken so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// Whether anybody waits for the peer.
    pub(super) fn is_busy(&self) -> bool {
        !self.queue.is_empty()
            || self.streams.iter().any(|stream| matches!(&stream.state, State::Busy(busy) if !busy.cancelled))
    }

    /// Reports a failure.
    pub(super) fn fail(&mut self, request: RequestKey, failure: RequestFailure) {
        self.reports.push_back(FromHandler::Failed { request, failure });
    }

    /// Polls every stream until none makes progress.
    fn drive_streams(
        &mut self,
        cx: &mut Context<'_>,
        now: Timestamp,
        scratch: &mut [u8],
        counters: &Counters,
    ) {
        let mut index = 0;
        while index < self.streams.len() {
            match self.streams[index].poll(cx, now, scratch, counters) {
                Poll::Pending => index += 1,
                Poll::Ready(Progress::Ended(end)) => {
                    let stream = self.streams.swap_remove(index);
                    self.stream_ended(stream, end, counters, cx);
                }
                Poll::Ready(Progress::Answered(response)) => {
                    self.request_done(index, Some(response), now, cx);
                }
                Poll::Ready(Progress::Flushed) => self.request_done(index, None, now, cx),
            }
        }
    }

    /// The request of a stream was answered or, without a response, flushed.
    fn request_done(
        &mut self,
        index: usize,
        response: Option<Response>,
        now: Timestamp,
        cx: &mut Context<'_>,
    ) {
        let stream = &mut self.streams[index];
        let parked = State::Parked { until: now + self.limits.stream_park_timeout };
        let State::Busy(busy) = std::mem::replace(&mut stream.state, parked) else { return };
        let request = busy.request.key;
        let report = match response {
            Some(response) => {
                stream.answers += 1;
                self.reuse_proven |= stream.answers > 1;
                FromHandler::Answered { request, response }
            }
            None => FromHandler::Flushed { request },
        };
        if !busy.cancelled {
            self.reports.push_back(report);
        }
        if self.breaks >= BREAKS_MAX {
            close(self.streams.swap_remove(index), cx);
        }
    }

    fn stream_ended(
        &mut self,
        stream: OutStream<S>,
        end: StreamEnd,
        counters: &Counters,
        cx: &mut Context<'_>,
    ) {
        if let StreamEnd::Refused(code) = &end {
            counters.refused(*code);
        }
        let busy = match stream.state {
            State::Busy(ref busy) if !busy.cancelled => busy,
            // Nobody waited for it. An expired one is in order, so the peer is told.
            _ => {
                return if matches!(end, StreamEnd::Expired) {
                    close(stream, cx)
                };
            }
        };
        let answer_begun = stream.framed.bytes_read() > busy.read_before;
        let failure = match end {
            StreamEnd::Broken if stream.carried > 1 && !answer_begun => {
                self.breaks += 1;
                counters.reuse_broken();
                if !busy.retried {
                    let request = busy.request.clone();
                    self.queue.push_front(Queued { request, retried: true });
                    return;
                }
                RequestFailure::Closed
            }
            StreamEnd::Broken | StreamEnd::Expired => RequestFailure::Closed,
            StreamEnd::Refused(_) => RequestFailure::Malformed,
            StreamEnd::Unsupported => RequestFailure::Unsupported,
        };
        self.fail(busy.request.key, failure);
    }

    /// Ends requests whose time is up, and resets their streams.
    fn expire(&mut self, now: Timestamp) {
        let (queue, streams, reports) = (&mut self.queue, &mut self.streams, &mut self.reports);
        let mut timed_out = |request: &Outgoing| {
            let failure = RequestFailure::TimedOut;
            reports.push_back(FromHandler::Failed { request: request.key, failure });
        };
        queue.retain(|queued| {
            let expired = queued.request.deadline <= now;
            if expired {
                timed_out(&queued.request);
            }
            !expired
        });
        streams.retain(|stream| match &stream.state {
            State::Busy(busy) if busy.request.deadline <= now => {
                if !busy.cancelled {
                    timed_out(&busy.request);
                }
                false
            }
            _ => true,
        });
    }

    /// Gives the first request that can have one a parked stream; tells whether it did.
    fn assign(&mut self, counters: &Counters) -> bool {
        for position in 0..self.queue.len() {
            let queued = &self.queue[position];
            let Some(index) = self.parked_stream_for(queued) else { continue };
            // The position was just looked at.
            let Some(queued) = self.queue.remove(position) else { return false };
            self.streams[index].begin(queued, counters);
            return true;
        }
        false
    }

    /// The parked stream to use for a request: the one used last, so that the others expire.
    fn parked_stream_for(&self, queued: &Queued) -> Option<usize> {
        let has_response = queued.request.request.has_response();
        let usable = |stream: &OutStream<S>| match stream.state {
            State::Busy(_) => None,
            _ if stream.carried == 0 => Some(Timestamp::ZERO),
            // What breaks a stream that is not known to be reusable must be noticed; a lost ADD_PROVIDER would not.
            _ if queued.retried || !(has_response || self.reuse_proven) => None,
            State::Parked { until } => Some(until),
        };
        let streams = self.streams.iter().enumerate();
        streams.filter_map(|(index, stream)| Some((usable(stream)?, index))).max().map(|(_, index)| index)
    }

    /// Whether a request waits for which no stream is on its way and one may be opened, at the cost of a stream
    /// that nobody waits for if need be.
    fn wants_stream(&mut self) -> bool {
        if self.opening >= self.queue.len() {
            return false;
        }
        let max = self.limits.outbound_streams_max;
        if self.streams.len() + self.opening >= max {
            let unneeded = |stream: &OutStream<S>| match &stream.state {
                State::Parked { .. } => true,
                State::Busy(busy) => busy.cancelled,
            };
            match self.streams.iter().position(unneeded) {
                Some(index) => drop(self.streams.swap_remove(index)),
                None => return false,
            }
        }
        self.streams.len() + self.opening < max
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> OutStream<S> {
    fn begin(&mut self, queued: Queued, counters: &Counters) {
        let Queued { request, retried } = queued;
        frame::write_request(&request.request, self.framed.out());
        if self.carried > 0 {
            counters.stream_reused();
        }
        self.carried += 1;
        let read_before = self.framed.bytes_read();
        self.state = State::Busy(Busy { request, retried, flushed: false, read_before, cancelled: false });
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        now: Timestamp,
        scratch: &mut [u8],
        counters: &Counters,
    ) -> Poll<Progress> {
        let expected = match &mut self.state {
            State::Parked { until } if *until <= now => {
                return Poll::Ready(Progress::Ended(StreamEnd::Expired));
            }
            // Nothing but the echo of an ADD_PROVIDER may come; the end of the stream is noticed before it is used.
            // A stream that was never used is not read: reading would negotiate it.
            State::Parked { .. } if self.carried == 0 => return Poll::Pending,
            State::Parked { .. } => MessageKind::AddProvider,
            State::Busy(busy) => {
                if !busy.flushed {
                    match self.framed.poll_flush(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(())) => busy.flushed = true,
                        Poll::Ready(Err(error)) => {
                            return Poll::Ready(Progress::Ended(StreamEnd::of(&error)));
                        }
                    }
                    if !busy.request.request.has_response() {
                        self.unechoed += 1;
                        return Poll::Ready(Progress::Flushed);
                    }
                }
                busy.request.request.kind()
            }
        };
        loop {
            let frame = match self.framed.poll_frame(cx, scratch) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(frame)) => frame,
                Poll::Ready(Err(end)) => return Poll::Ready(Progress::Ended(end.into())),
            };
            match decode_response(&frame, expected) {
                Ok(decoded) if decoded.message == Response::AddProvider && self.unechoed > 0 => {
                    self.unechoed -= 1;
                }
                Ok(decoded) if matches!(self.state, State::Busy(_)) && decoded.message.kind() == expected => {
                    if let Some(code) = decoded.dropped.refusal() {
                        counters.refused(code);
                    }
                    return Poll::Ready(Progress::Answered(decoded.message));
                }
                Ok(_) => return Poll::Ready(Progress::Ended(StreamEnd::Refused(Refusal::WrongResponse))),
                Err(error) => return Poll::Ready(Progress::Ended(StreamEnd::Refused(error.refusal()))),
            }
        }
    }
}

/// Tells the peer that no further request comes, as far as that is possible without waiting, and lets the stream go.
fn close<S: AsyncRead + AsyncWrite + Unpin>(mut stream: OutStream<S>, cx: &mut Context<'_>) {
    let _ = stream.framed.poll_close(cx);
}

impl StreamEnd {
    /// With lazy negotiation a refused protocol shows as an error of the first read.
    fn of(error: &io::Error) -> Self {
        let negotiation = error.get_ref().and_then(|inner| inner.downcast_ref::<NegotiationError>());
        if matches!(negotiation, Some(NegotiationError::Failed)) { Self::Unsupported } else { Self::Broken }
    }
}

impl From<ReadEnd> for StreamEnd {
    fn from(end: ReadEnd) -> Self {
        match end {
            ReadEnd::Eof { clean: true } => Self::Broken,
            ReadEnd::Eof { clean: false } => Self::Refused(Refusal::Malformed),
            ReadEnd::Frame(error) => Self::Refused(error.refusal()),
            ReadEnd::Io(error) => Self::of(&error),
        }
    }
}

#[cfg(test)]
mod tests;
