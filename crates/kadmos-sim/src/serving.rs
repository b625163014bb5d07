//! The server side of a node: the same responder as on a real network, and the store behind it.

use std::time::Duration;

use bytes::Bytes;
use kadmos_core::config::Mode;
use kadmos_core::error::RequestFailure;
use kadmos_core::event::Refusal;
use kadmos_core::limits::PROVIDERS_PER_REPLY_MAX;
use kadmos_core::message::{MessageKind, Request, Response};
use kadmos_core::record::{StoreReply, StoreRequest};
use kadmos_core::server::{Fetched, PeerBudget, Reply};
use kadmos_core::wire::DecodeError;
use kadmos_core::{Key, PeerId, RequestId};
use kadmos_store::WriteError;

use crate::connections::{ConnectionId, Side};
use crate::plant::Plant;
use crate::trace::Fact;
use crate::wire;
use crate::world::{Event, NodeIndex, World};

/// Records looked at each time a store is tended.
const EXPIRE_AT_ONCE: usize = 16;

/// How often a write that another writer overtook is decided anew, as every driver must.
const CONFLICTS_MAX: usize = 3;

/// What becomes of a request once the responder and the store have done their part.
enum Served {
    Answer(Response),
    /// Nothing is sent.
    Done,
    Refused(Refusal),
    /// The stream is reset.
    Reset(Refusal),
}

impl World {
    /// Answers a request that has arrived at the end `side`.
    pub(crate) fn serve(&mut self, id: ConnectionId, side: Side, request: RequestId, message: Request) {
        let Some((node, by)) = self.ends(id, side) else { return };
        if !self.is_running(node) || self.separated(node, by) {
            return; // lost; the asker hears that the connection is gone, or nothing
        }
        if self.nodes[node.as_usize()].traits.mute {
            return;
        }
        if !self.serves(node) {
            self.reply(id, side, |connection, side| Event::Reset {
                connection,
                side,
                request,
                failure: RequestFailure::Unsupported,
            });
            return;
        }
        let message = match self.request_over_the_wire(by, message) {
            Ok(message) => message,
            Err(error) => {
                self.violation(node, format_args!("our own request cannot be read: {error}"));
                return;
            }
        };
        self.counters.requests_served += 1;
        self.nodes[node.as_usize()].charges.served_messages += 1;
        self.note(node, Fact::Asked { by, request, message: &message });
        let now = self.clock_of(node);
        let by_id = self.info(by).peer.id;
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.used_at = now.monotonic;
        let budget = connection.budget(side, || PeerBudget::new(by_id, now.monotonic));
        let state = &self.nodes[node.as_usize()];
        let asked = (self.wire || !state.undialable.is_empty())
            .then(|| (message.kind(), Bytes::copy_from_slice(message.key())));
        let reply = self.responder.respond(now, message, state.view(), &state.store, budget);
        match self.carry_out(node, &by_id, reply) {
            Served::Answer(mut response) => {
                let response = match asked {
                    Some((kind, key)) => {
                        self.name_undialable(node, &key, &mut response);
                        if self.wire { self.over_the_wire(node, &response, kind, &key) } else { Ok(response) }
                    }
                    None => Ok(response),
                };
                self.reply(id, side, |connection, side| match response {
                    Ok(response) => Event::Answered { connection, side, request, response },
                    Err(_) => Event::Reset { connection, side, request, failure: RequestFailure::Malformed },
                });
            }
            Served::Done => {}
            Served::Refused(code) => self.refused(node, by, code),
            Served::Reset(code) => {
                self.refused(node, by, code);
                self.reply(id, side, |connection, side| Event::Reset {
                    connection,
                    side,
                    request,
                    failure: RequestFailure::Closed,
                });
            }
        }
    }

    /// Adds ids that nobody answers at to those an answer names, as the public network's servers do.
    fn name_undialable(&self, node: NodeIndex, key: &[u8], response: &mut Response) {
        let undialable = &self.nodes[node.as_usize()].undialable;
        let (Response::FindNode { closer }
        | Response::GetProviders { closer, .. }
        | Response::GetValue { closer, .. }) = response
        else {
            return;
        };
        let own = &self.info(node).peer;
        if undialable.is_empty() || closer.iter().any(|info| info.peer == *own) {
            return; // the answer to a probe names the node alone
        }
        let target = Key::of(key);
        closer.extend_from_slice(undialable);
        closer.sort_by_cached_key(|info| info.peer.key.distance(&target));
        closer.truncate(self.blueprint.config.lookup.k.get());
    }

    fn request_over_the_wire(&mut self, by: NodeIndex, message: Request) -> Result<Request, DecodeError> {
        if !self.wire {
            return Ok(message);
        }
        let (bytes, message) = wire::request(&message);
        self.nodes[by.as_usize()].charges.bytes += bytes as u64;
        message
    }

    fn over_the_wire(
        &mut self,
        node: NodeIndex,
        response: &Response,
        kind: MessageKind,
        key: &[u8],
    ) -> Result<Response, DecodeError> {
        let (bytes, response) = wire::response(response, kind, key);
        self.nodes[node.as_usize()].charges.bytes += bytes as u64;
        response
    }

    /// Whether a node takes requests.
    pub(crate) fn serves(&self, node: NodeIndex) -> bool {
        self.table(node).mode() == Mode::Server
    }

    /// Lets the store see both clocks, and drop a few of the records that have expired: what a driver does each now and
    /// then. Here, as often as the node is woken, and that is every two minutes or more often.
    pub(crate) fn tend_store(&self, node: NodeIndex) {
        let now = self.clock_of(node);
        self.nodes[node.as_usize()].store.expire(now, EXPIRE_AT_ONCE);
    }

    /// Runs a store operation of the node's own.
    pub(crate) fn run_store(&self, node: NodeIndex, request: &StoreRequest) -> StoreReply {
        self.nodes[node.as_usize()].store.execute(request, self.clock_of(node).unix)
    }

    fn carry_out(&mut self, node: NodeIndex, by: &PeerId, reply: Reply) -> Served {
        let now = self.clock_of(node);
        let mut reply = reply;
        for _ in 0..=CONFLICTS_MAX {
            let state = &self.nodes[node.as_usize()];
            let table = state.view();
            reply = match reply {
                Reply::Respond(response) => return Served::Answer(response),
                Reply::Ignore(code) => return Served::Refused(code),
                Reply::Reset(code) => return Served::Reset(code),
                // Planted: says that it took the record, and does not.
                Reply::AddProvider(record) if self.plant == Some(Plant::LostRecord) => {
                    self.note(node, Fact::RecordTaken { key: &record.key });
                    return Served::Done;
                }
                Reply::AddProvider(record) => {
                    return match state.store.add_provider(&record, now.unix) {
                        Ok(()) => {
                            self.note(node, Fact::RecordTaken { key: &record.key });
                            Served::Done
                        }
                        Err(_) => Served::Refused(Refusal::StoreFull),
                    };
                }
                Reply::StoreValue { write, response, request } => {
                    match state.store.put_value(&write, now.unix) {
                        Ok(()) => {
                            self.note(node, Fact::RecordTaken { key: &write.record.key });
                            return Served::Answer(response);
                        }
                        Err(WriteError::Conflict) => {
                            self.responder.resume(now, request, table, &state.store, by)
                        }
                        Err(_) => return Served::Reset(Refusal::StoreFull),
                    }
                }
                Reply::Fetch(request) => {
                    // This store is resident throughout, so this is for the responder's sake only.
                    let key = request.key();
                    let fetched = Fetched {
                        value: state.store.value(key, now.unix),
                        providers: state.store.providers(key, PROVIDERS_PER_REPLY_MAX, now.unix),
                    };
                    self.responder.resume(now, request, table, &fetched, by)
                }
            };
        }
        self.violation(node, "the responder was asked four times and still wants to be asked again");
        Served::Reset(Refusal::StoreFull)
    }

    fn refused(&mut self, node: NodeIndex, by: NodeIndex, code: Refusal) {
        self.counters.requests_refused += 1;
        self.note(node, Fact::Refused { by, code });
    }

    /// Sends an event from the end `side` to the other.
    fn reply(&mut self, id: ConnectionId, side: Side, event: impl FnOnce(ConnectionId, Side) -> Event) {
        let Some(connection) = self.connections.get(id) else { return };
        let one_way = Duration::from_nanos(connection.one_way_nanos);
        let slow = self.nodes[connection.end(side).node.as_usize()].traits.slow;
        if let Some(lost) = self.loss_delay(one_way) {
            self.queue.push(self.now + slow + one_way + lost, event(id, side.other()));
        }
    }
}
