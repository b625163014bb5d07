//! Connections, dials, and which of them carries which request.
//!
//! Sans-IO: takes what the swarm tells, gives [`Effect`]s. A request waits here only while its peer is being dialled;
//! on a connection it is the handler's, and this module just knows where it is, so that a connection that ends fails
//! what was on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kadmos_core::Timestamp;
use kadmos_core::error::RequestFailure;
use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_swarm::dial_opts::DialOpts;
use libp2p_swarm::{ConnectionId, DialError};

use crate::handler::{Outgoing, ToHandler};
use crate::realm::{Realm, RequestKey};

/// Dials under way at once. A lookup has 10 requests in flight, so this is a dozen lookups in a network of strangers;
/// further dials wait their turn.
pub(crate) const DIALS_MAX: usize = 128;

/// Addresses tried for one peer while requests wait for it. Each costs a socket, and a peer may have invented them for
/// another; a node announces some 5 to 30.
pub(crate) const DIAL_ADDRS_MAX: usize = 32;

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Effect {
    Dial(DialOpts),
    Notify { peer: PeerId, connection: ConnectionId, event: ToHandler },
    Failed { request: RequestKey, failure: RequestFailure },
}

#[derive(Debug)]
pub(crate) struct Peers {
    /// Requests that may wait for one peer.
    queue_max: usize,
    /// The realm whose requests go over local connections only.
    local_realm: Option<Realm>,
    connected: BTreeMap<PeerId, Vec<Connection>>,
    dials: BTreeMap<PeerId, Dial>,
    /// Our own dials under way.
    dialling: BTreeSet<ConnectionId>,
    /// Peers whose dial waits for [`DIALS_MAX`].
    waiting: VecDeque<PeerId>,
    places: BTreeMap<RequestKey, Place>,
    /// Of requests that wait for a dial.
    deadlines: BTreeSet<(Timestamp, RequestKey)>,
    effects: VecDeque<Effect>,
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    /// Whether it is within our local network.
    local: bool,
    in_flight: BTreeSet<RequestKey>,
}

/// Whether a connection is a peer's first one, or was its last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edge {
    /// Of all.
    pub(crate) any: bool,
    /// Of those within our local network.
    pub(crate) local: bool,
}

/// Where a request is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Waiting { peer: PeerId, deadline: Timestamp },
    Sent { peer: PeerId, connection: ConnectionId },
}

#[derive(Debug)]
struct Dial {
    requests: VecDeque<Outgoing>,
    /// Addresses that no dial has tried yet.
    untried: Vec<Multiaddr>,
    /// Addresses given to a dial, and where it is asked for again.
    tried: Vec<Multiaddr>,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// In [`Peers::waiting`].
    Waiting,
    /// Ours, under this id.
    Own(ConnectionId),
    /// Somebody else in the swarm is dialling the peer.
    Foreign,
}

impl Peers {
    /// `local_realm` is the realm whose requests go over local connections only.
    pub(crate) fn new(queue_max: usize, local_realm: Option<Realm>) -> Self {
        Self {
            queue_max: queue_max.max(1),
            local_realm,
            connected: BTreeMap::new(),
            dials: BTreeMap::new(),
            dialling: BTreeSet::new(),
            waiting: VecDeque::new(),
            places: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            effects: VecDeque::new(),
        }
    }

    /// The next thing to do.
    pub(crate) fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Sends a request over a connection, or dials. Requests of the local realm come with local addresses, or fail.
    pub(crate) fn send(&mut self, peer: PeerId, addrs: Vec<Multiaddr>, request: Outgoing) {
        if self.connected.contains_key(&peer) {
            self.send_connected(peer, request);
            return;
        }
        if addrs.is_empty() && self.is_local(&request) {
            self.fail(request.key, RequestFailure::Unreachable);
            return;
        }
        let new = !self.dials.contains_key(&peer);
        let dial = self.dials.entry(peer).or_insert_with(|| Dial {
            requests: VecDeque::new(),
            untried: Vec::new(),
            tried: Vec::new(),
            progress: Progress::Waiting,
        });
        for addr in addrs {
            let known = dial.tried.len() + dial.untried.len();
            if known < DIAL_ADDRS_MAX && !dial.tried.contains(&addr) && !dial.untried.contains(&addr) {
                dial.untried.push(addr);
            }
        }
        if dial.requests.len() >= self.queue_max {
            self.fail(request.key, RequestFailure::Overloaded);
            return;
        }
        self.places.insert(request.key, Place::Waiting { peer, deadline: request.deadline });
        self.deadlines.insert((request.deadline, request.key));
        dial.requests.push_back(request);
        if new {
            self.waiting.push_back(peer);
            self.begin_dials();
        }
    }

    /// Forgets a request; tells its handler if it has one.
    pub(crate) fn cancel(&mut self, request: RequestKey) {
        match self.places.remove(&request) {
            Some(Place::Waiting { peer, deadline }) => {
                self.deadlines.remove(&(deadline, request));
                self.drop_waiting(peer, request);
            }
            Some(Place::Sent { peer, connection }) => {
                self.leave(peer, connection, request);
                let event = ToHandler::Cancel(request);
                self.effects.push_back(Effect::Notify { peer, connection, event });
            }
            None => {}
        }
    }

    /// A handler reported on a request; tells whether anybody still waits for it.
    pub(crate) fn done(&mut self, request: RequestKey) -> bool {
        match self.places.remove(&request) {
            Some(Place::Sent { peer, connection }) => {
                self.leave(peer, connection, request);
                true
            }
            Some(waiting @ Place::Waiting { .. }) => {
                debug_assert!(false, "a handler cannot report on a request it was not given");
                self.places.insert(request, waiting);
                false
            }
            None => false,
        }
    }

    /// A connection is up, `local` if it is within our local network; tells whether it is the peer's first.
    pub(crate) fn established(&mut self, peer: PeerId, connection: ConnectionId, local: bool) -> Edge {
        self.dialling.remove(&connection);
        let connections = self.connected.entry(peer).or_default();
        let first = Edge {
            any: connections.is_empty(),
            local: local && !connections.iter().any(|known| known.local),
        };
        connections.push(Connection { id: connection, local, in_flight: BTreeSet::new() });
        if let Some(dial) = self.dials.remove(&peer) {
            self.compact_waiting();
            for request in dial.requests {
                self.deadlines.remove(&(request.deadline, request.key));
                self.send_connected(peer, request);
            }
        }
        self.begin_dials();
        first
    }

    /// A connection is gone, and with it what was in flight on it; tells whether it was the peer's last.
    pub(crate) fn closed(&mut self, peer: PeerId, connection: ConnectionId) -> Edge {
        let Some(connections) = self.connected.get_mut(&peer) else { return Edge::default() };
        let known = connections.iter().position(|known| known.id == connection);
        let Some(index) = known else { return Edge::default() };
        let Connection { local, in_flight: lost, .. } = connections.swap_remove(index);
        let last = Edge {
            any: connections.is_empty(),
            local: local && !connections.iter().any(|known| known.local),
        };
        if last.any {
            self.connected.remove(&peer);
        }
        for request in lost {
            self.places.remove(&request);
            self.fail(request, RequestFailure::Closed);
        }
        last
    }

    /// A dial failed, ours or another's.
    pub(crate) fn dial_failed(&mut self, peer: Option<PeerId>, connection: ConnectionId, error: &DialError) {
        self.dialling.remove(&connection);
        if let Some(peer) = peer {
            self.dial_of_peer_failed(peer, connection, error);
        }
        self.begin_dials();
    }

    /// Ends requests that waited for a dial until their time was up.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        while let Some((deadline, request)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(deadline, request));
            let mut failure = RequestFailure::TimedOut;
            if let Some(Place::Waiting { peer, .. }) = self.places.remove(&request) {
                if self.dials.get(&peer).is_some_and(|dial| dial.progress == Progress::Waiting) {
                    failure = RequestFailure::Overloaded; // the peer was never tried
                }
                self.drop_waiting(peer, request);
            }
            self.fail(request, failure);
        }
    }

    /// When [`Peers::expire`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Tells the handlers of all connections.
    pub(crate) fn notify_all(&mut self, event: impl Fn() -> ToHandler) {
        for (peer, connections) in &self.connected {
            for connection in connections {
                let (peer, connection) = (*peer, connection.id);
                self.effects.push_back(Effect::Notify { peer, connection, event: event() });
            }
        }
    }

    /// The addresses of the requests that wait for a peer.
    pub(crate) fn dial_addrs(&self, peer: &PeerId) -> impl Iterator<Item = &Multiaddr> {
        self.dials.get(peer).into_iter().flat_map(|dial| dial.tried.iter().chain(&dial.untried))
    }

    /// Whether a dial is ours, and all that wait for it may use local connections only.
    pub(crate) fn dials_locally(&self, peer: &PeerId, connection: ConnectionId) -> bool {
        self.dials.get(peer).is_some_and(|dial| {
            dial.progress == Progress::Own(connection)
                && dial.requests.iter().all(|request| self.is_local(request))
                && !dial.requests.is_empty()
        })
    }

    /// Requests under way, waiting ones included.
    pub(crate) fn in_flight(&self) -> usize {
        self.places.len()
    }

    fn fail(&mut self, request: RequestKey, failure: RequestFailure) {
        self.effects.push_back(Effect::Failed { request, failure });
    }

    /// Sends over the connection with the fewest requests in flight; the oldest of equals, whose streams are warm.
    fn send_connected(&mut self, peer: PeerId, request: Outgoing) {
        let local_only = self.is_local(&request);
        let connections = self.connected.get_mut(&peer).into_iter().flatten();
        let usable = connections.filter(|connection| connection.local || !local_only);
        let Some(connection) = usable.min_by_key(|connection| connection.in_flight.len()) else {
            self.places.remove(&request.key);
            self.fail(request.key, RequestFailure::Unreachable);
            return;
        };
        connection.in_flight.insert(request.key);
        let connection = connection.id;
        self.places.insert(request.key, Place::Sent { peer, connection });
        self.effects.push_back(Effect::Notify { peer, connection, event: ToHandler::Send(request) });
    }

    /// Whether a request goes over local connections only.
    fn is_local(&self, request: &Outgoing) -> bool {
        self.local_realm == Some(request.key.realm)
    }

    /// A request on a connection ended.
    fn leave(&mut self, peer: PeerId, connection: ConnectionId, request: RequestKey) {
        let connections = self.connected.get_mut(&peer).into_iter().flatten();
        for known in connections.filter(|known| known.id == connection) {
            known.in_flight.remove(&request);
        }
    }

    /// A waiting request ended. A dial under way goes on: the swarm cannot tell it from another's.
    fn drop_waiting(&mut self, peer: PeerId, request: RequestKey) {
        let Some(dial) = self.dials.get_mut(&peer) else { return };
        dial.requests.retain(|waiting| waiting.key != request);
        if dial.requests.is_empty() && dial.progress == Progress::Waiting {
            self.dials.remove(&peer);
            self.compact_waiting();
        }
    }

    /// Forgets peers in line that nobody waits for any more, once they are the larger part: so many requests that end
    /// together cost no more than their number.
    fn compact_waiting(&mut self) {
        if self.waiting.len() > 2 * self.dials.len() + DIALS_MAX {
            let dials = &self.dials;
            self.waiting
                .retain(|peer| dials.get(peer).is_some_and(|dial| dial.progress == Progress::Waiting));
        }
    }

    fn begin_dials(&mut self) {
        while self.dialling.len() < DIALS_MAX {
            let Some(peer) = self.waiting.pop_front() else { return };
            self.begin_dial(peer);
        }
    }

    /// Dials with all addresses that were not tried; the swarm adds those that other behaviours know.
    fn begin_dial(&mut self, peer: PeerId) {
        let Some(dial) = self.dials.get_mut(&peer).filter(|dial| dial.progress == Progress::Waiting) else {
            return;
        };
        let addrs = std::mem::take(&mut dial.untried);
        dial.tried.extend(addrs.iter().cloned());
        let opts = DialOpts::peer_id(peer).addresses(addrs).extend_addresses_through_behaviour().build();
        dial.progress = Progress::Own(opts.connection_id());
        self.dialling.insert(opts.connection_id());
        self.effects.push_back(Effect::Dial(opts));
    }

    fn dial_of_peer_failed(&mut self, peer: PeerId, connection: ConnectionId, error: &DialError) {
        let Some(dial) = self.dials.get_mut(&peer) else { return };
        match dial.progress {
            Progress::Own(own) if own == connection => {
                if matches!(error, DialError::DialPeerConditionFalse(_)) {
                    dial.progress = Progress::Foreign;
                    dial.untried = std::mem::take(&mut dial.tried);
                    return;
                }
            }
            Progress::Foreign if !matches!(error, DialError::DialPeerConditionFalse(_)) => {}
            Progress::Own(_) | Progress::Foreign | Progress::Waiting => return,
        }
        // Requests that came meanwhile may know better; and another's dial has not tried our addresses.
        if !dial.untried.is_empty() && !dial.requests.is_empty() {
            dial.progress = Progress::Waiting;
            self.waiting.push_back(peer);
            return;
        }
        let failure = match error {
            // Our own limits, not the peer's absence.
            DialError::Denied { .. } => RequestFailure::Overloaded,
            _ => RequestFailure::Unreachable,
        };
        let requests = self.dials.remove(&peer).map(|dial| dial.requests).unwrap_or_default();
        for request in requests {
            self.deadlines.remove(&(request.deadline, request.key));
            self.places.remove(&request.key);
            self.fail(request.key, failure);
        }
    }
}

#[cfg(test)]
mod tests;
