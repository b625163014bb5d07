//! `kadmos sim trial`: what a network of ours must bear, with thresholds that can fail.

use kadmos_sim::trial::{TrialConfig, TrialError, TrialName, TrialNews, TrialProgress, run_trials};

use super::live::{Live, bar};
use crate::args::SimTrial;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Runs `kadmos sim trial`. Reports are printed as they come.
pub(crate) fn run(args: &SimTrial, output: &mut Output) -> Result<(), Failure> {
    let config =
        TrialConfig { full: args.full, seed: args.seed, servers: args.servers, go_percent: args.go_percent };
    let trials = if args.trials.is_empty() { TrialName::ALL } else { &args.trials };
    let jobs = usize::from(args.jobs.unwrap_or_else(super::cores));
    let mut live = Live::new();
    let mut missed = Vec::new();
    let mut failed = Ok(());
    run_trials(trials, &config, jobs, &mut |news| {
        failed = match news {
            TrialNews::Progress(now) => {
                live.show(|| vec![line(&now)]);
                Ok(())
            }
            TrialNews::Ended(Ok(report)) => {
                live.clear();
                if !report.passed() {
                    missed.push(report.trial.label());
                }
                output.print(&report, |to, _| writeln!(to, "{report}"))
            }
            TrialNews::Ended(Err(error)) => Err(error.into()),
        };
        failed.is_ok()
    });
    failed?;
    if missed.is_empty() {
        return Ok(());
    }
    let (failed, of, names) = (missed.len(), trials.len(), missed.join(", "));
    Err(Failure::new(
        Exit::Failed,
        format_args!(
            "{failed} of {of} trials failed ({names}); the lines that begin with FAILS say by how much"
        ),
    ))
}

fn line(now: &TrialProgress) -> String {
    let TrialProgress { trial, virtual_time, of, events } = now;
    let (minute, end) = (virtual_time.as_secs() / 60, of.as_secs() / 60);
    format!("{} {trial}: minute {minute} of {end} at least, {events} events", bar(minute, end))
}

impl From<TrialError> for Failure {
    fn from(error: TrialError) -> Self {
        Self::usage(format_args!("{error}; {}", error.advice()))
    }
}
