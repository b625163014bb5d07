//! `kadmos serve`: the node, its socket, its memory of peers, and its end.

mod socket;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use kadmos::{AutoMode, Bootstrapped, ConnectionLimits, DhtBuilder, Node, PeerAddrs, UnixTime};
use kadmos_core::health::Level;
use kadmos_core::limits::REJOIN_INTERVAL;
use libp2p_core::Multiaddr;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use self::socket::Handler;
use crate::config::file::ServeMode;
use crate::config::{Network, Settings};
use crate::data_dir::DataDir;
use crate::engine::{DaemonSide, Engine};
use crate::exit::{Exit, Failure};
use crate::identity::Identity;
use crate::output::{Output, note};
use crate::protocol::{Event, RequestLine};
use crate::{file_limit, join, preflight, remembered};

/// A daemon that has met nobody after this long says whom it tried; promised are 10 s.
const NOTICE_AFTER: Duration = Duration::from_secs(8);
/// How often the table is remembered. A crash loses at most this much of what changed.
const REMEMBER_INTERVAL: Duration = Duration::from_secs(600);
/// At the end, requests of other nodes under way have this long.
const DRAIN_AT_END: Duration = Duration::from_secs(2);
/// Longest time a request may ask for.
const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

/// What the daemon says once it is up.
#[derive(Serialize)]
struct Ready<'a> {
    schema: &'static str,
    id: String,
    /// Each with `/p2p/<id>`.
    addrs: Vec<Multiaddr>,
    network: String,
    protocol: &'a str,
    /// Of the second network, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    lan_protocol: Option<&'a str>,
    mode: &'static str,
    socket: String,
}

/// Runs a daemon until a signal ends it.
pub(crate) async fn run(settings: Settings, home: DataDir, output: &mut Output) -> Result<(), Failure> {
    home.check_socket_path()?;
    let _lock = home.lock()?;
    let mut signals = Signals::new()?;
    let began = Instant::now();
    file_limit::raise("this node", file_limit::needed_by_node(ConnectionLimits::default()));
    let identity = Identity::load_or_create(&home)?;
    let listen = preflight::usable(&settings.listen, settings.listen_is_default)?;
    let mut builder = DhtBuilder::new(identity.keypair().clone()).config(settings.core.clone());
    if let Some(lan) = &settings.lan {
        builder = builder.lan(lan.clone());
    }
    if let Some(asns) = settings.asns()? {
        builder = builder.asns(asns);
    }
    for addr in listen {
        builder = builder.listen(addr);
    }
    if settings.mode == ServeMode::Auto {
        builder = builder.auto_mode(AutoMode::default()).test_others(true);
    }
    let protocol = settings.core.protocol.name.as_str();
    let node = builder.memory(home.memory(protocol)).start().await?;

    let mut sources = join::by_peer(&settings.bootstrap);
    sources.extend(join::spread(join::by_peer(&remembered::load(&home, protocol))));
    node.add_bootstrap_peers(sources.clone()).await.map_err(Failure::shutdown)?;

    let listener = socket::bind(&home.socket())?;
    let (joined, is_joined) = watch::channel(false);
    let (end, ends) = watch::channel(false);
    let engine = Engine {
        node: node.clone(),
        protocol: protocol.into(),
        key_type: identity.key_type(),
        joined: Some(is_joined),
        daemon: Some(DaemonSide {
            began,
            mode_setting: settings.mode.name(),
            bucket_size: settings.core.table.bucket_size.get(),
            end: end.clone(),
        }),
    };
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(socket::serve(listener, Arc::new(engine), stopped));

    let ready = Ready {
        schema: "kadmos.ready/1",
        id: node.peer_id().to_base58(),
        addrs: node.p2p_addrs(),
        network: settings.network.to_string(),
        protocol,
        lan_protocol: settings.lan.as_ref().map(|lan| lan.protocol.name.as_str()),
        mode: settings.mode.name(),
        socket: home.socket().display().to_string(),
    };
    let printed = output.print(&ready, |to, _| {
        writeln!(to, "peer id    {}", ready.id)?;
        ready.addrs.iter().try_for_each(|addr| writeln!(to, "listening  {addr}"))?;
        writeln!(to, "network    {} ({protocol}), as {}", ready.network, ready.mode)?;
        if let Some(lan) = ready.lan_protocol {
            writeln!(to, "and        {lan} on the local network")?;
        }
        writeln!(to, "socket     {}", ready.socket)
    });
    note("Records are kept in memory: those of others, and those put here, are lost when this process ends.");
    let joining = tokio::spawn(join_and_tell(node.clone(), sources, settings.network.clone(), joined));

    let ended = match printed {
        Ok(()) => until_signal(&node, &home, protocol, &mut signals, ends).await,
        Err(failure) => Err(failure),
    };
    joining.abort();
    // The receiver is gone only if the server has ended already.
    let _ = stop.send(true);
    tokio::select! {
        _ = server => {}
        () = signals.next() => tracing::warn!("a second signal: ending at once"),
    }
    remember(&node, &home, protocol).await;
    // Requests that were read are answered; streams on which nothing is asked end at once.
    let _ = node.drain(DRAIN_AT_END).await;
    node.shutdown().await;
    // The lock is still held, so this is our own socket. If it cannot be removed, the next daemon does it.
    let _ = std::fs::remove_file(home.socket());
    ended
}

/// Remembers peers from time to time. Errors: the node has ended by itself.
async fn until_signal(
    node: &Node,
    home: &DataDir,
    protocol: &str,
    signals: &mut Signals,
    mut ends: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let mut events = node.events();
    let mut remember_at = tokio::time::interval(REMEMBER_INTERVAL);
    remember_at.tick().await; // the first is at once
    loop {
        tokio::select! {
            () = signals.next() => return Ok(()),
            // Drained on request. The engine, which is asked for it, outlives this.
            Ok(_) = ends.wait_for(|end| *end) => return Ok(()),
            _ = remember_at.tick() => remember(node, home, protocol).await,
            event = events.next() => match event {
                Some(event) => tell(&event),
                None => {
                    return Err(Failure::new(
                        Exit::Failed,
                        "the node has ended by itself; look at the log above, and start it again",
                    ));
                }
            },
        }
    }
}

/// Logs an event: changes of health for the operator, all others for who looks closely.
fn tell(event: &kadmos::Event) {
    match event {
        kadmos::Event::HealthChanged { level: Level::Healthy, .. } => tracing::info!("the node is healthy"),
        kadmos::Event::HealthChanged { level, reasons } => {
            let codes: Vec<_> = reasons.iter().map(|reason| reason.code.code()).collect();
            tracing::warn!(state = level.label(), reasons = codes.join(","), "see `kadmos status`");
        }
        kadmos::Event::RecoveryBegan { action, code } => {
            tracing::info!(action = action.label(), reason = code.code(), "recovery");
        }
        event => tracing::debug!(?event, "event"),
    }
}

/// Writes the table's peers down. An empty table says nothing, so it replaces nothing.
async fn remember(node: &Node, home: &DataDir, protocol: &str) {
    let table = match node.table().await {
        Ok(table) if !table.is_empty() => table,
        _ => return,
    };
    let peers = table.iter().map(PeerAddrs::from).map(|peer| (peer.id, peer.addrs));
    let now = UnixTime::from_secs(SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()));
    match remembered::save(home, protocol, now, peers) {
        Ok(count) => tracing::info!(peers = count, "remembered the table's peers"),
        Err(failure) => tracing::warn!(%failure, "the table's peers are not remembered"),
    }
}

/// Joins the network, and tells the person how that went. The node itself goes on trying.
async fn join_and_tell(node: Node, sources: Vec<PeerAddrs>, network: Network, joined: watch::Sender<bool>) {
    if sources.is_empty() {
        joined.send_replace(true);
        let addr = node.p2p_addrs().into_iter().next().map_or_else(String::new, |addr| format!(" {addr}"));
        note(format_args!(
            "No peer to join through is known for network {network}, so this node waits for others. They join with: kadmos serve --network {network} --bootstrap{addr}"
        ));
    } else {
        let mut joining = std::pin::pin!(node.bootstrap());
        let mut told = false;
        let result = tokio::select! {
            result = &mut joining => result,
            () = tokio::time::sleep(NOTICE_AFTER) => {
                if node.table_now().is_empty() {
                    note(nobody_yet(&sources));
                    told = true;
                    joined.send_replace(true);
                }
                joining.await
            }
        };
        joined.send_replace(true);
        match result {
            Ok(done) => {
                note(format_args!(
                    "Joined network {network}: {} of {} peers answered, {} are in the routing table.",
                    done.answered, done.tried, done.peers
                ));
                note(phases(&done));
                return;
            }
            Err(_) if told => {}
            Err(_) => note(nobody_yet(&sources)),
        }
    }
    if join::first_peer(&node).await {
        note("Met the first peer.");
    }
}

/// One line: each phase with what was tried, what answered and how long it took, and the table by prefix.
fn phases(done: &Bootstrapped) -> String {
    let phases = done.phases.iter().map(|phase| {
        let (label, outcome) = (phase.phase.label(), phase.outcome.label());
        let seconds = phase.elapsed.as_secs_f64();
        format!("{label} {outcome}, {} of {} in {seconds:.1} s", phase.answered, phase.tried)
    });
    let phases: Vec<_> = phases.collect();
    let prefixes: Vec<_> = done.prefixes.iter().map(ToString::to_string).collect();
    let amiss =
        if done.reasons.is_empty() { String::new() } else { format!("; amiss: {}", done.reasons.join(", ")) };
    format!("{}; table by prefix: {}{amiss}", phases.join("; "), prefixes.join(" "))
}

fn nobody_yet(sources: &[PeerAddrs]) -> String {
    format!(
        "No answer yet from any of {} peers to join through (tried {}). Check this machine's connection and the addresses, or name other peers with --bootstrap. This node stays up and tries again every {} s.",
        sources.len(),
        join::Tried(sources),
        REJOIN_INTERVAL.as_secs()
    )
}

impl Handler for Engine {
    async fn handle(&self, request: RequestLine, events: mpsc::Sender<Event>) -> Result<(), Failure> {
        let timeout = match request.timeout_seconds {
            None => None,
            Some(seconds) => match Duration::try_from_secs_f64(seconds) {
                Ok(limit) if !limit.is_zero() && limit <= REQUEST_TIMEOUT_MAX => Some(limit),
                _ => {
                    return Err(Failure::usage(format_args!(
                        "timeout_seconds: read {seconds}, expected more than 0 and at most {}",
                        REQUEST_TIMEOUT_MAX.as_secs()
                    )));
                }
            },
        };
        self.run(&request.command, timeout, &events).await
    }
}

/// The signals that end a daemon.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    format_args!("cannot listen for signals: {error}; run it outside this sandbox"),
                )
            })
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
