//! Runs requests on a node: the daemon's, or one that lives as long as the command.

use std::future::Future;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kadmos::{ConnectError, Dht, Mode, Node, PeerAddrs, PublishReport};
use kadmos_core::Key;
use kadmos_records::{ipns, pk, public_key};
use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use libp2p_identity::PeerId;
use multibase::Base;
use tokio::sync::{mpsc, watch};

use crate::exit::{Exit, Failure};
use crate::identity::key_type_name;
use crate::parse::{Content, LookupKey, ParseError, PeerRef, RecordKey};
use crate::protocol::{
    ClosestPeer, Event, FailedPeer, IpnsMeaning, Meaning, NodeInfo, PeerEntry, Pong, Published, Request,
    Value,
};
use crate::status::Status;

/// Time for what has no deadline of its own, such as a ping, past the time that was asked for; the node's own
/// deadline then ends an operation first, with a better sentence.
const GRACE: Duration = Duration::from_millis(500);
/// A dial that takes longer has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest drain: whoever has not taken an answer by then will not.
const DRAIN_MAX: Duration = Duration::from_secs(600);
/// Time from one ping to the next.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// A node, and what requests are told about it.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    /// The node.
    pub(crate) node: Node,
    /// Its protocol id.
    pub(crate) protocol: String,
    /// `ed25519`, …
    pub(crate) key_type: &'static str,
    /// Of a daemon: whether its first attempt to join has ended, well or not. `None` for a node that was joined
    /// before it is asked.
    pub(crate) joined: Option<watch::Receiver<bool>>,
    /// What only a daemon is told and can do.
    pub(crate) daemon: Option<DaemonSide>,
}

/// What only a daemon is told and can do.
#[derive(Clone, Debug)]
pub(crate) struct DaemonSide {
    /// When it was started.
    pub(crate) began: Instant,
    /// `client`, `server` or `auto`.
    pub(crate) mode_setting: &'static str,
    /// Peers that a bucket holds.
    pub(crate) bucket_size: usize,
    /// Ends the daemon when it is set.
    pub(crate) end: watch::Sender<bool>,
}

impl Engine {
    /// Runs `request` within `timeout`, and sends what it finds. A closed channel ends it: nobody listens.
    pub(crate) async fn run(
        &self,
        request: &Request,
        timeout: Option<Duration>,
        events: &mpsc::Sender<Event>,
    ) -> Result<(), Failure> {
        let dht = match timeout {
            Some(deadline) => self.node.with_deadline(deadline),
            None => self.node.dht().clone(),
        };
        let work = async {
            if asks_peers(request) {
                self.until_joined().await;
            }
            self.dispatch(&dht, request, events).await
        };
        match timeout {
            Some(limit) => within(limit + GRACE, work).await,
            None => work.await,
        }
    }

    /// A daemon that has just started has nobody to ask yet; its first requests wait for the first peers.
    async fn until_joined(&self) {
        if let Some(mut joined) = self.joined.clone()
            && self.node.table_now().is_empty()
        {
            // An error says that joining has ended in another way, which is as good.
            let _ = joined.wait_for(|joined| *joined).await;
        }
    }

    async fn dispatch(
        &self,
        dht: &Dht,
        request: &Request,
        events: &mpsc::Sender<Event>,
    ) -> Result<(), Failure> {
        match request {
            Request::Id {} => send(events, Event::Node(self.info())).await,
            Request::Status {} => {
                let daemon = self.daemon()?;
                let DaemonSide { began, mode_setting, bucket_size, .. } = daemon;
                let status =
                    Status::of(&self.node, &self.protocol, *bucket_size, mode_setting, *began).await?;
                send(events, Event::Status(Box::new(status))).await
            }
            Request::Drain { deadline_seconds } => {
                let daemon = self.daemon()?;
                let deadline = Duration::try_from_secs_f64(*deadline_seconds).map_err(|_| {
                    Failure::usage(format_args!("deadline_seconds: read {deadline_seconds}, expected a time"))
                })?;
                let drained = dht.drain(deadline.min(DRAIN_MAX)).await.map_err(Failure::shutdown)?;
                let sent = send(events, Event::Drained { cut_off: drained.cut_off }).await;
                daemon.end.send_replace(true);
                sent
            }
            Request::FindPeer { peer } => {
                let peer: PeerRef = parsed(peer)?;
                let found = dht.find_peer(peer.id).await?;
                send(events, Event::Peer(entry(found))).await
            }
            Request::FindProviders { content, count } => find_providers(dht, content, *count, events).await,
            Request::Provide { content } => {
                let content_key: Content = parsed(content)?;
                let report = dht.provide(content_key.multihash.to_bytes()).await?;
                send(events, Event::Published(published(content, report))).await
            }
            Request::Get { key, quorum } => get(dht, key, *quorum, events).await,
            Request::Put { key, value_base64 } => {
                let record_key: RecordKey = parsed(key)?;
                let value = Base::Base64Pad.decode(value_base64).map_err(|error| {
                    Failure::usage(format_args!("value_base64 is not base64 ({error}); pad it with ="))
                })?;
                let report = dht.put_value(record_key.bytes, value).await?;
                send(events, Event::Published(published(key, report))).await
            }
            Request::Closest { key } => closest(dht, key, events).await,
            Request::Ping { peer, count } => self.ping(dht, peer, *count, events).await,
        }
    }

    fn daemon(&self) -> Result<&DaemonSide, Failure> {
        self.daemon.as_ref().ok_or_else(no_daemon)
    }

    fn info(&self) -> NodeInfo {
        let id = self.node.peer_id();
        let table = self.node.table_now();
        NodeInfo {
            id: id.to_base58(),
            ipns_name: ipns::format_name(&id),
            key_type: self.key_type.into(),
            running: self.joined.is_some(),
            addrs: self.node.p2p_addrs(),
            protocol: Some(self.protocol.clone()),
            mode: Some(mode_name(table.mode()).into()),
            peers: Some(table.len()),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    async fn ping(
        &self,
        dht: &Dht,
        peer: &str,
        count: u32,
        events: &mpsc::Sender<Event>,
    ) -> Result<(), Failure> {
        let target: PeerRef = parsed(peer)?;
        let addrs = match target.addr {
            Some(addr) => vec![addr],
            None => dht.find_peer(target.id).await?.addrs,
        };
        self.reach(target.id, addrs).await?;
        for sequence in 1..=count {
            if sequence > 1 {
                tokio::time::sleep(PING_INTERVAL).await;
            }
            let rtt = self.node.ping(target.id).await?;
            let pong = Pong { id: target.id.to_base58(), sequence, rtt_seconds: rtt.as_secs_f64() };
            send(events, Event::Pong(pong)).await?;
        }
        Ok(())
    }

    /// Connects to `id` at the first address that works.
    async fn reach(&self, id: PeerId, addrs: Vec<Multiaddr>) -> Result<(), Failure> {
        let mut last = Failure::from(ConnectError::NoAddresses { peer: id });
        for addr in addrs {
            let dialled = self.node.connect(addr.clone().with(Protocol::P2p(id)));
            match tokio::time::timeout(CONNECT_TIMEOUT, dialled).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => last = error.into(),
                Err(_) => {
                    last = Failure::new(
                        Exit::Unreachable,
                        format_args!(
                            "no answer from {addr} within {} s; check the address and that the peer is running",
                            CONNECT_TIMEOUT.as_secs()
                        ),
                    );
                }
            }
        }
        Err(last)
    }
}

/// Whether a request needs somebody to ask; the others name whom to reach, or nobody.
fn asks_peers(request: &Request) -> bool {
    match request {
        Request::Id {} | Request::Status {} | Request::Drain { .. } => false,
        Request::Ping { peer, .. } => parsed::<PeerRef>(peer).is_ok_and(|peer| peer.addr.is_none()),
        _ => true,
    }
}

/// For what only a daemon can do.
pub(crate) fn no_daemon() -> Failure {
    Failure::new(Exit::Unreachable, "no daemon runs on this data directory; start one with `kadmos serve`")
}

/// Gives `work` this long.
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Failure::new(
            Exit::TimedOut,
            format_args!("not done within {:.1} s; give more time with --timeout", limit.as_secs_f64()),
        ))
    })
}

/// The text was checked when it was typed; a socket's client may send anything.
fn parsed<T: std::str::FromStr<Err = ParseError>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(Failure::usage)
}

async fn send(events: &mpsc::Sender<Event>, event: Event) -> Result<(), Failure> {
    events.send(event).await.map_err(|_| Failure::new(Exit::Interrupted, "nobody listens any more"))
}

async fn find_providers(
    dht: &Dht,
    content: &str,
    count: usize,
    events: &mpsc::Sender<Event>,
) -> Result<(), Failure> {
    let content_key: Content = parsed(content)?;
    let mut providers = dht.find_providers(content_key.multihash.to_bytes(), count);
    let mut found = 0_usize;
    while let Some(provider) = providers.next().await {
        found += 1;
        send(events, Event::Provider(entry(provider?))).await?;
    }
    if found > 0 {
        return Ok(());
    }
    Err(Failure::new(
        Exit::NotFound,
        format_args!(
            "nobody provides {content} as far as the peers asked know; check the CID, or try again later"
        ),
    ))
}

async fn get(
    dht: &Dht,
    key: &str,
    quorum: Option<usize>,
    events: &mpsc::Sender<Event>,
) -> Result<(), Failure> {
    let record_key: RecordKey = parsed(key)?;
    let mut values = dht.search_value(record_key.bytes.clone(), quorum);
    while let Some(value) = values.next().await {
        value?;
    }
    // A stream that ends without an error has a result.
    let Some(found) = values.found() else {
        return Err(Failure::new(Exit::Failed, format_args!("the search for {key} ended without a result")));
    };
    let value = Value {
        key: key.into(),
        value_base64: Base::Base64Pad.encode(&found.best.value),
        meaning: meaning(&record_key.bytes, &found.best.value),
        from: found.best.peer.map(|peer| peer.to_base58()),
        answers: found.answers,
        corrected: found.corrected,
    };
    send(events, Event::Value(value)).await
}

/// What a valid record says. The node's validator has accepted it, so failing to read it is no failure here.
pub(crate) fn meaning(key: &[u8], value: &[u8]) -> Meaning {
    let bytes = Meaning::Bytes { length: value.len() };
    if key.starts_with(ipns::PREFIX) {
        return ipns::decode(value).map_or(bytes, |record| {
            Meaning::Ipns(IpnsMeaning {
                path: record.path().unwrap_or_else(|| String::from_utf8_lossy(&record.value).into_owned()),
                sequence: record.sequence,
                valid_until: record.valid_until.to_string(),
                ttl_seconds: record.ttl.map(|ttl| ttl.as_secs()),
            })
        });
    }
    if key.starts_with(pk::PREFIX) {
        return public_key::decode(value).map_or(bytes, |key| Meaning::PublicKey {
            key_type: key_type_name(key.key_type()).into(),
            id: key.to_peer_id().to_base58(),
        });
    }
    bytes
}

async fn closest(dht: &Dht, key: &str, events: &mpsc::Sender<Event>) -> Result<(), Failure> {
    let lookup: LookupKey = parsed(key)?;
    let target = Key::of(&lookup.bytes);
    let found = dht.closest_peers(lookup.bytes).await?;
    for (index, peer) in found.peers.into_iter().enumerate() {
        let entry = entry(peer.clone());
        let event = ClosestPeer {
            rank: index + 1,
            common_prefix_len: Key::of(&peer.id.to_bytes()).common_prefix_len(&target),
            id: entry.id,
            addrs: entry.addrs,
        };
        send(events, Event::ClosestPeer(event)).await?;
    }
    Ok(())
}

fn entry(peer: PeerAddrs) -> PeerEntry {
    PeerEntry { id: peer.id.to_base58(), addrs: peer.addrs }
}

fn published(key: &str, report: PublishReport) -> Published {
    Published {
        key: key.into(),
        attempted: report.attempted,
        sent: report.sent,
        stored: report.stored,
        holders: report.holders.iter().map(|peer| peer.to_base58()).collect(),
        failed: report
            .failed
            .iter()
            .map(|(peer, failure)| FailedPeer { id: peer.to_base58(), reason: failure.label().into() })
            .collect(),
    }
}

/// `client` or `server`.
pub(crate) const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Client => "client",
        Mode::Server => "server",
    }
}
