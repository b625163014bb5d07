//! The border between two realms: which connection carries which, and what may be said where. With the public network's
//! settings, so with addresses that no test can listen on.

use std::collections::BTreeSet;

use kadmos_core::message::{Request, Response};
use kadmos_core::server::{PeerBudget, Reply};
use kadmos_store::{MemoryLimits, MemoryStore};
use libp2p_core::transport::PortUse;
use libp2p_core::{ConnectedPoint, Endpoint};
use libp2p_swarm::behaviour::{ConnectionClosed, ConnectionEstablished, ExternalAddrConfirmed};
use libp2p_swarm::{ConnectionHandler, ConnectionId, FromSwarm, NetworkBehaviour};

use super::*;
use crate::convert::core_id;
use crate::handler::FromHandler;

const OWN: &str = "/ip4/8.8.4.4/tcp/4010";
const NEAR: &str = "/ip4/192.168.0.7/tcp/4010";
const FAR: &str = "/ip4/9.9.9.9/tcp/4010";

fn addr(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

/// Answers each request of ours with nobody, so that its peer is admitted.
struct Rig {
    behaviour: Behaviour,
    dht: Dht,
    /// Requests of ours so far.
    asked: BTreeSet<(Realm, PeerId)>,
    /// Addresses of dials of ours so far.
    dialled: Vec<Multiaddr>,
}

impl Rig {
    fn new() -> Self {
        let realm = |mut config: Config| {
            config.protocol.mode = Mode::Server;
            RealmConfig { config, store: Arc::new(MemoryStore::new(MemoryLimits::default())) }
        };
        let (behaviour, dht) = Behaviour::with_lan(
            PeerId::random(),
            realm(Config::amino()),
            realm(Config::lan()),
            kadmos_records::amino_validators(),
            Options::default(),
        )
        .unwrap();
        let mut rig = Self { behaviour, dht, asked: BTreeSet::new(), dialled: Vec::new() };
        let own = addr(OWN);
        rig.behaviour.on_swarm_event(FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed { addr: &own }));
        rig
    }

    /// The protocols that are offered on a connection from `remote`.
    fn offered(&mut self, remote: &str) -> Vec<String> {
        use libp2p_core::upgrade::UpgradeInfo;
        let (peer, remote) = (PeerId::random(), addr(remote));
        let handler = self.behaviour.handle_established_inbound_connection(
            ConnectionId::new_unchecked(0),
            peer,
            &addr(OWN),
            &remote,
        );
        let upgrade = handler.unwrap().listen_protocol().into_upgrade().0;
        upgrade.protocol_info().map(|offer| offer.as_ref().to_owned()).collect()
    }

    /// A connection from a peer that serves `serves` and listens at `listens`.
    fn connect(&mut self, id: usize, remote: &str, serves: &[Realm], listens: &[&str]) -> PeerId {
        let (peer, connection) = (PeerId::random(), ConnectionId::new_unchecked(id));
        let endpoint = ConnectedPoint::Listener { local_addr: addr(OWN), send_back_addr: addr(remote) };
        self.behaviour.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: peer,
            connection_id: connection,
            endpoint: &endpoint,
            failed_addresses: &[],
            other_established: 0,
        }));
        let listens: Vec<_> = listens.iter().map(|text| addr(text)).collect();
        self.behaviour.identified(peer, &listens);
        // What the connection's handler says: of the local realm only where it is.
        let local = self.behaviour.is_local(&addr(remote));
        let told = Realm::ALL.map(|realm| (realm == Realm::Wan || local).then_some(serves.contains(&realm)));
        self.behaviour.on_connection_handler_event(peer, connection, FromHandler::Support { serves: told });
        self.run();
        peer
    }

    fn run(&mut self) {
        let mut cx = Context::from_waker(futures::task::noop_waker_ref());
        while let Poll::Ready(action) = self.behaviour.poll(&mut cx) {
            match action {
                ToSwarm::NotifyHandler { peer_id, event: ToHandler::Send(Outgoing { key, .. }), .. } => {
                    self.asked.insert((key.realm, peer_id));
                    let response = Response::FindNode { closer: vec![] };
                    let answered = FromHandler::Answered { request: key, response };
                    let connection = ConnectionId::new_unchecked(0);
                    self.behaviour.on_connection_handler_event(peer_id, connection, answered);
                }
                ToSwarm::Dial { opts } => {
                    let known = self.behaviour.handle_pending_outbound_connection(
                        opts.connection_id(),
                        opts.get_peer_id(),
                        &[],
                        Endpoint::Dialer,
                    );
                    self.dialled.extend(known.unwrap());
                }
                _ => {}
            }
        }
        for realm in &mut self.behaviour.realms {
            realm.publish();
        }
    }

    /// Peers and addresses in the answer to FIND_NODE for `target`, in a realm, to a stranger.
    fn named(&self, realm: Realm, target: PeerId) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let shared = &self.behaviour.realms[realm.index()].shared;
        let now = shared.now();
        let mut budget = PeerBudget::new(core_id(&PeerId::random()).unwrap(), now.monotonic);
        let request = Request::FindNode { key: target.to_bytes().into() };
        let table = shared.table.load();
        let reply = shared.responder.respond(now, request, &table, &*shared.reader, &mut budget);
        let Reply::Respond(Response::FindNode { closer }) = reply else { panic!("{reply:?}") };
        closer.iter().map(|info| (peer_id(&info.peer.id), multiaddrs(&info.addrs))).collect()
    }
}

#[test]
fn the_local_realm_is_on_local_connections_only() {
    let mut rig = Rig::new();
    let (wan, lan) = ("/ipfs/kad/1.0.0", "/ipfs/lan/kad/1.0.0");
    for near in [NEAR, "/ip4/127.0.0.1/udp/1/quic-v1", "/ip4/8.8.4.4/tcp/9"] {
        assert_eq!(rig.offered(near), [wan, lan], "{near}");
    }
    for far in [FAR, "/ip6/2001:db9::1/tcp/1"] {
        assert_eq!(rig.offered(far), [wan], "{far}");
    }
    let handler = rig.behaviour.handle_established_outbound_connection(
        ConnectionId::new_unchecked(0),
        PeerId::random(),
        &addr(FAR),
        Endpoint::Dialer,
        PortUse::Reuse,
    );
    assert!(format!("{:?}", handler.unwrap()).contains("second: None"));
}

#[test]
fn no_local_address_leaves_in_the_wide_network() {
    let mut rig = Rig::new();
    let both = rig.connect(1, NEAR, &Realm::ALL, &[NEAR, FAR]);
    assert_eq!(rig.asked, Realm::ALL.map(|realm| (realm, both)).into());
    assert_eq!(rig.named(Realm::Wan, both), [(both, vec![addr(FAR)])]);
    assert_eq!(rig.named(Realm::Lan, both), [(both, vec![addr(NEAR), addr(FAR)])]);

    // One that has only local addresses is no peer of the wide network, and no client that could be shown.
    let hidden = rig.connect(2, NEAR, &Realm::ALL, &[NEAR]);
    assert!(rig.named(Realm::Wan, hidden).iter().all(|(peer, _)| *peer == both));
    assert_eq!(rig.named(Realm::Lan, hidden)[0], (hidden, vec![addr(NEAR)]));
    // One that serves in the local network only is not named even at its public address.
    let local = rig.connect(3, NEAR, &[Realm::Lan], &[NEAR, FAR]);
    assert!(rig.named(Realm::Wan, local).iter().all(|(peer, _)| *peer == both));
    assert_eq!(rig.named(Realm::Lan, local)[0].0, local);
    // Our own addresses: what we say of ourselves.
    let own = rig.dht.local_peer_id();
    assert_eq!(rig.named(Realm::Wan, own), [(own, vec![addr(OWN)])]);
}

#[test]
fn no_stranger_is_named_in_the_local_network() {
    let mut rig = Rig::new();
    // It says that it serves both; but it is not here.
    let far = rig.connect(1, FAR, &Realm::ALL, &[FAR, NEAR]);
    assert_eq!(rig.asked, [(Realm::Wan, far)].into());
    assert_eq!(rig.named(Realm::Lan, far), []);
    // One that is here, and serves in the wide network only.
    let near = rig.connect(2, NEAR, &[Realm::Wan], &[NEAR, FAR]);
    assert_eq!(rig.named(Realm::Lan, near), []);
    assert_eq!(rig.named(Realm::Wan, near)[0].0, near);
}

#[test]
fn the_local_network_asks_nobody_elsewhere() {
    let mut rig = Rig::new();
    let far = rig.connect(1, FAR, &[Realm::Wan], &[FAR]);
    rig.asked.clear();
    let dht = rig.dht.realm(Realm::Lan).unwrap();
    let stranger = PeerId::random();
    let waker = futures::task::noop_waker_ref();
    // Connected elsewhere; not connected, with an address elsewhere; with one here, and one elsewhere.
    for (peer, addrs) in [(far, vec![FAR]), (stranger, vec![FAR]), (stranger, vec![FAR, NEAR])] {
        let addrs = addrs.into_iter().map(addr).collect();
        let mut added = std::pin::pin!(dht.add_peer(crate::PeerAddrs::new(peer, addrs)));
        assert!(added.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        rig.run();
    }
    assert_eq!(rig.asked, BTreeSet::new());
    assert_eq!(rig.dialled, [addr(NEAR)]);
}

#[test]
fn a_peer_that_is_here_no_more_leaves_the_local_network_alone() {
    let mut rig = Rig::new();
    let peer = rig.connect(1, NEAR, &Realm::ALL, &[NEAR, FAR]);
    let endpoint = ConnectedPoint::Listener { local_addr: addr(OWN), send_back_addr: addr(FAR) };
    rig.behaviour.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
        peer_id: peer,
        connection_id: ConnectionId::new_unchecked(2),
        endpoint: &endpoint,
        failed_addresses: &[],
        other_established: 1,
    }));
    let near = ConnectedPoint::Listener { local_addr: addr(OWN), send_back_addr: addr(NEAR) };
    rig.behaviour.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
        peer_id: peer,
        connection_id: ConnectionId::new_unchecked(1),
        endpoint: &near,
        cause: None,
        remaining_established: 1,
    }));
    rig.asked.clear();
    // What its remaining connection says concerns the wide network alone.
    rig.behaviour.identified(peer, &[addr(FAR)]);
    rig.run();
    assert!(rig.asked.iter().all(|(realm, _)| *realm == Realm::Wan), "{:?}", rig.asked);
    assert_eq!(rig.named(Realm::Wan, peer), [(peer, vec![addr(FAR)])]);
}

#[test]
fn a_node_in_one_network_has_one_of_everything_and_no_border() {
    for (config, realm) in [(Config::amino(), Realm::Wan), (Config::lan(), Realm::Lan)] {
        let store = Arc::new(MemoryStore::new(MemoryLimits::default()));
        let validators = kadmos_records::amino_validators();
        let (mut behaviour, dht) = Behaviour::new(PeerId::random(), config, validators, store).unwrap();
        assert_eq!((behaviour.realms.len(), behaviour.local_realm), (1, None));
        assert_eq!(dht.realms().collect::<Vec<_>>(), [realm]);
        assert_eq!((behaviour.mode(realm), behaviour.mode(realm.other())), (Some(Mode::Client), None));
        for remote in [NEAR, FAR] {
            let handler = behaviour.handle_established_inbound_connection(
                ConnectionId::new_unchecked(0),
                PeerId::random(),
                &addr(OWN),
                &addr(remote),
            );
            let handler = format!("{:?}", handler.unwrap());
            assert!(
                handler.contains("second: None") && handler.contains(&format!("realm: {realm:?}")),
                "{handler}"
            );
        }
    }
}
