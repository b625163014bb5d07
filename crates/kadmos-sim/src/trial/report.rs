//! What a trial came to.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{TrialConfig, TrialName};
use crate::oracle::Ratio;
use crate::report::resident_bytes;
use crate::world::World;

/// On which side of its limit a number must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sense {
    /// Not below.
    AtLeast,
    /// Not above.
    AtMost,
}

/// A number with its limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// What was measured.
    pub what: String,
    /// How much it is; not a number when there was nothing to measure, which does not hold.
    pub measured: f64,
    /// Where it must be.
    pub sense: Sense,
    /// Its limit.
    pub limit: f64,
    /// Of both.
    pub unit: std::borrow::Cow<'static, str>,
}

impl Bar {
    /// Whether the number is where it must be.
    pub fn holds(&self) -> bool {
        match self.sense {
            Sense::AtLeast => self.measured >= self.limit,
            Sense::AtMost => self.measured <= self.limit,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.holds() { "holds" } else { "FAILS" };
        let sense = match self.sense {
            Sense::AtLeast => "at least",
            Sense::AtMost => "at most",
        };
        let Self { what, measured, limit, unit, .. } = self;
        write!(f, "{verdict}  {what}: {measured:.2} {unit}, {sense} {limit:.2}")
    }
}

/// What a trial came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialReport {
    /// `kadmos.trial/1`.
    pub schema: String,
    /// Which.
    pub trial: TrialName,
    /// How it was run.
    pub config: TrialConfig,
    /// Servers that stay.
    pub servers: u32,
    /// What must hold.
    pub bars: Vec<Bar>,
    /// Numbers beside them.
    pub facts: Vec<(String, String)>,
    /// Broken promises between cores and their driver; must be none.
    pub violations: Vec<String>,
    /// Time in the world.
    pub virtual_secs: u64,
    /// How long it took.
    pub real_ms: u64,
    /// Memory of the process at the end.
    pub memory_bytes: Option<u64>,
}

impl TrialReport {
    pub(super) fn new(
        trial: TrialName,
        config: &TrialConfig,
        servers: u32,
        bars: Vec<Bar>,
        facts: Vec<(String, String)>,
        world: &World,
        elapsed: Duration,
    ) -> Self {
        Self {
            schema: "kadmos.trial/1".into(),
            trial,
            config: config.clone(),
            servers,
            bars,
            facts,
            violations: world.violations().to_vec(),
            virtual_secs: world.now().as_nanos() / 1_000_000_000,
            real_ms: elapsed.as_millis() as u64, // no trial takes centuries
            memory_bytes: resident_bytes(),
        }
    }

    /// Whether every bar holds.
    pub fn passed(&self) -> bool {
        !self.bars.is_empty() && self.bars.iter().all(Bar::holds) && self.violations.is_empty()
    }
}

impl fmt::Display for TrialReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trial, servers, config, .. } = self;
        writeln!(
            f,
            "trial {trial}: {servers} servers, {} % go, seed {}, {} s virtual in {:.1} s, {} MiB",
            config.go_percent,
            config.seed,
            self.virtual_secs,
            self.real_ms as f64 / 1e3,
            self.memory_bytes.unwrap_or(0) >> 20,
        )?;
        for bar in &self.bars {
            writeln!(f, "  {bar}")?;
        }
        for (what, value) in &self.facts {
            writeln!(f, "         {what}: {value}")?;
        }
        for violation in &self.violations {
            writeln!(f, "  FAILS  {violation}")?;
        }
        write!(f, "{}", if self.passed() { "passed" } else { "failed" })
    }
}

/// A ratio in percent; not a number without a whole.
pub(super) fn percent(ratio: Ratio) -> f64 {
    ratio.part as f64 * 100.0 / ratio.whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_hold_at_their_limit_and_not_without_a_number() {
        let bar = |measured, sense| Bar { what: "x".into(), measured, sense, limit: 5.0, unit: "%".into() };
        assert!(bar(5.0, Sense::AtLeast).holds() && bar(5.0, Sense::AtMost).holds());
        assert!(!bar(4.9, Sense::AtLeast).holds() && !bar(5.1, Sense::AtMost).holds());
        let nothing = percent(Ratio::default());
        assert!(!bar(nothing, Sense::AtLeast).holds() && !bar(nothing, Sense::AtMost).holds());
    }
}
