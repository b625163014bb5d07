//! `kadmos sim`: the simulator's standard run, and where two runs part.

use std::time::{Duration, Instant};

use kadmos_sim::{Progress, RunConfig, RunError, RunReport};
use serde::Serialize;

use crate::args::{Sim, SimDiff, SimRun};
use crate::exit::{Exit, Failure};
use crate::output::{self, Output};

/// How often a person hears of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    #[serde(flatten)]
    report: &'a RunReport,
}

#[derive(Serialize)]
struct Difference<'a> {
    schema: &'static str,
    /// Whether the runs were the same to the end; the rest is absent then.
    equal: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    before: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    first: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    second: &'a [String],
}

/// Runs `kadmos sim …`.
pub(crate) fn run(command: &Sim, output: &mut Output) -> Result<(), Failure> {
    match command {
        Sim::Run(args) => run_once(args, output),
        Sim::Diff(args) => run_twice(args, output),
        Sim::Check(args) => super::sim_check::run(args, output),
    }
}

fn run_once(args: &SimRun, output: &mut Output) -> Result<(), Failure> {
    let mut told = Instant::now();
    let mut progress = |progress: Progress| {
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            let Progress { phase, done, of, virtual_time, events, .. } = progress;
            output::note(format_args!(
                "{}: {done} of {of}, {:.0} s virtual, {events} events",
                phase.label(),
                virtual_time.as_secs_f64()
            ));
        }
    };
    let report = kadmos_sim::run(&config(args, args.seed), &mut progress)?;
    output
        .print(&Report { schema: "kadmos.sim-report/1", report: &report }, |to, _| write!(to, "{report}"))?;
    match report.violations.len() {
        0 => Ok(()),
        broken => Err(Failure::new(
            Exit::Failed,
            format_args!(
                "core and driver broke {broken} promises, expected none; please report the seed {}",
                args.seed
            ),
        )),
    }
}

fn run_twice(args: &SimDiff, output: &mut Output) -> Result<(), Failure> {
    let first = config(&args.run, args.run.seed);
    let second = config(&args.run, args.seed_b.unwrap_or(args.run.seed));
    let divergence = kadmos_sim::diff(&first, &second)?;
    let schema = "kadmos.sim-diff/1";
    let data = match &divergence {
        None => Difference { schema, equal: true, index: None, before: &[], first: &[], second: &[] },
        Some(found) => Difference {
            schema,
            equal: false,
            index: Some(found.index),
            before: &found.before,
            first: &found.first,
            second: &found.second,
        },
    };
    output.print(&data, |to, _| match &divergence {
        None => writeln!(to, "the runs are the same to the end"),
        Some(found) => write!(to, "{found}"),
    })?;
    match divergence {
        None => Ok(()),
        Some(found) => {
            Err(Failure::new(Exit::Failed, format_args!("the runs part after {} equal events", found.index)))
        }
    }
}

fn config(args: &SimRun, seed: u64) -> RunConfig {
    RunConfig {
        nodes: args.nodes,
        seed,
        k: usize::from(args.k),
        lookups: args.lookups,
        records: args.records,
        wire: args.wire,
        ..RunConfig::default()
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self::usage(format_args!("{error}; {}", error.advice()))
    }
}
