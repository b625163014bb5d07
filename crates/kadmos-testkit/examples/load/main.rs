//! How much one server answers: many clients send it FIND_NODE over loopback, each its next request when the last one
//! is answered. The server is a process of its own, so that its memory and processor time can be told from theirs.
//!
//! Run: `cargo xtask load`, or with options `cargo xtask load -- --clients 100 --seconds 10 --depth 1`.

mod client;
mod options;
mod process;
mod report;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kadmos::{Config, DhtBuilder, Keypair, Mode, Multiaddr};

use self::options::Options;
use self::process::{Server, Usage};
use self::report::Report;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Protocol of the network under load: one of its own.
const PROTOCOL: &str = "/kadmos/load/1";
/// Nodes in the server's table, so that each answer carries 20 peers.
const NEIGHBOURS: usize = 24;
/// Neighbours the server has to know before the clock starts.
const NEIGHBOURS_MIN: usize = 20;
/// How long the server's table may take to fill.
const JOIN_TIME_MAX: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    match Options::parse(std::env::args().skip(1))? {
        Options::Server => serve().await,
        Options::Load { clients, seconds, depth } => load(clients, Duration::from_secs(seconds), depth).await,
    }
}

/// The server: one node, until its standard input ends. Prints its address.
async fn serve() -> Result<()> {
    let node = node(Mode::Server).start().await?;
    for addr in node.p2p_addrs() {
        println!("{addr}");
    }
    // The parent holds the other end: when it ends, however it does, so does this process.
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    node.shutdown().await;
    Ok(())
}

async fn load(clients: usize, duration: Duration, depth: usize) -> Result<()> {
    let server = Server::start()?;
    let addr: Multiaddr = server.addr().parse()?;
    let mut neighbours = Vec::new();
    for _ in 0..NEIGHBOURS {
        let neighbour = node(Mode::Server).bootstrap(addr.clone()).start().await?;
        neighbour.bootstrap().await?;
        neighbours.push(neighbour);
    }
    let known = peers_given(&addr).await?;
    eprintln!("{} nodes have joined; the server names {known} peers in an answer", neighbours.len());

    let before = server.usage()?;
    let started = Instant::now();
    let latencies = client::run(clients, depth, &addr, PROTOCOL, started + duration).await?;
    let elapsed = started.elapsed();
    let after = server.usage()?;
    print!("{}", Report::new(clients, depth, elapsed, latencies, Usage::between(&before, &after)));
    for neighbour in neighbours {
        neighbour.shutdown().await;
    }
    Ok(())
}

/// Waits until the server's answers are full; returns how many peers they name.
async fn peers_given(server: &Multiaddr) -> Result<usize> {
    let deadline = Instant::now() + JOIN_TIME_MAX;
    loop {
        let peers = client::ask_once(server, PROTOCOL).await?;
        if peers >= NEIGHBOURS_MIN {
            return Ok(peers);
        }
        if Instant::now() >= deadline {
            return Err(format!(
                "after {} s the server names {peers} peers, expected {NEIGHBOURS_MIN}",
                JOIN_TIME_MAX.as_secs()
            )
            .into());
        }
    }
}

fn node(mode: Mode) -> DhtBuilder {
    DhtBuilder::new(Keypair::generate_ed25519())
        .config(Config::private(PROTOCOL))
        .mode(mode)
        .listen(Multiaddr::empty().with(loopback()).with(any_port()))
}

fn loopback() -> kadmos::libp2p::multiaddr::Protocol<'static> {
    kadmos::libp2p::multiaddr::Protocol::Ip4(std::net::Ipv4Addr::LOCALHOST)
}

fn any_port() -> kadmos::libp2p::multiaddr::Protocol<'static> {
    kadmos::libp2p::multiaddr::Protocol::Tcp(0)
}
