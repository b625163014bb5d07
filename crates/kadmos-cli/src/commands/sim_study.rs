//! `kadmos sim study` and `kadmos sim replay`: questions answered with numbers, and one lookup told as a tree.

use std::path::PathBuf;
use std::time::Instant;

use kadmos_sim::replay::{Replay, ReplayConfig, replay};
use kadmos_sim::study::{
    FolderError, StudyConfig, StudyError, StudyProgress, StudyReport, run_study, write_folder,
};
use serde::Serialize;

use super::live::{Live, bar};
use crate::args::{SimReplay, SimStudy};
use crate::exit::{Exit, Failure};
use crate::output::{self, Output};

#[derive(Serialize)]
struct Studied<'a> {
    schema: &'static str,
    #[serde(flatten)]
    report: &'a StudyReport,
    /// Where the report and its figures are.
    folder: String,
}

#[derive(Serialize)]
struct Replayed<'a> {
    schema: &'static str,
    #[serde(flatten)]
    replay: &'a Replay,
}

/// Runs `kadmos sim study`.
pub(crate) fn run(args: &SimStudy, output: &mut Output) -> Result<(), Failure> {
    let config = StudyConfig {
        quick: args.quick,
        seed: args.seed,
        seeds: args.seeds,
        servers: args.servers,
        work_percent: args.work_percent,
        go_servers_percent: args.go_servers,
    };
    let mut live = Live::new();
    let began = Instant::now();
    let mut progress = |now: &StudyProgress<'_>| {
        live.show(|| if args.watch { watched(now, began) } else { vec![line(now)] })
    };
    let report = run_study(args.study, &config, &mut progress)?;
    live.clear();
    let folder = args
        .report
        .clone()
        .unwrap_or_else(|| PathBuf::from("study-reports").join(format!("{}-seed-{}", args.study, args.seed)));
    write_folder(&report, &folder)?;
    let data = Studied { schema: "kadmos.study/1", report: &report, folder: folder.display().to_string() };
    output.print(&data, |to, _| write!(to, "{report}"))?;
    output::note(format_args!("report and figures are in {}", folder.display()));
    if report.holds() {
        return Ok(());
    }
    let missed: Vec<_> =
        report.checks.iter().filter(|check| !check.holds).map(|check| check.name.as_str()).collect();
    Err(Failure::new(
        Exit::Failed,
        format_args!(
            "{} of {} checks against published times failed ({}), and {} promises were broken; expected none: the model of the \
             network or a modelled client is wrong",
            missed.len(),
            report.checks.len(),
            missed.join(", "),
            report.violations.len()
        ),
    ))
}

/// Runs `kadmos sim replay`.
pub(crate) fn run_replay(args: &SimReplay, output: &mut Output) -> Result<(), Failure> {
    let config = ReplayConfig {
        nodes: args.nodes,
        seed: args.seed,
        node: args.node,
        baseline: args.client.baseline(),
    };
    let replay = replay(&config)?;
    let data = Replayed { schema: "kadmos.sim-replay/1", replay: &replay };
    output.print(&data, |to, _| write!(to, "{replay}"))
}

fn line(now: &StudyProgress<'_>) -> String {
    let StudyProgress { stage, done, of, .. } = now;
    format!("{} seed {}, {}: {}", bar(*done, *of), stage.seed, stage.contender, stage.what)
}

fn watched(now: &StudyProgress<'_>, began: Instant) -> Vec<String> {
    let StudyProgress { done, of, virtual_time, events, recall, .. } = now;
    vec![
        line(now),
        format!("virtual time  {:.1} s", virtual_time.as_secs_f64()),
        format!("events        {events} in this world, {:.0} s real in all", began.elapsed().as_secs_f64()),
        format!("operations    {done} of {of} begun"),
        format!("recall        {recall} so far"),
    ]
}

impl From<StudyError> for Failure {
    fn from(error: StudyError) -> Self {
        Self::usage(format_args!("{error}; {}", error.advice()))
    }
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        Self::new(Exit::Failed, format_args!("{error}; check the folder given with --report"))
    }
}
