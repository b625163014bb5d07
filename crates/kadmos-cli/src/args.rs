//! The command line.

// These comments are help texts: they are read in a terminal, where <peer id> is no HTML.
#![allow(rustdoc::invalid_html_tags)]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::file::ServeMode;
use crate::config::units::Span;
use crate::identity::NewKey;
use crate::parse::{Content, LookupKey, ParseError, PeerRef, RecordKey};

const EXIT_CODES: &str = "\
Exit codes:
  0 done   1 failed   2 wrong usage   3 not found   4 timed out
  5 no peer or daemon reachable   6 refused by a limit or a record's rules   130 interrupted

Data goes to standard output, everything else to standard error. With --json every line of output
is one JSON object whose \"schema\" names its form and version.";

const STATUS_HELP: &str = "\
Examples:
  kadmos status
  kadmos status --json | jq .reasons
  kadmos status > /dev/null || alert        exit code 0 healthy, 1 degraded or unhealthy, 5 no daemon

Each reason has a code; what it means, what the node does about it and what you can do is in
docs/codes.md.";

/// The libp2p / IPFS Kademlia DHT: daemon, command line and simulator.
#[derive(Clone, Debug, Parser)]
#[command(name = "kadmos", version, after_help = EXIT_CODES, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Global {
    /// Print JSON, one object a line
    #[arg(long, global = true, display_order = 100)]
    pub(crate) json: bool,
    /// Print more: addresses, holders, details
    #[arg(short, long, global = true, display_order = 101)]
    pub(crate) verbose: bool,
    /// Data directory (identity, socket, remembered peers) [env: KADMOS_HOME] [default: $XDG_DATA_HOME/kadmos]
    #[arg(long, global = true, value_name = "DIR", display_order = 102)]
    pub(crate) home: Option<PathBuf>,
    /// Configuration file [env: KADMOS_CONFIG] [default: $XDG_CONFIG_HOME/kadmos/config.toml]
    #[arg(long, global = true, value_name = "FILE", display_order = 103)]
    pub(crate) config: Option<PathBuf>,
    /// Network to join: amino (the public IPFS DHT), lan, or private:/name [env: KADMOS_NETWORK]
    #[arg(long, global = true, value_name = "NETWORK", display_order = 104)]
    pub(crate) network: Option<String>,
    /// Peer to join through, as an address that ends in /p2p/<peer id>, or /dnsaddr/<name> for all that the name lists;
    /// repeatable. Commands that could use the daemon then start a node of their own [env: KADMOS_BOOTSTRAP]
    #[arg(long, global = true, value_name = "ADDR", display_order = 105)]
    pub(crate) bootstrap: Vec<String>,
    /// File of peers to join through, one address a line [env: KADMOS_BOOTSTRAP_FILE]
    #[arg(long, global = true, value_name = "FILE", display_order = 105)]
    pub(crate) bootstrap_file: Option<PathBuf>,
    /// URL of a page of peers to join through, in the form of such a file [env: KADMOS_BOOTSTRAP_URL]
    #[arg(long, global = true, value_name = "URL", display_order = 105)]
    pub(crate) bootstrap_url: Option<String>,
    /// Never use a running daemon
    #[arg(long, global = true, display_order = 106)]
    pub(crate) no_daemon: bool,
    /// Give up after this long, for example 30s or 2m
    #[arg(long, global = true, value_name = "DURATION", display_order = 107)]
    pub(crate) timeout: Option<Span>,
    /// What to log to standard error, for example info or kadmos=debug [env: KADMOS_LOG] [default: warn]
    #[arg(long, global = true, value_name = "FILTER", display_order = 108)]
    pub(crate) log: Option<String>,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node: answer others, and serve the other commands over a socket in the data directory
    Serve(Serve),
    /// Run a whole network in this process, and check that it works
    Devnet(Devnet),
    /// Find a peer's addresses
    FindPeer(FindPeer),
    /// Find who provides content, as they are found
    FindProviders(FindProviders),
    /// Announce that this node provides content
    Provide(Provide),
    /// Read a record (/ipns/… or /pk/…)
    Get(Get),
    /// Store a record (/ipns/… or /pk/…)
    Put(Put),
    /// Find the peers closest to a key
    Closest(Closest),
    /// Measure the round trip to a peer
    Ping(Ping),
    /// Show who this node is and where it listens
    Id,
    /// Show how well the daemon is, why, its table, connections and records
    #[command(after_help = STATUS_HELP)]
    Status,
    /// Let the daemon finish what others have asked it for, and end
    Drain(Drain),
    /// Make, show or import this node's private key
    #[command(subcommand)]
    Key(Key),
    /// Show what a peer id, CID, multihash, record or DHT message says
    Decode(Decode),
    /// Run networks of thousands of nodes in virtual time
    #[command(subcommand)]
    Sim(Sim),
}

/// `kadmos drain`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kadmos drain                   answer what was asked, at most 10 s, then end the daemon
  kadmos drain --deadline 1m

From then on the daemon takes no new request of other nodes, tells those connected that it is a
client, and ends once what it has read is answered. The daemon's exit code is 0.")]
pub(crate) struct Drain {
    /// Requests that take longer are cut off
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) deadline: Span,
}

/// `kadmos serve`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kadmos serve                                    join the public IPFS network and stay
  kadmos serve --listen /ip4/127.0.0.1/tcp/0      on any free local port
  kadmos serve --network private:/acme/kad/1.0.0 --bootstrap /dns4/a.example/tcp/4010/p2p/12D3KooW…

Prints its peer id and addresses, then runs until SIGINT or SIGTERM, on which it finishes what it
is doing, remembers its peers and exits 0. Records are in memory and are lost when it ends.")]
pub(crate) struct Serve {
    /// Address to listen on; repeatable [env: KADMOS_LISTEN] [default: port 4010, TCP and QUIC, all interfaces]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Vec<String>,
    /// Whether to answer others; auto does while they can reach this node [default: server]
    #[arg(long, value_enum)]
    pub(crate) mode: Option<ServeMode>,
}

/// `kadmos devnet`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kadmos devnet --nodes 50 --check          run the main job on 50 nodes and print what it cost
  kadmos devnet --nodes 100 --k 4 --check   with 4 holders a record: most nodes hold nothing of it
  kadmos devnet --nodes 30                  just run; prints an address a node, for --bootstrap

Every node is a whole node on a TCP port of 127.0.0.1 and knows only the first three at the start.
The check lets each node provide content, find another's, put and get an /ipns and a /pk record and
find a peer. Then it compares who holds each record with the k nodes that are truly closest to its
key; it knows them all, the nodes don't. Exit code 1 if any of it failed.")]
pub(crate) struct Devnet {
    /// Number of nodes
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(2..=1000))]
    pub(crate) nodes: u16,
    /// Holders of each record, and bucket size; 1 and 2 are too few for a network that has just begun
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) k: u16,
    /// Run the main job, judge it, and end
    #[arg(long)]
    pub(crate) check: bool,
    /// Seed of the keys and of every random choice
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

/// `kadmos find-peer`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kadmos find-peer 12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA
  kadmos find-peer k51qzi5uqu5dh9… --json

Prints one address a line, ready to dial.")]
pub(crate) struct FindPeer {
    /// Peer id (12D3KooW…, Qm…, k51…) or an address that ends in one
    #[arg(value_name = "PEER", value_parser = peer)]
    pub(crate) peer: Given<PeerRef>,
}

/// `kadmos find-providers`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kadmos find-providers bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e
  kadmos find-providers --count 1 --json Qm…     end with the first one

Prints one peer id a line as soon as it is found; -v adds addresses. Exit code 3 when nobody provides it.")]
pub(crate) struct FindProviders {
    /// CID or multihash
    #[arg(value_name = "CID", value_parser = content)]
    pub(crate) content: Given<Content>,
    /// End after this many providers; 0 asks until nobody closer is left
    #[arg(short = 'n', long, default_value_t = 20)]
    pub(crate) count: usize,
}

/// `kadmos provide`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kadmos provide bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e

Announces the daemon's node when a daemon runs. Without one, a node with this data directory's
identity listens on the configured addresses, announces itself, and with --keep stays up; else its
announcement soon points at nobody. Announcing has no answer in this protocol, so what is counted
is announcements sent, not kept.")]
pub(crate) struct Provide {
    /// CID or multihash
    #[arg(value_name = "CID", value_parser = content)]
    pub(crate) content: Given<Content>,
    /// Without a daemon: stay up until interrupted
    #[arg(long)]
    pub(crate) keep: bool,
}

/// `kadmos get`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kadmos get /ipns/k51qzi5uqu5dh9…        prints the path that the name points at
  kadmos get /pk/QmNnooDu7bfjPFoTZ…       prints the public key
  kadmos get --raw /ipns/k51… > record    writes the record's bytes")]
pub(crate) struct Get {
    /// Record key: /ipns/<name> or /pk/<peer id>
    #[arg(value_name = "KEY", value_parser = record_key)]
    pub(crate) key: Given<RecordKey>,
    /// End after this many valid answers; 0 asks everybody close [default: lookup.quorum]
    #[arg(long)]
    pub(crate) quorum: Option<usize>,
    /// Write the record's bytes as they are
    #[arg(long, conflicts_with = "json")]
    pub(crate) raw: bool,
}

/// `kadmos put`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kadmos put /ipns/self /ipfs/bafy…            sign with this node's key: the name is its peer id
  kadmos put /ipns/self /ipfs/bafy… --key-file site.key --lifetime 48h --ttl 5m
  kadmos put /ipns/k51… @record.bin            store a record made elsewhere
  kadmos put /pk/self                          store this node's public key

An /ipns value that begins with / is a path and is signed; its sequence number is one more than
that of the record found now, unless --sequence is given. @FILE and - (standard input) are finished
records.")]
pub(crate) struct Put {
    /// Record key: /ipns/<name>, /pk/<peer id>, or with self for this node's own
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    /// Path to sign, text, @FILE, or - for standard input
    #[arg(value_name = "VALUE")]
    pub(crate) value: Option<String>,
    /// Private key to sign with [default: the data directory's identity]
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Sequence number of the record to sign
    #[arg(long)]
    pub(crate) sequence: Option<u64>,
    /// How long the record to sign is valid
    #[arg(long, value_name = "DURATION", default_value = "48h")]
    pub(crate) lifetime: Span,
    /// How long resolvers may keep the record to sign without asking again
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub(crate) ttl: Span,
}

/// `kadmos closest`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kadmos closest bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e
  kadmos closest -v /ipns/k51qzi5uqu5dh9…

Prints one peer id a line, closest first; -v adds the length of the shared key prefix and addresses.")]
pub(crate) struct Closest {
    /// CID, multihash, peer id or record key
    #[arg(value_name = "KEY", value_parser = lookup_key)]
    pub(crate) key: Given<LookupKey>,
}

/// `kadmos ping`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kadmos ping 12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA
  kadmos ping --count 3 /ip4/127.0.0.1/tcp/4010/p2p/12D3KooW…     dials exactly this address

A bare peer id is looked up in the DHT first.")]
pub(crate) struct Ping {
    /// Peer id, or an address that ends in /p2p/<peer id>
    #[arg(value_name = "PEER", value_parser = peer)]
    pub(crate) peer: Given<PeerRef>,
    /// Number of pings
    #[arg(short = 'n', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) count: u32,
}

/// `kadmos key`
#[derive(Clone, Debug, Subcommand)]
#[command(after_help = "\
Examples:
  kadmos key new                                     a key for this data directory
  kadmos key import --kubo-config ~/.ipfs/config     become the peer that this Kubo node is
  kadmos key show")]
pub(crate) enum Key {
    /// Make a key; refuses to replace one
    New {
        /// Type of the key
        #[arg(long = "type", value_enum, default_value_t = NewKey::Ed25519)]
        kind: NewKey,
        /// Write it here, not into the data directory
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show a key's peer id, type and public half; never its private half
    Show {
        /// Key file [default: the data directory's identity]
        file: Option<PathBuf>,
    },
    /// Take over a key made elsewhere; refuses to replace one
    Import {
        /// Key file as `ipfs key export` or `kadmos key new` writes it, base64, or Ed25519 in PEM; - reads standard input
        #[arg(required_unless_present = "kubo_config", conflicts_with = "kubo_config")]
        file: Option<PathBuf>,
        /// Kubo configuration, usually ~/.ipfs/config
        #[arg(long, value_name = "FILE")]
        kubo_config: Option<PathBuf>,
    },
}

/// `kadmos decode`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kadmos decode bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e
  kadmos decode 12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA
  kadmos decode --as message 08044a260a…       a DHT message in hexadecimal, base64 or multibase
  kadmos decode @record.bin                    an IPNS record from a file")]
pub(crate) struct Decode {
    /// Text, bytes in hexadecimal, base64 or multibase, @FILE, or - for standard input
    #[arg(value_name = "INPUT")]
    pub(crate) input: String,
    /// Read it as this, instead of guessing
    #[arg(long = "as", value_enum, value_name = "KIND")]
    pub(crate) kind: Option<DecodeKind>,
}

/// What `kadmos decode` reads its input as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DecodeKind {
    /// A multiaddress.
    Addr,
    /// A CID.
    Cid,
    /// An IPNS record.
    Ipns,
    /// A DHT message, with or without its length prefix.
    Message,
    /// A multihash.
    Multihash,
    /// A peer id.
    Peer,
    /// A libp2p public key.
    PublicKey,
}

/// `kadmos sim`
#[derive(Clone, Debug, Subcommand)]
#[command(after_help = "\
Examples:
  kadmos sim run --nodes 1000 --seed 7                recall, messages, hops, latency, a trace hash
  kadmos sim diff --nodes 100 --seed 7 --seed-b 8     the first thing that two runs do differently
  kadmos sim study lookup --quick --watch             Kadmos and others in one world, with plots
  kadmos sim replay --seed 7 --node 17                one lookup: who named whom, and when")]
pub(crate) enum Sim {
    /// Run one network and report what an outside checker saw
    Run(SimRun),
    /// Run two networks and print the first event at which they differ
    Diff(SimDiff),
    /// Compare Kadmos with other clients in clones of one world, and write a report with plots
    Study(SimStudy),
    /// Replay one lookup and print what caused what in it
    Replay(SimReplay),
    /// Run worlds drawn from seeds, with faults, and see whether all is well afterwards
    Check(SimCheck),
    /// Put a network of ours, mixed with go's, to a trial with thresholds that can fail
    Trial(SimTrial),
}

/// `kadmos sim trial`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Trials:
  join       through three nodes, all know their neighbourhood in ten minutes
  churn      servers come and go, a quarter of the ids in circulation is dead
  mute       six of ten servers take connections and answer nothing
  merge      five times as many servers join, and die at once
  partition  half of the network is cut off for half an hour
  clocks     wall clocks are set by two days

Examples:
  kadmos sim trial join                      300 servers, half of them go's; seconds
  kadmos sim trial churn --full              1,000 servers that stay, 24 hours

Exits 0 when every bar holds, 1 when one does not.")]
pub(crate) struct SimTrial {
    /// Which trials [default: all]
    #[arg(value_name = "TRIAL")]
    pub(crate) trials: Vec<kadmos_sim::trial::TrialName>,
    /// 1,000 servers and 24 hours instead of 300 and 6
    #[arg(long)]
    pub(crate) full: bool,
    /// Whatever happens by chance is drawn from it
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Servers that stay [default: 300, with --full 1000]
    #[arg(long)]
    pub(crate) servers: Option<u32>,
    /// Servers of a hundred that run go's policy
    #[arg(long, default_value_t = 50)]
    pub(crate) go_percent: u32,
    /// Trials at a time [default: number of processors]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,
}

/// `kadmos sim check`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kadmos sim check --seeds 200                        what CI runs
  kadmos sim check --seeds 10000 --save corpus/sim    overnight; failing cases are made smaller and kept
  kadmos sim check --seeds 1 --first 78 --print       one seed, with all that was drawn

Exits 0 when all is well, 10 when a checker saw something wrong, 11 when something never ended, 12 when
two runs of a seed differed, 13 when the code panicked; the highest of these.")]
pub(crate) struct SimCheck {
    /// Number of seeds
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: u64,
    /// The first seed; the others follow it
    #[arg(long, default_value_t = 0)]
    pub(crate) first: u64,
    /// Seeds at a time [default: number of processors]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,
    /// Print what was drawn from every seed, and what came of it
    #[arg(long)]
    pub(crate) print: bool,
    /// Whether to look for the smallest case that fails alike, for up to a minute each
    #[arg(long, action = clap::ArgAction::Set, default_value_t = true)]
    pub(crate) shrink: bool,
    /// Folder for failing cases
    #[arg(long, value_name = "FOLDER")]
    pub(crate) save: Option<std::path::PathBuf>,
}

/// `kadmos sim study`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Studies:
  lookup     time to the first provider, and to the 20 closest; held to published times
  provide    time until a provide returns, and who holds the record; held to published times
  churn      servers come and go
  mute       servers take connections and answer nothing
  merge      a foreign network of dead servers is mixed in
  partition  half of the network is cut off, and comes back
  flood      as many newcomers as servers join at once
  restart    half of the servers are started again at once
  scale      networks of different sizes
  ablation   Kadmos with one thing changed

Exits 1 when the modelled go client is too far from published times.")]
pub(crate) struct SimStudy {
    /// Which study
    #[arg(value_name = "STUDY")]
    pub(crate) study: kadmos_sim::study::StudyName,
    /// Fewer servers, seeds and operations
    #[arg(long)]
    pub(crate) quick: bool,
    /// The first seed; the others follow it
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Number of seeds [default: 5, with --quick 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) seeds: Option<u32>,
    /// Servers of each world [default: 8000, with --quick 2000; fewer where servers keep their tables up]
    #[arg(long, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub(crate) servers: Option<u32>,
    /// Operations, in hundredths of the study's own number
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) work_percent: u32,
    /// Servers, in percent, that run a model of go-libp2p-kad-dht instead of Kadmos
    #[arg(long = "go-servers", value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) go_servers: u32,
    /// Folder for report and plots [default: study-reports/STUDY-seed-SEED]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) report: Option<std::path::PathBuf>,
    /// Show virtual time, events, operations and recall while it runs
    #[arg(long)]
    pub(crate) watch: bool,
}

/// `kadmos sim replay`
#[derive(Clone, Debug, Args)]
pub(crate) struct SimReplay {
    /// Seed of the world and of the key
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Which node looks up
    #[arg(long, default_value_t = 0)]
    pub(crate) node: u32,
    /// Number of nodes
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub(crate) nodes: u32,
    /// Whose client looks up
    #[arg(long, value_enum, default_value_t = SimClient::Kadmos)]
    pub(crate) client: SimClient,
}

/// A client that the simulator can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SimClient {
    /// Our own.
    Kadmos,
    /// go-libp2p-kad-dht.
    Go,
    /// rust-libp2p's libp2p-kad.
    RustLibp2p,
    /// The Dart port that Kadmos set out from.
    Original,
}

impl SimClient {
    /// The simulator's name for it; `None` for our own.
    pub(crate) const fn baseline(self) -> Option<kadmos_sim::Baseline> {
        match self {
            Self::Kadmos => None,
            Self::Go => Some(kadmos_sim::Baseline::Go),
            Self::RustLibp2p => Some(kadmos_sim::Baseline::RustLibp2p),
            Self::Original => Some(kadmos_sim::Baseline::Original),
        }
    }
}

/// `kadmos sim run`
#[derive(Clone, Debug, Args)]
pub(crate) struct SimRun {
    /// Number of nodes
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(4..=100_000))]
    pub(crate) nodes: u32,
    /// Seed of every random choice
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Holders of each record, and bucket size
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) k: u16,
    /// Lookups to measure
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) lookups: u32,
    /// Provider records to announce and find, and values to put and get
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) records: u32,
    /// Seconds of virtual time between the last join and the first lookup
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) settle: u32,
    /// Begin with full tables instead of joining: what takes too long in a large network
    #[arg(long)]
    pub(crate) oracle_start: bool,
    /// Encode and decode each message on its way
    #[arg(long)]
    pub(crate) wire: bool,
    /// Nodes, in percent, that run a model of go-libp2p-kad-dht instead of Kadmos
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) go_share: u32,
    /// Show virtual time, events, lookups and recall while it runs
    #[arg(long)]
    pub(crate) watch: bool,
}

/// `kadmos sim diff`
#[derive(Clone, Debug, Args)]
pub(crate) struct SimDiff {
    /// The first run
    #[command(flatten)]
    pub(crate) run: SimRun,
    /// Seed of the second run [default: the first one's, to see that a run repeats itself]
    #[arg(long)]
    pub(crate) seed_b: Option<u64>,
}

/// A parsed argument beside its text: the text is what a daemon is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given<T> {
    /// As typed.
    pub(crate) text: String,
    /// As understood.
    pub(crate) value: T,
}

fn given<T: std::str::FromStr<Err = ParseError>>(text: &str) -> Result<Given<T>, ParseError> {
    text.parse().map(|value| Given { text: text.to_string(), value })
}

fn content(text: &str) -> Result<Given<Content>, ParseError> {
    given(text)
}

fn lookup_key(text: &str) -> Result<Given<LookupKey>, ParseError> {
    given(text)
}

fn peer(text: &str) -> Result<Given<PeerRef>, ParseError> {
    given(text)
}

fn record_key(text: &str) -> Result<Given<RecordKey>, ParseError> {
    given(text)
}

/// Clap's error as one sentence: its first paragraph and its tips, without usage and colours.
pub(crate) fn usage_sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut sentence = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        if line.is_empty() {
            continue;
        }
        if !sentence.is_empty() {
            sentence.push_str(if line.starts_with("tip:") { "; " } else { " " });
        }
        sentence
            .push_str(line.strip_prefix("error: ").or_else(|| line.strip_prefix("tip: ")).unwrap_or(line));
    }
    sentence
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn sentence(args: &[&str]) -> String {
        usage_sentence(&Cli::try_parse_from(args).unwrap_err())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_teaches_with_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            assert!(name == "id" || help.contains(&format!("kadmos {name}")), "{name} has no example");
        }
    }

    #[test]
    fn usage_errors_are_one_sentence() {
        assert_eq!(
            sentence(&["kadmos", "find-peer", "x"]).split_once(" (").unwrap().0,
            "invalid value 'x' for '<PEER>': read \"x\", expected a peer id such as \
             12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA, its k51… form, or an address that ends in \
             /p2p/<peer id>"
        );
        assert_eq!(
            sentence(&["kadmos", "find-peer"]),
            "the following required arguments were not provided: <PEER>"
        );
        assert_eq!(
            sentence(&["kadmos", "closset", "x"]),
            "unrecognized subcommand 'closset'; a similar subcommand exists: 'closest'"
        );
        assert!(sentence(&["kadmos", "devnet", "--nodes", "1"]).contains("1 is not in 2..=1000"));
        assert!(sentence(&["kadmos", "--timeout", "5", "id"]).contains("expected a duration"));
    }
}
