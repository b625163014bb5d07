//! `kadmos sim check`: worlds drawn from a seed, faults, healing, and the demand that everything is well again.
//!
//! Every case runs twice: the second time without checkers, to see whether it does the same. A case that fails is made
//! smaller as long as it fails in the same way.

mod case;
mod runner;
mod saved;
mod shrink;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use self::case::{Case, Fault, TimedFault};
pub use self::runner::Figures;
pub use self::saved::{Saved, SavedError};
pub use self::shrink::shrink;
use crate::checkers::Violation;
use crate::plant::Plant;

/// In which way a case fails. The order is that of how bad it is, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A checker saw something that must not be.
    Wrong,
    /// Something never ended.
    Stuck,
    /// Two runs of the case were not the same.
    Nondeterministic,
    /// The code panicked.
    Crash,
}

impl FailureKind {
    /// Stable label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Stuck => "stuck",
            Self::Nondeterministic => "nondeterministic",
            Self::Crash => "crash",
        }
    }
}

/// What a case came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// What was run.
    pub case: Case,
    /// `None` when it passed.
    pub failure: Option<FailureKind>,
    /// What checkers saw, in order; with a crash, before it.
    pub violations: Vec<Violation>,
    /// What the panic said.
    pub panic: Option<String>,
    /// Hash of everything that happened; of both runs, if they differ. Empty after a crash.
    pub trace_hashes: Vec<String>,
    /// What happened in numbers.
    pub figures: Figures,
    /// How long the runs took.
    pub real_ms: u64,
}

impl CheckReport {
    /// Whether nothing failed.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

/// A line for people: the seed, what was drawn, and what came of it; after a failure, the first violations.
impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = self.failure.map_or("passed", FailureKind::label);
        write!(f, "seed {}: {verdict}: {}; {}", self.case.seed, self.case, self.figures)?;
        if let Some(panic) = &self.panic {
            write!(f, "\n  panicked: {panic}")?;
        }
        if self.failure == Some(FailureKind::Nondeterministic) {
            write!(f, "\n  two runs, two hashes: {}", self.trace_hashes.join(" and "))?;
        }
        for violation in self.violations.iter().take(Self::VIOLATIONS_SHOWN) {
            write!(f, "\n  {violation}")?;
        }
        if self.violations.len() > Self::VIOLATIONS_SHOWN {
            write!(f, "\n  and {} more", self.violations.len() - Self::VIOLATIONS_SHOWN)?;
        }
        Ok(())
    }
}

impl CheckReport {
    const VIOLATIONS_SHOWN: usize = 5;
}

/// Draws a case from `seed` and runs it.
pub fn check(seed: u64) -> CheckReport {
    check_case(&Case::draw(seed))
}

/// Runs a case twice and reports what came of it. Panics of the code under test are caught.
pub fn check_case(case: &Case) -> CheckReport {
    let began = Instant::now();
    let mut report = CheckReport {
        case: case.clone(),
        failure: None,
        violations: Vec::new(),
        panic: None,
        trace_hashes: Vec::new(),
        figures: Figures::default(),
        real_ms: 0,
    };
    match caught(|| runner::run(case, true)) {
        Ok(run) => {
            let stuck = run.violations.iter().any(|violation| violation.what.is_stuck());
            report.failure = match (run.violations.is_empty(), stuck) {
                (true, _) => None,
                (false, true) => Some(FailureKind::Stuck),
                (false, false) => Some(FailureKind::Wrong),
            };
            report.violations = run.violations;
            report.trace_hashes.push(run.trace_hash);
            report.figures = run.figures;
        }
        Err(panic) => report.fail(FailureKind::Crash, Some(panic)),
    }
    if report.failure != Some(FailureKind::Crash) {
        match caught(|| runner::run(case, false)) {
            Ok(run) if report.trace_hashes.contains(&run.trace_hash) => {}
            Ok(run) => {
                report.trace_hashes.push(run.trace_hash);
                report.fail(FailureKind::Nondeterministic, None);
            }
            Err(panic) => report.fail(FailureKind::Nondeterministic, Some(panic)),
        }
    }
    report.real_ms = began.elapsed().as_millis() as u64; // no check takes centuries
    report
}

impl CheckReport {
    fn fail(&mut self, kind: FailureKind, panic: Option<String>) {
        self.failure = self.failure.max(Some(kind));
        self.panic = panic;
    }
}

/// Runs `f`; what it panics with becomes text.
fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    // Whatever the panic left half done is dropped with the world.
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map_or_else(|_| "no text".into(), |text| (*text).into()),
    })
}

/// Checks `seeds` seeds from `first` on, `jobs` at a time, and tells each report as it comes, in no particular order.
/// Returns how many failed in each way, and stops early when `told` returns `false`.
pub fn check_many(
    first: u64,
    seeds: u64,
    jobs: usize,
    plant: Option<Plant>,
    told: &mut dyn FnMut(CheckReport) -> bool,
) {
    let next = std::sync::atomic::AtomicU64::new(0);
    let (sender, reports) = std::sync::mpsc::sync_channel(jobs.max(1));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if index >= seeds {
                        break;
                    }
                    let case = Case { plant, ..Case::draw(first.wrapping_add(index)) };
                    if sender.send(check_case(&case)).is_err() {
                        break; // nobody listens any more
                    }
                }
            });
        }
        drop(sender);
        // The receiver is dropped before the threads are waited for, so that none waits for it.
        let reports = reports;
        for report in &reports {
            if !told(report) {
                break;
            }
        }
    });
}

/// How long shrinking one case may take.
pub const SHRINK_TIME_MAX: Duration = Duration::from_secs(60);
