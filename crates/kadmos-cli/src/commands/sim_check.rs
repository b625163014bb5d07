//! `kadmos sim check`: seeds, what failed, and the smallest case that fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use kadmos_sim::CheckReport;
use kadmos_sim::check::{FailureKind, SHRINK_TIME_MAX, Saved, check_many, shrink};
use serde::Serialize;

use crate::args::SimCheck;
use crate::exit::{Exit, Failure};
use crate::output::{self, Output};

/// How often a person hears of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// A failed seed.
#[derive(Serialize)]
struct Failed<'a> {
    schema: &'static str,
    report: &'a CheckReport,
    /// The smallest case that fails alike, and what it came to.
    smallest: Option<&'a CheckReport>,
    /// Where that case was written.
    saved: Option<String>,
}

/// All seeds.
#[derive(Serialize)]
struct Summary {
    schema: &'static str,
    first: u64,
    seeds: u64,
    /// How many failed in each way.
    failed: BTreeMap<&'static str, u64>,
    virtual_seconds: u64,
    inputs: u64,
    inputs_per_second: u64,
    real_ms: u64,
    memory_bytes: Option<u64>,
}

/// Runs `kadmos sim check`.
pub(crate) fn run(args: &SimCheck, output: &mut Output) -> Result<(), Failure> {
    let jobs = usize::from(args.jobs.unwrap_or_else(super::cores));
    let began = Instant::now();
    let mut told = began;
    let mut done = 0;
    let mut failed: BTreeMap<FailureKind, u64> = BTreeMap::new();
    let (mut virtual_seconds, mut inputs) = (0, 0);
    let mut printed = Ok(());
    check_many(args.first, args.seeds, jobs, None, &mut |report| {
        done += 1;
        virtual_seconds += report.figures.virtual_secs;
        inputs += report.figures.inputs;
        if args.print {
            output::note(&report);
        }
        if let Some(kind) = report.failure {
            *failed.entry(kind).or_default() += 1;
            printed = tell(args, &report, output);
        }
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            let failures: u64 = failed.values().sum();
            output::note(format_args!("{done} of {} seeds, {failures} failed", args.seeds));
        }
        printed.is_ok()
    });
    printed?;
    let elapsed = began.elapsed();
    let summary = Summary {
        schema: "kadmos.sim-check/1",
        first: args.first,
        seeds: args.seeds,
        failed: failed.iter().map(|(kind, count)| (kind.label(), *count)).collect(),
        virtual_seconds,
        inputs,
        inputs_per_second: (inputs as f64 / elapsed.as_secs_f64().max(1e-3)) as u64, // a rate, rounded down
        real_ms: elapsed.as_millis() as u64, // no check takes centuries
        memory_bytes: kadmos_sim::report::resident_bytes(),
    };
    output.print(&summary, |to, _| {
        let failures: u64 = summary.failed.values().sum();
        writeln!(
            to,
            "{} seeds from {}, {failures} failed; {} s virtual in {:.1} s, {} inputs/s, {} MiB",
            summary.seeds,
            summary.first,
            summary.virtual_seconds,
            elapsed.as_secs_f64(),
            summary.inputs_per_second,
            summary.memory_bytes.unwrap_or(0) >> 20,
        )
    })?;
    // The worst kind decides.
    match failed.last_key_value() {
        None => Ok(()),
        Some((worst, _)) => {
            let failures: u64 = failed.values().sum();
            let exit = match worst {
                FailureKind::Wrong => Exit::SimWrong,
                FailureKind::Stuck => Exit::SimStuck,
                FailureKind::Nondeterministic => Exit::SimUnrepeatable,
                FailureKind::Crash => Exit::SimCrashed,
            };
            let advice = "run the seed again with --seeds 1 --first SEED";
            Err(Failure::new(exit, format_args!("{failures} of {} seeds failed; {advice}", args.seeds)))
        }
    }
}

fn tell(args: &SimCheck, report: &CheckReport, output: &mut Output) -> Result<(), Failure> {
    let smallest = args.shrink.then(|| {
        output::note(format_args!("seed {} failed; looking for the smallest case", report.case.seed));
        shrink(report, SHRINK_TIME_MAX, &mut |_| {})
    });
    let saved = match &args.save {
        Some(folder) => Some(save(folder, smallest.as_ref().unwrap_or(report))?),
        None => None,
    };
    let failed = Failed { schema: "kadmos.sim-check-failure/1", report, smallest: smallest.as_ref(), saved };
    output.print(&failed, |to, _| {
        writeln!(to, "{report}")?;
        if let Some(smallest) = &failed.smallest {
            writeln!(to, "smallest: {smallest}")?;
        }
        match &failed.saved {
            Some(path) => writeln!(to, "saved: {path}"),
            None => Ok(()),
        }
    })
}

fn save(folder: &Path, report: &CheckReport) -> Result<String, Failure> {
    match Saved::of(report).write(folder) {
        Ok(path) => Ok(path.display().to_string()),
        Err(error) => Err(Failure::new(
            Exit::Failed,
            format_args!("cannot save a case: {error}; choose another --save"),
        )),
    }
}
