//! Studies: questions that the simulator answers with numbers, the same for whoever asks again.
//!
//! A study builds a world of servers, clones it for each contender, puts the contender into the clients' seats, and
//! gives all of them the same work. Chance is in the seeds; each table says how far it moves its numbers.
//! `docs/studies.md` says what each study asks.

mod arena;
mod calibration;
mod contender;
mod folder;
mod lookup;
mod plot;
mod provide;
mod report;
mod stats;
mod sweeps;
#[cfg(test)]
mod tests;
mod timeline;

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use kadmos_core::ConfigError;
use kadmos_core::error::Fault;
use serde::{Deserialize, Serialize};

pub(crate) use self::arena::random_key;
pub use self::folder::{FolderError, write_folder};
pub use self::plot::{PlotError, svg};
pub use self::report::{Cell, Check, Figure, Row, Series, StudyReport, Table};
pub use self::stats::Estimate;
use crate::oracle::Ratio;

/// The studies there are. More will come, of Sybil attacks and of sweeping reprovides first; their names are unknown until
/// then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StudyName {
    /// What each of our choices is worth.
    Ablation,
    /// Servers come and go.
    Churn,
    /// As many newcomers as there are servers join at once.
    Flood,
    /// How long until a provider is found, and what it costs.
    Lookup,
    /// A foreign network of dead servers is mixed in.
    Merge,
    /// Servers take connections and answer nothing.
    Mute,
    /// Half of the network is cut off from the other, and comes back.
    Partition,
    /// How long until content is announced, and to whom.
    Provide,
    /// Half of the servers are started again at once.
    Restart,
    /// Networks of different sizes.
    Scale,
}

impl StudyName {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Lookup,
        Self::Provide,
        Self::Churn,
        Self::Mute,
        Self::Merge,
        Self::Partition,
        Self::Flood,
        Self::Restart,
        Self::Scale,
        Self::Ablation,
    ];

    /// Stable label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ablation => "ablation",
            Self::Churn => "churn",
            Self::Flood => "flood",
            Self::Lookup => "lookup",
            Self::Merge => "merge",
            Self::Mute => "mute",
            Self::Partition => "partition",
            Self::Provide => "provide",
            Self::Restart => "restart",
            Self::Scale => "scale",
        }
    }
}

impl fmt::Display for StudyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl FromStr for StudyName {
    type Err = StudyError;

    fn from_str(name: &str) -> Result<Self, StudyError> {
        Self::ALL
            .iter()
            .copied()
            .find(|study| study.label() == name)
            .ok_or_else(|| StudyError::Unknown { name: name.into() })
    }
}

/// How to run a study.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StudyConfig {
    /// Fewer servers, seeds and operations: minutes instead of an hour.
    pub quick: bool,
    /// The first seed; the others follow it. Default 1.
    pub seed: u64,
    /// How many seeds; `None` takes 3 when quick, else 5. At least 1.
    pub seeds: Option<u32>,
    /// Servers of each world; `None` takes 2,000 when quick, else 8,000, and 300 or 2,000 where they keep their tables
    /// up. At least 100. The study of scale has its own.
    pub servers: Option<u32>,
    /// Operations, in hundredths of the study's own number. Default 100; at least 1.
    pub work_percent: u32,
    /// Servers per cent, drawn from the seed, that run a model of go-libp2p-kad-dht instead of our core. Default 0; at
    /// most 100.
    pub go_servers_percent: u32,
}

impl Default for StudyConfig {
    fn default() -> Self {
        Self { quick: false, seed: 1, seeds: None, servers: None, work_percent: 100, go_servers_percent: 0 }
    }
}

impl StudyConfig {
    /// Fewest servers: a lookup then still has more than one hop.
    pub const SERVERS_MIN: u32 = 100;

    fn servers(&self) -> u32 {
        self.servers.unwrap_or(if self.quick { 2_000 } else { 8_000 })
    }

    fn seeds(&self) -> std::ops::Range<u64> {
        let count = self.seeds.unwrap_or(if self.quick { 3 } else { 5 });
        self.seed..self.seed.saturating_add(u64::from(count))
    }

    /// One of two numbers of operations, as much of it as is wanted.
    fn pick(&self, quick: usize, full: usize) -> usize {
        let whole = if self.quick { quick } else { full };
        (whole * self.work_percent as usize / 100).max(1)
    }

    fn command(&self, study: StudyName) -> String {
        let mut command = format!("kadmos sim study {study} --seed {}", self.seed);
        if self.quick {
            command.push_str(" --quick");
        }
        if let Some(seeds) = self.seeds {
            command.push_str(&format!(" --seeds {seeds}"));
        }
        if let Some(servers) = self.servers {
            command.push_str(&format!(" --servers {servers}"));
        }
        if self.work_percent != 100 {
            command.push_str(&format!(" --work-percent {}", self.work_percent));
        }
        if self.go_servers_percent != 0 {
            command.push_str(&format!(" --go-servers {}", self.go_servers_percent));
        }
        command
    }

    fn go_per_mille(&self) -> u32 {
        self.go_servers_percent.min(100) * 10
    }

    /// A sentence for methods about who the servers are.
    fn whose_servers(&self) -> String {
        match self.go_servers_percent {
            0 => "All servers run Kadmos.".into(),
            percent => {
                format!("Of the servers, {percent} % run a model of go-libp2p-kad-dht, the others Kadmos.")
            }
        }
    }
}

/// What a study is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage<'a> {
    /// The seed of the world.
    pub seed: u64,
    /// Whose turn it is.
    pub contender: &'a str,
    /// What is measured.
    pub what: &'static str,
}

/// How far a study is.
#[derive(Clone, Copy, Debug)]
pub struct StudyProgress<'a> {
    /// At what.
    pub stage: Stage<'a>,
    /// Operations begun in this stage.
    pub done: u64,
    /// Of how many.
    pub of: u64,
    /// Virtual time of the world at hand.
    pub virtual_time: Duration,
    /// Its events.
    pub events: u64,
    /// Recall of this stage's lookups so far.
    pub recall: Ratio,
}

/// Why a study did not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StudyError {
    /// There is none of that name.
    #[error("study: read {name:?}, expected one of {}", names())]
    Unknown {
        /// What was read.
        name: String,
    },
    /// Too few servers.
    #[error("servers: read {got}, expected at least {}", StudyConfig::SERVERS_MIN)]
    Servers {
        /// What was read.
        got: u32,
    },
    /// No such node.
    #[error("node: read {got}, expected a number below {nodes}, the number of nodes")]
    Node {
        /// What was read.
        got: u32,
        /// Its bound.
        nodes: u32,
    },
    /// Nothing to run.
    #[error("seeds: read 0, expected at least 1")]
    Seeds,
    /// Nothing to do.
    #[error("work_percent: read 0, expected at least 1")]
    Work,
    /// More than all.
    #[error("go_servers_percent: read {got}, expected at most 100")]
    GoServers {
        /// What was read.
        got: u32,
    },
    /// A setting of the nodes cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl StudyError {
    /// Always the caller's.
    pub const fn fault(&self) -> Fault {
        Fault::Caller
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        "correct the named setting; nothing has run"
    }
}

fn names() -> String {
    StudyName::ALL.iter().map(|study| study.label()).collect::<Vec<_>>().join(", ")
}

/// Runs a study. `progress` hears some times a second.
///
/// Errors: [`StudyError`], before anything has run. Cost: `docs/studies.md` has the minutes of each.
pub fn run_study(
    study: StudyName,
    config: &StudyConfig,
    progress: &mut dyn FnMut(&StudyProgress<'_>),
) -> Result<StudyReport, StudyError> {
    if config.servers() < StudyConfig::SERVERS_MIN {
        return Err(StudyError::Servers { got: config.servers() });
    }
    if config.seeds().is_empty() {
        return Err(StudyError::Seeds);
    }
    if config.work_percent == 0 {
        return Err(StudyError::Work);
    }
    if config.go_servers_percent > 100 {
        return Err(StudyError::GoServers { got: config.go_servers_percent });
    }
    let began = Instant::now();
    let mut bench = Bench { config, progress, events: 0, virtual_ms: 0, violations: Vec::new() };
    let findings = match study {
        StudyName::Ablation => sweeps::ablation(&mut bench)?,
        StudyName::Churn => timeline::churn(&mut bench)?,
        StudyName::Flood => timeline::flood(&mut bench)?,
        StudyName::Lookup => lookup::run(&mut bench)?,
        StudyName::Merge => sweeps::merge(&mut bench)?,
        StudyName::Mute => sweeps::mute(&mut bench)?,
        StudyName::Partition => timeline::partition(&mut bench)?,
        StudyName::Provide => provide::run(&mut bench)?,
        StudyName::Restart => timeline::restart(&mut bench)?,
        StudyName::Scale => sweeps::scale(&mut bench)?,
    };
    let Findings { method, tables, checks, figures } = findings;
    let method = format!("{method} {}", config.whose_servers());
    Ok(StudyReport {
        study,
        config: config.clone(),
        command: config.command(study),
        method,
        tables,
        checks,
        figures,
        violations: bench.violations,
        events: bench.events,
        virtual_ms: bench.virtual_ms,
        real_ms: began.elapsed().as_millis() as u64, // no study takes centuries
    })
}

/// What every study has at hand.
struct Bench<'a> {
    config: &'a StudyConfig,
    progress: &'a mut dyn FnMut(&StudyProgress<'_>),
    events: u64,
    virtual_ms: u64,
    violations: Vec<String>,
}

/// What a study found.
#[derive(Debug, Default)]
struct Findings {
    method: String,
    tables: Vec<Table>,
    checks: Vec<Check>,
    figures: Vec<Figure>,
}

impl Bench<'_> {
    /// Counts what a world cost that is done with.
    fn close(&mut self, arena: &arena::Arena, warmed: Option<&arena::Arena>) {
        let events = |arena: &arena::Arena| arena.world.counters().events;
        let millis = |arena: &arena::Arena| arena.world.now().as_nanos() / 1_000_000;
        self.events += events(arena) - warmed.map_or(0, events);
        self.virtual_ms += millis(arena) - warmed.map_or(0, millis);
        for violation in arena.world.violations() {
            if self.violations.len() < 100 {
                self.violations.push(format!("seed {}: {violation}", arena.seed));
            }
        }
    }
}
