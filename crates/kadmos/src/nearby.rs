//! Peers on the local network, by multicast DNS. Source: libp2p specs, "discovery/mdns".
//!
//! libp2p's behaviour finds them; this one keeps it within bounds and to itself: what strangers on the local network claim
//! is told to the node of the local network only, and adds no address to anybody's dials.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::task::{Context, Poll};

use kadmos_core::operation::SourceKind;
use kadmos_libp2p::{Dht, PeerAddrs};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId, mdns};
use tokio::sync::mpsc;

use crate::sources::SOURCE_TIMEOUT;

/// Addresses that libp2p's behaviour may remember; whoever invents names says how long each is valid. A local network has
/// some hundred devices.
const NAMES_MAX: usize = 1_024;
/// Batches of found peers that the node has not been told of yet. One more is dropped.
const BATCHES_MAX: usize = 64;
/// Peers to join through that are taken from here, so that the list has room for other sources.
const JOINED_THROUGH_MAX: usize = 32;

/// Asks the local network for peers, and answers others who ask.
pub(crate) struct Nearby {
    /// `None` once it was given up.
    inner: Option<mdns::tokio::Behaviour>,
    found: mpsc::Sender<Vec<PeerAddrs>>,
}

impl Nearby {
    /// Errors: the machine does not tell its network interfaces.
    pub(crate) fn new(local: PeerId) -> io::Result<(Self, mpsc::Receiver<Vec<PeerAddrs>>)> {
        let inner = mdns::tokio::Behaviour::new(mdns::Config::default(), local)?;
        let (found, batches) = mpsc::channel(BATCHES_MAX);
        Ok((Self { inner: Some(inner), found }, batches))
    }

    fn discovered(&self, addrs: Vec<(PeerId, Multiaddr)>) {
        let mut peers: Vec<PeerAddrs> = Vec::new();
        for peer in addrs.into_iter().filter_map(|(_, addr)| PeerAddrs::try_from(addr).ok()) {
            match peers.iter_mut().find(|known| known.id == peer.id) {
                Some(known) => known.addrs.extend(peer.addrs),
                None => peers.push(peer),
            }
        }
        // Nobody reads when the node has ended; when the node is that slow, it has peers enough.
        let _ = self.found.try_send(peers);
    }
}

impl NetworkBehaviour for Nearby {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let Some(inner) = &mut self.inner {
            inner.on_swarm_event(event);
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        while let Some(inner) = &mut self.inner {
            match inner.poll(cx) {
                Poll::Pending => break,
                Poll::Ready(ToSwarm::GenerateEvent(mdns::Event::Discovered(addrs))) => {
                    if inner.discovered_nodes().len() > NAMES_MAX {
                        tracing::warn!(
                            limit = NAMES_MAX,
                            "too many names on the local network; peers there are no longer looked for"
                        );
                        self.inner = None;
                    } else {
                        self.discovered(addrs);
                    }
                }
                // That addresses expire, or belong to somebody, is found out by dialling them.
                Poll::Ready(_) => {}
            }
        }
        Poll::Pending
    }
}

/// Tells the node of the peers that are found, until it has ended. The first look is announced before this returns.
///
/// The first of them are peers to join through; all are offered to the table, which probes them as it does strangers.
pub(crate) async fn keep(dht: &Dht, mut found: mpsc::Receiver<Vec<PeerAddrs>>) {
    const KIND: SourceKind = SourceKind::Mdns;
    // Whatever fails here fails because the node has ended.
    if dht.source_lookup_began(KIND).await.is_err() {
        return;
    }
    let (first, weak) = (dht.clone(), dht.downgrade());
    tokio::spawn(async move {
        let mut joined_through = BTreeSet::new();
        let began = tokio::time::timeout(SOURCE_TIMEOUT, found.recv()).await;
        if let Ok(Some(peers)) = began {
            tell(&first, &mut joined_through, peers).await;
        }
        let _ = first.source_lookup_ended(KIND).await;
        drop(first);
        while let Some(peers) = found.recv().await {
            let Some(dht) = weak.upgrade() else { return };
            tell(&dht, &mut joined_through, peers).await;
        }
    });
}

async fn tell(dht: &Dht, joined_through: &mut BTreeSet<PeerId>, peers: Vec<PeerAddrs>) {
    let mut sources = Vec::new();
    for peer in &peers {
        if joined_through.len() < JOINED_THROUGH_MAX && joined_through.insert(peer.id) {
            sources.push(peer.clone());
        }
    }
    if dht.add_bootstrap_peers_from(SourceKind::Mdns, sources).await.is_err() {
        return;
    }
    for peer in peers {
        let _ = dht.add_peer(peer).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use libp2p::multiaddr::Protocol;

    use super::*;
    use crate::{Config, DhtBuilder, Event, Keypair, Mode, Node};

    fn builder() -> DhtBuilder {
        DhtBuilder::new(Keypair::generate_ed25519())
            .config(Config::private("/kadmos-test/nearby/1"))
            .mode(Mode::Server)
            .listen("/ip4/127.0.0.1/tcp/0".parse().unwrap())
    }

    async fn bounded<T>(what: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(40), what).await.expect("within 40 s")
    }

    fn discovered(node: &Node) -> Vec<(PeerId, Multiaddr)> {
        node.p2p_addrs().into_iter().map(|addr| (node.peer_id(), addr)).collect()
    }

    /// Goal: a node without any other way in joins through whom multicast finds. Method: what libp2p's behaviour emits when
    /// it has heard an answer is put in; no packet leaves the machine, since addresses of loopback are told to nobody.
    #[tokio::test]
    async fn whoever_is_found_is_joined_through() {
        let (near, far) = (builder().start().await.unwrap(), builder().start().await.unwrap());
        let (nearby, batches) = Nearby::new(near.peer_id()).unwrap();
        keep(near.dht(), batches).await;
        let joining = near.bootstrap();
        nearby.discovered(discovered(&far));
        let report = bounded(joining).await.unwrap();
        let source = report.source(SourceKind::Mdns).copied().unwrap();
        assert_eq!((source.tried, source.answered), (1, 1), "{report:?}");

        // Later ones are taken into the table without a join.
        let third = builder().start().await.unwrap();
        let mut events = near.events();
        nearby.discovered(discovered(&third));
        let admitted = async { while !matches!(events.next().await, Some(Event::PeerAdmitted { .. })) {} };
        bounded(admitted).await;
        for node in [near, far, third] {
            node.shutdown().await;
        }
    }

    #[tokio::test]
    async fn what_is_found_is_bounded() {
        let node = builder().start().await.unwrap();
        let (nearby, mut batches) = Nearby::new(node.peer_id()).unwrap();
        for _ in 0..BATCHES_MAX + 5 {
            let id = PeerId::random();
            let addr = |port| format!("/ip4/127.0.0.1/tcp/{port}").parse::<Multiaddr>().unwrap();
            let addrs = [1, 2].map(|port| (id, addr(port).with(Protocol::P2p(id))));
            nearby.discovered(addrs.to_vec());
        }
        let mut joined_through = BTreeSet::new();
        let mut got = 0;
        while let Ok(peers) = batches.try_recv() {
            assert_eq!(peers[0].addrs.len(), 2);
            got += 1;
            tell(node.dht(), &mut joined_through, peers).await;
        }
        assert_eq!((got, joined_through.len()), (BATCHES_MAX, JOINED_THROUGH_MAX));
        node.shutdown().await;
    }

    #[tokio::test]
    async fn a_node_of_the_wide_network_alone_looks_for_nobody() {
        let wide = DhtBuilder::new(Keypair::generate_ed25519()).mdns(true);
        assert!(matches!(wide.start().await, Err(crate::BuildError::NoLocalNetwork)));
    }
}
