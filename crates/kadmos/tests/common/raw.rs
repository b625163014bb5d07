//! A peer that speaks libp2p but not the DHT: it opens and accepts bare streams, and the test does the rest.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use kadmos::core::message::{Request, Response};
use kadmos::core::wire::{decode_request, frame};
use kadmos::{Multiaddr, PeerId};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, Stream, StreamProtocol, SubstreamProtocol, SwarmEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{SwarmBuilder, noise, tcp, yamux};
use tokio::sync::mpsc;

const PROTOCOL: StreamProtocol = StreamProtocol::new(super::PROTOCOL);

/// The peer. Its swarm runs in a task until it is dropped.
pub(crate) struct RawPeer {
    pub(crate) id: PeerId,
    pub(crate) addr: Multiaddr,
    open: mpsc::UnboundedSender<PeerId>,
    opened: mpsc::UnboundedReceiver<Result<Stream, String>>,
    accepted: mpsc::UnboundedReceiver<Stream>,
}

impl RawPeer {
    pub(crate) async fn start() -> Self {
        let (open, mut to_open) = mpsc::unbounded_channel();
        let (opened_sender, opened) = mpsc::unbounded_channel();
        let (accepted_sender, accepted) = mpsc::unbounded_channel();
        let behaviour = Raw {
            opened: opened_sender,
            accepted: accepted_sender,
            to_open: Vec::new(),
            connected: BTreeSet::new(),
        };
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| behaviour)
            .unwrap()
            .build();
        swarm.listen_on(super::tcp()).unwrap();
        let addr = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        let id = *swarm.local_peer_id();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    peer = to_open.recv() => match peer {
                        Some(peer) => swarm.behaviour_mut().open(peer),
                        None => return,
                    },
                    _ = swarm.select_next_some() => {}
                }
            }
        });
        Self { id, addr, open, opened, accepted }
    }

    /// Opens a stream to a peer that is connected.
    pub(crate) async fn open(&mut self, peer: PeerId) -> Result<Stream, String> {
        self.open.send(peer).unwrap();
        self.opened.recv().await.unwrap()
    }

    /// The next stream that was opened to us.
    pub(crate) async fn accept(&mut self) -> Stream {
        self.accepted.recv().await.unwrap()
    }

    /// A stream that is waiting already.
    pub(crate) fn accepted_now(&mut self) -> Option<Stream> {
        self.accepted.try_recv().ok()
    }
}

/// Reads one frame, within 20 s; `None` at the end of the stream, or when it was reset.
pub(crate) async fn read_frame(stream: &mut Stream) -> Option<Vec<u8>> {
    let read = tokio::time::timeout(Duration::from_secs(20), read_frame_at_last(stream));
    read.await.expect("neither a frame nor the end of the stream")
}

async fn read_frame_at_last(stream: &mut Stream) -> Option<Vec<u8>> {
    let mut len = 0;
    for shift in (0..).step_by(7) {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.ok()?;
        len |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut frame = vec![0; len];
    stream.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

/// Reads a request of a DHT node.
pub(crate) async fn read_request(stream: &mut Stream) -> Option<Request> {
    let frame = read_frame(stream).await?;
    Some(decode_request(&frame.into()).unwrap().message)
}

/// Sends bytes as they are. A stream that was reset meanwhile takes them silently.
pub(crate) async fn write(stream: &mut Stream, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
}

/// Answers a FIND_NODE with nobody.
pub(crate) async fn answer_empty(stream: &mut Stream) {
    let mut bytes = Vec::new();
    frame::write_response(&Response::FindNode { closer: Vec::new() }, b"", &mut bytes);
    write(stream, &bytes).await;
}

/// A request as it travels.
pub(crate) fn framed(request: &Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write_request(request, &mut bytes);
    bytes
}

struct Raw {
    opened: mpsc::UnboundedSender<Result<Stream, String>>,
    accepted: mpsc::UnboundedSender<Stream>,
    /// Peers to open a stream to, once they are connected.
    to_open: Vec<PeerId>,
    connected: BTreeSet<PeerId>,
}

impl Raw {
    fn open(&mut self, peer: PeerId) {
        self.to_open.push(peer);
    }

    fn handler(&self) -> Handler {
        Handler { opened: self.opened.clone(), accepted: self.accepted.clone(), to_open: 0 }
    }
}

impl NetworkBehaviour for Raw {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                self.connected.insert(event.peer_id);
            }
            FromSwarm::ConnectionClosed(event) if event.remaining_established == 0 => {
                self.connected.remove(&event.peer_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, ()>> {
        let ready = self.to_open.iter().position(|peer| self.connected.contains(peer));
        let Some(index) = ready else { return Poll::Pending };
        let peer_id = self.to_open.remove(index);
        Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::Any, event: () })
    }
}

struct Handler {
    opened: mpsc::UnboundedSender<Result<Stream, String>>,
    accepted: mpsc::UnboundedSender<Stream>,
    to_open: usize,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = ();
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<ReadyUpgrade<StreamProtocol>> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn on_behaviour_event(&mut self, (): ()) {
        self.to_open += 1;
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, ReadyUpgrade<StreamProtocol>, ReadyUpgrade<StreamProtocol>>,
    ) {
        // A test that has ended takes no more streams.
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                let _ = self.accepted.send(protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                let _ = self.opened.send(Ok(protocol));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                let _ = self.opened.send(Err(error.to_string()));
            }
            _ => {}
        }
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, (), Infallible>> {
        if self.to_open == 0 {
            return Poll::Pending;
        }
        self.to_open -= 1;
        let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ());
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }
}
