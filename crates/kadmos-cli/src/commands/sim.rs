//! `kadmos sim`: the simulator's standard run, and where two runs part.

use std::time::Instant;

use kadmos_sim::{Progress, RunConfig, RunError, RunReport};
use serde::Serialize;

use super::live::{Live, bar};
use crate::args::{Sim, SimDiff, SimRun};
use crate::exit::{Exit, Failure};
use crate::output::Output;

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
        Sim::Study(args) => super::sim_study::run(args, output),
        Sim::Replay(args) => super::sim_study::run_replay(args, output),
        Sim::Check(args) => super::sim_check::run(args, output),
        Sim::Trial(args) => super::sim_trial::run(args, output),
    }
}

fn run_once(args: &SimRun, output: &mut Output) -> Result<(), Failure> {
    let mut live = Live::new();
    let began = Instant::now();
    let mut progress = |now: Progress| {
        live.show(|| if args.watch { watched(&now, began) } else { vec![line(&now)] });
    };
    let report = kadmos_sim::run(&config(args, args.seed), &mut progress)?;
    live.clear();
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

fn line(now: &Progress) -> String {
    let Progress { phase, done, of, virtual_time, events, .. } = now;
    let secs = virtual_time.as_secs_f64();
    format!("{} {}: {done} of {of}, {secs:.0} s virtual, {events} events", bar(*done, *of), phase.label())
}

fn watched(now: &Progress, began: Instant) -> Vec<String> {
    let Progress { phase, done, of, virtual_time, events, recall } = now;
    let real = began.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
    vec![
        format!("{} {}", bar(*done, *of), phase.label()),
        format!(
            "virtual time  {:.0} s, {:.0}x real",
            virtual_time.as_secs_f64(),
            virtual_time.as_secs_f64() / real
        ),
        format!("events        {events}, {:.0}/s", *events as f64 / real),
        format!("done          {done} of {of}"),
        format!("recall        {recall} so far"),
    ]
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
        settle_secs: u64::from(args.settle),
        oracle_start: args.oracle_start,
        wire: args.wire,
        go_per_mille: args.go_share * 10,
        ..RunConfig::default()
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self::usage(format_args!("{error}; {}", error.advice()))
    }
}
