//! `kadmos serve`: the node, its socket, and its end.

mod socket;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use kadmos::{AutoMode, Bootstrapped, ConnectionLimits, DhtBuilder, Node};
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
use crate::join::{self, Ways};
use crate::output::{Output, note};
use crate::protocol::{Event, RequestLine};
use crate::{file_limit, preflight};

/// A daemon that has met nobody after this long says whom it tried; promised are 10 s.
const NOTICE_AFTER: Duration = Duration::from_secs(8);
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
    let builder = join::through(&settings, builder.memory(home.memory(protocol)));
    let node = builder.start().await?;
    let remembered = node.table().await.map_err(Failure::shutdown)?.len();
    let ways = Ways::of(&settings, remembered);

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
    let joining = tokio::spawn(join_and_tell(node.clone(), ways, settings.network.clone(), joined));

    let ended = match printed {
        Ok(()) => until_signal(&node, &mut signals, ends).await,
        Err(failure) => Err(failure),
    };
    joining.abort();
    // The receiver is gone only if the server has ended already.
    let _ = stop.send(true);
    tokio::select! {
        _ = server => {}
        () = signals.next() => tracing::warn!("a second signal: ending at once"),
    }
    // Requests that were read are answered; streams on which nothing is asked end at once.
    let _ = node.drain(DRAIN_AT_END).await;
    node.shutdown().await;
    // The lock is still held, so this is our own socket. If it cannot be removed, the next daemon does it.
    let _ = std::fs::remove_file(home.socket());
    ended
}

/// Logs what happens. Errors: the node has ended by itself.
async fn until_signal(
    node: &Node,
    signals: &mut Signals,
    mut ends: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let mut events = node.events();
    loop {
        tokio::select! {
            () = signals.next() => return Ok(()),
            // Drained on request. The engine, which is asked for it, outlives this.
            Ok(_) = ends.wait_for(|end| *end) => return Ok(()),
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

/// Joins the network, and tells the person how that went. The node itself goes on trying.
async fn join_and_tell(node: Node, ways: Ways, network: Network, joined: watch::Sender<bool>) {
    let mut events = node.events();
    if ways.is_empty() {
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
                if join::answered(&mut events).now_or_never().is_none() {
                    note(nobody_yet(&ways));
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
            Err(_) => note(nobody_yet(&ways)),
        }
    }
    if join::answered(&mut events).await {
        note("Met the first peer.");
    }
}

/// One line: each phase with what was tried, what answered and how long it took, each kind of source, and the table by
/// prefix.
fn phases(done: &Bootstrapped) -> String {
    let phases = done.phases.iter().map(|phase| {
        let (label, outcome) = (phase.phase.label(), phase.outcome.label());
        let seconds = phase.elapsed.as_secs_f64();
        format!("{label} {outcome}, {} of {} in {seconds:.1} s", phase.answered, phase.tried)
    });
    let phases: Vec<_> = phases.collect();
    let sources = done.sources.iter().map(|source| {
        let pending = if source.pending { " (still looked up)" } else { "" };
        format!("{} {} of {}{pending}", source.kind.label(), source.answered, source.tried)
    });
    let sources: Vec<_> = sources.collect();
    let prefixes: Vec<_> = done.prefixes.iter().map(ToString::to_string).collect();
    let amiss =
        if done.reasons.is_empty() { String::new() } else { format!("; amiss: {}", done.reasons.join(", ")) };
    format!(
        "{}; answered by source: {}; table by prefix: {}{amiss}",
        phases.join("; "),
        sources.join(", "),
        prefixes.join(" ")
    )
}

fn nobody_yet(ways: &Ways) -> String {
    format!(
        "No answer yet from anybody (tried {ways}). Check this machine's connection and the addresses, or name other peers with --bootstrap. This node stays up and tries again every {} s.",
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
