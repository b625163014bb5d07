//! What a check came to.

use std::io::{self, Write};
use std::time::Duration;

use kadmos_sim::report::Spread;
use serde::Serialize;

/// Reasons kept for each operation; the first ones tell most.
const REASONS_MAX: usize = 10;

/// Operations of one kind.
#[derive(Debug, Serialize)]
pub(super) struct Operations {
    schema: &'static str,
    pub(super) operation: &'static str,
    pub(super) tried: usize,
    pub(super) succeeded: usize,
    /// From the call to its result, in microseconds; of all that were tried.
    latency_us: Spread,
    /// Requests that each sent to other nodes; of those whose cost is known.
    messages: Spread,
    /// Why the first ones failed.
    pub(super) reasons: Vec<String>,
}

/// Collects [`Operations`].
#[derive(Debug, Default)]
pub(super) struct Samples {
    tried: usize,
    succeeded: usize,
    latencies_us: Vec<u64>,
    messages: Vec<u64>,
    reasons: Vec<String>,
}

impl Samples {
    /// Adds one operation.
    pub(super) fn add(&mut self, elapsed: Duration, messages: Option<usize>, result: Result<(), String>) {
        self.tried += 1;
        // An operation ends within minutes.
        self.latencies_us.push(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
        self.messages.extend(messages.map(|count| count as u64));
        match result {
            Ok(()) => self.succeeded += 1,
            Err(reason) if self.reasons.len() < REASONS_MAX => self.reasons.push(reason),
            Err(_) => {}
        }
    }

    pub(super) fn tried(&self) -> usize {
        self.tried
    }

    pub(super) fn finish(self, operation: &'static str) -> Operations {
        Operations {
            schema: "kadmos.devnet-operation/1",
            operation,
            tried: self.tried,
            succeeded: self.succeeded,
            latency_us: Spread::of(self.latencies_us),
            messages: Spread::of(self.messages),
            reasons: self.reasons,
        }
    }
}

/// Who holds records of one kind.
#[derive(Debug, Serialize)]
pub(super) struct Holders {
    schema: &'static str,
    kind: &'static str,
    records: usize,
    /// Nodes that should hold each.
    expected: usize,
    /// Holders found among those, of all records.
    held: usize,
    /// Holders of the record that has the fewest.
    fewest: usize,
    /// Records below the bar.
    pub(super) too_few: usize,
}

impl Holders {
    pub(super) fn new(kind: &'static str, expected: usize) -> Self {
        Self {
            schema: "kadmos.devnet-holders/1",
            kind,
            records: 0,
            expected,
            held: 0,
            fewest: expected,
            too_few: 0,
        }
    }

    /// Adds a record that `held` of its true closest have.
    pub(super) fn add(&mut self, held: usize, is_enough: bool) {
        self.records += 1;
        self.held += held;
        self.fewest = self.fewest.min(held);
        self.too_few += usize::from(!is_enough);
    }

    /// Holders found, of all records.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Whether each record is where it should be, everywhere.
    pub(super) fn all_held(&self) -> bool {
        self.held == self.records * self.expected
    }
}

/// The verdict.
#[derive(Debug, Serialize)]
pub(super) struct CheckResult {
    schema: &'static str,
    nodes: usize,
    k: u16,
    pub(super) passed: bool,
    /// Operations that failed.
    pub(super) failed: usize,
    /// Records below the bar.
    pub(super) held_too_little: usize,
    elapsed_seconds: f64,
}

impl CheckResult {
    pub(super) fn new(
        nodes: usize,
        k: u16,
        elapsed: Duration,
        operations: &[Operations],
        holders: &[Holders],
    ) -> Self {
        let failed = operations.iter().map(|operation| operation.tried - operation.succeeded).sum();
        let held_too_little = holders.iter().map(|holders| holders.too_few).sum();
        // A check that has checked nothing has not passed.
        let did_something = operations.iter().all(|operation| operation.tried > 0) && !operations.is_empty();
        Self {
            schema: "kadmos.devnet-result/1",
            nodes,
            k,
            passed: did_something && failed == 0 && held_too_little == 0,
            failed,
            held_too_little,
            elapsed_seconds: elapsed.as_secs_f64(),
        }
    }
}

/// The tables that a person reads.
pub(super) fn write_table(
    to: &mut dyn Write,
    result: &CheckResult,
    operations: &[Operations],
    holders: &[Holders],
) -> io::Result<()> {
    writeln!(to, "{} nodes, k {}", result.nodes, result.k)?;
    writeln!(to)?;
    writeln!(
        to,
        "{:<16}{:>7}{:>11}{:>10}{:>10}{:>10}{:>10}{:>6}{:>6}{:>6}",
        "operation", "tried", "succeeded", "ms p50", "p90", "p99", "messages", "p50", "p90", "p99"
    )?;
    for Operations { operation, tried, succeeded, latency_us, messages, .. } in operations {
        let [p50, p90, p99] = [latency_us.p50, latency_us.p90, latency_us.p99].map(|us| us as f64 / 1e3);
        writeln!(
            to,
            "{operation:<16}{tried:>7}{succeeded:>11}{p50:>10.1}{p90:>10.1}{p99:>10.1}{:>10.1}{:>6}{:>6}{:>6}",
            messages.mean, messages.p50, messages.p90, messages.p99
        )?;
    }
    writeln!(to)?;
    writeln!(
        to,
        "{:<16}{:>9}{:>26}{:>10}{:>10}",
        "records", "number", "held by true closest", "fewest", "too few"
    )?;
    for Holders { kind, records, expected, held, fewest, too_few, .. } in holders {
        let of = records * expected;
        let percent = if of == 0 { 0.0 } else { *held as f64 * 100.0 / of as f64 };
        writeln!(
            to,
            "{kind:<16}{records:>9}{:>26}{:>10}{too_few:>10}",
            format!("{held} / {of} = {percent:.2} %"),
            format!("{fewest} / {expected}"),
        )?;
    }
    writeln!(to)?;
    let verdict = if result.passed { "passed" } else { "FAILED" };
    writeln!(to, "{verdict} in {:.1} s", result.elapsed_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(results: &[Result<(), String>]) -> Operations {
        let mut samples = Samples::default();
        for result in results {
            samples.add(Duration::from_millis(2), Some(7), result.clone());
        }
        samples.finish("provide")
    }

    fn holders(held: usize, enough: bool) -> Holders {
        let mut holders = Holders::new("provider", 20);
        holders.add(held, enough);
        holders
    }

    #[test]
    fn one_failure_or_one_lost_record_fails_the_check() {
        let verdict = |operations: &[Operations], holders: &[Holders]| {
            CheckResult::new(20, 20, Duration::ZERO, operations, holders).passed
        };
        let good = || operations(&[Ok(()), Ok(())]);
        assert!(verdict(&[good()], &[holders(20, true)]));
        assert!(verdict(&[good()], &[holders(19, true)]));
        assert!(!verdict(&[good()], &[holders(18, false)]));
        assert!(!verdict(&[good(), operations(&[Ok(()), Err("no".into())])], &[holders(20, true)]));
        assert!(!verdict(&[operations(&[])], &[]));
        assert!(!verdict(&[], &[]));
    }

    #[test]
    fn the_table_shows_every_number() {
        let (operations, holders) = ([operations(&[Ok(()), Err("no answer".into())])], [holders(18, false)]);
        let result = CheckResult::new(50, 20, Duration::from_secs(1), &operations, &holders);
        let mut text = Vec::new();
        write_table(&mut text, &result, &operations, &holders).unwrap();
        let text = String::from_utf8(text).unwrap();
        for expected in
            ["50 nodes, k 20", "2          1       2.0", "18 / 20 = 90.00 %", "18 / 20", "FAILED in 1.0 s"]
        {
            assert!(text.contains(expected), "no {expected:?} in\n{text}");
        }
        assert_eq!(operations[0].reasons, ["no answer"]);
    }
}
