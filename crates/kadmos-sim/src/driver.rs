//! A node's driver: its effects become events, events become its facts.
//!
//! What the libp2p driver does with sockets and timers, this does with the queue. Each request ends in exactly one
//! fact: its answer, its flush or its failure, whichever event finds it still in flight.

use std::time::Duration;

use kadmos_core::error::RequestFailure;
use kadmos_core::message::Request;
use kadmos_core::peer::PeerInfo;
use kadmos_core::{Input, Output, Purpose, RequestId, StoreId, Update};

use crate::connections::{ConnectionId, Side, Waiting};
use crate::model::DeadDial;
use crate::plant::Plant;
use crate::trace::Fact;
use crate::world::{Event, InFlight, NodeIndex, OperationState, SimNode, World};

/// Ids of requests and store operations in the world: the core's own, below 2^40, and the incarnation of the node above.
/// So nothing that an earlier incarnation asked for is answered to a later one.
const INCARNATION_SHIFT: u32 = 40;

impl World {
    /// Lets one event happen.
    pub(crate) fn handle(&mut self, event: Event) {
        match event {
            Event::NodeStarts { node, session } => {
                self.starting -= 1;
                self.start_node(node, session);
            }
            Event::NodeJoins { node, session } => {
                self.starting -= 1;
                self.join(node, session);
            }
            Event::SessionBegins { node, session } => self.start_node(node, session),
            Event::SessionEnds { node, session } => self.end_session(node, session),
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
                if self.separated(node, by) {
                    return;
                }
                if self.end_request(node, request) {
                    self.counters.answers += 1;
                    self.note(node, Fact::Answered { by, request, response: &response });
                    self.deliver(node, Input::Answered { request, response });
                }
            }
            Event::Reset { connection, side, request, failure } => {
                let Some((node, by)) = self.ends(connection, side) else { return };
                if !self.separated(node, by) {
                    self.fail_request(node, request, failure);
                }
            }
            Event::Flushed { node, request } => {
                if self.end_request(node, request) {
                    self.note(node, Fact::Flushed(request));
                    self.deliver(node, Input::Flushed(request));
                }
            }
            Event::Unsendable { node, request } => {
                self.fail_request(node, request, RequestFailure::Unreachable);
            }
            Event::Expired { node, request } => {
                if self.plant == Some(Plant::StuckRequest) && request.0 % 4 == 3 {
                    return;
                }
                self.fail_request(node, request, RequestFailure::TimedOut);
            }
            Event::Stored { node, id, reply } => {
                if self.is_running(node) && self.is_current(node, id.0) {
                    self.note(node, Fact::Stored { id, reply: &reply });
                    self.deliver(node, Input::Stored { id, reply });
                }
            }
            Event::IdleCheck { connection } => self.close_if_idle(connection),
            Event::Lost { connection } => self.connection_lost(connection),
            Event::Severed { connection } => {
                let ends = self.ends(connection, Side::Dialler);
                if ends.is_some_and(|(node, peer)| self.separated(node, peer)) {
                    self.connection_lost(connection);
                }
            }
        }
    }

    /// Gives a node one fact and carries out all that follows.
    pub(crate) fn feed(&mut self, node: NodeIndex, input: Input) {
        self.apply(node, input);
        self.schedule_wake(node, self.now);
    }

    /// As [`World::feed`], for the end of a request or store operation, whose id is the world's.
    fn deliver(&mut self, node: NodeIndex, mut input: Input) {
        let id = match &mut input {
            Input::Answered { request, .. } | Input::Flushed(request) | Input::Failed { request, .. } => {
                &mut request.0
            }
            Input::Stored { id, .. } => &mut id.0,
            _ => return self.feed(node, input),
        };
        *id &= (1 << INCARNATION_SHIFT) - 1;
        self.feed(node, input);
    }

    /// The world's name for what the node's core calls `id`.
    fn world_id(&self, node: NodeIndex, id: u64) -> u64 {
        u64::from(self.nodes[node.as_usize()].incarnation) << INCARNATION_SHIFT | id
    }

    /// Whether the node's present incarnation gave this id.
    fn is_current(&self, node: NodeIndex, id: u64) -> bool {
        id >> INCARNATION_SHIFT == u64::from(self.nodes[node.as_usize()].incarnation)
    }

    fn apply(&mut self, node: NodeIndex, input: Input) {
        self.counters.inputs += 1;
        let now = self.clock_of(node);
        if let Err(error) = self.nodes[node.as_usize()].handle_input(now, input) {
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
        self.tend_store(node);
        let mut earliest = self.now;
        if self.nodes[node.as_usize()].next_timeout().is_some_and(|at| at <= self.now) {
            self.note(node, Fact::Timeout);
            self.apply(node, Input::Timeout);
            if self.nodes[node.as_usize()].next_timeout().is_some_and(|at| at <= self.now) {
                self.violation(node, "wants the time-out again that it was just given");
                earliest = self.now + Duration::from_millis(1); // else virtual time would stand still
            }
        }
        self.schedule_wake(node, earliest);
    }

    /// Makes sure that the node is woken when it asked for, but not before `earliest`.
    pub(crate) fn schedule_wake(&mut self, node: NodeIndex, earliest: kadmos_core::Timestamp) {
        let state = &mut self.nodes[node.as_usize()];
        let Some(at) = state.next_timeout() else { return };
        let at = at.max(earliest);
        if state.wake_at.is_none_or(|scheduled| at < scheduled) {
            state.wake_at = Some(at);
            self.queue.push(at, Event::Timeout(node));
        }
    }

    #[cfg(not(feature = "canary-random-map"))]
    fn perform_outputs(&mut self, node: NodeIndex) {
        while let Some(output) = self.nodes[node.as_usize()].poll_output() {
            self.perform(node, output);
        }
    }

    /// The bug that the trace hash must catch: requests leave in the order of a randomly seeded map.
    #[cfg(feature = "canary-random-map")]
    fn perform_outputs(&mut self, node: NodeIndex) {
        let mut sends = std::collections::HashMap::new();
        while let Some(output) = self.nodes[node.as_usize()].poll_output() {
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
            Output::Send { request, to, message, timeout } => {
                self.charge(node, request);
                let request = RequestId(self.world_id(node, request.0));
                self.send(node, request, &to, message, timeout);
            }
            Output::CancelRequest(request) => {
                let request = RequestId(self.world_id(node, request.0));
                if self.end_request(node, request) {
                    self.note(node, Fact::Cancelled(request));
                }
            }
            Output::Store { id, request } => {
                let reply = self.run_store(node, &request);
                let id = StoreId(self.world_id(node, id.0));
                self.queue.push(self.now, Event::Stored { node, id, reply });
            }
            Output::Update { id, update } => self.update(node, id, update),
            // The responder reads the table itself, so there is no snapshot to publish.
            Output::TableChanged { .. } => {}
            Output::Event(event) => self.note(node, Fact::Core(&event)),
        }
    }

    fn charge(&mut self, node: NodeIndex, request: RequestId) {
        let state = &mut self.nodes[node.as_usize()];
        let purpose = state.purpose(request);
        let SimNode { charges, .. } = state;
        *match purpose {
            Some(Purpose::Probe) => &mut charges.probe_messages,
            Some(Purpose::Upkeep) => &mut charges.refresh_messages,
            Some(Purpose::Correction) => &mut charges.correction_messages,
            // A request that is cancelled in the same instant was a user's: upkeep does not change its mind.
            _ => &mut charges.operation_messages,
        } += 1;
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
        let expires = self.now + timeout;
        self.queue.push_timeout(expires, Event::Expired { node, request });
        let found = self.find(&to.peer.id, &to.peer.key);
        let target = found.filter(|target| *target != node);
        self.note(node, Fact::Sent { request, to: target, kind: message.kind(), expires });
        let connection = target.and_then(|target| {
            self.connections.between(node, target).or_else(|| {
                let at_home = to.addrs.iter().any(|addr| self.is_at(target, addr));
                at_home.then(|| self.dial(node, target))
            })
        });
        let in_flight = InFlight { connection, expires };
        if self.nodes[node.as_usize()].in_flight.insert(request, in_flight).is_some() {
            self.violation(node, format_args!("request {} is sent twice", request.0));
        }
        match connection {
            Some(connection) => self.send_on(node, connection, request, message),
            None => {
                // Without addresses there is nothing to wait for; at a wrong one nobody answers the dial.
                let wait = if to.addrs.is_empty() || found == Some(node) {
                    Duration::ZERO
                } else {
                    let charges = &mut self.nodes[node.as_usize()].charges;
                    charges.dials += 1;
                    charges.dials_failed += 1;
                    match self.blueprint.model.unknown_dials.of(&to.peer.key) {
                        DeadDial::Refused => self.host(node).round_trip(&self.unknown_host(&to.peer.key)),
                        DeadDial::After(wait) => wait,
                    }
                };
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
        let round_trip = Duration::from_nanos(2 * connection.one_way_nanos);
        let peer = connection.end(side.other()).node;
        let end = connection.end_mut(side);
        if end.up {
            self.transmit(id, side, request, message);
            return;
        }
        let has_dialled = std::mem::replace(&mut end.dialled, true);
        connection.waiting_mut(side).push(Waiting { request, message });
        // The peer's own dial is under way, but nothing of it has arrived here: this node dials too.
        if !has_dialled && self.is_running(peer) {
            let handshake = round_trip * self.handshake(node, peer);
            self.queue.push(now + handshake, Event::Up { connection: id, side });
        }
    }

    fn dial(&mut self, node: NodeIndex, target: NodeIndex) -> ConnectionId {
        let round_trip = self.round_trip(node, target);
        let one_way_nanos = round_trip.as_nanos() as u64 / 2; // below a second
        let connection = self.connections.open(node, target, one_way_nanos, self.now);
        self.counters.dials += 1;
        self.nodes[node.as_usize()].charges.dials += 1;
        self.counters.connections_max = self.counters.connections_max.max(self.connections.len() as u64);
        if self.separated(node, target) {
            // Nothing comes back, as at an address where nobody is.
            self.queue.push(self.now + crate::network::DIAL_TIMEOUT, Event::Lost { connection });
        } else if self.is_running(target) {
            let dialler_up = self.now + round_trip * self.handshake(node, target);
            // The listener is done when the dialler's last message arrives; what the dialler then waits for is its own.
            let handshake =
                crate::model::HopCosts::KADMOS.handshake(self.nodes[target.as_usize()].traits.transport);
            let listener_up = self.now + round_trip * handshake + Duration::from_nanos(one_way_nanos);
            self.queue.push(dialler_up, Event::Up { connection, side: Side::Dialler });
            self.queue.push(listener_up, Event::Up { connection, side: Side::Listener });
            self.queue.push_timeout(self.now + self.connection_idle(), Event::IdleCheck { connection });
        } else {
            let key = self.info(target).peer.key;
            let wait = match self.blueprint.model.stopped_dials.of(&key) {
                DeadDial::Refused => round_trip,
                DeadDial::After(wait) => wait,
            };
            self.queue.push(self.now + wait, Event::Lost { connection });
        }
        connection
    }

    /// Round trips of `node`'s handshake with `target`.
    fn handshake(&self, node: NodeIndex, target: NodeIndex) -> u32 {
        self.nodes[node.as_usize()].hops.handshake(self.nodes[target.as_usize()].traits.transport)
    }

    fn connection_idle(&self) -> Duration {
        Duration::from_millis(self.blueprint.model.connection_idle_ms)
    }

    fn transmit(&mut self, id: ConnectionId, side: Side, request: RequestId, message: Request) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.used_at = now;
        let node = connection.end(side).node;
        let one_way = Duration::from_nanos(connection.one_way_nanos);
        let negotiation = one_way * 2 * self.nodes[node.as_usize()].hops.negotiation();
        if !message.has_response() {
            self.queue.push(now + negotiation, Event::Flushed { node, request });
        }
        if let Some(lost) = self.loss_delay(one_way) {
            let arrives = now + negotiation + one_way + lost;
            let asked = Event::Asked { connection: id, side: side.other(), request, message };
            self.queue.push(arrives, asked);
        }
    }

    fn connection_up(&mut self, id: ConnectionId, side: Side) {
        let Some((node, peer)) = self.ends(id, side) else { return };
        if !self.is_running(node) || self.separated(node, peer) {
            return;
        }
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        let round_trip = Duration::from_nanos(2 * connection.one_way_nanos);
        let end = connection.end_mut(side);
        if std::mem::replace(&mut end.up, true) {
            return; // both had dialled, and the other's dial was faster
        }
        end.up_at = now;
        let waiting = std::mem::take(connection.waiting_mut(side));
        // Identify's stream opens first, and takes a round trip.
        self.queue.push(self.now + round_trip, Event::Identified { connection: id, side });
        for Waiting { request, message } in waiting {
            if self.nodes[node.as_usize()].in_flight.contains_key(&request) {
                self.transmit(id, side, request, message);
            }
        }
        self.note(node, Fact::Connected(peer));
        let PeerInfo { peer, addrs } = self.info(peer);
        let remote = addrs.iter().find_map(kadmos_core::addr::leading_ip);
        let input = Input::Connected { peer: peer.id, remote };
        self.feed(node, input);
        self.keep_within_budget(node);
    }

    /// Closes the connection that was unused for longest while the node has more than it may.
    fn keep_within_budget(&mut self, node: NodeIndex) {
        let Some(max) = self.blueprint.model.connections_max else { return };
        while self.connections.of(node).len() > max as usize {
            let ids: Vec<_> = self.connections.of(node).iter().map(|(_, id)| *id).collect();
            let idle = ids.into_iter().filter_map(|id| {
                let connection = self.connections.get_mut(id)?;
                let is_idle = connection.in_flight == 0 && connection.end(Side::Dialler).up;
                is_idle.then_some((connection.used_at, id))
            });
            // Of those unused since the same instant, the one to the node created first.
            let Some((_, oldest)) = idle.min_by_key(|(used_at, _)| *used_at) else { return };
            self.connection_lost(oldest);
        }
    }

    fn identified(&mut self, connection: ConnectionId, side: Side) {
        let Some((node, peer)) = self.ends(connection, side) else { return };
        if !self.is_running(node) || self.separated(node, peer) {
            return;
        }
        let serves = self.serves(peer);
        self.note(node, Fact::Identified { peer, serves });
        let PeerInfo { peer, addrs } = self.info(peer).clone();
        self.feed(node, Input::Identified { peer: peer.id, serves, addrs });
    }

    fn close_if_idle(&mut self, id: ConnectionId) {
        let (now, idle) = (self.now, self.connection_idle());
        let Some(connection) = self.connections.get_mut(id) else { return };
        let idle_at = if connection.in_flight > 0 { now } else { connection.used_at } + idle;
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
            let charges = &mut self.nodes[node.as_usize()].charges;
            if end.up {
                charges.connected_ms += self.now.since(end.up_at).as_millis() as u64; // below a run's length
            } else if end.dialled {
                charges.dials_failed += 1;
            }
            if !self.is_running(node) {
                continue;
            }
            let failure = if end.up { RequestFailure::Closed } else { RequestFailure::Unreachable };
            let state = &self.nodes[node.as_usize()];
            let broken: Vec<_> = state
                .in_flight
                .iter()
                .filter(|(_, in_flight)| in_flight.connection == Some(id))
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
            self.deliver(node, Input::Failed { request, failure });
        }
    }

    /// Takes a request out of flight; returns whether it was there.
    fn end_request(&mut self, node: NodeIndex, request: RequestId) -> bool {
        let Some(in_flight) = self.nodes[node.as_usize()].in_flight.remove(&request) else { return false };
        if let Some(connection) = in_flight.connection.and_then(|id| self.connections.get_mut(id)) {
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
