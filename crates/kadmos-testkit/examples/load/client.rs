//! The clients: each a libp2p host with one connection and raw streams on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::try_join_all;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use kadmos::core::Key;
use kadmos::core::limits::MESSAGE_BYTES_MAX;
use kadmos::core::message::{MessageKind, Request};
use kadmos::core::wire::decode_response;
use kadmos::core::wire::frame::{self, FrameReader};
use kadmos::libp2p::swarm::dial_opts::DialOpts;
use kadmos::libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};
use libp2p_stream::Control;
use tokio::task::JoinHandle;

use crate::Result;

/// A request without an answer for this long ends the run: nothing on loopback takes so long.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

/// Asks with `clients` hosts until `end`; returns each request's latency.
pub(crate) async fn run(
    clients: usize,
    depth: usize,
    server: &Multiaddr,
    protocol: &'static str,
    end: Instant,
) -> Result<Vec<Duration>> {
    let numbers = Arc::new(AtomicU64::new(0));
    let clients = (0..clients).map(|_| async {
        let mut host = Host::connect(server, protocol).await?;
        let mut streams = Vec::new();
        for _ in 0..depth {
            streams.push(host.open().await?);
        }
        let tasks = streams.into_iter().map(|stream| tokio::spawn(ask_until(end, stream, numbers.clone())));
        let mut latencies = Vec::new();
        for answered in try_join_all(tasks).await? {
            latencies.extend(answered?);
        }
        Result::Ok(latencies)
    });
    Ok(try_join_all(clients).await?.concat())
}

/// Asks one question; returns how many peers the answer names.
pub(crate) async fn ask_once(server: &Multiaddr, protocol: &'static str) -> Result<usize> {
    let mut host = Host::connect(server, protocol).await?;
    let mut session = Session::new(host.open().await?);
    session.ask(0).await
}

async fn ask_until(end: Instant, stream: Stream, numbers: Arc<AtomicU64>) -> Result<Vec<Duration>> {
    let mut session = Session::new(stream);
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let asked = Instant::now();
        session.ask(numbers.fetch_add(1, Ordering::Relaxed)).await?;
        latencies.push(asked.elapsed());
    }
    Ok(latencies)
}

/// One peer with one connection to the server.
struct Host {
    control: Control,
    server: PeerId,
    protocol: StreamProtocol,
    swarm: JoinHandle<()>,
}

impl Host {
    async fn connect(server: &Multiaddr, protocol: &'static str) -> Result<Self> {
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
            .with_behaviour(|_| libp2p_stream::Behaviour::new())?
            .build();
        let dial: DialOpts = server.clone().into();
        let id = dial.get_peer_id().ok_or("the server's address names no peer")?;
        swarm.dial(dial)?;
        let control = swarm.behaviour().new_control();
        Ok(Self {
            control,
            server: id,
            protocol: StreamProtocol::new(protocol),
            swarm: tokio::spawn(drive(swarm)),
        })
    }

    /// Opens a stream, once the connection is up.
    async fn open(&mut self) -> Result<Stream> {
        let opening = self.control.open_stream(self.server, self.protocol.clone());
        Ok(tokio::time::timeout(ANSWER_TIME_MAX, opening).await??)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

async fn drive(mut swarm: Swarm<libp2p_stream::Behaviour>) {
    loop {
        swarm.select_next_some().await;
    }
}

/// A stream on which one request follows the other.
struct Session {
    stream: Stream,
    frames: FrameReader,
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl Session {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            frames: FrameReader::new(MESSAGE_BYTES_MAX),
            sent: Vec::new(),
            received: vec![0; 16 << 10],
        }
    }

    /// FIND_NODE for a key of its own; returns how many peers the answer names.
    async fn ask(&mut self, number: u64) -> Result<usize> {
        let key = Bytes::copy_from_slice(Key::of(&number.to_be_bytes()).as_bytes());
        self.sent.clear();
        frame::write_request(&Request::FindNode { key }, &mut self.sent);
        self.stream.write_all(&self.sent).await?;
        self.stream.flush().await?;
        let answer = tokio::time::timeout(ANSWER_TIME_MAX, self.frame()).await??;
        Ok(decode_response(&answer, MessageKind::FindNode)?.message.closer().len())
    }

    async fn frame(&mut self) -> Result<Bytes> {
        loop {
            let len = self.stream.read(&mut self.received).await?;
            if len == 0 {
                return Err("the server closed the stream".into());
            }
            // One request is under way, so one frame comes, and nothing after it.
            if let Some(frame) = self.frames.read(&mut &self.received[..len])? {
                return Ok(frame);
            }
        }
    }
}
