//! A node of `libp2p-kad`, in this process.

use core::num::NonZeroUsize;
use core::time::Duration;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, identify};
use libp2p_kad as kad;
use libp2p_kad::store::{MemoryStore, RecordStore};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::swarm;
use crate::{PROTOCOL, step};

/// The DHT of a [`RustPeer`].
pub type Kad = kad::Behaviour<MemoryStore>;

/// What a node is made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; nowhere if empty.
    pub listen: Vec<Multiaddr>,
    /// Whether it serves.
    pub mode: kad::Mode,
    /// When a connection that nobody uses ends; `None` takes rust-libp2p's own default.
    pub idle_timeout: Option<Duration>,
}

/// A server on TCP and QUIC of 127.0.0.1 that keeps its connections: a test decides when they end.
impl Default for Options {
    fn default() -> Self {
        Self {
            listen: swarm::listen_in_tests(),
            mode: kad::Mode::Server,
            idle_timeout: Some(swarm::IDLE_IN_TESTS),
        }
    }
}

/// Requests of the DHT since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Sent by the queries that have progressed; a query counts when a part of it ends.
    pub sent: u64,
    /// Answered for others.
    pub served: u64,
}

/// A running node. It ends when this is dropped.
#[derive(Debug)]
pub struct RustPeer {
    id: PeerId,
    addrs: Vec<Multiaddr>,
    commands: mpsc::UnboundedSender<Command>,
    /// Counts the swarm's events.
    events: watch::Receiver<u64>,
    /// What everyone may look at without asking the task.
    view: Arc<Mutex<View>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct View {
    table: Vec<PeerId>,
    requests: Requests,
}

type Command = Box<dyn FnOnce(&mut Swarm<Behaviour>, &mut Waiting) + Send>;

#[derive(Default)]
struct Waiting {
    dials: HashMap<ConnectionId, oneshot::Sender<Result<PeerId, Arc<DialError>>>>,
    queries: HashMap<kad::QueryId, (Vec<kad::QueryResult>, oneshot::Sender<Vec<kad::QueryResult>>)>,
}

#[derive(libp2p::swarm::NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    kad: Kad,
}

impl RustPeer {
    /// A server that listens on TCP and QUIC. As programs on libp2p-kad must, it gives the addresses that identify
    /// reports to the table, and declares its own as reachable: only those go into its provider records.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// As [`RustPeer::start`], made otherwise.
    pub async fn start_with(options: Options) -> Self {
        let Options { listen, mode, idle_timeout } = options;
        let (mut swarm, addrs) = swarm::listening(&listen, idle_timeout, |key| {
            let id = key.public().to_peer_id();
            let config = kad::Config::new(StreamProtocol::new(PROTOCOL));
            let mut kad = kad::Behaviour::with_config(id, MemoryStore::new(id), config);
            kad.set_mode(Some(mode));
            let identify = identify::Config::new("/kadmos/rust-libp2p".into(), key.public());
            Behaviour { identify: identify::Behaviour::new(identify), kad }
        })
        .await;
        for addr in &addrs {
            swarm.add_external_address(addr.clone());
        }
        let id = *swarm.local_peer_id();
        let (commands, mut received) = mpsc::unbounded_channel::<Command>();
        let (count, events) = watch::channel(0);
        let view = Arc::new(Mutex::new(View::default()));
        let viewed = Arc::clone(&view);
        let task = tokio::spawn(async move {
            let mut waiting = Waiting::default();
            loop {
                tokio::select! {
                    event = swarm.select_next_some() => {
                        observe(&mut swarm, &event, &viewed);
                        settle(&mut swarm, event, &mut waiting);
                        count.send_modify(|count| *count += 1);
                    }
                    command = received.recv() => match command {
                        Some(command) => command(&mut swarm, &mut waiting),
                        None => break,
                    },
                }
            }
        });
        Self { id, addrs, commands, events, view, task }
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
    pub async fn connect(&self, addr: &Multiaddr) {
        let addr = addr.clone();
        let (reply, answer) = oneshot::channel();
        self.command(move |swarm, waiting| {
            let options = libp2p::swarm::dial_opts::DialOpts::from(addr);
            let id = options.connection_id();
            match swarm.dial(options) {
                Ok(()) => drop(waiting.dials.insert(id, reply)),
                Err(error) => drop(reply.send(Err(Arc::new(error)))),
            }
        });
        let connected = step("a connection", answer).await.expect("the swarm runs as long as its handle");
        connected.expect("the peer listens there");
    }

    /// Joins the network as programs on libp2p-kad do: tells the table of `peers`, whose addresses end in `/p2p`, and
    /// starts a bootstrap. Does not wait for its end.
    pub fn join(&self, peers: Vec<Multiaddr>) {
        self.command(move |swarm, _| {
            let kad = &mut swarm.behaviour_mut().kad;
            for addr in peers {
                let Some(Protocol::P2p(peer)) = addr.iter().last() else { panic!("no peer in {addr}") };
                kad.add_address(&peer, addr);
            }
            kad.bootstrap().expect("the table holds whom it was just told of");
        });
    }

    /// Who is in the table.
    pub fn table(&self) -> Vec<PeerId> {
        self.view().table.clone()
    }

    /// What the DHT has sent and answered.
    pub fn requests(&self) -> Requests {
        self.view().requests
    }

    /// Ends the node and waits until its sockets are closed.
    pub async fn stop(self) {
        let Self { commands, task, .. } = self;
        drop(commands);
        step("the end of rust-libp2p's swarm", task).await.expect("the swarm has not panicked");
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().expect("no panic under the lock")
    }

    /// Waits until the table holds `peer`.
    pub async fn admits(&self, peer: PeerId) {
        self.until(&format!("{peer} in the table of rust-libp2p"), move |kad| {
            let bucket = kad.kbucket(peer)?;
            bucket.iter().any(|entry| *entry.node.key.preimage() == peer).then_some(())
        })
        .await;
    }

    /// The peers closest to `key` that answered.
    pub async fn closest_peers(&self, key: Vec<u8>) -> Vec<kad::PeerInfo> {
        let results = self.query(move |kad| kad.get_closest_peers(key)).await;
        let mut peers = Vec::new();
        for result in results {
            match result {
                kad::QueryResult::GetClosestPeers(Ok(found)) => peers.extend(found.peers),
                other => panic!("get_closest_peers gave {other:?}"),
            }
        }
        peers
    }

    /// Announces itself as a provider.
    pub async fn provide(&self, key: Vec<u8>) {
        let start = move |kad: &mut Kad| kad.start_providing(key.into()).expect("the store has room");
        for result in self.query(start).await {
            assert!(matches!(result, kad::QueryResult::StartProviding(Ok(_))), "{result:?}");
        }
    }

    /// Finds providers, until the lookup ends by itself.
    pub async fn find_providers(&self, key: Vec<u8>) -> HashSet<PeerId> {
        let mut found = HashSet::new();
        for result in self.query(move |kad| kad.get_providers(key.into())).await {
            match result {
                kad::QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders {
                    providers, ..
                })) => found.extend(providers),
                kad::QueryResult::GetProviders(Ok(_)) => {}
                other => panic!("get_providers gave {other:?}"),
            }
        }
        found
    }

    /// Puts a value on the closest peers. Panics unless `quorum` of them echo it.
    pub async fn put(&self, key: Vec<u8>, value: Vec<u8>, quorum: NonZeroUsize) {
        let record = kad::Record::new(key, value);
        let start =
            move |kad: &mut Kad| kad.put_record(record, kad::Quorum::N(quorum)).expect("the store has room");
        for result in self.query(start).await {
            assert!(matches!(result, kad::QueryResult::PutRecord(Ok(_))), "{result:?}");
        }
    }

    /// Puts a value that no other peer takes, and keeps it. Panics if one does take it.
    pub async fn put_refused(&self, key: Vec<u8>, value: Vec<u8>) {
        let record = kad::Record::new(key, value);
        let start = |kad: &mut Kad| kad.put_record(record, kad::Quorum::One).expect("the store has room");
        for result in self.query(start).await {
            assert!(
                matches!(&result, kad::QueryResult::PutRecord(Err(kad::PutRecordError::QuorumFailed { success, .. })) if success.is_empty()),
                "{result:?}"
            );
        }
    }

    /// All answers to a lookup of a value, each with the peer that gave it; `None` is the own store.
    pub async fn get(&self, key: Vec<u8>) -> Vec<(Option<PeerId>, Vec<u8>)> {
        let mut found = Vec::new();
        for result in self.query(move |kad| kad.get_record(key.into())).await {
            match result {
                kad::QueryResult::GetRecord(Ok(kad::GetRecordOk::FoundRecord(record))) => {
                    found.push((record.peer, record.record.value));
                }
                kad::QueryResult::GetRecord(Ok(_) | Err(kad::GetRecordError::NotFound { .. })) => {}
                other => panic!("get_record gave {other:?}"),
            }
        }
        found
    }

    /// Waits until its own store holds a value under `key`.
    pub async fn stores(&self, key: Vec<u8>) -> Vec<u8> {
        let key = kad::RecordKey::from(key);
        self.until("a value in the store of rust-libp2p", move |kad| {
            kad.store_mut().get(&key).map(|record| record.value.clone())
        })
        .await
    }

    /// Waits until its own store names `provider` as a provider of `key`, and gives the addresses it holds.
    pub async fn stores_provider(&self, key: Vec<u8>, provider: PeerId) -> Vec<Multiaddr> {
        let key = kad::RecordKey::from(key);
        self.until("a provider in the store of rust-libp2p", move |kad| {
            let records = kad.store_mut().providers(&key);
            records.into_iter().find(|record| record.provider == provider).map(|record| record.addresses)
        })
        .await
    }

    /// Starts a query and waits for all its results.
    async fn query(
        &self,
        start: impl FnOnce(&mut Kad) -> kad::QueryId + Send + 'static,
    ) -> Vec<kad::QueryResult> {
        let (reply, answer) = oneshot::channel();
        self.command(move |swarm, waiting| {
            let id = start(&mut swarm.behaviour_mut().kad);
            waiting.queries.insert(id, (Vec::new(), reply));
        });
        step("a query of rust-libp2p", answer).await.expect("the swarm runs as long as its handle")
    }

    /// Waits until `look` finds something. It looks after every event of the swarm.
    async fn until<T: Send + 'static>(
        &self,
        what: &str,
        look: impl FnMut(&mut Kad) -> Option<T> + Send + 'static,
    ) -> T {
        let mut events = self.events.clone();
        let look = Arc::new(Mutex::new(look));
        step(what, async {
            loop {
                // Before the look: what happens during it is looked at next.
                events.mark_unchanged();
                let (reply, answer) = oneshot::channel();
                let look = Arc::clone(&look);
                self.command(move |swarm, _| {
                    let mut look = look.lock().expect("a look that panics ends the test");
                    let _ = reply.send((*look)(&mut swarm.behaviour_mut().kad));
                });
                if let Some(found) = answer.await.expect("the swarm runs as long as its handle") {
                    return found;
                }
                events.changed().await.expect("the swarm runs as long as its handle");
            }
        })
        .await
    }

    fn command(&self, command: impl FnOnce(&mut Swarm<Behaviour>, &mut Waiting) + Send + 'static) {
        if self.commands.send(Box::new(command)).is_err() {
            panic!("the swarm of rust-libp2p has panicked");
        }
    }
}

/// Keeps [`View`] true.
fn observe(swarm: &mut Swarm<Behaviour>, event: &SwarmEvent<BehaviourEvent>, view: &Mutex<View>) {
    // The table grows with the one, and loses whom it cannot dial with the other.
    if matches!(
        event,
        SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::RoutingUpdated { .. }))
            | SwarmEvent::OutgoingConnectionError { .. }
    ) {
        let mut table = Vec::new();
        for bucket in swarm.behaviour_mut().kad.kbuckets() {
            table.extend(bucket.iter().map(|entry| *entry.node.key.preimage()));
        }
        view.lock().expect("no panic under the lock").table = table;
    }
    let SwarmEvent::Behaviour(BehaviourEvent::Kad(event)) = event else { return };
    let mut view = view.lock().expect("no panic under the lock");
    match event {
        kad::Event::InboundRequest { .. } => view.requests.served += 1,
        // A bootstrap is a row of walks under one id, and tells of each by itself.
        kad::Event::OutboundQueryProgressed { result, stats, step, .. }
            if step.last || matches!(result, kad::QueryResult::Bootstrap(_)) =>
        {
            view.requests.sent += u64::from(stats.num_requests());
        }
        _ => {}
    }
}

fn settle(swarm: &mut Swarm<Behaviour>, event: SwarmEvent<BehaviourEvent>, waiting: &mut Waiting) {
    match event {
        SwarmEvent::ConnectionEstablished { connection_id, peer_id, .. } => {
            if let Some(reply) = waiting.dials.remove(&connection_id) {
                let _ = reply.send(Ok(peer_id));
            }
        }
        SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
            if let Some(reply) = waiting.dials.remove(&connection_id) {
                let _ = reply.send(Err(Arc::new(error)));
            }
        }
        SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
            peer_id, info, ..
        })) if info.protocols.contains(&StreamProtocol::new(PROTOCOL)) => {
            for addr in info.listen_addrs {
                swarm.behaviour_mut().kad.add_address(&peer_id, addr);
            }
        }
        SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
            id,
            result,
            step,
            ..
        })) => {
            let Some((results, _)) = waiting.queries.get_mut(&id) else { return };
            results.push(result);
            if step.last
                && let Some((results, reply)) = waiting.queries.remove(&id)
            {
                let _ = reply.send(results);
            }
        }
        _ => {}
    }
}
