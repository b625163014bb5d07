//! From settings to a running node.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kadmos_core::operation::SourceKind;
use kadmos_core::routing::AsnMap;
#[cfg(feature = "mdns")]
use kadmos_core::{AddressPolicy, Realm};
use kadmos_core::{Config, Mode, PeerFilter, Validators};
#[cfg(feature = "mdns")]
use kadmos_libp2p::Dht;
use kadmos_libp2p::metrics::Metrics;
use kadmos_libp2p::{Behaviour, Clock, Options, PeerAddrs, RealmConfig, SessionLimits};
use kadmos_store::{MemoryLimits, MemoryStore, Store};
use libp2p::Multiaddr;
use libp2p::identity::Keypair;
#[cfg(feature = "mdns")]
use tokio::sync::mpsc;

use crate::error::BuildError;
#[cfg(feature = "url")]
use crate::http::PageUrl;
use crate::keeper::Keeper;
use crate::memory::MemoryFile;
#[cfg(feature = "mdns")]
use crate::nearby::{self, Nearby};
use crate::network::Extras;
use crate::node::Node;
use crate::reach::{AutoMode, Prober, Reach, Service};
use crate::sources::dnsaddr::SystemTxt;
#[cfg(feature = "url")]
use crate::sources::page;
use crate::sources::{Rhythm, Source, dnsaddr, list};
use crate::task::Task;
use crate::{listen, network};

/// What a node says it is.
const AGENT: &str = concat!("kadmos/", env!("CARGO_PKG_VERSION"));

/// How many connections a node has at once, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all. Default 1,024, at some 20 to 50 KiB each.
    pub established: u32,
    /// Of these, made by others. Default 768: however many strangers come, this node can still ask its own questions.
    pub established_incoming: u32,
    /// With one peer. Default 4: two nodes that dial each other at the same time have 2.
    pub per_peer: u32,
    /// Handshakes that others began. Default 256.
    pub pending_incoming: u32,
    /// Handshakes that we began. Default 512; the DHT begins at most 128 at once.
    pub pending_outgoing: u32,
    /// A connection that nobody uses is closed after this long. Default 60 s: lookups return to a peer within seconds
    /// or not at all; a handshake costs round trips, an idle connection some 20 KiB on both sides.
    pub idle_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            established: 1_024,
            established_incoming: 768,
            per_peer: 4,
            pending_incoming: 256,
            pending_outgoing: 512,
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// Makes a [`Node`]: transports, identify, ping, limits and the DHT.
///
/// Without further settings it is a client of the public IPFS network that knows no bootstrap peer and listens
/// nowhere.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use kadmos::{DhtBuilder, Keypair, Mode};
///
/// let node = DhtBuilder::new(Keypair::generate_ed25519())
///     .mode(Mode::Server)
///     .listen("/ip4/0.0.0.0/tcp/4001".parse()?)
///     .listen("/ip4/0.0.0.0/udp/4001/quic-v1".parse()?)
///     .bootstrap("/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN".parse()?)
///     .start()
///     .await?;
/// node.bootstrap().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a node runs once start() was awaited"]
pub struct DhtBuilder {
    keypair: Keypair,
    config: Config,
    mode: Option<Mode>,
    listen: Vec<Multiaddr>,
    external: Vec<Multiaddr>,
    bootstrap: Vec<Multiaddr>,
    validators: Option<Validators>,
    store: Option<Arc<dyn Store>>,
    lan: Option<Config>,
    lan_store: Option<Arc<dyn Store>>,
    agent: String,
    limits: ConnectionLimits,
    session_limits: SessionLimits,
    clock: Option<Arc<dyn Clock>>,
    asns: Option<Arc<AsnMap>>,
    filter: Option<Arc<dyn PeerFilter>>,
    memory: Option<MemoryFile>,
    remembered: Option<MemoryFile>,
    lists: Vec<Source>,
    #[cfg(feature = "mdns")]
    mdns: bool,
    auto: Option<AutoMode>,
    reach_service: bool,
}

impl DhtBuilder {
    /// A node with this identity. Default configuration: [`Config::amino`].
    pub fn new(keypair: Keypair) -> Self {
        Self {
            keypair,
            config: Config::amino(),
            mode: None,
            listen: Vec::new(),
            external: Vec::new(),
            bootstrap: Vec::new(),
            validators: None,
            store: None,
            lan: None,
            lan_store: None,
            agent: AGENT.to_owned(),
            limits: ConnectionLimits::default(),
            session_limits: SessionLimits::default(),
            clock: None,
            asns: None,
            filter: None,
            memory: None,
            remembered: None,
            lists: Vec::new(),
            #[cfg(feature = "mdns")]
            mdns: false,
            auto: None,
            reach_service: false,
        }
    }

    /// All settings of the DHT. A `seed` of 0 is replaced by a random one.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Whether the node serves; overrides the configuration's mode, whichever is set first.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Begins as a client, and serves once others have proven that they reach this node (AutoNAT v2); a client again
    /// when they no longer do. Overrides the mode.
    ///
    /// It needs peers that test others, as Kubo's public nodes do, and [`DhtBuilder::test_others`] makes this one.
    pub fn auto_mode(mut self, auto: AutoMode) -> Self {
        self.auto = Some(auto);
        self
    }

    /// Whether this node dials others who ask if they are reachable, with the protection against misuse that the protocol
    /// has; with [`kadmos_core::AddressPolicy::Public`] only at public addresses. Default: it does not.
    pub fn test_others(mut self, test: bool) -> Self {
        self.reach_service = test;
        self
    }

    /// Listens on one more address; port 0 takes a free one.
    pub fn listen(mut self, addr: Multiaddr) -> Self {
        self.listen.push(addr);
        self
    }

    /// Tells others one more address at which they reach this node, such as that of a router which forwards a port.
    pub fn external(mut self, addr: Multiaddr) -> Self {
        self.external.push(addr);
        self
    }

    /// Joins the network through one more peer; the address must end in `/p2p/<peer id>`, unless it is `/dnsaddr/<name>`:
    /// then all peers that the name's TXT records list are asked.
    pub fn bootstrap(mut self, addr: Multiaddr) -> Self {
        self.bootstrap.push(addr);
        self
    }

    /// The rules for values. Default: [`kadmos_records::amino_validators`], `/pk` and `/ipns`.
    pub fn validators(mut self, validators: Validators) -> Self {
        self.validators = Some(validators);
        self
    }

    /// Where records are kept. Default: in memory.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Joins a second network, on the local network only, beside the one that [`DhtBuilder::config`] names; for the public
    /// network's own, [`Config::lan`]. [`crate::Dht`] says how operations use the two.
    ///
    /// Both share connections and identity, and nothing else. The local one follows [`DhtBuilder::mode`]; without it, it
    /// has a mode of its own: strangers cannot reach it, so a client of the public network can serve there.
    pub fn lan(mut self, config: Config) -> Self {
        self.lan = Some(config);
        self
    }

    /// Where records of the second network are kept. Default: in memory.
    pub fn lan_store(mut self, store: Arc<dyn Store>) -> Self {
        self.lan_store = Some(store);
        self
    }

    /// What identify says this program is. Default `kadmos/` and the version.
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = agent.into();
        self
    }

    /// How many connections the node has at once, and for how long.
    pub fn connection_limits(mut self, limits: ConnectionLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Bounds on the streams of one connection.
    pub fn session_limits(mut self, limits: SessionLimits) -> Self {
        self.session_limits = limits;
        self
    }

    /// The clocks the node goes by. Default: the machine's. For tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Groups peers by autonomous system where this map tells it, for the limits `table.group_per_*`. Default: by network.
    pub fn asns(mut self, asns: Arc<AsnMap>) -> Self {
        self.asns = Some(asns);
        self
    }

    /// Has a say in which peers and addresses the node deals with. Default: none beside the address policy.
    pub fn filter(mut self, filter: Arc<dyn PeerFilter>) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Joins the network through the peers in a file, too: one address a line, each ending in `/p2p/<peer id>`; empty lines
    /// and those that begin with `#` say nothing. A file or line that cannot be read is a warning in the log. It is read
    /// again while fewer than `table.peers_min` peers are known. May be called again for more files.
    pub fn bootstrap_file(mut self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = path.display().to_string();
        self.lists.push(Source::new(SourceKind::File, name, move |found| list::read(path.clone(), found)));
        self
    }

    /// Joins the network through the peers on a page, too, which has the form of [`DhtBuilder::bootstrap_file`], at most 1 MiB.
    /// It has 10 s to answer, delays no other way into the network, and is got again while fewer than `table.peers_min`
    /// peers are known. May be called again for more pages.
    #[cfg(feature = "url")]
    pub fn bootstrap_url(mut self, url: PageUrl) -> Self {
        let name = url.to_string();
        let look_up = move |found| page::read(url.clone(), AGENT.into(), found);
        self.lists.push(Source::new(SourceKind::Url, name, look_up));
        self
    }

    /// Whether to look for peers on the local network by multicast DNS, and to be found there by others. Default: no. They
    /// are told to the node of the local network: the second one ([`DhtBuilder::lan`]), else the only one, if it keeps all
    /// addresses.
    ///
    /// It takes UDP port 5353 beside others who do, on every interface but loopback, and tells everybody on the local network
    /// who this node is and where it listens there.
    #[cfg(feature = "mdns")]
    pub fn mdns(mut self, mdns: bool) -> Self {
        self.mdns = mdns;
        self
    }

    /// Keeps the table over restarts in this file: read at the start, written every ten minutes and at the end. Default:
    /// nothing is kept. A node that is in two networks keeps the second in a file with `.lan` behind the name.
    ///
    /// A file that cannot be read is a warning in the log and a cold start.
    pub fn memory(mut self, path: impl Into<PathBuf>) -> Self {
        self.memory = Some(MemoryFile::new(path));
        self
    }

    /// Begins with what another node has kept in this file by [`DhtBuilder::memory`], and never writes it: for a node that
    /// lives shortly beside it.
    ///
    /// A file that cannot be read is a warning in the log and a cold start; a corrupt one is moved aside.
    pub fn remembered(mut self, path: impl Into<PathBuf>) -> Self {
        self.remembered = Some(MemoryFile::new(path));
        self
    }

    /// Starts the node on the current tokio runtime. Returns once it listens; [`Node::listen_addrs`] tells where.
    ///
    /// It does not join the network by itself: call [`crate::Dht::bootstrap`].
    /// Errors: [`BuildError`]; nothing is left behind then.
    pub async fn start(self) -> Result<Node, BuildError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let mode = self.mode;
        let realm = |mut config: Config, store: Option<Arc<dyn Store>>| {
            if let Some(mode) = mode {
                config.protocol.mode = mode;
            }
            if config.seed == 0 {
                config.seed = RandomState::new().hash_one(0);
            }
            let store = store.unwrap_or_else(|| Arc::new(MemoryStore::new(MemoryLimits::default())));
            RealmConfig { config, store }
        };
        let mut wan = realm(self.config, self.store);
        let (policy, peers_min) = (wan.config.protocol.addresses, wan.config.table.peers_min);
        if self.auto.is_some() {
            wan.config.protocol.mode = Mode::Client;
        }
        let (names, bootstrap): (Vec<_>, Vec<_>) =
            self.bootstrap.into_iter().partition(|addr| dnsaddr::name_of(addr).is_some());
        let bootstrap = bootstrap.into_iter().map(bootstrap_peer).collect::<Result<Vec<_>, _>>()?;
        let validators = self.validators.unwrap_or_else(kadmos_records::amino_validators);
        let local = self.keypair.public().to_peer_id();
        let (limits, asns, filter) = (self.session_limits, self.asns, self.filter);
        let mut options = Options { limits, asns, filter, ..Options::default() };
        if let Some(clock) = self.clock {
            options.clock = clock;
        }
        let (mut behaviour, dht) = match self.lan {
            None => Behaviour::with_options(local, wan.config, validators, wan.store, options)?,
            Some(lan) => {
                let mut lan = realm(lan, self.lan_store);
                if self.auto.is_some() {
                    lan.config.protocol.mode = Mode::Server; // neighbours reach it without anybody's help
                }
                Behaviour::with_lan(local, wan, lan, validators, options)?
            }
        };
        if let Some(file) = self.remembered {
            // What is loaded is given to the node; the keeper, which would write it, is not kept.
            Keeper::load(file, &dht, &mut behaviour).await;
        }
        let keeper = match self.memory {
            Some(file) => Some(Keeper::load(file, &dht, &mut behaviour).await),
            None => None,
        };
        #[cfg(feature = "mdns")]
        let (nearby, found) = look_around(self.mdns, local, &dht, policy)?;
        let extras = Extras {
            prober: self.auto.map(|auto| Prober::new(policy, auto.retest)),
            service: self.reach_service.then(|| Service::new(policy)),
            #[cfg(feature = "mdns")]
            nearby,
        };
        let mut swarm = network::build(self.keypair, self.agent, self.limits, behaviour, extras)?;
        for addr in self.external {
            swarm.add_external_address(addr);
        }
        let mut listeners = Vec::with_capacity(self.listen.len());
        for addr in self.listen {
            listeners.push((listen::begin(&mut swarm, &addr)?, addr));
        }
        let (mut task, control) = Task::new(swarm, keeper, self.auto.map(Reach::new));
        task.until_listening(listeners).await?;
        let metrics = Metrics::new(dht.counters().clone());
        let (follower, events) = (metrics.clone(), dht.events());
        let node = Node::new(local, dht, metrics, control, task.listen_addrs());
        runtime.spawn(task.run());
        // Ends with the node: events hold no node alive.
        runtime.spawn(async move { follower.follow(events).await });
        if !bootstrap.is_empty() {
            // The task was just started and ends only when the node is shut down.
            let _ = node.add_bootstrap_peers(bootstrap).await;
        }
        #[cfg(feature = "mdns")]
        if let Some((dht, found)) = found {
            nearby::keep(&dht, found).await;
        }
        for source in self.lists.into_iter().chain(domain_names(&names)) {
            source.keep(node.dht(), peers_min, Rhythm::default(), node.listening()).await;
        }
        Ok(node)
    }
}

impl std::fmt::Debug for DhtBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DhtBuilder")
            .field("peer_id", &self.keypair.public().to_peer_id())
            .field("config", &self.config)
            .field("lan", &self.lan)
            .field("listen", &self.listen)
            .field("bootstrap", &self.bootstrap)
            .finish_non_exhaustive()
    }
}

/// Who looks for peers on the local network, and where they are told to whom.
#[cfg(feature = "mdns")]
#[allow(clippy::type_complexity, reason = "two halves of one thing, taken apart at once")]
fn look_around(
    wanted: bool,
    local: libp2p::PeerId,
    dht: &Dht,
    policy: AddressPolicy,
) -> Result<(Option<Nearby>, Option<(Dht, mpsc::Receiver<Vec<PeerAddrs>>)>), BuildError> {
    if !wanted {
        return Ok((None, None));
    }
    let dht = match dht.realm(Realm::Lan) {
        Some(lan) => lan,
        None if policy == AddressPolicy::Any => dht.clone(),
        None => return Err(BuildError::NoLocalNetwork),
    };
    let failed =
        |error: std::io::Error| BuildError::Transport { transport: "mDNS", reason: error.to_string() };
    let (nearby, found) = Nearby::new(local).map_err(failed)?;
    Ok((Some(nearby), Some((dht, found))))
}

fn bootstrap_peer(addr: Multiaddr) -> Result<PeerAddrs, BuildError> {
    PeerAddrs::try_from(addr.clone()).map_err(|_| BuildError::BootstrapAddress { addr })
}

/// The sources behind `/dnsaddr` addresses.
fn domain_names(names: &[Multiaddr]) -> Vec<Source> {
    if names.is_empty() {
        return Vec::new();
    }
    let resolver = match SystemTxt::new() {
        Ok(resolver) => resolver,
        Err(reason) => {
            tracing::warn!(%reason, "no domain name can be looked up");
            return Vec::new();
        }
    };
    let names = names.iter().filter_map(dnsaddr::name_of);
    let sources = names.map(|(name, wanted)| {
        let resolver = resolver.clone();
        Source::new(SourceKind::Dnsaddr, name.clone(), move |found| {
            dnsaddr::resolve(resolver.clone(), name.clone(), wanted, found)
        })
    });
    sources.collect()
}
