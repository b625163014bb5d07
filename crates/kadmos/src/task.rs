//! The task that runs a node's swarm.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kadmos_libp2p::{BehaviourEvent, PeerAddrs};
use libp2p::core::transport::ListenerId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identify};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::{BuildError, ConnectError};
use crate::keeper::{KEEP_INTERVAL, Keeper};
use crate::listen;
use crate::network::{Network, NetworkEvent};
use crate::node::{CONTROLS_MAX, Connection, Control};
use crate::reach::{Reach, Tested};

/// A listener has this long to tell its first address.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// At shutdown, connections have this long to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What is kept of a peer's description of itself; it is shown to people.
const AGENT_CHARS_MAX: usize = 128;

type ConnectReply = oneshot::Sender<Result<PeerId, ConnectError>>;

pub(crate) struct Task {
    swarm: Swarm<Network>,
    control: mpsc::Receiver<Control>,
    listen_addrs: watch::Sender<Vec<Multiaddr>>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Dials that somebody waits for; each lasts as long as its dial.
    connecting: BTreeMap<ConnectionId, ConnectReply>,
    keeper: Option<Keeper>,
    /// In mode `auto`.
    reach: Option<Reach>,
    began: Instant,
}

impl Task {
    pub(crate) fn new(
        swarm: Swarm<Network>,
        keeper: Option<Keeper>,
        reach: Option<Reach>,
    ) -> (Self, mpsc::Sender<Control>) {
        let (sender, control) = mpsc::channel(CONTROLS_MAX);
        let (listen_addrs, _) = watch::channel(Vec::new());
        let (connections, connecting) = (BTreeMap::new(), BTreeMap::new());
        let began = Instant::now();
        (Self { swarm, control, listen_addrs, connections, connecting, keeper, reach, began }, sender)
    }

    pub(crate) fn listen_addrs(&self) -> watch::Receiver<Vec<Multiaddr>> {
        self.listen_addrs.subscribe()
    }

    /// Runs the swarm until each listener has told an address.
    pub(crate) async fn until_listening(
        &mut self,
        mut listeners: Vec<(ListenerId, Multiaddr)>,
    ) -> Result<(), BuildError> {
        let deadline = tokio::time::sleep(LISTEN_TIMEOUT);
        tokio::pin!(deadline);
        while let Some((_, first)) = listeners.first() {
            let event = tokio::select! {
                event = self.swarm.select_next_some() => event,
                () = &mut deadline => {
                    let reason = format!("no address within {} s", LISTEN_TIMEOUT.as_secs());
                    return Err(BuildError::Listen { addr: first.clone(), reason });
                }
            };
            match &event {
                SwarmEvent::NewListenAddr { listener_id, .. } => {
                    listeners.retain(|(id, _)| id != listener_id);
                }
                SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. }
                | SwarmEvent::ListenerError { listener_id, error } => {
                    if let Some((_, addr)) = listeners.iter().find(|(id, _)| id == listener_id) {
                        return Err(listen::failed(addr.clone(), error));
                    }
                }
                _ => {}
            }
            self.handle_event(event);
        }
        Ok(())
    }

    /// Runs until shutdown, or until nobody holds a handle any more.
    pub(crate) async fn run(mut self) {
        let mut keep_at = tokio::time::interval(KEEP_INTERVAL);
        keep_at.reset(); // the first would be at once
        loop {
            tokio::select! {
                biased; // our own work first, strangers last
                control = self.control.recv(), if !self.control.is_closed() => match control {
                    Some(Control::Shutdown) => break,
                    Some(control) => self.handle_control(control),
                    // Handles to the DHT may remain; the behaviour tells when the last one is gone.
                    None => self.control.close(),
                },
                _ = keep_at.tick(), if self.keeper.is_some() => self.keep().await,
                event = self.swarm.select_next_some() => {
                    if matches!(&event, SwarmEvent::Behaviour(NetworkEvent::Dht(BehaviourEvent::Abandoned))) {
                        break;
                    }
                    self.handle_event(event);
                }
            }
        }
        self.keep().await;
        self.close().await;
    }

    /// Waits for the disk, some milliseconds, with everything else.
    async fn keep(&mut self) {
        if let Some(keeper) = &self.keeper {
            let writing = keeper.save(&self.swarm.behaviour().dht);
            // It fails only when the runtime ends first.
            let _ = writing.await;
        }
    }

    /// Closes all connections and listeners. What is left after a second is dropped.
    async fn close(mut self) {
        self.listen_addrs.send_replace(Vec::new());
        self.swarm.behaviour_mut().dht.close();
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // It is connected: it was a moment ago, and nothing has run since.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let swarm = &mut self.swarm;
        let closed = async {
            while swarm.network_info().connection_counters().num_connections() > 0 {
                swarm.select_next_some().await;
            }
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
        // First the swarm, then the control channel, whose end tells that everything is gone.
        let Self { swarm, control, .. } = self;
        drop(swarm);
        drop(control);
    }

    fn handle_control(&mut self, control: Control) {
        match control {
            Control::Connect { addr, reply } => self.connect(addr, reply),
            Control::Connections(reply) => {
                let _ = reply.send(self.connections.values().cloned().collect());
            }
            Control::Ping { peer, reply } => self.swarm.behaviour_mut().pinger.ping(peer, reply),
            Control::Shutdown => {}
        }
    }

    fn connect(&mut self, addr: Multiaddr, reply: ConnectReply) {
        let opts = match PeerAddrs::try_from(addr.clone()) {
            Ok(peer) if peer.id == *self.swarm.local_peer_id() => {
                let _ = reply.send(Err(ConnectError::IsSelf));
                return;
            }
            Ok(peer) if self.swarm.is_connected(&peer.id) => {
                let _ = reply.send(Ok(peer.id));
                return;
            }
            // A dial of our own beside one of the DHT's, so that this address is tried, and the result is ours.
            Ok(peer) => DialOpts::peer_id(peer.id)
                .addresses(peer.addrs)
                .extend_addresses_through_behaviour()
                .condition(PeerCondition::Always)
                .build(),
            Err(_) => DialOpts::unknown_peer_id().address(addr).build(),
        };
        let (connection, peer) = (opts.connection_id(), opts.get_peer_id());
        match self.swarm.dial(opts) {
            Ok(()) => {
                self.connecting.insert(connection, reply);
            }
            Err(error) => {
                let _ = reply.send(Err(connect_error(peer, &error)));
            }
        }
    }

    fn handle_event(&mut self, event: SwarmEvent<NetworkEvent>) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::info!(%address, "listening");
                self.tell_listen_addrs();
            }
            SwarmEvent::ExpiredListenAddr { .. } | SwarmEvent::ListenerClosed { .. } => {
                self.tell_listen_addrs();
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listener"),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let addr = endpoint.get_remote_address().clone();
                let connection =
                    Connection { peer: peer_id, addr, dialled: endpoint.is_dialer(), agent: None };
                self.connections.insert(connection_id, connection);
                if let Some(reply) = self.connecting.remove(&connection_id) {
                    let _ = reply.send(Ok(peer_id));
                }
            }
            SwarmEvent::ConnectionClosed { connection_id, .. } => {
                self.connections.remove(&connection_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                if let Some(reply) = self.connecting.remove(&connection_id) {
                    // The peer may have been reached on a connection of the DHT's meanwhile.
                    let connected = peer_id.filter(|peer| self.swarm.is_connected(peer));
                    let _ = reply.send(connected.ok_or_else(|| connect_error(peer_id, &error)));
                }
            }
            SwarmEvent::Behaviour(NetworkEvent::Identify(identify::Event::Received {
                connection_id,
                peer_id,
                info,
            })) => {
                self.swarm.behaviour_mut().dht.identified(peer_id, &info.listen_addrs);
                if let Some(connection) = self.connections.get_mut(&connection_id) {
                    let printable = info.agent_version.chars().filter(|char| !char.is_control());
                    connection.agent = Some(printable.take(AGENT_CHARS_MAX).collect());
                }
            }
            SwarmEvent::Behaviour(NetworkEvent::Prober(tested)) => self.tested(&tested),
            _ => {}
        }
    }

    /// Others have tried to reach us.
    fn tested(&mut self, tested: &Tested) {
        let Some(reach) = &mut self.reach else { return };
        let changed = reach.tested(tested.reached, self.began.elapsed());
        let reachability = reach.reachability();
        tracing::debug!(addr = %tested.addr, reached = tested.reached, "reachability tested");
        let dht = &mut self.swarm.behaviour_mut().dht;
        dht.reached(reachability);
        if let Some(mode) = changed {
            tracing::info!(?mode, reachability = reachability.label(), "mode");
            dht.change_mode(mode);
        }
    }

    fn tell_listen_addrs(&self) {
        self.listen_addrs.send_replace(self.swarm.listeners().cloned().collect());
    }
}

/// Why a dial failed, in our terms.
pub(crate) fn connect_error(peer: Option<PeerId>, error: &DialError) -> ConnectError {
    match (error, peer) {
        (DialError::LocalPeerId { .. }, _) => ConnectError::IsSelf,
        (DialError::WrongPeerId { obtained, .. }, Some(expected)) => {
            ConnectError::WrongPeer { got: *obtained, expected }
        }
        (DialError::NoAddresses, Some(peer)) => ConnectError::NoAddresses { peer },
        (DialError::Denied { .. }, _) => ConnectError::Limited,
        _ => ConnectError::Unreachable { reason: error.to_string() },
    }
}
