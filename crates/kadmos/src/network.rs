//! The swarm: transports and the behaviours beside the DHT's.

use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{Swarm, SwarmBuilder, connection_limits, identify, noise, ping, tcp, tls, yamux};

use crate::builder::ConnectionLimits;
use crate::error::BuildError;
#[cfg(feature = "mdns")]
use crate::nearby::Nearby;
use crate::ping::Pinger;
use crate::reach::{Prober, Service};

/// What identify says we speak: the name that all IPFS nodes give.
const PROTOCOL_VERSION: &str = "ipfs/0.1.0";

/// Everything a node does on its connections. Limits first: what they refuse, the others never hear of.
#[derive(NetworkBehaviour)]
pub(crate) struct Network {
    limits: connection_limits::Behaviour,
    pub(crate) identify: identify::Behaviour,
    /// Answers pings, and finds connections that are dead.
    ping: ping::Behaviour,
    /// Pings on request.
    pub(crate) pinger: Pinger,
    pub(crate) dht: kadmos_libp2p::Behaviour,
    /// Asks others whether we are reachable, in mode `auto`.
    pub(crate) prober: Toggle<Prober>,
    /// Tells others whether they are.
    service: Toggle<Service>,
    /// Finds peers on the local network.
    #[cfg(feature = "mdns")]
    nearby: Toggle<Nearby>,
}

/// The behaviours that only some nodes have.
#[derive(Default)]
pub(crate) struct Extras {
    pub(crate) prober: Option<Prober>,
    pub(crate) service: Option<Service>,
    #[cfg(feature = "mdns")]
    pub(crate) nearby: Option<Nearby>,
}

/// Builds the swarm. Spawns nothing yet but what connections and listeners will.
pub(crate) fn build(
    keypair: Keypair,
    agent: String,
    limits: ConnectionLimits,
    dht: kadmos_libp2p::Behaviour,
    extras: Extras,
) -> Result<Swarm<Network>, BuildError> {
    let failed = |transport| move |reason: String| BuildError::Transport { transport, reason };
    let network = |keypair: &Keypair| Network {
        limits: connection_limits::Behaviour::new(limits.into()),
        identify: identify::Behaviour::new(
            // Not with a signed peer record: rust-libp2p signs a form of its own, at which Go logs an error.
            identify::Config::new(PROTOCOL_VERSION.to_owned(), keypair.public())
                .with_agent_version(agent)
                .with_push_listen_addr_updates(true)
                // The DHT is told the addresses exactly, see `task`.
                .with_cache_size(0),
        ),
        ping: ping::Behaviour::default(),
        pinger: Pinger::default(),
        dht,
        prober: extras.prober.into(),
        service: extras.service.into(),
        #[cfg(feature = "mdns")]
        nearby: extras.nearby.into(),
    };
    let builder = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            (noise::Config::new, tls::Config::new),
            yamux::Config::default,
        )
        .map_err(|error| failed("TCP")(error.to_string()))?
        .with_quic()
        .with_dns()
        .map_err(|error| failed("DNS")(error.to_string()))?;
    let builder = builder.with_behaviour(network).map_err(|error| failed("the swarm")(error.to_string()))?;
    Ok(builder
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(limits.idle_timeout)
                // The first request goes out with the negotiation of its stream: one round trip less.
                .with_substream_upgrade_protocol_override(Version::V1Lazy)
                .with_smart_dial()
        })
        .build())
}

impl From<ConnectionLimits> for connection_limits::ConnectionLimits {
    fn from(limits: ConnectionLimits) -> Self {
        Self::default()
            .with_max_established(Some(limits.established))
            .with_max_established_incoming(Some(limits.established_incoming))
            .with_max_established_per_peer(Some(limits.per_peer))
            .with_max_pending_incoming(Some(limits.pending_incoming))
            .with_max_pending_outgoing(Some(limits.pending_outgoing))
    }
}
