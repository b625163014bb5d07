//! What a run was worth, for people and for programs.

use std::fmt;
use std::time::Duration;

use kadmos_core::operation::Outcome;
use serde::{Deserialize, Serialize};

use crate::charges::Charges;
use crate::oracle::Ratio;
use crate::run::{Phase, RunConfig};
use crate::world::{Counters, OperationReport, OperationState};

/// What a run came to. Prints as a table; serialises to JSON.
///
/// Everything but the fields in `real_ms`, `processor_ms` and `memory_*` is the same in every run of one configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// What was run.
    pub config: RunConfig,
    /// Nodes whose bootstrap succeeded, of all.
    pub joined: Ratio,
    /// Of the true k closest peers of all lookups, those that were found.
    pub recall: Ratio,
    /// Lookups that found all of them.
    pub perfect: Ratio,
    /// Lookups that ended because everybody near had answered or failed, not because time was up.
    pub complete: Ratio,
    /// Lookups for closest peers.
    pub closest_peers: OperationStats,
    /// Announcements of content.
    pub provide: OperationStats,
    /// Of the true k closest peers of each key, those that hold its provider record.
    pub providers_held: Ratio,
    /// Searches for the provider; successful when the true one was found.
    pub find_providers: OperationStats,
    /// Values stored.
    pub put_value: OperationStats,
    /// Of the true k closest peers of each key, those that hold its value.
    pub values_held: Ratio,
    /// Values read; successful when it was the one stored.
    pub get_value: OperationStats,
    /// Records signed as on the public network; of runs with `wire` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedReport>,
    /// Peers in the nodes' tables before the lookups.
    pub table_peers: Spread,
    /// The parts of the run.
    pub phases: Vec<PhaseReport>,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
    /// Milliseconds that the run took on this machine.
    pub real_ms: u64,
    /// What the world counted.
    pub counters: Counters,
    /// What all nodes together did, by what for.
    pub charges: Charges,
    /// The same for the nodes of each implementation, where there is more than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<KindCharges>,
    /// Memory of the whole process at the end, where the system tells.
    pub memory_bytes: Option<u64>,
    /// The most that the whole process ever had, where the system tells.
    pub memory_peak_bytes: Option<u64>,
    /// Milliseconds that this thread computed for the run, where the system tells; less than `real_ms` when other programs
    /// took their turns.
    pub processor_ms: Option<u64>,
    /// Peers in the tables of all nodes of our own, before the lookups.
    pub table_entries: u64,
    /// Bytes of those tables, beside the descriptors that the world shares.
    pub table_bytes: u64,
    /// Delivered events and state changes in the hash.
    pub trace_events: u64,
    /// A hash of 256 bits over them, in hexadecimal.
    pub trace_hash: String,
    /// Broken promises between core and driver; empty in a sound run.
    pub violations: Vec<String>,
}

/// What became of `/pk` and `/ipns` records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SignedReport {
    /// Records stored, newer versions of names among them.
    pub put: OperationStats,
    /// Of the true k closest peers of each key, those that hold the newest version.
    pub held: Ratio,
    /// Records read; successful when it was the newest one stored.
    pub get: OperationStats,
}

/// What the nodes of one implementation did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCharges {
    /// `kadmos`, or the model's label.
    pub name: String,
    /// How many nodes.
    pub nodes: u64,
    /// What they did together.
    pub charges: Charges,
}

/// One part of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseReport {
    /// Which.
    pub phase: Phase,
    /// Milliseconds that it took on this machine.
    pub real_ms: u64,
    /// Milliseconds that this thread computed for it, where the system tells.
    pub processor_ms: Option<u64>,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
    /// Events taken from the queue.
    pub events: u64,
    /// Requests handed to the network.
    pub requests: u64,
}

/// What operations of one kind came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperationStats {
    /// Those that succeeded, of all that were tried.
    pub succeeded: Ratio,
    /// Requests sent by each.
    pub messages: Spread,
    /// Requests that failed in each.
    pub failures: Spread,
    /// Longest chain of peers that named each other in each.
    pub hops: Spread,
    /// Virtual milliseconds from start to end of each.
    pub latency_ms: Spread,
}

/// How numbers are distributed. Percentiles are the smallest number that so many of them do not exceed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many numbers.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The smallest.
    pub min: u64,
    /// The median.
    pub p50: u64,
    /// Nine of ten are at most this.
    pub p90: u64,
    /// 99 of a hundred are at most this.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

impl Spread {
    /// Describes `numbers`; all zero when there are none.
    pub fn of(mut numbers: Vec<u64>) -> Self {
        numbers.sort_unstable();
        let (Some(min), Some(max)) = (numbers.first(), numbers.last()) else { return Self::default() };
        let percentile = |percent: usize| numbers[(numbers.len() * percent).div_ceil(100) - 1];
        let sum: u128 = numbers.iter().map(|number| u128::from(*number)).sum();
        Self {
            count: numbers.len() as u64,
            mean: sum as f64 / numbers.len() as f64,
            min: *min,
            p50: percentile(50),
            p90: percentile(90),
            p99: percentile(99),
            max: *max,
        }
    }
}

/// Collects [`OperationStats`].
#[derive(Debug, Default)]
pub(crate) struct Samples {
    succeeded: Ratio,
    messages: Vec<u64>,
    failures: Vec<u64>,
    hops: Vec<u64>,
    latency_ms: Vec<u64>,
}

impl Samples {
    /// Adds an operation that succeeded if the core says so.
    pub(crate) fn add(&mut self, operation: &OperationReport) {
        let succeeded = operation.outcome().is_some_and(|outcome: &Outcome| outcome.fault().is_none());
        self.add_judged(operation, succeeded);
    }

    /// Adds an operation, and whether it succeeded.
    pub(crate) fn add_judged(&mut self, operation: &OperationReport, succeeded: bool) {
        self.succeeded.count(succeeded);
        if let OperationState::Ended { cost, .. } = &operation.state {
            self.messages.push(cost.requests as u64);
            self.failures.push(cost.failures as u64);
            self.hops.push(cost.hops as u64);
            self.latency_ms.push(cost.elapsed.as_millis() as u64); // an operation ends within minutes
        }
    }

    pub(crate) fn stats(self) -> OperationStats {
        OperationStats {
            succeeded: self.succeeded,
            messages: Spread::of(self.messages),
            failures: Spread::of(self.failures),
            hops: Spread::of(self.hops),
            latency_ms: Spread::of(self.latency_ms),
        }
    }
}

impl RunReport {
    pub(crate) fn new(config: &RunConfig) -> Self {
        Self {
            config: config.clone(),
            joined: Ratio::default(),
            recall: Ratio::default(),
            perfect: Ratio::default(),
            complete: Ratio::default(),
            closest_peers: OperationStats::default(),
            provide: OperationStats::default(),
            providers_held: Ratio::default(),
            find_providers: OperationStats::default(),
            put_value: OperationStats::default(),
            values_held: Ratio::default(),
            get_value: OperationStats::default(),
            signed: None,
            table_peers: Spread::default(),
            phases: Vec::new(),
            virtual_ms: 0,
            real_ms: 0,
            counters: Counters::default(),
            charges: Charges::default(),
            kinds: Vec::new(),
            memory_bytes: None,
            memory_peak_bytes: None,
            processor_ms: None,
            table_entries: 0,
            table_bytes: 0,
            trace_events: 0,
            trace_hash: String::new(),
            violations: Vec::new(),
        }
    }

    /// Virtual time over real time, times ten, of the phase in which nothing but upkeep happened.
    pub fn settle_speed_tenths(&self) -> u64 {
        self.settled().map_or(0, |ended| tenths(ended.virtual_ms, ended.real_ms))
    }

    fn settled(&self) -> Option<&PhaseReport> {
        self.phases.iter().find(|ended| ended.phase == Phase::Settle)
    }

    /// Virtual time that the world ran: a world that begins full begins later than at zero.
    fn ran_ms(&self) -> u64 {
        let before =
            if self.config.oracle_start { self.phases.first().map_or(0, |join| join.virtual_ms) } else { 0 };
        self.virtual_ms - before
    }

    /// Virtual time over real time, times ten, of the whole run: joining, settling, lookups and records.
    pub fn speed_tenths(&self) -> u64 {
        tenths(self.ran_ms(), self.real_ms)
    }

    /// Inputs handled by cores per real second.
    pub fn inputs_per_second(&self) -> u64 {
        per_second(self.counters.inputs, self.real_ms)
    }

    /// Inputs handled by cores per second that this thread computed, where the system tells.
    pub fn inputs_per_processor_second(&self) -> Option<u64> {
        self.processor_ms.map(|ms| per_second(self.counters.inputs, ms))
    }

    /// Bytes of a table entry, on average, beside the descriptors that the world shares.
    pub fn bytes_per_table_entry(&self) -> f64 {
        self.table_bytes as f64 / self.table_entries.max(1) as f64
    }
}

fn tenths(virtual_ms: u64, real_ms: u64) -> u64 {
    (virtual_ms * 10).checked_div(real_ms).unwrap_or(0)
}

fn per_second(count: u64, ms: u64) -> u64 {
    (count * 1_000).checked_div(ms).unwrap_or(0)
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RunConfig { nodes, bootstrap, seed, k, .. } = self.config;
        writeln!(f, "{nodes} nodes, k {k}, joined through {bootstrap}, seed {seed}")?;
        writeln!(f)?;
        writeln!(f, "joined            {}", Of(self.joined))?;
        writeln!(f, "recall            {} of the true {k} closest", Of(self.recall))?;
        writeln!(f, "perfect lookups   {}", Of(self.perfect))?;
        writeln!(f, "complete lookups  {}", Of(self.complete))?;
        writeln!(f, "provider records  {} at the true {k} closest", Of(self.providers_held))?;
        writeln!(f, "values            {} at the true {k} closest", Of(self.values_held))?;
        if let Some(signed) = &self.signed {
            writeln!(f, "signed records    {} at the true {k} closest", Of(signed.held))?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "{:<16}{:>14}{:>10}{:>6}{:>6}{:>6}{:>6}{:>6}{:>9}{:>8}{:>8}",
            "operation", "succeeded", "messages", "p50", "p90", "p99", "hops", "p99", "ms p50", "p90", "p99"
        )?;
        let signed = self.signed.iter().flat_map(|it| [("put signed", &it.put), ("get signed", &it.get)]);
        for (name, stats) in [
            ("closest peers", &self.closest_peers),
            ("provide", &self.provide),
            ("find providers", &self.find_providers),
            ("put value", &self.put_value),
            ("get value", &self.get_value),
        ]
        .into_iter()
        .chain(signed)
        {
            let OperationStats { succeeded, messages, hops, latency_ms, .. } = stats;
            writeln!(
                f,
                "{name:<16}{:>14}{:>10.1}{:>6}{:>6}{:>6}{:>6}{:>6}{:>9}{:>8}{:>8}",
                format!("{} / {}", succeeded.part, succeeded.whole),
                messages.mean,
                messages.p50,
                messages.p90,
                messages.p99,
                hops.p50,
                hops.p99,
                latency_ms.p50,
                latency_ms.p90,
                latency_ms.p99,
            )?;
        }
        writeln!(f)?;
        let Spread { mean, min, p50, max, .. } = self.table_peers;
        writeln!(f, "peers in a table  {mean:.1} on average, {min} to {max}, half at most {p50}")?;
        let Counters { events, inputs, requests, failures, dials, connections_max, .. } = self.counters;
        writeln!(
            f,
            "network           {requests} requests, {failures} failed, {dials} dials, at most {connections_max} connections"
        )?;
        for PhaseReport { phase, real_ms, virtual_ms, events, requests, .. } in &self.phases {
            writeln!(
                f,
                "{:<17} {} virtual, {} real, {events} events, {requests} requests",
                phase.label(),
                Secs(*virtual_ms),
                Secs(*real_ms)
            )?;
        }
        writeln!(
            f,
            "in all            {} virtual, {} real, {events} events, {inputs} inputs, {} inputs/s",
            Secs(self.virtual_ms),
            Secs(self.real_ms),
            self.inputs_per_second()
        )?;
        let (all, settling) = (self.speed_tenths(), self.settle_speed_tenths());
        writeln!(
            f,
            "speed             {}.{} x real time, {}.{} x while settling",
            all / 10,
            all % 10,
            settling / 10,
            settling % 10
        )?;
        let settle_processor = self.settled().and_then(|ended| Some((ended.virtual_ms, ended.processor_ms?)));
        if let (Some(ms), Some(rate), Some((virtual_ms, settle_ms))) =
            (self.processor_ms, self.inputs_per_processor_second(), settle_processor)
        {
            let (all, settling) = (tenths(self.ran_ms(), ms), tenths(virtual_ms, settle_ms));
            writeln!(
                f,
                "processor         {} of one core: {}.{} x, {}.{} x while settling, {rate} inputs/s",
                Secs(ms),
                all / 10,
                all % 10,
                settling / 10,
                settling % 10
            )?;
        }
        if let (Some(now), Some(peak)) = (self.memory_bytes, self.memory_peak_bytes) {
            let a_node = (now >> 10) / u64::from(nodes).max(1);
            writeln!(
                f,
                "memory            {} MiB, {} MiB at its peak, {a_node} KiB a node",
                now >> 20,
                peak >> 20
            )?;
        }
        writeln!(f, "table entry       {:.1} bytes beside shared descriptors", self.bytes_per_table_entry())?;
        let time = Duration::from_millis(self.virtual_ms);
        write_per_hour(f, "per node-hour", &self.charges, u64::from(nodes), time)?;
        for KindCharges { name, nodes, charges } in &self.kinds {
            write_per_hour(f, &format!("of {nodes} {name}"), charges, *nodes, time)?;
        }
        writeln!(f, "trace hash        {} over {} events", self.trace_hash, self.trace_events)?;
        for violation in &self.violations {
            writeln!(f, "broken promise    {violation}")?;
        }
        Ok(())
    }
}

fn write_per_hour(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    charges: &Charges,
    nodes: u64,
    time: Duration,
) -> fmt::Result {
    let per_hour = |count| Charges::per_node_hour(count, nodes, time);
    writeln!(
        f,
        "{name:<17} {} dials, {} requests for upkeep, {} probes, {} keep-alives, {} requests of users, {} served",
        per_hour(charges.dials),
        per_hour(charges.refresh_messages),
        per_hour(charges.probe_messages),
        per_hour(charges.keep_alives()),
        per_hour(charges.operation_messages + charges.correction_messages),
        per_hour(charges.served_messages)
    )
}

/// Memory that this process has resident, where `/proc` tells.
pub fn resident_bytes() -> Option<u64> {
    memory("VmRSS:")
}

/// The most memory that this process ever had resident, where `/proc` tells.
pub fn resident_peak_bytes() -> Option<u64> {
    memory("VmHWM:")
}

fn memory(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// How long the current thread has computed, where `/proc` tells.
pub fn processor_time() -> Option<Duration> {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    schedstat.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

struct Of(Ratio);

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10}  {} of {}", self.0, self.0.part, self.0.whole)
    }
}

struct Secs(u64);

impl fmt::Display for Secs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1_000, self.0 % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_numbers_that_occurred() {
        let spread = Spread::of((1..=100).rev().collect());
        assert_eq!((spread.min, spread.p50, spread.p90, spread.p99, spread.max), (1, 50, 90, 99, 100));
        assert!((spread.mean - 50.5).abs() < 1e-9);
        let one = Spread::of(vec![7]);
        assert_eq!((one.count, one.p50, one.p99), (1, 7, 7));
        assert_eq!(Spread::of(vec![]), Spread::default());
        assert_eq!(Spread::of(vec![1, 9]).p50, 1);
    }

    #[test]
    fn report_survives_json() {
        let mut report = RunReport::new(&RunConfig::default());
        report.recall = Ratio { part: 1, whole: 3 };
        report.phases.push(PhaseReport {
            phase: Phase::Join,
            real_ms: 1,
            processor_ms: Some(1),
            virtual_ms: 2,
            events: 3,
            requests: 4,
        });
        let json = serde_json::to_string(&report).expect("plain data");
        assert!(json.contains(r#""recall":{"part":1,"whole":3}"#), "{json}");
        assert!(json.contains(r#""phase":"join""#), "{json}");
        assert_eq!(serde_json::from_str::<RunReport>(&json).expect("what was written"), report);
    }
}
