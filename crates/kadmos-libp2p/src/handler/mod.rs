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
use kadmos_core::{Mode, PeerId, RequestId, Timestamp};
use libp2p_core::upgrade::ReadyUpgrade;
use libp2p_swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound, ProtocolsChange,
};
use libp2p_swarm::{
    ConnectionHandler, ConnectionHandlerEvent, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol,
};

use self::framed::READ_BYTES;
use self::inbound::Server;
use self::outbound::{Action, Session};
pub use self::upgrade::ServeUpgrade;
use crate::clock::Timer;
use crate::shared::{Gauge, Shared};

/// A request on its way to a peer.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Carried back.
    pub id: RequestId,
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
    Cancel(RequestId),
    /// Begin or stop serving.
    SetMode(Mode),
}

/// What a handler tells the behaviour.
#[derive(Debug)]
pub enum FromHandler {
    /// A request was answered.
    Answered {
        /// Which.
        request: RequestId,
        /// By what.
        response: Response,
    },
    /// A request that has no answer was flushed.
    Flushed {
        /// Which.
        request: RequestId,
    },
    /// A request failed.
    Failed {
        /// Which.
        request: RequestId,
        /// How.
        failure: RequestFailure,
    },
    /// Identify told whether the peer serves our protocol.
    Support {
        /// Whether it does.
        serves: bool,
    },
}

/// The DHT's part of one connection.
#[derive(Debug)]
pub struct Handler {
    shared: Arc<Shared>,
    mode: Mode,
    server: Server<Stream>,
    session: Session<Stream>,
    /// What identify told, if it was not reported yet.
    support: Option<bool>,
    /// What was reported last.
    serves: Option<bool>,
    timer: Timer,
    activity: Activity,
    _gauge: Gauge,
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

impl Handler {
    pub(crate) fn new(shared: Arc<Shared>, peer: PeerId, mode: Mode) -> Self {
        let budget = PeerBudget::new(peer, shared.now().monotonic);
        Self {
            mode,
            server: Server::new(budget),
            session: Session::new(shared.limits, shared.frame_bytes_max),
            support: None,
            serves: None,
            timer: Timer::default(),
            activity: Activity::default(),
            _gauge: shared.counters.handler(),
            shared,
        }
    }

    fn protocols_changed(&mut self, change: ProtocolsChange<'_>) {
        let protocol = &self.shared.protocol;
        let known = self.support.or(self.serves).unwrap_or(false);
        let serves = match change {
            ProtocolsChange::Added(mut added) => known || added.any(|added| added == protocol),
            ProtocolsChange::Removed(mut removed) => known && !removed.any(|removed| removed == protocol),
        };
        self.support = (self.serves != Some(serves)).then_some(serves);
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = ToHandler;
    type ToBehaviour = FromHandler;
    type InboundProtocol = ServeUpgrade;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<ServeUpgrade> {
        let offered = match self.mode {
            Mode::Server => Some(self.shared.protocol.clone()),
            Mode::Client => None,
        };
        SubstreamProtocol::new(ServeUpgrade::new(offered), ())
    }

    /// While a request is under way, either way. Streams alone, the peer's or parked ones of ours, keep nothing.
    fn connection_keep_alive(&self) -> bool {
        self.activity.owed.take() || self.session.is_busy() || self.server.is_busy()
    }

    fn on_behaviour_event(&mut self, event: ToHandler) {
        match event {
            ToHandler::Send(request) => self.session.send(request),
            ToHandler::Cancel(request) => self.session.cancel(request),
            ToHandler::SetMode(mode) => {
                self.mode = mode;
                if mode == Mode::Client {
                    self.server.stop();
                }
            }
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, ServeUpgrade, ReadyUpgrade<StreamProtocol>>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                let mut stream = protocol;
                stream.ignore_for_keep_alive();
                // One that was negotiated while the mode changed.
                if self.mode == Mode::Client {
                    self.shared.counters.refused(Refusal::NotServing);
                } else {
                    self.server.accept(stream, self.shared.now().monotonic, &self.shared);
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                let mut stream = protocol;
                stream.ignore_for_keep_alive();
                self.shared.counters.stream_opened();
                self.session.opened(stream, self.shared.now().monotonic);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                self.session.open_failed(match error {
                    StreamUpgradeError::NegotiationFailed => RequestFailure::Unsupported,
                    StreamUpgradeError::Timeout => RequestFailure::TimedOut,
                    StreamUpgradeError::Io(_) => RequestFailure::Closed,
                    StreamUpgradeError::Apply(never) => match never {},
                });
            }
            ConnectionEvent::RemoteProtocolsChange(change) => self.protocols_changed(change),
            _ => {}
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, (), FromHandler>> {
        if let Some(serves) = self.support.take() {
            self.serves = Some(serves);
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(FromHandler::Support { serves }));
        }
        let mut scratch = [0; READ_BYTES];
        loop {
            let now = self.shared.now();
            match self.session.poll(cx, now.monotonic, &mut scratch, &self.shared.counters) {
                Poll::Ready(Action::Report(report)) => {
                    return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
                }
                Poll::Ready(Action::Open) => {
                    let upgrade = ReadyUpgrade::new(self.shared.protocol.clone());
                    return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                        protocol: SubstreamProtocol::new(upgrade, ()),
                    });
                }
                Poll::Pending => {}
            }
            self.server.poll(cx, now, &mut scratch, &self.shared);
            let requests = self.session.requests() + self.server.requests();
            self.activity.note(requests, now.monotonic, cx);
            let deadlines = [self.session.next_deadline(), self.server.next_deadline()];
            let deadline = deadlines.into_iter().flatten().min();
            if self.timer.poll(cx, now.monotonic, deadline).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
