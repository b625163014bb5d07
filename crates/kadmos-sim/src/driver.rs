//! A node's driver: its effects become events, events become its facts.
//!
//! What the libp2p driver does with sockets and timers, this does with the queue. Each request ends in exactly one
//! fact: its answer, its flush or its failure, whichever event finds it still in flight.

use std::time::Duration;

use kadmos_core::error::RequestFailure;
use kadmos_core::message::Request;
use kadmos_core::peer::PeerInfo;
use kadmos_core::{Input, Output, RequestId, Update};

use crate::connections::{ConnectionId, Side, Waiting};
use crate::network::{CONNECTION_IDLE, DIAL_TIMEOUT, HANDSHAKE_ROUND_TRIPS, addr};
use crate::trace::Fact;
use crate::world::{Event, NodeIndex, OperationState, World};

impl World {
    /// Lets one event happen.
    pub(crate) fn handle(&mut self, event: Event) {
        match event {
            Event::NodeStarts(node) => self.start_node(node),
            Event::Timeout(node) => self.wake(node),
            Event::OperationStarts { node, id, operation, options } => {
                if self.is_running(node) {
                    self.note(node, Fact::OperationStarted { id, operation: &operation });
                    self.feed(node, Input::Start { id, operation, options });
                } else {
                    self.abandon(id);
                }
            }
            Event::Up { connection, side } => self.connection_up(connection, side),
            Event::Identified { connection, side } => self.identified(connection, side),
            Event::Asked { connection, side, request, message } => {
                self.serve(connection, side, request, message);
            }
            Event::Answered { connection, side, request, response } => {
                let Some((node, by)) = self.ends(connection, side) else { return };
                if self.end_request(node, request) {
                    self.counters.answers += 1;
                    self.note(node, Fact::Answered { by, request, response: &response });
                    self.feed(node, Input::Answered { request, response });
                }
            }
            Event::Reset { connection, side, request, failure } => {
                let Some((node, _)) = self.ends(connection, side) else { return };
                self.fail_request(node, request, failure);
            }
            Event::Flushed { node, request } => {
                if self.end_request(node, request) {
                    self.note(node, Fact::Flushed(request));
                    self.feed(node, Input::Flushed(request));
                }
            }
            Event::Unsendable { node, request } => {
                self.fail_request(node, request, RequestFailure::Unreachable);
            }
            Event::Expired { node, request } => self.fail_request(node, request, RequestFailure::TimedOut),
            Event::Stored { node, id, reply } => {
                if self.is_running(node) {
                    self.note(node, Fact::Stored { id, reply: &reply });
                    self.feed(node, Input::Stored { id, reply });
                }
            }
            Event::IdleCheck { connection } => self.close_if_idle(connection),
            Event::Lost { connection } => self.connection_lost(connection),
        }
    }

    /// Gives a node one fact and carries out all that follows.
    pub(crate) fn feed(&mut self, node: NodeIndex, input: Input) {
        self.apply(node, input);
        self.schedule_wake(node, self.now);
    }

    fn apply(&mut self, node: NodeIndex, input: Input) {
        self.counters.inputs += 1;
        let now = self.clock();
        if let Err(error) = self.nodes[node.as_usize()].core.handle_input(now, input) {
            self.violation(node, error);
        }
        self.perform_outputs(node);
    }

    fn wake(&mut self, node: NodeIndex) {
        let state = &mut self.nodes[node.as_usize()];
        if !state.running || state.wake_at != Some(self.now) {
            return; // an earlier wish replaced this one
        }
        state.wake_at = None;
        let mut earliest = self.now;
        if state.core.next_timeout().is_some_and(|at| at <= self.now) {
            self.note(node, Fact::Timeout);
            self.apply(node, Input::Timeout);
            if self.node(node).next_timeout().is_some_and(|at| at <= self.now) {
                self.violation(node, "wants the time-out again that it was just given");
                earliest = self.now + Duration::from_millis(1); // else virtual time would stand still
            }
        }
        self.schedule_wake(node, earliest);
    }

    /// Makes sure that the node is woken when it asked for, but not before `earliest`.
    fn schedule_wake(&mut self, node: NodeIndex, earliest: kadmos_core::Timestamp) {
        let state = &mut self.nodes[node.as_usize()];
        let Some(at) = state.core.next_timeout() else { return };
        let at = at.max(earliest);
        if state.wake_at.is_none_or(|scheduled| at < scheduled) {
            state.wake_at = Some(at);
            self.queue.push(at, Event::Timeout(node));
        }
    }

    #[cfg(not(feature = "canary-random-map"))]
    fn perform_outputs(&mut self, node: NodeIndex) {
        while let Some(output) = self.nodes[node.as_usize()].core.poll_output() {
            self.perform(node, output);
        }
    }

    /// The bug that the trace hash must catch: requests leave in the order of a randomly seeded map.
    #[cfg(feature = "canary-random-map")]
    fn perform_outputs(&mut self, node: NodeIndex) {
        let mut sends = std::collections::HashMap::new();
        while let Some(output) = self.nodes[node.as_usize()].core.poll_output() {
            match output {
                Output::Send { request, .. } => {
                    sends.insert(request, output);
                }
                other => self.perform(node, other),
            }
        }
        for output in sends.into_values() {
            self.perform(node, output);
        }
    }

    fn perform(&mut self, node: NodeIndex, output: Output) {
        match output {
            Output::Send { request, to, message, timeout } => self.send(node, request, &to, message, timeout),
            Output::CancelRequest(request) => {
                self.end_request(node, request);
            }
            Output::Store { id, request } => {
                let reply = self.run_store(node, &request);
                self.queue.push(self.now, Event::Stored { node, id, reply });
            }
            Output::Update { id, update } => self.update(node, id, update),
            // The responder reads the table itself, so there is no snapshot to publish.
            Output::TableChanged { .. } => {}
            Output::Event(event) => self.note(node, Fact::Core(&event)),
        }
    }

    fn update(&mut self, node: NodeIndex, id: kadmos_core::OperationId, update: Update) {
        self.note(node, Fact::Update { id, update: &update });
        let Some(report) = self.operations.get_mut(&id).filter(|report| report.is_running()) else {
            self.violation(node, format_args!("operation {} is over, yet got an update", id.0));
            return;
        };
        match update {
            Update::Ended { outcome, cost } => {
                report.state = OperationState::Ended { outcome, cost };
                self.running_operations -= 1;
            }
            found => report.found.push(found),
        }
    }

    fn send(
        &mut self,
        node: NodeIndex,
        request: RequestId,
        to: &PeerInfo,
        message: Request,
        timeout: Duration,
    ) {
        self.counters.requests += 1;
        self.queue.push_timeout(self.now + timeout, Event::Expired { node, request });
        let target = self.find(&to.peer.id, &to.peer.key).filter(|target| *target != node);
        let connection = target.and_then(|target| {
            self.connections.between(node, target).or_else(|| {
                let listens = addr(target.as_u32());
                to.addrs.iter().any(|addr| addr == listens).then(|| self.dial(node, target))
            })
        });
        if self.nodes[node.as_usize()].in_flight.insert(request, connection).is_some() {
            self.violation(node, format_args!("request {} is sent twice", request.0));
        }
        match connection {
            Some(connection) => self.send_on(node, connection, request, message),
            None => {
                // Without addresses there is nothing to wait for; at a wrong one nobody answers the dial.
                let wait = if to.addrs.is_empty() { Duration::ZERO } else { DIAL_TIMEOUT };
                self.queue.push(self.now + wait, Event::Unsendable { node, request });
            }
        }
    }

    fn send_on(&mut self, node: NodeIndex, id: ConnectionId, request: RequestId, message: Request) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.in_flight += 1;
        connection.used_at = now;
        let side = connection.side_of(node);
        let handshake = Duration::from_nanos(2 * connection.one_way_nanos * HANDSHAKE_ROUND_TRIPS);
        let peer = connection.end(side.other()).node;
        let end = connection.end_mut(side);
        if end.up {
            self.transmit(id, side, request, message);
            return;
        }
        end.waiting.push(Waiting { request, message });
        // The peer's own dial is under way, but nothing of it has arrived here: this node dials too.
        if !std::mem::replace(&mut end.dialled, true) && self.is_running(peer) {
            self.queue.push(now + handshake, Event::Up { connection: id, side });
        }
    }

    fn dial(&mut self, node: NodeIndex, target: NodeIndex) -> ConnectionId {
        let round_trip = self.host(node).round_trip(&self.host(target));
        let one_way_nanos = round_trip.as_nanos() as u64 / 2; // below a second
        let connection = self.connections.open(node, target, one_way_nanos, self.now);
        self.counters.dials += 1;
        self.counters.connections_max = self.counters.connections_max.max(self.connections.len() as u64);
        if self.is_running(target) {
            let dialler_up = self.now + round_trip * HANDSHAKE_ROUND_TRIPS as u32; // a small constant
            let listener_up = dialler_up + Duration::from_nanos(one_way_nanos);
            self.queue.push(dialler_up, Event::Up { connection, side: Side::Dialler });
            self.queue.push(listener_up, Event::Up { connection, side: Side::Listener });
            self.queue.push_timeout(self.now + CONNECTION_IDLE, Event::IdleCheck { connection });
        } else {
            self.queue.push(self.now + round_trip, Event::Lost { connection }); // refused
        }
        connection
    }

    fn transmit(&mut self, id: ConnectionId, side: Side, request: RequestId, message: Request) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.used_at = now;
        let arrives = now + Duration::from_nanos(connection.one_way_nanos);
        if !message.has_response() {
            let node = connection.end(side).node;
            self.queue.push(now, Event::Flushed { node, request });
        }
        self.queue.push(arrives, Event::Asked { connection: id, side: side.other(), request, message });
    }

    fn connection_up(&mut self, id: ConnectionId, side: Side) {
        let Some((node, peer)) = self.ends(id, side) else { return };
        if !self.is_running(node) {
            return;
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        let round_trip = Duration::from_nanos(2 * connection.one_way_nanos);
        let end = connection.end_mut(side);
        if std::mem::replace(&mut end.up, true) {
            return; // both had dialled, and the other's dial was faster
        }
        let waiting = std::mem::take(&mut end.waiting);
        // Identify's stream opens first, and takes a round trip.
        self.queue.push(self.now + round_trip, Event::Identified { connection: id, side });
        for Waiting { request, message } in waiting {
            if self.nodes[node.as_usize()].in_flight.contains_key(&request) {
                self.transmit(id, side, request, message);
            }
        }
        self.note(node, Fact::Connected(peer));
        let peer_id = self.info(peer).peer.id;
        self.feed(node, Input::Connected(peer_id));
    }

    fn identified(&mut self, connection: ConnectionId, side: Side) {
        let Some((node, peer)) = self.ends(connection, side) else { return };
        if !self.is_running(node) {
            return;
        }
        let serves = self.serves(peer);
        self.note(node, Fact::Identified { peer, serves });
        let PeerInfo { peer, addrs } = self.info(peer).clone();
        self.feed(node, Input::Identified { peer: peer.id, serves, addrs });
    }

    fn close_if_idle(&mut self, id: ConnectionId) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        let idle_at = if connection.in_flight > 0 { now } else { connection.used_at } + CONNECTION_IDLE;
        if idle_at > now {
            self.queue.push(idle_at, Event::IdleCheck { connection: id });
        } else {
            self.connection_lost(id);
        }
    }

    /// A connection is gone, or was never made: requests on it fail, and whoever knew of it hears so.
    pub(crate) fn connection_lost(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.close(id) else { return };
        for side in [Side::Dialler, Side::Listener] {
            let end = connection.end(side);
            let (node, peer) = (end.node, connection.end(side.other()).node);
            if !self.is_running(node) {
                continue;
            }
            let failure = if end.up { RequestFailure::Closed } else { RequestFailure::Unreachable };
            let state = &self.nodes[node.as_usize()];
            let broken: Vec<_> = state
                .in_flight
                .iter()
                .filter(|(_, on)| **on == Some(id))
                .map(|(request, _)| *request)
                .collect();
            for request in broken {
                self.fail_request(node, request, failure);
            }
            if end.up {
                self.note(node, Fact::Disconnected(peer));
                let peer_id = self.info(peer).peer.id;
                self.feed(node, Input::Disconnected(peer_id));
            }
        }
    }

    fn fail_request(&mut self, node: NodeIndex, request: RequestId, failure: RequestFailure) {
        if self.end_request(node, request) {
            self.counters.failures += 1;
            self.note(node, Fact::Failed { request, failure });
            self.feed(node, Input::Failed { request, failure });
        }
    }

    /// Takes a request out of flight; returns whether it was there.
    fn end_request(&mut self, node: NodeIndex, request: RequestId) -> bool {
        let Some(on) = self.nodes[node.as_usize()].in_flight.remove(&request) else { return false };
        if let Some(connection) = on.and_then(|id| self.connections.get_mut(id)) {
            connection.in_flight -= 1;
            connection.used_at = self.now;
        }
        true
    }

    /// The node at one end of a connection, and the node at the other.
    pub(crate) fn ends(&mut self, id: ConnectionId, side: Side) -> Option<(NodeIndex, NodeIndex)> {
        let connection = self.connections.get_mut(id)?;
        Some((connection.end(side).node, connection.end(side.other()).node))
    }
}
