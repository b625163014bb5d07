//! When a node counts as ill.

use core::time::Duration;

/// Rounds and thresholds of the health rules.
///
/// Thresholds are percentages. In the defaults, `degraded` is where a user would begin to notice, `unhealthy` where the
/// node's answers are no longer to be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// How often the rules are applied. Default 30 s. A round looks at each peer of the table once.
    pub interval: Duration,
    /// Rounds in a row after which the state gets worse. Default 2.
    pub rounds_worse: u32,
    /// Rounds in a row after which the state gets better. Default 3.
    pub rounds_better: u32,
    /// Whether the node begins what [`crate::health::Code::action`] says. Default: it does.
    pub recovery: bool,
    /// The same remedy is not begun again before this has passed; if it does not help, the wait doubles up to four
    /// times this. Default 2 min.
    pub recovery_interval: Duration,
    /// Results below this number say nothing about lookups; four times this, about requests. Default 4.
    pub samples_min: u32,
    /// Peers in the table, of those it could hold: too few below. Default 75 and 25.
    pub table: Limits,
    /// Peers in the table that no longer answer: too many above. Default 20 and 60.
    pub stale: Limits,
    /// Largest share of one IP group in the table: too much above. Default 25 and 60.
    pub one_network: Limits,
    /// Recent lookups that succeeded: too few below. Default 90 and 50.
    pub lookups: Limits,
    /// Recent requests that were answered: too few below. Default 30 and 10: on the public network every third dial
    /// fails.
    pub requests: Limits,
    /// Peers nearest to us that answered of late: too few below. Default 70 and 25.
    pub neighbourhood: Limits,
    /// Copies of own records that were placed: too few below. Default 75 and 25.
    pub records: Limits,
}

/// Where a rule's levels begin, in per cent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Beyond this the node is degraded.
    pub degraded: u32,
    /// Beyond this it is unhealthy.
    pub unhealthy: u32,
}

impl Limits {
    /// Both of them.
    pub const fn new(degraded: u32, unhealthy: u32) -> Self {
        Self { degraded, unhealthy }
    }
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            rounds_worse: 2,
            rounds_better: 3,
            recovery: true,
            recovery_interval: Duration::from_secs(120),
            samples_min: 4,
            table: Limits::new(75, 25),
            stale: Limits::new(20, 60),
            one_network: Limits::new(25, 60),
            lookups: Limits::new(90, 50),
            requests: Limits::new(30, 10),
            neighbourhood: Limits::new(70, 25),
            records: Limits::new(75, 25),
        }
    }
}

impl HealthConfig {
    /// Each pair of limits by the name of its field, and whether more is worse.
    pub(crate) fn limits(&self) -> [(&'static str, Limits, bool); 7] {
        [
            ("health.table", self.table, false),
            ("health.stale", self.stale, true),
            ("health.one_network", self.one_network, true),
            ("health.lookups", self.lookups, false),
            ("health.requests", self.requests, false),
            ("health.neighbourhood", self.neighbourhood, false),
            ("health.records", self.records, false),
        ]
    }
}
