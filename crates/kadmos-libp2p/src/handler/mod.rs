//! One connection: our requests to its peer, and the peer's requests to us.

mod framed;
mod inbound;
mod outbound;
#[cfg(test)]
mod pipe;
mod upgrade;

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use kadmos_core::error::RequestFailure;
use kadmos_core::event::Refusal;
use kadmos_core::message::{Request, Response};
use kadmos_core::server::PeerBudget;
use kadmos_core::{Mode, PeerId, Timestamp};
use libp2p_core::upgrade::ReadyUpgrade;
use libp2p_swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound, ProtocolsChange,
};
use libp2p_swarm::{
    ConnectionHandler, ConnectionHandlerEvent, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol,
};

use self::framed::READ_BYTES;
pub use self::inbound::Served;
use self::inbound::Server;
use self::outbound::{Action, Session};
pub use self::upgrade::{Offer, ServeUpgrade};
use crate::clock::Timer;
use crate::realm::{Realm, RequestKey};
use crate::shared::{Gauge, Shared};

/// A request on its way to a peer.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Carried back.
    pub key: RequestKey,
    /// What to send.
    pub request: Request,
    /// When it has failed, by the behaviour's clock.
    pub deadline: Timestamp,
}

/// What the behaviour tells a handler.
#[derive(Debug)]
pub enum ToHandler {
    /// Send a request. Answered by exactly one of the first three of [`FromHandler`], unless cancelled.
    Send(Outgoing),
    /// The answer is no longer wanted.
    Cancel(RequestKey),
    /// Begin or stop serving.
    SetMode {
        /// In which realm.
        realm: Realm,
        /// Whether to serve.
        mode: Mode,
    },
    /// Stop serving, but answer what was read.
    Drain {
        /// In which realm.
        realm: Realm,
    },
}

/// What a handler tells the behaviour.
#[derive(Debug)]
pub enum FromHandler {
    /// A request was answered.
    Answered {
        /// Which.
        request: RequestKey,
        /// By what.
        response: Response,
    },
    /// A request that has no answer was flushed.
    Flushed {
        /// Which.
        request: RequestKey,
    },
    /// A request failed.
    Failed {
        /// Which.
        request: RequestKey,
        /// How.
        failure: RequestFailure,
    },
    /// Identify told which protocols the peer serves. All realms in one, because what one may say of a peer depends on
    /// the other.
    Support {
        /// By [`Realm::index`]; `None` where nothing has changed.
        serves: [Option<bool>; Realm::ALL.len()],
    },
    /// A request of the peer was served. Only told to hosts that ask for it.
    Served(Served),
}

/// The DHT's part of one connection.
#[derive(Debug)]
pub struct Handler {
    first: Part,
    /// The other realm, if this node has two and the connection may carry it.
    second: Option<Box<Part>>,
    /// One server for both: what a peer may have on a connection does not double with the realms.
    server: Server<Stream>,
    timer: Timer,
    activity: Activity,
    _gauge: Gauge,
}

/// What one realm has of a connection.
#[derive(Debug)]
struct Part {
    shared: Arc<Shared>,
    mode: Mode,
    session: Session<Stream>,
    /// What identify told, if it was not reported yet.
    support: Option<bool>,
    /// What was reported last.
    serves: Option<bool>,
}

/// Tells the swarm that the connection is in use.
///
/// The swarm starts a connection's idle time when it asks [`ConnectionHandler::connection_keep_alive`] and hears
/// `false`, and restarts it only after it has heard `true` in between. Most requests begin and end between two
/// questions, so one `true` is owed for them.
#[derive(Debug, Default)]
struct Activity {
    owed: Cell<bool>,
    /// Requests so far, ours and the peer's.
    requests: u64,
    /// When the last debt was made.
    at: Timestamp,
}

/// A debt costs a poll of the connection, so there is at most one in this time; as much earlier may a connection end.
const ACTIVITY_INTERVAL: Duration = Duration::from_millis(100);

impl Activity {
    /// Notes how many requests there were so far; wakes the task when the swarm must ask.
    fn note(&mut self, requests: u64, now: Timestamp, cx: &mut Context<'_>) {
        let first = self.requests == 0;
        if std::mem::replace(&mut self.requests, requests) == requests {
            return;
        }
        if first || now.since(self.at) >= ACTIVITY_INTERVAL {
            self.at = now;
            self.owed.set(true);
            cx.waker().wake_by_ref();
        }
    }
}

impl Part {
    fn new((shared, mode): (Arc<Shared>, Mode)) -> Self {
        let session = Session::new(shared.limits, shared.frame_bytes_max);
        Self { shared, mode, session, support: None, serves: None }
    }

    fn offer(&self) -> Option<Offer> {
        let Self { shared, mode, .. } = self;
        (*mode == Mode::Server).then(|| Offer { realm: shared.realm, protocol: shared.protocol.clone() })
    }

    fn knows(&self, serves: bool) -> Option<bool> {
        (self.serves != Some(serves)).then_some(serves)
    }
}

impl Handler {
    /// A connection to `peer` in one realm or two, in each with a mode.
    pub(crate) fn new(first: (Arc<Shared>, Mode), second: Option<(Arc<Shared>, Mode)>, peer: PeerId) -> Self {
        let budget = PeerBudget::new(peer, first.0.now().monotonic);
        Self {
            server: Server::new(budget),
            timer: Timer::default(),
            activity: Activity::default(),
            _gauge: first.0.counters.handler(),
            first: Part::new(first),
            second: second.map(|second| Box::new(Part::new(second))),
        }
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.first).chain(self.second.as_deref())
    }

    fn parts_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        std::iter::once(&mut self.first).chain(self.second.as_deref_mut())
    }

    fn part_mut(&mut self, realm: Realm) -> Option<&mut Part> {
        self.parts_mut().find(|part| part.shared.realm == realm)
    }

    fn protocols_changed(&mut self, change: ProtocolsChange<'_>) {
        let (changed, added): (Vec<&StreamProtocol>, bool) = match change {
            ProtocolsChange::Added(added) => (added.collect(), true),
            ProtocolsChange::Removed(removed) => (removed.collect(), false),
        };
        for part in self.parts_mut() {
            let known = part.support.or(part.serves).unwrap_or(false);
            let named = changed.contains(&&part.shared.protocol);
            part.support = part.knows(if added { known || named } else { known && !named });
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = ToHandler;
    type ToBehaviour = FromHandler;
    type InboundProtocol = ServeUpgrade;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Realm;

    fn listen_protocol(&self) -> SubstreamProtocol<ServeUpgrade> {
        SubstreamProtocol::new(ServeUpgrade::new(self.parts().filter_map(Part::offer)), ())
    }

    /// While a request is under way, either way. Streams alone, the peer's or parked ones of ours, keep nothing.
    fn connection_keep_alive(&self) -> bool {
        self.activity.owed.take() || self.parts().any(|part| part.session.is_busy()) || self.server.is_busy()
    }

    fn on_behaviour_event(&mut self, event: ToHandler) {
        match event {
            ToHandler::Send(request) => match self.part_mut(request.key.realm) {
                Some(part) => part.session.send(request),
                None => {
                    debug_assert!(false, "the behaviour knows which connections carry a realm");
                    self.first.session.fail(request.key, RequestFailure::Unreachable);
                }
            },
            ToHandler::Cancel(request) => {
                if let Some(part) = self.part_mut(request.realm) {
                    part.session.cancel(request);
                }
            }
            ToHandler::SetMode { realm, mode } => {
                if let Some(part) = self.part_mut(realm) {
                    part.mode = mode;
                    if mode == Mode::Client {
                        self.server.stop(realm);
                    }
                }
            }
            ToHandler::Drain { realm } => {
                if let Some(part) = self.part_mut(realm) {
                    part.mode = Mode::Client;
                    self.server.drain(realm);
                }
            }
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, ServeUpgrade, ReadyUpgrade<StreamProtocol>, (), Realm>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                let (realm, mut stream) = protocol;
                stream.ignore_for_keep_alive();
                let parts = std::iter::once(&self.first).chain(self.second.as_deref());
                let serving = |part: &&Part| part.shared.realm == realm && part.mode == Mode::Server;
                match parts.into_iter().find(serving) {
                    Some(part) => self.server.accept(stream, part.shared.now().monotonic, &part.shared),
                    // One that was negotiated while the mode changed.
                    None => self.first.shared.counters.refused(Refusal::NotServing),
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info: realm }) => {
                let mut stream = protocol;
                stream.ignore_for_keep_alive();
                if let Some(part) = self.part_mut(realm) {
                    part.shared.counters.stream_opened();
                    part.session.opened(stream, part.shared.now().monotonic);
                }
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, info: realm }) => {
                if let Some(part) = self.part_mut(realm) {
                    part.session.open_failed(match error {
                        StreamUpgradeError::NegotiationFailed => RequestFailure::Unsupported,
                        StreamUpgradeError::Timeout => RequestFailure::TimedOut,
                        StreamUpgradeError::Io(_) => RequestFailure::Closed,
                        StreamUpgradeError::Apply(never) => match never {},
                    });
                }
            }
            ConnectionEvent::RemoteProtocolsChange(change) => self.protocols_changed(change),
            _ => {}
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, Realm, FromHandler>> {
        let mut serves = [None; Realm::ALL.len()];
        for part in self.parts_mut() {
            let told = part.support.take();
            part.serves = told.or(part.serves);
            serves[part.shared.realm.index()] = told;
        }
        if serves.iter().any(Option::is_some) {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(FromHandler::Support { serves }));
        }
        if let Some(served) = self.server.next_served() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(FromHandler::Served(served)));
        }
        let mut scratch = [0; READ_BYTES];
        loop {
            let now = self.first.shared.now();
            for part in self.parts_mut() {
                match part.session.poll(cx, now.monotonic, &mut scratch, &part.shared.counters) {
                    Poll::Ready(Action::Report(report)) => {
                        return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
                    }
                    Poll::Ready(Action::Open) => {
                        let upgrade = ReadyUpgrade::new(part.shared.protocol.clone());
                        return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                            protocol: SubstreamProtocol::new(upgrade, part.shared.realm),
                        });
                    }
                    Poll::Pending => {}
                }
            }
            self.server.poll(cx, now, &mut scratch, &self.first.shared);
            if let Some(served) = self.server.next_served() {
                // Nothing more is read from the peer until the swarm's task has taken these.
                return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(FromHandler::Served(served)));
            }
            let asked: u64 = self.parts().map(|part| part.session.requests()).sum();
            let requests = asked + self.server.requests();
            self.activity.note(requests, now.monotonic, cx);
            let deadlines = self.parts().map(|part| part.session.next_deadline());
            let deadline = deadlines.chain([self.server.next_deadline()]).flatten().min();
            if self.timer.poll(cx, now.monotonic, deadline).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
