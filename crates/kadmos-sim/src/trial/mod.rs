//! Trials: what a network of ours must bear, with thresholds. A study compares; a trial passes or fails.
//!
//! Half of the servers run go's policy, because a real network is a mixture; only ours are judged. The judge stands
//! outside the nodes and knows the truth. `docs/trials.md` says what each trial demands.

mod damage;
mod judge;
mod life;
mod report;

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use kadmos_core::ConfigError;
use kadmos_core::error::Fault;
use serde::{Deserialize, Serialize};

pub use self::report::{Bar, Sense, TrialReport};
use crate::model::Model;
use crate::scenario::WorldBuilder;
use crate::world::World;

/// The trials there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TrialName {
    /// All join through three nodes.
    Join,
    /// Servers come and go for hours, and dead ids go round.
    Churn,
    /// Six of ten servers take connections and answer nothing.
    Mute,
    /// Five times as many servers join, and die at once.
    Merge,
    /// Half of the network is cut off from the other, and comes back.
    Partition,
    /// Wall clocks are set two days forwards or backwards.
    Clocks,
}

impl TrialName {
    /// All of them, the longest first.
    pub const ALL: &[Self] =
        &[Self::Churn, Self::Partition, Self::Clocks, Self::Merge, Self::Mute, Self::Join];

    /// Stable label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Churn => "churn",
            Self::Mute => "mute",
            Self::Merge => "merge",
            Self::Partition => "partition",
            Self::Clocks => "clocks",
        }
    }
}

impl fmt::Display for TrialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl FromStr for TrialName {
    type Err = TrialError;

    fn from_str(name: &str) -> Result<Self, TrialError> {
        Self::ALL
            .iter()
            .copied()
            .find(|trial| trial.label() == name)
            .ok_or_else(|| TrialError::Unknown { name: name.into() })
    }
}

/// How to run a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrialConfig {
    /// The large form: 1,000 servers, 24 hours of churn. Else 300 and 6.
    pub full: bool,
    /// Whatever happens by chance is drawn from it. Default 1.
    pub seed: u64,
    /// Servers that stay; `None` takes those of the form. At least 40.
    pub servers: Option<u32>,
    /// Servers of a hundred that run go's policy. Default 50; at most 90.
    pub go_percent: u32,
}

impl Default for TrialConfig {
    fn default() -> Self {
        Self { full: false, seed: 1, servers: None, go_percent: 50 }
    }
}

/// Fewest servers of a trial: below, "the 20 closest" are nearly everybody.
pub const SERVERS_MIN: u32 = 40;
/// Largest share of servers that are not ours: someone must be judged.
pub const GO_PERCENT_MAX: u32 = 90;

/// Why a trial was not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// There is no such trial.
    #[error("read {name:?}, expected the name of a trial: {}", names())]
    Unknown {
        /// What was read.
        name: String,
    },
    /// Too few servers.
    #[error("servers: read {got}, expected at least {SERVERS_MIN}")]
    TooFew {
        /// What was read.
        got: u32,
    },
    /// Nobody would be left to judge.
    #[error("go share: read {got} %, expected at most {GO_PERCENT_MAX} %")]
    GoShare {
        /// What was read.
        got: u32,
    },
    /// No node can work with the settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl TrialError {
    /// Always the caller's.
    pub const fn fault(&self) -> Fault {
        Fault::Caller
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        "correct the named setting; nothing was run"
    }
}

fn names() -> String {
    TrialName::ALL.iter().map(|name| name.label()).collect::<Vec<_>>().join(", ")
}

/// How far a trial is.
#[derive(Clone, Copy, Debug)]
pub struct TrialProgress {
    /// Which.
    pub trial: TrialName,
    /// Time in the world.
    pub virtual_time: Duration,
    /// Its end, as far as it is known.
    pub of: Duration,
    /// Events so far.
    pub events: u64,
}

/// Runs a trial and reports what was measured. `progress` is told each simulated minute.
///
/// Errors: [`TrialError`] for settings that make no world. A bar that does not hold is no error but in the report.
pub fn run_trial(
    name: TrialName,
    config: &TrialConfig,
    progress: &mut dyn FnMut(&TrialProgress),
) -> Result<TrialReport, TrialError> {
    let servers = config.servers.unwrap_or(if config.full { 1_000 } else { 300 });
    if servers < SERVERS_MIN {
        return Err(TrialError::TooFew { got: servers });
    }
    if config.go_percent > GO_PERCENT_MAX {
        return Err(TrialError::GoShare { got: config.go_percent });
    }
    let began = Instant::now();
    let mut stage = Stage { name, config, servers, progress, bars: Vec::new(), facts: Vec::new() };
    let world = match name {
        TrialName::Join => life::join(&mut stage),
        TrialName::Churn => life::churn(&mut stage),
        TrialName::Mute => damage::mute(&mut stage),
        TrialName::Merge => damage::merge(&mut stage),
        TrialName::Partition => damage::partition(&mut stage),
        TrialName::Clocks => damage::clocks(&mut stage),
    }?;
    let (bars, facts) = (stage.bars, stage.facts);
    Ok(TrialReport::new(name, config, servers, bars, facts, &world, began.elapsed()))
}

/// What [`run_trials`] tells.
#[derive(Debug)]
pub enum TrialNews {
    /// One goes on.
    Progress(TrialProgress),
    /// One has ended.
    Ended(Result<TrialReport, TrialError>),
}

/// Runs several trials, `jobs` of them at a time, and tells of each what [`run_trial`] does, in the order in which they
/// end. `told` returns whether to go on; those under way are ended first if not.
pub fn run_trials(
    names: &[TrialName],
    config: &TrialConfig,
    jobs: usize,
    told: &mut dyn FnMut(TrialNews) -> bool,
) {
    let next = AtomicUsize::new(0);
    let (sender, news) = sync_channel(jobs.max(1));
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, names.len().max(1)) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut progress = |now: &TrialProgress| {
                        // A reader that has gone shows when the report is sent.
                        let _ = sender.try_send(TrialNews::Progress(*now));
                    };
                    let ended = run_trial(*name, config, &mut progress);
                    if sender.send(TrialNews::Ended(ended)).is_err() {
                        break; // nobody listens any more
                    }
                }
            });
        }
        drop(sender);
        // The receiver is dropped before the threads are waited for, so that none waits for it.
        let news = news;
        for one in &news {
            if !told(one) {
                break;
            }
        }
    });
}

/// What a trial is run by.
struct Stage<'a> {
    name: TrialName,
    config: &'a TrialConfig,
    servers: u32,
    progress: &'a mut dyn FnMut(&TrialProgress),
    bars: Vec<Bar>,
    /// Numbers beside the bars.
    facts: Vec<(String, String)>,
}

/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_secs(60);

impl Stage<'_> {
    /// The public network, with `nodes` servers that join through three.
    fn builder(&self, nodes: u32) -> WorldBuilder {
        World::builder()
            .nodes(nodes)
            .bootstrap(3)
            .seed(self.config.seed)
            .model(Model::amino())
            .go_share(self.config.go_percent * 10)
    }

    /// Lets time pass, and tells of it.
    fn run(&mut self, world: &mut World, time: Duration) {
        let end = world.now() + time;
        while world.now() < end {
            world.run_until(end.min(world.now() + TOLD_EVERY));
            (self.progress)(&TrialProgress {
                trial: self.name,
                virtual_time: Duration::from_nanos(world.now().as_nanos()),
                of: Duration::from_nanos(end.as_nanos()),
                events: world.counters().events,
            });
        }
    }

    fn bar(&mut self, what: impl Into<String>, measured: f64, sense: Sense, limit: f64, unit: &'static str) {
        self.bars.push(Bar { what: what.into(), measured, sense, limit, unit: unit.into() });
    }

    /// A share that must be at least so many percent.
    fn share_at_least(&mut self, what: impl Into<String>, share: crate::oracle::Ratio, percent: f64) {
        self.bar(what, report::percent(share), Sense::AtLeast, percent, "%");
    }

    /// A share that may be at most so many percent.
    fn share_at_most(&mut self, what: impl Into<String>, share: crate::oracle::Ratio, percent: f64) {
        self.bar(what, report::percent(share), Sense::AtMost, percent, "%");
    }

    fn fact(&mut self, what: impl Into<String>, value: impl fmt::Display) {
        self.facts.push((what.into(), value.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: TrialName, servers: u32) -> TrialReport {
        let config = TrialConfig { servers: Some(servers), ..TrialConfig::default() };
        let mut minutes = 0;
        let report = run_trial(name, &config, &mut |_| minutes += 1).unwrap();
        assert!(minutes > 5, "progress is told");
        assert!(report.violations.is_empty(), "{report}");
        report
    }

    #[test]
    fn a_small_network_joins_and_a_run_repeats() {
        let report = run(TrialName::Join, 60);
        assert_eq!(report.bars.len(), 2, "{report}");
        assert!(report.bars[1].holds(), "every lookup finds its target: {report}");
        assert_eq!(run(TrialName::Join, 60).bars, report.bars);
    }

    #[test]
    fn trials_run_beside_each_other_and_each_is_told_once() {
        let config = TrialConfig { servers: Some(40), ..TrialConfig::default() };
        let (mut ended, mut progress) = (Vec::new(), 0);
        run_trials(&[TrialName::Join, TrialName::Join], &config, 2, &mut |news| {
            match news {
                TrialNews::Progress(_) => progress += 1,
                TrialNews::Ended(report) => ended.push(report.unwrap().bars),
            }
            true
        });
        assert_eq!(ended.len(), 2);
        assert_eq!(ended[0], ended[1]);
        assert!(progress > 0);
    }

    #[test]
    fn a_bar_can_fail() {
        let config = TrialConfig { servers: Some(40), ..TrialConfig::default() };
        let mut report = run_trial(TrialName::Join, &config, &mut |_| {}).unwrap();
        report.bars[0].measured = 98.9;
        assert!(!report.passed() && report.to_string().contains("FAILS  nodes that know"), "{report}");
    }

    #[test]
    fn settings_that_make_no_trial_are_refused_by_name() {
        let refused = |config: TrialConfig| run_trial(TrialName::Join, &config, &mut |_| {}).unwrap_err();
        let few = refused(TrialConfig { servers: Some(39), ..TrialConfig::default() });
        assert!(few.to_string().contains("read 39, expected at least 40"), "{few}");
        let go = refused(TrialConfig { go_percent: 91, ..TrialConfig::default() });
        assert!(go.to_string().contains("91"), "{go}");
        let unknown = "walk".parse::<TrialName>().unwrap_err().to_string();
        assert!(unknown.contains("\"walk\"") && unknown.contains("churn, partition"), "{unknown}");
    }
}
