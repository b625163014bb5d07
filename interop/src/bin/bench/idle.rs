//! `bench idle`: what nodes cost that nobody uses.

use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use kadmos_interop::kubo::{self, Kubo};
use libp2p::Multiaddr;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::member::{Kind, Member};
use crate::namespace::{self, Namespace, Traffic};
use crate::subject::Done;
use crate::{Failure, machine, runtime, stats};

/// How many of the servers around them the measured nodes join through.
const THROUGH: usize = 3;

const KUBO_CLIENT_ABSENT: &str = "Kubo client: absent, because on a local network the library always serves.";
const KUBO_REQUESTS_ABSENT: &str =
    "Kubo's requests and table: absent, because the library has no call for them and no HTTP API.";

/// What `bench idle` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long to measure. Refreshes come every 5 (libp2p-kad) or 10 minutes (Kadmos, Kubo).
    #[arg(long, default_value_t = 5.0, value_parser = positive)]
    minutes: f64,
    /// Time to join before that, in seconds.
    #[arg(long, default_value_t = 60.0, value_parser = positive)]
    settle: f64,
    /// Servers of Kadmos around the measured nodes.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(3..=1_000))]
    servers: u16,
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    // A year, so that it is a duration.
    if number > 0.0 && number < 525_600.0 { Ok(number) } else { Err("not positive, or too much".to_owned()) }
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    /// What the hourly figures are scaled up from.
    measured_seconds: f64,
    servers: u16,
    load: f64,
    nodes: Vec<Cost>,
}

/// What a node costs an hour; `None` where it cannot be had.
#[derive(Debug, PartialEq, Serialize)]
struct Cost {
    node: &'static str,
    dials: f64,
    taken: f64,
    requests_sent: Option<f64>,
    requests_answered: Option<f64>,
    bytes_sent: f64,
    bytes_received: f64,
    processor_seconds: f64,
    /// Peers in its table at the end.
    table: Option<usize>,
}

/// Measures, with progress on standard error, a report in JSON on standard output and a table on standard error.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    if !namespace::is_inside() {
        // From within, nothing can be downloaded.
        runtime()?.block_on(kubo::install());
        return Err(namespace::enter());
    }
    machine::raise_file_limit();
    let report = runtime()?.block_on(measure(arguments))?;
    println!("{}", serde_json::to_string(&report)?);
    eprint!("{}", in_words(&report));
    Ok(ExitCode::SUCCESS)
}

async fn measure(arguments: &Arguments) -> Result<Report, Failure> {
    namespace::prepare()?;
    let around: Vec<_> =
        try_join_all((0..arguments.servers).map(|_| Member::start(Kind::Kadmos, Some(namespace::HOST))))
            .await?;
    let through: Vec<Multiaddr> = around.iter().take(THROUGH).flat_map(Member::addrs).collect();
    around.iter().for_each(|member| member.join(&through));
    let mut subjects = Vec::new();
    for (number, node) in (1..).zip(Node::ALL) {
        subjects.push(Subject::start(node, Namespace::new(number)?, &through).await?);
    }
    wait("joining", Duration::from_secs_f64(arguments.settle)).await;
    let load = machine::load()?;
    let began = Instant::now();
    let mut before = Vec::new();
    for subject in &mut subjects {
        before.push(subject.sample().await?);
    }
    wait("measuring", Duration::from_secs_f64(arguments.minutes * 60.0)).await;
    let mut nodes = Vec::new();
    let measured = began.elapsed();
    for (subject, before) in subjects.iter_mut().zip(before) {
        nodes.push(cost(subject.node.name(), before, subject.sample().await?, measured));
    }
    for subject in subjects {
        subject.stop().await?;
    }
    futures::future::join_all(around.into_iter().map(Member::stop)).await;
    Ok(Report {
        schema: "kadmos.bench.idle/1",
        measured_seconds: measured.as_secs_f64(),
        servers: arguments.servers,
        load,
        nodes,
    })
}

/// Waits, and says so every ten seconds.
async fn wait(what: &str, time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        eprintln!("{what}: {:.0} of {:.0} s", began.elapsed().as_secs_f64(), time.as_secs_f64());
        let rest = time.saturating_sub(began.elapsed());
        tokio::time::sleep(rest.min(Duration::from_secs(10))).await;
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
enum Node {
    Server(Kind),
    Client(Kind),
    Kubo,
}

impl Node {
    const ALL: [Self; 5] = [
        Self::Server(Kind::Kadmos),
        Self::Server(Kind::RustLibp2p),
        Self::Kubo,
        Self::Client(Kind::Kadmos),
        Self::Client(Kind::RustLibp2p),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Server(Kind::Kadmos) => "kadmos server",
            Self::Server(Kind::RustLibp2p) => "rust-libp2p server",
            Self::Client(Kind::Kadmos) => "kadmos client",
            Self::Client(Kind::RustLibp2p) => "rust-libp2p client",
            Self::Kubo => "Kubo server",
        }
    }
}

/// A measured process in a network of its own.
#[derive(Debug)]
struct Subject {
    node: Node,
    namespace: Namespace,
    process: Process,
}

#[derive(Debug)]
enum Process {
    Kubo(Kubo),
    Own { process: Child, stdin: ChildStdin, stdout: Lines<BufReader<ChildStdout>> },
}

/// What a node has cost since its start.
#[derive(Clone, Copy, Debug)]
struct Sample {
    traffic: Traffic,
    processor: Duration,
    done: Option<Done>,
}

impl Subject {
    async fn start(node: Node, namespace: Namespace, through: &[Multiaddr]) -> Result<Self, Failure> {
        let process = match node {
            Node::Kubo => {
                let options = kubo::Options {
                    host: Some(namespace.host()),
                    namespace_of: Some(namespace.process()),
                    ..kubo::Options::default()
                };
                let kubo = Kubo::create(options).await.run().await;
                for addr in through {
                    kubo.connect(addr).await;
                }
                Process::Kubo(kubo)
            }
            Node::Server(kind) => Process::start(kind, Some(namespace.host()), &namespace, through)?,
            Node::Client(kind) => Process::start(kind, None, &namespace, through)?,
        };
        Ok(Self { node, namespace, process })
    }

    async fn sample(&mut self) -> Result<Sample, Failure> {
        let traffic = self.namespace.traffic()?;
        let (process, done) = match &mut self.process {
            Process::Kubo(kubo) => (kubo.process(), None),
            Process::Own { process, stdin, stdout } => {
                stdin.write_all(b"\n").await?;
                let line = stdout.next_line().await?.ok_or("a measured process has ended")?;
                (process.id(), Some(serde_json::from_str(&line)?))
            }
        };
        let process = process.ok_or("a measured process has ended")?;
        Ok(Sample { traffic, processor: machine::processor_time(process)?, done })
    }

    async fn stop(self) -> Result<(), Failure> {
        match self.process {
            Process::Kubo(kubo) => kubo.stop().await,
            Process::Own { mut process, stdin, .. } => {
                drop(stdin);
                process.wait().await?;
            }
        }
        Ok(())
    }
}

impl Process {
    fn start(
        kind: Kind,
        host: Option<std::net::Ipv4Addr>,
        namespace: &Namespace,
        through: &[Multiaddr],
    ) -> Result<Self, Failure> {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &namespace.process().to_string()]);
        command.arg(std::env::current_exe()?).args(["subject", "--kind", &kind.to_string()]);
        if let Some(host) = host {
            command.args(["--host", &host.to_string()]);
        }
        command.args(through.iter().map(ToString::to_string));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdin = process.stdin.take().expect("piped");
        let stdout = BufReader::new(process.stdout.take().expect("piped")).lines();
        Ok(Self::Own { process, stdin, stdout })
    }
}

fn cost(node: &'static str, before: Sample, after: Sample, time: Duration) -> Cost {
    let hourly = 3_600.0 / time.as_secs_f64();
    let count = |before: u64, after: u64| after.saturating_sub(before) as f64 * hourly;
    let traffic = |of: fn(&Traffic) -> u64| count(of(&before.traffic), of(&after.traffic));
    let requests = |index: usize| {
        let (before, after) = before.done.zip(after.done)?;
        Some(count(before.requests[index], after.requests[index]))
    };
    Cost {
        node,
        dials: traffic(|traffic| traffic.dials),
        taken: traffic(|traffic| traffic.taken),
        requests_sent: requests(0),
        requests_answered: requests(1),
        bytes_sent: traffic(|traffic| traffic.bytes_sent),
        bytes_received: traffic(|traffic| traffic.bytes_received),
        processor_seconds: after.processor.saturating_sub(before.processor).as_secs_f64() * hourly,
        table: after.done.map(|done| done.table),
    }
}

fn in_words(report: &Report) -> String {
    let count = |number: f64| format!("{number:.0}");
    let known = |number: Option<f64>| number.map_or_else(|| "absent".to_owned(), count);
    let kib = |bytes: f64| format!("{:.0}", bytes / 1_024.0);
    let rows: Vec<_> = report
        .nodes
        .iter()
        .map(|cost| {
            vec![
                cost.node.to_owned(),
                count(cost.dials),
                count(cost.taken),
                known(cost.requests_sent),
                known(cost.requests_answered),
                kib(cost.bytes_sent),
                kib(cost.bytes_received),
                format!("{:.1}", cost.processor_seconds),
                cost.table.map_or_else(|| "absent".to_owned(), |table| table.to_string()),
            ]
        })
        .collect();
    let header =
        ["per hour", "dials", "dialled", "requests", "answers", "KiB sent", "KiB received", "CPU s", "table"];
    format!(
        "{}{KUBO_CLIENT_ABSENT}\n{KUBO_REQUESTS_ABSENT}\nScaled up from {:.0} s, among {} servers of Kadmos; load \
         average {:.1}.\n",
        stats::table(&header, &rows),
        report.measured_seconds,
        report.servers,
        report.load
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(factor: u64, done: Option<Done>) -> Sample {
        let traffic =
            Traffic { dials: factor, taken: 2 * factor, bytes_sent: 1_024 * factor, bytes_received: 0 };
        Sample { traffic, processor: Duration::from_millis(100 * factor), done }
    }

    #[test]
    fn costs_are_differences_an_hour() {
        let done = |sent| Done { requests: [sent, 7], table: 31 };
        let time = Duration::from_secs(360);
        let ours = cost("ours", sample(1, Some(done(10))), sample(3, Some(done(15))), time);
        let expected = Cost {
            node: "ours",
            dials: 20.0,
            taken: 40.0,
            requests_sent: Some(50.0),
            requests_answered: Some(0.0),
            bytes_sent: 20_480.0,
            bytes_received: 0.0,
            processor_seconds: 2.0,
            table: Some(31),
        };
        assert_eq!(ours, expected);
        let theirs = cost("theirs", sample(1, None), sample(3, None), time);
        let report =
            Report { schema: "", measured_seconds: 360.0, servers: 30, load: 1.5, nodes: vec![ours, theirs] };
        let words = in_words(&report);
        let rows: Vec<&str> = words.lines().collect();
        assert!(rows[2].contains("| ours ") && rows[2].ends_with("|   2.0 |     31 |"), "{words}");
        assert!(rows[3].contains("|   absent |  absent |") && rows[3].ends_with("| absent |"), "{words}");
        assert!(words.contains("from 360 s, among 30 servers"), "{words}");
    }

    #[test]
    fn times_are_positive() {
        assert_eq!(positive("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "NaN", "inf", "x"] {
            assert!(positive(wrong).is_err(), "{wrong}");
        }
    }
}
