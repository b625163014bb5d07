//! `cargo xtask test`: runs the stages, times them, compares the times with the budget.

use std::time::{Duration, Instant};

use crate::budget::{Budget, OVERRUN};
use crate::failure::Failure;
use crate::process::{Interrupt, Limit};
use crate::repo::Repo;
use crate::stages::{self, Stage};

/// What to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    list: bool,
    stages: Vec<String>,
    from: Option<String>,
    keep_going: bool,
}

impl Options {
    /// Reads the command line.
    pub(crate) fn parse(args: &[&str]) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut args = args.iter().copied().peekable();
        while let Some(arg) = args.next() {
            match arg {
                "--list" => options.list = true,
                "--keep-going" => options.keep_going = true,
                "--from" => match args.next_if(|arg| !arg.starts_with("--")) {
                    Some(name) => options.from = Some(name.into()),
                    None => return Err(Failure::Usage("--from needs the name of a stage".into())),
                },
                "--stage" => {
                    let before = options.stages.len();
                    while let Some(name) = args.next_if(|arg| !arg.starts_with("--")) {
                        options.stages.push(name.into());
                    }
                    if options.stages.len() == before {
                        return Err(Failure::Usage("--stage needs the name of at least one stage".into()));
                    }
                }
                other => return Err(Failure::Usage(format!("cargo xtask test: unknown option {other:?}"))),
            }
        }
        Ok(options)
    }
}

/// How a stage went.
#[derive(Debug)]
struct Run {
    stage: Stage,
    took: Duration,
    budget: Duration,
    result: Result<String, Failure>,
}

impl Run {
    fn verdict(&self) -> &'static str {
        match &self.result {
            Err(_) => "FAILED",
            Ok(_) if self.took > self.budget => "over budget",
            Ok(_) => "ok",
        }
    }

    fn line(&self) -> String {
        let note = match &self.result {
            Ok(note) => note.clone(),
            Err(failure) => failure.to_string(),
        };
        let (took, budget) = (self.took.as_secs_f64(), self.budget.as_secs());
        format!("{:<10} {took:>8.1} {budget:>7}  {:<12} {note}", self.stage.name, self.verdict())
    }
}

/// Runs the chosen stages. The first failure ends the run, unless asked to go on. Prints the table either way.
pub(crate) fn run(repo: &Repo, options: &Options, interrupt: Interrupt) -> Result<(), Failure> {
    let selected = stages::select(&options.stages, options.from.as_deref())?;
    let budget = Budget::load(&repo.root.join("xtask/budget.toml"), &stages::names())?;
    if options.list {
        for stage in &selected {
            println!("{:<10} {:>4} s  {}", stage.name, budget.of(stage.name).as_secs(), stage.about);
        }
        return Ok(());
    }
    let mut runs: Vec<Run> = Vec::new();
    for stage in &selected {
        eprintln!("\n== {}: {}", stage.name, stage.about);
        let run = run_stage(repo, *stage, budget.of(stage.name), &interrupt);
        eprintln!("== {}", run.line().trim_end());
        let stop = match &run.result {
            Err(Failure::Interrupted) => true,
            Err(_) => !options.keep_going,
            Ok(_) => false,
        };
        runs.push(run);
        if stop {
            break;
        }
    }
    report(&runs, selected.len())
}

fn run_stage(repo: &Repo, stage: Stage, budget: Duration, interrupt: &Interrupt) -> Run {
    let started = Instant::now();
    let limit = Limit {
        interrupt: interrupt.clone(),
        deadline: started + budget * OVERRUN,
        reason: format!("after {OVERRUN} times the budget of its stage, {} s", budget.as_secs()),
    };
    let mut result = (stage.run)(repo, &limit);
    let took = started.elapsed();
    if result.is_ok() && took > budget * OVERRUN {
        result = Err(Failure::wrong(format!("it took more than {OVERRUN} times its budget")));
    }
    Run { stage, took, budget, result }
}

fn report(runs: &[Run], selected: usize) -> Result<(), Failure> {
    let mut failed = 0;
    println!("\nstage       seconds  budget  result");
    for run in runs {
        println!("{}", run.line().trim_end());
        failed += usize::from(run.result.is_err());
    }
    let total: Duration = runs.iter().map(|run| run.took).sum();
    let budget: Duration = runs.iter().map(|run| run.budget).sum();
    println!("{:<10} {:>8.1} {:>7}", "total", total.as_secs_f64(), budget.as_secs());
    println!("stages: {} passed, {failed} failed, {} skipped", runs.len() - failed, selected - runs.len());
    if runs.iter().any(|run| matches!(run.result, Err(Failure::Interrupted))) {
        return Err(Failure::Interrupted);
    }
    let names: Vec<_> = runs.iter().filter(|run| run.result.is_err()).map(|run| run.stage.name).collect();
    if names.is_empty() { Ok(()) } else { Err(Failure::wrong(format!("failed: {}", names.join(", ")))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let options = Options::parse(&["--stage", "fmt", "docs", "--keep-going", "--stage", "deny"]).unwrap();
        assert_eq!(options.stages, ["fmt", "docs", "deny"]);
        assert!(options.keep_going && !options.list && options.from.is_none());
        assert_eq!(Options::parse(&["--from", "docs", "--list"]).unwrap().from.as_deref(), Some("docs"));
        for args in [&["--stage"][..], &["--stage", "--list"], &["--from"], &["--from", "--list"], &["fmt"]] {
            assert_eq!(Options::parse(args).unwrap_err().code(), 2, "{args:?}");
        }
    }

    fn stage(run: fn(&Repo, &Limit) -> Result<String, Failure>) -> Stage {
        Stage { name: "x", about: "", run }
    }

    #[test]
    fn a_stage_is_judged_by_its_result_and_its_time() {
        let repo = Repo::locate().unwrap();
        let interrupt = Interrupt::install().unwrap();
        let run = |stage, budget| run_stage(&repo, stage, budget, &interrupt);
        let good = stage(|_, _| Ok("3 things".into()));
        let bad = stage(|_, _| Err(Failure::wrong("a sentence")));
        let minute = Duration::from_secs(60);
        assert_eq!(run(good, minute).verdict(), "ok");
        assert!(run(good, minute).line().contains("3 things"));
        assert_eq!(run(good, Duration::ZERO).verdict(), "FAILED");
        assert_eq!(run(bad, minute).verdict(), "FAILED");
        assert!(report(&[run(good, minute)], 1).is_ok());
        let error = report(&[run(good, minute), run(bad, minute)], 3).unwrap_err();
        assert_eq!((error.code(), error.to_string().as_str()), (1, "failed: x"));
        let interrupted = stage(|_, _| Err(Failure::Interrupted));
        assert_eq!(report(&[run(interrupted, minute)], 1).unwrap_err().code(), 130);
    }
}
