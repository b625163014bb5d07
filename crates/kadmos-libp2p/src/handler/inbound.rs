//! Serving one peer over one connection: its streams, each a loop of read, answer, write.
//!
//! Runs where the connection runs, so a slow peer, store or signature check costs nobody else's time. A stream's
//! requests are answered in order, one at a time; until an answer is taken, nothing more is read.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::{Either, select};
use futures::{AsyncRead, AsyncWrite};
use futures_timer::Delay;
use kadmos_core::event::Refusal;
use kadmos_core::limits::PROVIDERS_PER_REPLY_MAX;
use kadmos_core::message::{MessageKind, Record, Request, Response};
use kadmos_core::record::{ProviderRecord, ValueWrite};
use kadmos_core::server::{Fetched, PeerBudget, Reply};
use kadmos_core::wire::{decode_request, frame, varint};
use kadmos_core::{Now, Reader, Timestamp};
use kadmos_store::WriteError;

use super::framed::{Framed, ReadEnd};
use crate::realm::Realm;
use crate::shared::{Gauge, Shared};

/// Times a PUT_VALUE is decided anew because another writer was faster.
const CONFLICTS_MAX: u32 = 3;

/// Requests served from one stream before the connection's other work gets its turn.
const REQUESTS_PER_TURN: usize = 16;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The server side of one connection.
#[derive(Debug)]
pub(super) struct Server<S> {
    budget: PeerBudget,
    streams: Vec<Accepted<S>>,
    /// Requests read.
    requests: u64,
    /// What was served and is to be told. At most one turn's requests of each stream: until they are taken, nothing is read.
    served: VecDeque<Served>,
}

/// A request of a peer that was served, for a host that wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Served {
    /// ADD_PROVIDER, which the store took.
    AddProvider(ProviderRecord),
    /// FIND_NODE.
    FindNode {
        /// Peers named in the answer.
        closer: usize,
    },
    /// GET_PROVIDERS.
    GetProviders {
        /// Peers named in the answer.
        closer: usize,
        /// Providers named in the answer.
        providers: usize,
    },
    /// GET_VALUE.
    GetValue {
        /// Peers named in the answer.
        closer: usize,
        /// Whether the answer had a value.
        found: bool,
    },
    /// PUT_VALUE, which the store took.
    PutValue(Record),
}

impl Served {
    fn of(response: &Response) -> Option<Self> {
        let closer = response.closer().len();
        Some(match response {
            Response::FindNode { .. } => Self::FindNode { closer },
            Response::GetProviders { providers, .. } => {
                Self::GetProviders { closer, providers: providers.len() }
            }
            Response::GetValue { record, .. } => Self::GetValue { closer, found: record.is_some() },
            Response::PutValue { record } => Self::PutValue(record.clone()?),
            Response::Ping | Response::AddProvider => return None,
        })
    }
}

#[derive(Debug)]
struct Accepted<S> {
    /// Of the realm whose protocol was negotiated.
    shared: Arc<Shared>,
    stream: InStream<S>,
    /// Whether it ends once nothing that it has read waits for an answer.
    draining: bool,
}

#[derive(Debug)]
struct InStream<S> {
    framed: Framed<S>,
    state: State,
    /// When it is reset unless it makes progress: a whole request, or a whole answer taken.
    idle_at: Timestamp,
    /// When the request being served had been read.
    began: Timestamp,
    _gauge: Gauge,
}

enum State {
    /// Waits for a request.
    Reading,
    /// Waits for the store.
    Storing(BoxFuture<Stored>),
    /// Writes an answer.
    Writing(MessageKind),
    /// The peer has closed its side; so do we.
    Closing,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Reading => "Reading",
            Self::Storing(_) => "Storing",
            Self::Writing(_) => "Writing",
            Self::Closing => "Closing",
        })
    }
}

/// What a store operation came to.
enum Stored {
    Value {
        result: Result<(), WriteError>,
        response: Response,
        request: Request,
        conflicts: u32,
    },
    /// With the record, if somebody wants to hear of it.
    Provider(Result<(), WriteError>, Option<ProviderRecord>),
    Fetched {
        fetched: Fetched,
        request: Request,
        conflicts: u32,
    },
}

/// Why a stream is let go.
enum End {
    /// The peer is done.
    Closed,
    /// It broke.
    Broken,
    /// It is reset, for this reason.
    Refused(Refusal),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Server<S> {
    pub(super) fn new(budget: PeerBudget) -> Self {
        Self { budget, streams: Vec::new(), requests: 0, served: VecDeque::new() }
    }

    /// Takes a stream that the peer opened, unless it has too many. `shared` is that of the stream's realm.
    pub(super) fn accept(&mut self, io: S, now: Timestamp, shared: &Arc<Shared>) {
        if self.streams.len() >= shared.limits.inbound_streams_max {
            shared.counters.refused(Refusal::TooManyStreams);
            return;
        }
        let stream = InStream {
            framed: Framed::new(io, shared.frame_bytes_max),
            state: State::Reading,
            idle_at: now + shared.limits.stream_idle_timeout,
            began: now,
            _gauge: shared.counters.inbound_stream(),
        };
        self.streams.push(Accepted { shared: Arc::clone(shared), stream, draining: false });
    }

    /// Resets all streams of a realm: we no longer serve in it.
    pub(super) fn stop(&mut self, realm: Realm) {
        self.streams.retain(|accepted| {
            let stays = accepted.shared.realm != realm;
            if !stays {
                accepted.shared.counters.refused(Refusal::NotServing);
            }
            stays
        });
    }

    /// Resets each stream of a realm as soon as nothing that it has read waits for an answer.
    pub(super) fn drain(&mut self, realm: Realm) {
        let concerned = self.streams.iter_mut().filter(|accepted| accepted.shared.realm == realm);
        concerned.for_each(|accepted| accepted.draining = true);
    }

    /// Drives all streams. `scratch` is a read buffer without meaning between calls; limits and counters are the same
    /// in every realm.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now: Now, scratch: &mut [u8], limits: &Shared) {
        let mut index = 0;
        while index < self.streams.len() {
            let Accepted { shared, stream, draining } = &mut self.streams[index];
            let mut turn = Turn {
                now,
                draining: *draining,
                scratch: &mut *scratch,
                shared,
                budget: &mut self.budget,
                requests: &mut self.requests,
                served: &mut self.served,
            };
            match stream.poll(cx, &mut turn) {
                Poll::Pending => index += 1,
                Poll::Ready(end) => {
                    self.streams.swap_remove(index);
                    if let End::Refused(code) = end {
                        tracing::debug!(peer = %self.budget.peer(), code = code.code(), "stream reset");
                        limits.counters.refused(code);
                    }
                }
            }
        }
        self.bound_buffers(limits);
    }

    /// The next request that was served and is to be told.
    pub(super) fn next_served(&mut self) -> Option<Served> {
        self.served.pop_front()
    }

    /// Whether a request is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.streams
            .iter()
            .any(|accepted| matches!(accepted.stream.state, State::Storing(_) | State::Writing(_)))
    }

    /// Requests read so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// When it wants to be polled again at the latest.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.streams.iter().map(|accepted| accepted.stream.idle_at).min()
    }

    /// Resets the stream that holds most while all of them hold too much.
    fn bound_buffers(&mut self, shared: &Shared) {
        while self.streams.iter().map(|accepted| accepted.stream.framed.buffered()).sum::<usize>()
            > shared.limits.inbound_bytes_max
        {
            let streams = self.streams.iter().enumerate();
            let largest = streams.max_by_key(|(_, accepted)| accepted.stream.framed.buffered());
            let Some((index, _)) = largest else { return };
            self.streams.swap_remove(index);
            shared.counters.refused(Refusal::FrameTooLarge);
        }
    }
}

/// What a stream needs of its connection for one poll.
struct Turn<'a> {
    now: Now,
    draining: bool,
    scratch: &'a mut [u8],
    shared: &'a Arc<Shared>,
    budget: &'a mut PeerBudget,
    requests: &'a mut u64,
    served: &'a mut VecDeque<Served>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> InStream<S> {
    fn poll(&mut self, cx: &mut Context<'_>, turn: &mut Turn<'_>) -> Poll<End> {
        let mut served = 0;
        loop {
            if turn.draining && matches!(self.state, State::Reading) {
                return Poll::Ready(End::Refused(Refusal::NotServing));
            }
            match self.step(cx, turn) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Pending if self.idle_at <= turn.now.monotonic => {
                    return Poll::Ready(End::Refused(Refusal::StreamIdle));
                }
                Poll::Pending => return Poll::Pending,
            }
            if matches!(self.state, State::Reading) {
                served += 1;
                if served == REQUESTS_PER_TURN {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    /// One step of the loop.
    fn step(&mut self, cx: &mut Context<'_>, turn: &mut Turn<'_>) -> Poll<Result<(), End>> {
        let ready = match &mut self.state {
            State::Reading => match self.framed.poll_frame(cx, turn.scratch) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(frame)) => {
                    *turn.requests += 1;
                    self.idle_at = turn.now.monotonic + turn.shared.limits.stream_idle_timeout;
                    self.serve(&frame, turn)
                }
                Poll::Ready(Err(ReadEnd::Eof { clean: true })) => {
                    self.state = State::Closing;
                    Ok(())
                }
                Poll::Ready(Err(end)) => Err(end.into()),
            },
            State::Storing(future) => match future.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(stored) => self.stored(stored, turn),
            },
            State::Writing(kind) => match self.framed.poll_flush(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {
                    let elapsed = turn.shared.now().monotonic.since(self.began);
                    turn.shared.counters.serving().request_served(*kind, elapsed);
                    self.idle_at = turn.now.monotonic + turn.shared.limits.stream_idle_timeout;
                    self.state = State::Reading;
                    Ok(())
                }
                Poll::Ready(Err(_)) => Err(End::Broken),
            },
            State::Closing => match self.framed.poll_close(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(_) => Err(End::Closed),
            },
        };
        Poll::Ready(ready)
    }

    fn serve(&mut self, frame: &Bytes, turn: &mut Turn<'_>) -> Result<(), End> {
        // The clock itself, not the turn's time: many requests are served within one turn.
        self.began = turn.shared.now().monotonic;
        turn.shared.counters.serving().bytes_read(frame.len() + varint::len(frame.len() as u64));
        let decoded = decode_request(frame).map_err(|error| End::Refused(error.refusal()))?;
        if let Some(code) = decoded.dropped.refusal() {
            turn.shared.counters.refused(code);
        }
        let key = decoded.message.key().clone();
        let shared = turn.shared;
        let table = shared.table.load();
        let reply = shared.responder.respond(turn.now, decoded.message, &table, &*shared.reader, turn.budget);
        self.reply(reply, &key, 0, turn)
    }

    /// Answers the second half of a request that waited for the store.
    fn resume(
        &mut self,
        request: Request,
        reader: &dyn Reader,
        conflicts: u32,
        turn: &mut Turn<'_>,
    ) -> Result<(), End> {
        let key = request.key().clone();
        let shared = turn.shared;
        let table = shared.table.load();
        let reply = shared.responder.resume(turn.now, request, &table, reader, turn.budget.peer());
        self.reply(reply, &key, conflicts, turn)
    }

    fn reply(&mut self, reply: Reply, key: &Bytes, conflicts: u32, turn: &mut Turn<'_>) -> Result<(), End> {
        self.state = match reply {
            Reply::Respond(response) => {
                let out = self.framed.out();
                frame::write_response(&response, key, out);
                turn.shared.counters.serving().bytes_written(out.len());
                if turn.shared.tells_served {
                    turn.served.extend(Served::of(&response));
                }
                State::Writing(response.kind())
            }
            Reply::StoreValue { write, response, request } => {
                State::Storing(put_value(turn, write, response, request, conflicts))
            }
            Reply::AddProvider(record) => State::Storing(add_provider(turn, record)),
            Reply::Fetch(request) => State::Storing(fetch(turn, request, conflicts)),
            Reply::Ignore(code) => {
                turn.shared.counters.refused(code);
                State::Reading
            }
            Reply::Reset(code) => return Err(End::Refused(code)),
        };
        Ok(())
    }

    fn stored(&mut self, stored: Stored, turn: &mut Turn<'_>) -> Result<(), End> {
        match stored {
            Stored::Value { result: Ok(()), response, request, .. } => {
                self.reply(Reply::Respond(response), request.key(), 0, turn)
            }
            Stored::Value { result: Err(WriteError::Conflict), request, conflicts, .. }
                if conflicts < CONFLICTS_MAX =>
            {
                let reader = Arc::clone(&turn.shared.reader);
                self.resume(request, &*reader, conflicts + 1, turn)
            }
            Stored::Value { result: Err(error), .. } => Err(End::Refused(refusal(&error))),
            Stored::Provider(result, record) => {
                match result {
                    Ok(()) => {
                        turn.served.extend(record.map(Served::AddProvider));
                        let elapsed = turn.shared.now().monotonic.since(self.began);
                        turn.shared.counters.serving().request_served(MessageKind::AddProvider, elapsed);
                    }
                    Err(error) => turn.shared.counters.refused(refusal(&error)),
                }
                self.state = State::Reading;
                Ok(())
            }
            Stored::Fetched { fetched, request, conflicts } => {
                self.resume(request, &fetched, conflicts, turn)
            }
        }
    }
}

/// The code under which a failed write is counted. The log has the reason.
fn refusal(error: &WriteError) -> Refusal {
    tracing::debug!(%error, "record not stored");
    match error {
        WriteError::Expired => Refusal::OutdatedRecord,
        _ => Refusal::StoreFull,
    }
}

fn put_value(
    turn: &Turn<'_>,
    write: ValueWrite,
    response: Response,
    request: Request,
    conflicts: u32,
) -> BoxFuture<Stored> {
    let (shared, now) = (Arc::clone(turn.shared), turn.now);
    Box::pin(async move {
        let _permit = shared.store_permits.acquire().await;
        let result = single(shared.store.put_values(vec![write], now.unix).await);
        Stored::Value { result, response, request, conflicts }
    })
}

fn add_provider(turn: &Turn<'_>, record: ProviderRecord) -> BoxFuture<Stored> {
    let (shared, now) = (Arc::clone(turn.shared), turn.now);
    Box::pin(async move {
        let _permit = shared.store_permits.acquire().await;
        let told = shared.tells_served.then(|| record.clone());
        Stored::Provider(single(shared.store.add_providers(vec![record], now.unix).await), told)
    })
}

/// Reads what the request asks for from the slow side. What does not come in time counts as absent; a PUT_VALUE that
/// was decided so meets a conflict if it is not.
fn fetch(turn: &Turn<'_>, request: Request, conflicts: u32) -> BoxFuture<Stored> {
    let (shared, now) = (Arc::clone(turn.shared), turn.now.unix);
    Box::pin(async move {
        let read = Box::pin(async {
            let _permit = shared.store_permits.acquire().await;
            let mut fetched = Fetched::default();
            let failed = if request.kind() == MessageKind::GetProviders {
                let providers = shared.store.providers(request.key(), PROVIDERS_PER_REPLY_MAX, now).await;
                providers.map(|providers| fetched.providers = providers).err()
            } else {
                shared.store.value(request.key(), now).await.map(|value| fetched.value = value).err()
            };
            if let Some(error) = failed {
                tracing::debug!(%error, "record not read");
            }
            fetched
        });
        let fetched = match select(read, Delay::new(shared.limits.store_read_timeout)).await {
            Either::Left((fetched, _)) => fetched,
            Either::Right(((), _)) => Fetched::default(),
        };
        Stored::Fetched { fetched, request, conflicts }
    })
}

/// The result of a batch of one. A store that forgot it has not said that it wrote.
fn single(results: Vec<Result<(), WriteError>>) -> Result<(), WriteError> {
    results.into_iter().next().unwrap_or_else(|| {
        let reason = "the store gave no result for a write".to_owned();
        Err(WriteError::Failed(kadmos_store::StoreError::Unavailable { reason }))
    })
}

impl From<ReadEnd> for End {
    fn from(end: ReadEnd) -> Self {
        match end {
            ReadEnd::Eof { clean: true } => Self::Closed,
            ReadEnd::Eof { clean: false } => Self::Refused(Refusal::Malformed),
            ReadEnd::Frame(error) => Self::Refused(error.refusal()),
            ReadEnd::Io(_) => Self::Broken,
        }
    }
}

#[cfg(test)]
mod tests;
