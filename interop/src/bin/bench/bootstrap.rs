//! `bench bootstrap`: how long a network takes from nothing until its nodes know whom they must know.

use std::io::{IsTerminal, Write};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};
use libp2p::{Multiaddr, PeerId};
use serde::Serialize;

use crate::member::{Kind, Member};
use crate::rule::{self, Judgement};
use crate::stats::{Ratio, Time, median};
use crate::{Failure, machine, runtime};

/// How often the judge looks. Both kinds are seen up to this much too late.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What `bench bootstrap` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Nodes that join, of each kind.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    nodes: u16,
    /// Nodes that they join through, of their own kind; these run before the time starts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    bootstrap_nodes: u16,
    /// How often each kind is measured; they take turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Measures one kind only; then there is no ratio.
    #[arg(long)]
    only: Option<Kind>,
    /// Seconds after which a round has failed.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
    /// The exit code is 1 unless Kadmos takes at most this many times rust-libp2p's time.
    #[arg(long)]
    ratio_max: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    nodes: u16,
    bootstrap_nodes: u16,
    transport: &'static str,
    closest: usize,
    whole_percent_min: f64,
    rounds: Vec<Round>,
    kadmos: Option<Time>,
    rust_libp2p: Option<Time>,
    /// Kadmos to rust-libp2p, of the medians.
    ratio: Ratio,
    /// The same of the processor time of all nodes together, until their network was well; of rounds that came to that.
    processor_ratio: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Round {
    kind: Kind,
    time: Time,
    /// What was reached in that time.
    whole_percent: f64,
    /// Peers in an average table then.
    table: f64,
    /// Connections that were open then, of all nodes together.
    connections: usize,
    /// Processor seconds of this process meanwhile.
    processor_seconds: f64,
    /// Load average before the round.
    load: f64,
}

/// Measures, with a live view on standard error and a report in JSON on standard output.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let limit = machine::raise_file_limit();
    let nodes = u64::from(arguments.nodes + arguments.bootstrap_nodes);
    // A connection between any two has two ends in this process, and often both dial.
    let needed = 2 * nodes * nodes;
    if limit < needed {
        eprintln!("bench: {needed} open files may be needed, {limit} are allowed: connections may fail");
    }
    let report = runtime()?.block_on(measure(arguments))?;
    println!("{}", serde_json::to_string(&report)?);
    for (kind, time) in [(Kind::Kadmos, report.kadmos), (Kind::RustLibp2p, report.rust_libp2p)] {
        let time = time.map_or_else(|| "not measured".to_owned(), |time| time.to_string());
        eprintln!("{kind:<11} {time}, median of {}", arguments.rounds);
    }
    eprintln!("ratio       {}", report.ratio);
    let failed = arguments.ratio_max.is_some_and(|max| !report.ratio.is_within(max));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn measure(arguments: &Arguments) -> Result<Report, Failure> {
    let mut rounds = Vec::new();
    for number in 1..=arguments.rounds {
        for kind in Kind::ALL.into_iter().filter(|kind| arguments.only.is_none_or(|only| only == *kind)) {
            let view = View::new(format!("{kind:<11} round {number}/{}", arguments.rounds));
            rounds.push(measure_one(arguments, kind, view).await?);
        }
    }
    let of = |kind| rounds.iter().filter(move |round: &&Round| round.kind == kind);
    let time = |kind| median(&of(kind).map(|round| round.time).collect::<Vec<_>>());
    let processor = |kind| {
        let well = of(kind).filter(|round| matches!(round.time, Time::Exactly(_)));
        match median(&well.map(|round| Time::Exactly(round.processor_seconds)).collect::<Vec<_>>()) {
            Some(Time::Exactly(seconds)) => Some(seconds),
            _ => None,
        }
    };
    let (kadmos, rust_libp2p) = (time(Kind::Kadmos), time(Kind::RustLibp2p));
    let ratio = kadmos.zip(rust_libp2p).map_or(Ratio::Unknown, |(ours, theirs)| Ratio::of(ours, theirs));
    let processor_ratio =
        processor(Kind::Kadmos).zip(processor(Kind::RustLibp2p)).map(|(ours, theirs)| ours / theirs);
    Ok(Report {
        schema: "kadmos.bench.bootstrap/1",
        nodes: arguments.nodes,
        bootstrap_nodes: arguments.bootstrap_nodes,
        transport: "tcp, noise, yamux",
        closest: rule::CLOSEST,
        whole_percent_min: rule::WHOLE_PERCENT,
        rounds,
        kadmos,
        rust_libp2p,
        ratio,
        processor_ratio,
    })
}

async fn measure_one(arguments: &Arguments, kind: Kind, view: View) -> Result<Round, Failure> {
    let load = machine::load()?;
    let start = |count: u16| try_join_all((0..count).map(|_| Member::start(kind, Some(Ipv4Addr::LOCALHOST))));
    let entries = start(arguments.bootstrap_nodes).await?;
    introduce(&entries).await?;
    let members = Arc::new(start(arguments.nodes).await?);
    let through: Vec<Multiaddr> = entries.iter().flat_map(Member::addrs).collect();
    let servers: Vec<PeerId> = entries.iter().chain(members.iter()).map(Member::id).collect();
    let closest: Vec<_> = members.iter().map(|member| rule::true_closest(member.id(), &servers)).collect();

    let process = std::process::id();
    let processor = machine::processor_time(process)?;
    let files = machine::open_files()?;
    let began = Instant::now();
    for member in members.iter() {
        member.join(&through);
    }
    let limit = Duration::from_secs(arguments.limit.into());
    let judged = Arc::clone(&members);
    // On a thread of its own, so that a busy runtime does not delay the judge.
    let (judgement, took) =
        tokio::task::spawn_blocking(move || watch(&judged, &closest, began, limit, view)).await?;
    let processor = machine::processor_time(process)?.saturating_sub(processor);
    // Both ends of each are ours.
    let connections = machine::open_files()?.saturating_sub(files) / 2;

    let members = Arc::into_inner(members).expect("the judge has ended and dropped its clone");
    join_all(members.into_iter().chain(entries).map(Member::stop)).await;
    Ok(Round {
        kind,
        time: match judgement.is_well() {
            true => Time::Exactly(took.as_secs_f64()),
            false => Time::LongerThan(limit.as_secs_f64()),
        },
        whole_percent: judgement.whole_percent(),
        table: judgement.table,
        connections,
        processor_seconds: processor.as_secs_f64(),
        load,
    })
}

/// Makes the bootstrap nodes one network, as they are wherever somebody joins.
async fn introduce(entries: &[Member]) -> Result<(), Failure> {
    const LIMIT: Duration = Duration::from_secs(30);
    let Some((first, others)) = entries.split_first() else { return Ok(()) };
    let began = Instant::now();
    for (known, other) in (1..).zip(others) {
        // One after the other, so that each finds those before it.
        other.join(&first.addrs());
        let met = &entries[..=known];
        while met.iter().any(|member| member.table().len() < known) {
            if began.elapsed() > LIMIT {
                return Err("the bootstrap nodes do not find each other".into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

/// Looks until the network is well or the time is up.
fn watch(
    members: &[Member],
    closest: &[Vec<PeerId>],
    began: Instant,
    limit: Duration,
    mut view: View,
) -> (Judgement, Duration) {
    loop {
        let judgement = rule::judge(closest.iter().map(Vec::as_slice).zip(members.iter().map(Member::table)));
        let took = began.elapsed();
        let last = judgement.is_well() || took >= limit;
        view.show(judgement, took, last);
        if last {
            if !judgement.is_well() {
                explain(members, closest);
            }
            return (judgement, took);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Says on standard error what some nodes lack that are not well.
fn explain(members: &[Member], closest: &[Vec<PeerId>]) {
    const SHOWN: usize = 5;
    let lacks = members.iter().zip(closest).filter_map(|(member, closest)| {
        let lack = rule::lack(member.id(), closest, &member.table())?;
        Some((member.id(), lack))
    });
    for (node, rule::Lack { numbers, beside_first }) in lacks.take(SHOWN) {
        eprintln!(
            "{node} lacks number {numbers:?} of its closest; {beside_first} peers in the bucket of the first"
        );
    }
}

/// A line on standard error that says how far a round is: rewritten in place on a terminal, else a new one each second.
#[derive(Debug)]
struct View {
    title: String,
    terminal: bool,
    shown: Option<Instant>,
}

impl View {
    fn new(title: String) -> Self {
        Self { title, terminal: std::io::stderr().is_terminal(), shown: None }
    }

    fn show(&mut self, judgement: Judgement, took: Duration, last: bool) {
        let every = if self.terminal { Duration::from_millis(100) } else { Duration::from_secs(1) };
        if !last && self.shown.is_some_and(|shown| shown.elapsed() < every) {
            return;
        }
        self.shown = Some(Instant::now());
        let line = line(&self.title, judgement, took);
        // Nobody need look: that standard error is closed is no reason to stop.
        let _ = match (self.terminal, last) {
            (true, false) => write!(std::io::stderr(), "\r{line}\x1b[K"),
            (true, true) => writeln!(std::io::stderr(), "\r{line}\x1b[K"),
            (false, _) => writeln!(std::io::stderr(), "{line}"),
        };
    }
}

fn line(title: &str, judgement: Judgement, took: Duration) -> String {
    const WIDTH: usize = 20;
    let filled = judgement.whole * WIDTH / judgement.nodes.max(1);
    let bar = "#".repeat(filled) + &".".repeat(WIDTH - filled);
    let Judgement { whole, nodes, table } = judgement;
    format!("{title} {:6.1} s [{bar}] {whole}/{nodes} nodes well, {table:.1} in a table", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_shows_how_far_it_is() {
        let judgement = Judgement { whole: 45, nodes: 100, table: 61.25 };
        assert_eq!(
            line("kadmos", judgement, Duration::from_millis(1_250)),
            "kadmos    1.2 s [#########...........] 45/100 nodes well, 61.2 in a table"
        );
    }
}
