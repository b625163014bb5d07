//! What the in-process peers share: a swarm on TCP and QUIC of 127.0.0.1.

use core::time::Duration;

use futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Swarm, SwarmBuilder, noise, tcp, yamux};

/// A transport that all peers here have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP, noise, yamux.
    Tcp,
    /// QUIC v1.
    Quic,
}

impl Transport {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Quic];

    /// Whether `addr` uses it.
    pub fn is_of(self, addr: &Multiaddr) -> bool {
        addr.iter().any(|part| match self {
            Self::Tcp => matches!(part, Protocol::Tcp(_)),
            Self::Quic => matches!(part, Protocol::QuicV1),
        })
    }

    /// The first address of this transport. Panics if there is none.
    pub fn pick(self, addrs: &[Multiaddr]) -> Multiaddr {
        match addrs.iter().find(|addr| self.is_of(addr)) {
            Some(addr) => addr.clone(),
            None => panic!("no {self:?} among {addrs:?}"),
        }
    }

    fn listen_addr(self) -> Multiaddr {
        let loopback = Multiaddr::empty().with(Protocol::Ip4([127, 0, 0, 1].into()));
        match self {
            Self::Tcp => loopback.with(Protocol::Tcp(0)),
            Self::Quic => loopback.with(Protocol::Udp(0)).with(Protocol::QuicV1),
        }
    }
}

/// A swarm that listens on each of `transports`, and its addresses, which end in `/p2p/<id>`.
pub(crate) async fn listening<B: NetworkBehaviour>(
    transports: &[Transport],
    behaviour: impl FnOnce(&Keypair) -> B,
) -> (Swarm<B>, Vec<Multiaddr>) {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .expect("noise has what it needs")
        .with_quic()
        .with_behaviour(behaviour)
        .expect("making a behaviour does not fail")
        // A test decides when a connection ends.
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build();
    let mut addrs = Vec::new();
    for transport in transports {
        swarm.listen_on(transport.listen_addr()).expect("the transport is built in");
    }
    let listening = async {
        while addrs.len() < transports.len() {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                addrs.push(address);
            }
        }
    };
    crate::step("addresses to listen on", listening).await;
    let own = Protocol::P2p(*swarm.local_peer_id());
    (swarm, addrs.into_iter().map(|addr| addr.with(own.clone())).collect())
}
