//! A peer that speaks the wire protocol by hand: each stream and each message is the test's own.

mod behaviour;

use std::io;

use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use kadmos_core::limits::MESSAGE_BYTES_MAX;
use kadmos_core::message::{MessageKind, Request, Response};
use kadmos_core::wire::frame::{self, FrameReader};
use kadmos_core::wire::{Decoded, decode_request, decode_response};
use libp2p::swarm::{DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, identify};
use tokio::sync::{mpsc, oneshot};

use crate::swarm;
use crate::{PROTOCOL, step};

/// A libp2p host without a DHT. As a server, it announces the protocol and hands each stream to the test.
#[derive(Debug)]
pub struct RawPeer {
    id: PeerId,
    addrs: Vec<Multiaddr>,
    commands: mpsc::UnboundedSender<Command>,
    inbound: mpsc::UnboundedReceiver<(PeerId, RawStream)>,
}

#[derive(Debug)]
enum Command {
    Dial(Multiaddr, oneshot::Sender<Result<PeerId, DialError>>),
    Open(PeerId, oneshot::Sender<io::Result<libp2p::Stream>>),
}

/// Whether a [`RawPeer`] announces the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Asks only.
    Client,
    /// Announces the protocol and accepts its streams.
    Server,
}

/// What a server was asked: the stream counts from 0 in the order they were opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// By whom.
    pub peer: PeerId,
    /// On which of all streams of all peers.
    pub stream: usize,
    /// What.
    pub request: Request,
}

impl RawPeer {
    /// A host that listens on TCP and QUIC.
    pub async fn start(role: Role) -> Self {
        let (streams, mut opened) = mpsc::unbounded_channel();
        let (mut swarm, addrs) =
            swarm::listening(&swarm::listen_in_tests(), Some(swarm::IDLE_IN_TESTS), |key| Behaviour {
                identify: identify::Behaviour::new(identify::Config::new("/kadmos/raw".into(), key.public())),
                streams: behaviour::Behaviour::new(StreamProtocol::new(PROTOCOL), role, streams),
            })
            .await;
        let id = *swarm.local_peer_id();
        let (commands, mut received) = mpsc::unbounded_channel();
        let (wrapped, inbound) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut dialing = Vec::new();
            loop {
                tokio::select! {
                    event = swarm.select_next_some() => settle(event, &mut dialing),
                    Some((peer, stream)) = opened.recv() => {
                        // The test may have dropped its end while the swarm still runs.
                        let _ = wrapped.send((peer, RawStream::new(stream)));
                    }
                    command = received.recv() => match command {
                        Some(command) => obey(&mut swarm, command, &mut dialing),
                        None => break,
                    },
                }
            }
        });
        Self { id, addrs, commands, inbound }
    }

    /// Its id.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Its addresses, with `/p2p`.
    pub fn addrs(&self) -> &[Multiaddr] {
        &self.addrs
    }

    /// Connects. Panics if that fails.
    pub async fn dial(&self, addr: &Multiaddr) -> PeerId {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Dial(addr.clone(), reply));
        match step("a connection", answer).await.expect("the swarm runs as long as its handle") {
            Ok(peer) => peer,
            Err(error) => panic!("dialling {addr}: {error}"),
        }
    }

    /// Opens a stream to a connected peer. Errors: `Unsupported` when it does not speak the protocol.
    pub async fn try_open(&self, peer: PeerId) -> io::Result<RawStream> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Open(peer, reply));
        let stream = step("a stream", answer).await.expect("the swarm runs as long as its handle")?;
        Ok(RawStream::new(stream))
    }

    /// Opens a stream to a connected peer. Panics if that fails.
    pub async fn open(&self, peer: PeerId) -> RawStream {
        self.try_open(peer).await.expect("the peer speaks the protocol")
    }

    /// Sends one request on a stream of its own.
    pub async fn ask(&self, peer: PeerId, request: &Request) -> Response {
        self.open(peer).await.ask(request).await
    }

    /// The next stream that a peer opened.
    pub async fn accept(&mut self) -> (PeerId, RawStream) {
        step("a stream from a peer", self.inbound.recv()).await.expect("the swarm runs as long as its handle")
    }

    /// Answers every request on every stream with what `answer` makes of it, and reports each once it is answered.
    pub fn serve(
        mut self,
        answer: impl Fn(PeerId, &Request) -> Option<Response> + Clone + Send + Sync + 'static,
    ) -> Server {
        let (asked, requests) = mpsc::unbounded_channel();
        let (commands, id, addrs) = (self.commands.clone(), self.id, self.addrs.clone());
        tokio::spawn(async move {
            let mut stream = 0;
            while let Some((peer, opened)) = self.inbound.recv().await {
                tokio::spawn(serve_stream(peer, stream, opened, asked.clone(), answer.clone()));
                stream += 1;
            }
        });
        Server { id, addrs, requests, _commands: commands }
    }

    fn command(&self, command: Command) {
        self.commands.send(command).expect("the swarm runs as long as its handle");
    }
}

/// A [`RawPeer`] that answers.
#[derive(Debug)]
pub struct Server {
    id: PeerId,
    addrs: Vec<Multiaddr>,
    requests: mpsc::UnboundedReceiver<Asked>,
    _commands: mpsc::UnboundedSender<Command>,
}

impl Server {
    /// Its id.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Its addresses, with `/p2p`.
    pub fn addrs(&self) -> &[Multiaddr] {
        &self.addrs
    }

    /// The next request that was answered.
    pub async fn asked(&mut self) -> Asked {
        step("a request", self.requests.recv()).await.expect("the swarm runs as long as its handle")
    }
}

async fn serve_stream(
    peer: PeerId,
    number: usize,
    mut stream: RawStream,
    asked: mpsc::UnboundedSender<Asked>,
    answer: impl Fn(PeerId, &Request) -> Option<Response>,
) {
    while let Some(request) = stream.request().await {
        let response = answer(peer, &request);
        stream.respond(&request, response).await;
        // The test may be over.
        let _ = asked.send(Asked { peer, stream: number, request });
    }
}

/// The key of a request; a PING has none.
pub fn key(request: &Request) -> &[u8] {
    match request {
        Request::PutValue { record } => &record.key,
        Request::GetValue { key }
        | Request::AddProvider { key, .. }
        | Request::GetProviders { key }
        | Request::FindNode { key } => key,
        Request::Ping => &[],
    }
}

/// A stream of frames.
#[derive(Debug)]
pub struct RawStream {
    stream: libp2p::Stream,
    reader: FrameReader,
    /// Bytes of the stream that are not in `reader` yet.
    unread: Vec<u8>,
}

impl RawStream {
    fn new(stream: libp2p::Stream) -> Self {
        Self { stream, reader: FrameReader::new(MESSAGE_BYTES_MAX), unread: Vec::new() }
    }

    /// Sends a request and reads its answer. Panics if there is none.
    pub async fn ask(&mut self, request: &Request) -> Response {
        self.send(request).await.expect("the stream is open");
        self.receive(request.kind()).await
    }

    /// Sends a request.
    pub async fn send(&mut self, request: &Request) -> io::Result<()> {
        let mut out = Vec::new();
        frame::write_request(request, &mut out);
        self.write(&out).await
    }

    /// Sends bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Reads an answer of kind `kind`. Panics if it cannot be read.
    pub async fn receive(&mut self, kind: MessageKind) -> Response {
        let frame = step("an answer", self.frame()).await.expect("the peer keeps the stream open");
        let frame = frame.expect("an answer comes before the end");
        decode_response(&frame, kind).expect("the answer is well formed").message
    }

    /// Reads a request; `None` once the peer has closed or reset the stream. Panics if it cannot be read.
    pub async fn request(&mut self) -> Option<Request> {
        let frame = self.frame().await.ok()??;
        let Decoded { message, .. } = decode_request(&frame).expect("peers send what we can read");
        Some(message)
    }

    /// Answers `request`. What the peer makes of it, or whether it still listens, is not this end's concern.
    pub async fn respond(&mut self, request: &Request, response: Option<Response>) {
        if let Some(response) = response {
            let mut out = Vec::new();
            frame::write_response(&response, key(request), &mut out);
            let _ = self.write(&out).await;
        }
    }

    /// Reads a frame; `None` when the peer closed the stream. Errors: the peer reset it, or sent no frame.
    pub async fn frame(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let mut unread = self.unread.as_slice();
            let frame = self.reader.read(&mut unread).map_err(io::Error::other)?;
            let read = self.unread.len() - unread.len();
            self.unread.drain(..read);
            if frame.is_some() {
                return Ok(frame);
            }
            // Not an array: the futures of tests, which hold all that a stream's do, would outgrow their stack.
            let mut chunk = vec![0; 16 << 10];
            match self.stream.read(&mut chunk).await? {
                0 => return Ok(None),
                len => self.unread.extend_from_slice(&chunk[..len]),
            }
        }
    }
}

#[derive(libp2p::swarm::NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    streams: behaviour::Behaviour,
}

type Dialing = Vec<(libp2p::swarm::ConnectionId, oneshot::Sender<Result<PeerId, DialError>>)>;

fn obey(swarm: &mut Swarm<Behaviour>, command: Command, dialing: &mut Dialing) {
    match command {
        Command::Open(peer, reply) => swarm.behaviour_mut().streams.open(peer, reply),
        Command::Dial(addr, reply) => {
            let options = libp2p::swarm::dial_opts::DialOpts::from(addr);
            dialing.push((options.connection_id(), reply));
            if let Err(error) = swarm.dial(options) {
                let (_, reply) = dialing.pop().expect("pushed above");
                let _ = reply.send(Err(error));
            }
        }
    }
}

fn settle(event: SwarmEvent<BehaviourEvent>, dialing: &mut Dialing) {
    let (connection, result) = match event {
        SwarmEvent::ConnectionEstablished { connection_id, peer_id, .. } => (connection_id, Ok(peer_id)),
        SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => (connection_id, Err(error)),
        _ => return,
    };
    if let Some(index) = dialing.iter().position(|(id, _)| *id == connection) {
        let (_, reply) = dialing.swap_remove(index);
        let _ = reply.send(result);
    }
}
