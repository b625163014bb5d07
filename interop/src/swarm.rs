//! What the in-process peers share: a swarm on TCP and QUIC.

use core::net::Ipv4Addr;
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

    /// Where to listen for it on `host`, on a free port.
    pub fn listen_addr(self, host: Ipv4Addr) -> Multiaddr {
        let host = Multiaddr::empty().with(Protocol::Ip4(host));
        match self {
            Self::Tcp => host.with(Protocol::Tcp(0)),
            Self::Quic => host.with(Protocol::Udp(0)).with(Protocol::QuicV1),
        }
    }
}

/// When a connection that nobody uses ends, where a test decides that: not before the test does.
pub(crate) const IDLE_IN_TESTS: Duration = Duration::from_secs(600);

/// Where a peer of the tests listens.
pub(crate) fn listen_in_tests() -> Vec<Multiaddr> {
    Transport::ALL.map(|transport| transport.listen_addr(Ipv4Addr::LOCALHOST)).to_vec()
}

/// A swarm that listens on each of `listen`, and its addresses, which end in `/p2p/<id>`. Unused connections end after
/// `idle_timeout`; `None` takes rust-libp2p's own default.
pub(crate) async fn listening<B: NetworkBehaviour>(
    listen: &[Multiaddr],
    idle_timeout: Option<Duration>,
    behaviour: impl FnOnce(&Keypair) -> B,
) -> (Swarm<B>, Vec<Multiaddr>) {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .expect("noise has what it needs")
        .with_quic()
        .with_behaviour(behaviour)
        .expect("making a behaviour does not fail")
        .with_swarm_config(|config| match idle_timeout {
            Some(timeout) => config.with_idle_connection_timeout(timeout),
            None => config,
        })
        .build();
    let mut addrs = Vec::new();
    for addr in listen {
        swarm.listen_on(addr.clone()).expect("the transport is built in");
    }
    let listening = async {
        while addrs.len() < listen.len() {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                addrs.push(address);
            }
        }
    };
    crate::step("addresses to listen on", listening).await;
    let own = Protocol::P2p(*swarm.local_peer_id());
    (swarm, addrs.into_iter().map(|addr| addr.with(own.clone())).collect())
}
