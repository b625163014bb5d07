//! Pings on request. libp2p's own behaviour pings every connection at its own pace and cannot be asked.
//!
//! Source: libp2p/specs ping: 32 random bytes, echoed, on a stream of `/ipfs/ping/1.0.0`.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt};
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{DeniedUpgrade, ReadyUpgrade};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol, ToSwarm,
};
use libp2p::{PeerId, ping};
use tokio::sync::oneshot;

use crate::error::ConnectError;
use crate::task::connect_error;

/// Pings under way; a further one is refused.
const PINGS_MAX: usize = 256;

/// A peer that is connected has this long to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a ping.
const PING_BYTES: usize = 32;

type Reply = oneshot::Sender<Result<Duration, ConnectError>>;

/// Sends pings and gives their answers back.
#[derive(Debug, Default)]
pub(crate) struct Pinger {
    connected: BTreeMap<PeerId, Vec<ConnectionId>>,
    pings: BTreeMap<PingId, Ping>,
    next_id: u64,
    actions: VecDeque<ToSwarm<std::convert::Infallible, PingId>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PingId(u64);

#[derive(Debug)]
struct Ping {
    peer: PeerId,
    /// The connection it went to, or the dial it waits for.
    connection: ConnectionId,
    reply: Reply,
}

impl Pinger {
    /// Pings a peer over its oldest connection, or dials it.
    pub(crate) fn ping(&mut self, peer: PeerId, reply: Reply) {
        if self.pings.len() >= PINGS_MAX {
            let _ = reply.send(Err(ConnectError::Limited));
            return;
        }
        let id = PingId(self.next_id);
        self.next_id += 1;
        let connection = match self.connected.get(&peer).and_then(|known| known.first()).copied() {
            Some(connection) => {
                self.send(id, peer, connection);
                connection
            }
            None => {
                let opts = DialOpts::peer_id(peer).condition(PeerCondition::Always).build();
                let connection = opts.connection_id();
                self.actions.push_back(ToSwarm::Dial { opts });
                connection
            }
        };
        self.pings.insert(id, Ping { peer, connection, reply });
    }

    fn send(&mut self, id: PingId, peer_id: PeerId, connection: ConnectionId) {
        let handler = NotifyHandler::One(connection);
        self.actions.push_back(ToSwarm::NotifyHandler { peer_id, handler, event: id });
    }

    /// Ends the pings that waited for a connection.
    fn fail(&mut self, connection: ConnectionId, error: &ConnectError) {
        let failed: Vec<_> =
            self.pings.iter().filter(|(_, ping)| ping.connection == connection).map(|(id, _)| *id).collect();
        for id in failed {
            if let Some(ping) = self.pings.remove(&id) {
                let _ = ping.reply.send(Err(error.clone()));
            }
        }
    }
}

impl NetworkBehaviour for Pinger {
    type ConnectionHandler = Handler;
    type ToSwarm = std::convert::Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, .. }) => {
                self.connected.entry(peer_id).or_default().push(connection_id);
                let waiting: Vec<_> = self
                    .pings
                    .iter()
                    .filter(|(_, ping)| ping.connection == connection_id)
                    .map(|(id, _)| *id)
                    .collect();
                for id in waiting {
                    self.send(id, peer_id, connection_id);
                }
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                if let Some(connections) = self.connected.get_mut(&peer_id) {
                    connections.retain(|id| *id != connection_id);
                    if connections.is_empty() {
                        self.connected.remove(&peer_id);
                    }
                }
                let reason = "the connection was closed".to_owned();
                self.fail(connection_id, &ConnectError::NoAnswer { reason });
            }
            FromSwarm::DialFailure(DialFailure { peer_id, error, connection_id }) => {
                self.fail(connection_id, &connect_error(peer_id, error));
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: Pong) {
        let Pong { id, result } = event;
        if let Some(ping) = self.pings.remove(&id) {
            tracing::debug!(peer = %ping.peer, ?result, "ping");
            let _ = ping.reply.send(result.map_err(|reason| ConnectError::NoAnswer { reason }));
        }
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<std::convert::Infallible, PingId>> {
        self.actions.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// How a ping ended.
#[derive(Debug)]
pub(crate) struct Pong {
    id: PingId,
    result: Result<Duration, String>,
}

/// The pings on one connection, each on a stream of its own.
#[derive(Default)]
pub(crate) struct Handler {
    to_open: VecDeque<PingId>,
    under_way: FuturesUnordered<BoxFuture<'static, Pong>>,
    failed: VecDeque<Pong>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = PingId;
    type ToBehaviour = Pong;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = PingId;

    fn listen_protocol(&self) -> SubstreamProtocol<DeniedUpgrade> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn connection_keep_alive(&self) -> bool {
        !self.to_open.is_empty() || !self.under_way.is_empty()
    }

    fn on_behaviour_event(&mut self, id: PingId) {
        self.to_open.push_back(id);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, DeniedUpgrade, ReadyUpgrade<StreamProtocol>, (), PingId>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info: id }) => {
                self.under_way.push(
                    async move {
                        let result = match tokio::time::timeout(PING_TIMEOUT, round_trip(protocol)).await {
                            Ok(result) => result.map_err(|error| error.to_string()),
                            Err(_) => Err(format!("no answer within {} s", PING_TIMEOUT.as_secs())),
                        };
                        Pong { id, result }
                    }
                    .boxed(),
                );
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: id, error }) => {
                let reason = match error {
                    StreamUpgradeError::NegotiationFailed => "it does not support ping".to_owned(),
                    error => error.to_string(),
                };
                self.failed.push_back(Pong { id, result: Err(reason) });
            }
            _ => {}
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, PingId, Pong>> {
        if let Some(pong) = self.failed.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(pong));
        }
        if let Some(id) = self.to_open.pop_front() {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(ping::PROTOCOL_NAME), id);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        match self.under_way.poll_next_unpin(cx) {
            Poll::Ready(Some(pong)) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(pong)),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// Sends a ping and waits for its echo.
async fn round_trip(mut stream: Stream) -> io::Result<Duration> {
    let mut sent = [0; PING_BYTES];
    for (index, chunk) in sent.chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(&RandomState::new().hash_one(index).to_be_bytes());
    }
    let started = Instant::now();
    stream.write_all(&sent).await?;
    stream.flush().await?;
    let mut echoed = [0; PING_BYTES];
    stream.read_exact(&mut echoed).await?;
    let elapsed = started.elapsed();
    if echoed != sent {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the echo differs"));
    }
    // The answer is there; whether the peer hears that no further ping comes does not matter.
    let _ = stream.close().await;
    Ok(elapsed)
}
