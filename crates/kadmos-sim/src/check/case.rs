//! A case: a world, what goes wrong in it, and when. Drawn from a seed, printed, saved, made smaller.

use std::fmt;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::faults::Keep;
use crate::model::{AMINO_DEAD_DIALS, Model, Sessions};
use crate::plant::Plant;
use crate::random::{below, child};

/// Everything that decides what a check does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Of all chance in the world.
    pub seed: u64,
    /// Servers.
    pub nodes: u32,
    /// Nodes that only ask.
    pub clients: u32,
    /// Servers known beforehand.
    pub bootstrap: u32,
    /// Peers in an answer, a result and a bucket.
    pub k: u32,
    /// Whether messages are encoded and decoded.
    pub wire: bool,
    /// What the network does.
    pub model: Model,
    /// Records of each kind that are stored before anything goes wrong.
    pub records: u32,
    /// How long things go wrong, in seconds.
    pub fault_secs: u32,
    /// Milliseconds between two operations meanwhile; 0 for none.
    pub operation_every_ms: u32,
    /// What goes wrong, by time.
    pub faults: Vec<TimedFault>,
    /// Whether nodes come and go meanwhile.
    pub churn: bool,
    /// A planted bug, in tests of the checkers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plant: Option<Plant>,
}

/// A fault and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimedFault {
    /// Milliseconds after the first moment at which things may go wrong.
    pub at_ms: u32,
    /// What.
    pub fault: Fault,
}

/// Something that goes wrong. Node numbers that do not exist do nothing, so that a case stays sound with fewer nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// A node's process ends.
    Stop {
        /// Whose.
        node: u32,
    },
    /// A node's process ends and begins anew.
    Restart {
        /// Whose.
        node: u32,
        /// What is left of its records.
        keep: Keep,
    },
    /// Nothing passes between these nodes and the others.
    Partition {
        /// On one side.
        nodes: Vec<u32>,
    },
    /// Partitions end.
    Heal,
    /// Messages are lost.
    Loss {
        /// So many.
        per_mille: u32,
    },
    /// A node answers nothing from now on.
    Mute {
        /// Who.
        node: u32,
    },
    /// A node takes its time from now on.
    Slow {
        /// Who.
        node: u32,
        /// So long.
        ms: u32,
    },
    /// A node's wall clock is set.
    ClockStep {
        /// Whose.
        node: u32,
        /// By so many seconds.
        secs: i64,
    },
    /// A server serves no longer.
    Client {
        /// Who.
        node: u32,
    },
    /// A server more joins.
    Join,
}

impl Fault {
    /// Stable label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Stop { .. } => "stop",
            Self::Restart { .. } => "restart",
            Self::Partition { .. } => "partition",
            Self::Heal => "heal",
            Self::Loss { .. } => "loss",
            Self::Mute { .. } => "mute",
            Self::Slow { .. } => "slow",
            Self::ClockStep { .. } => "clock step",
            Self::Client { .. } => "client",
            Self::Join => "join",
        }
    }

    /// Every label, in the order of the variants.
    const LABELS: [&'static str; 10] =
        ["stop", "restart", "partition", "heal", "loss", "mute", "slow", "clock step", "client", "join"];
}

/// A clock may be set by up to half a day: more, and records rightly look expired.
const CLOCK_STEP_SECS_MAX: u64 = 40_000;

impl Case {
    /// Draws a case. One in eight has no faults at all, and each kind of fault and each trait of the network is off in
    /// half of the others.
    pub fn draw(seed: u64) -> Self {
        let mut draw = Draw(child(seed, "check", 0));
        let nodes = draw.between(20, 80);
        let calm = draw.one_in(8);
        let clients = if draw.one_in(2) { draw.between(0, nodes / 4) } else { 0 };
        let bootstrap = draw.between(1, 3);
        let k = if draw.one_in(3) { draw.between(4, 20) } else { 20 };
        let wire = draw.one_in(4);
        let records = draw.between(2, 8);
        let fault_secs = draw.between(60, 600);
        let operation_every_ms = if draw.one_in(8) { 0 } else { draw.between(200, 5_000) };
        let churn = draw.one_in(3) && !calm;
        let mut model = draw.model(calm);
        if churn {
            model.sessions = Some(draw.sessions());
        }
        let faults = if calm { Vec::new() } else { draw.faults(nodes, bootstrap, fault_secs) };
        Self {
            seed,
            nodes,
            clients,
            bootstrap,
            k,
            wire,
            model,
            records,
            fault_secs,
            operation_every_ms,
            faults,
            churn,
            plant: None,
        }
    }
}

/// What was drawn, in a line.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, clients, bootstrap, k, records, fault_secs, model, .. } = self;
        write!(f, "{nodes} servers, {clients} clients, {bootstrap} known, k {k}, {records} records")?;
        if self.wire {
            f.write_str(", wire")?;
        }
        write!(f, ", {fault_secs} s")?;
        match self.operation_every_ms {
            0 => f.write_str(" idle")?,
            every => write!(f, " with an operation each {every} ms")?,
        }
        f.write_str(" [network:")?;
        let calm = Model::calm();
        let mut off = true;
        let mut trait_of = |f: &mut fmt::Formatter<'_>, name: &str, value: u64, normal: u64| {
            if value == normal {
                return Ok(());
            }
            off = false;
            write!(f, " {name} {value}")
        };
        trait_of(f, "round trips %", model.round_trip_percent.into(), calm.round_trip_percent.into())?;
        trait_of(f, "tcp", model.tcp_per_mille.into(), 0)?;
        trait_of(f, "hanging dials", u64::from(1_000 - model.stopped_dials.refused), 0)?;
        trait_of(f, "undialable", model.undialable_per_mille.into(), 0)?;
        trait_of(f, "slow", model.slow_per_mille.into(), 0)?;
        trait_of(f, "mute", model.mute_per_mille.into(), 0)?;
        trait_of(f, "loss", model.loss_per_mille.into(), 0)?;
        trait_of(f, "group", model.hosts_per_group.into(), calm.hosts_per_group.into())?;
        trait_of(f, "connections", model.connections_max.unwrap_or(0).into(), 0)?;
        if off {
            f.write_str(" calm")?;
        }
        f.write_str("] [faults:")?;
        if self.churn {
            f.write_str(" churn")?;
        }
        for label in Fault::LABELS {
            match self.faults.iter().filter(|timed| timed.fault.label() == label).count() {
                0 => {}
                count => write!(f, " {count} {label}")?,
            }
        }
        if self.faults.is_empty() && !self.churn {
            f.write_str(" none")?;
        }
        f.write_str("]")
    }
}

/// Draws the parts of a case.
struct Draw(ChaCha8Rng);

impl Draw {
    fn between(&mut self, from: u32, to: u32) -> u32 {
        from + below(&mut self.0, u64::from(to - from) + 1) as u32 // at most `to`
    }

    fn one_in(&mut self, n: u64) -> bool {
        below(&mut self.0, n) == 0
    }

    fn of(&mut self, normal: u32, from: u32, to: u32) -> u32 {
        let drawn = self.between(from, to); // always, so that one decision does not move all later ones
        if self.one_in(2) { normal } else { drawn }
    }

    fn model(&mut self, calm: bool) -> Model {
        let mut model = Model::calm();
        model.round_trip_percent = self.of(100, 20, 250);
        // At most as many as a table takes of one group: of more, some are left out, and recall is less by design.
        model.hosts_per_group = self.of(1, 2, 5);
        if calm {
            return model;
        }
        model.tcp_per_mille = self.of(0, 1, 1_000);
        if self.one_in(2) {
            model.stopped_dials = AMINO_DEAD_DIALS;
            model.unknown_dials = AMINO_DEAD_DIALS;
        }
        model.undialable_per_mille = self.of(0, 1, 400);
        model.slow_per_mille = self.of(0, 1, 300);
        model.slow_ms = (100, 3_000);
        model.mute_per_mille = self.of(0, 1, 200);
        model.loss_per_mille = self.of(0, 1, 50);
        let connections = self.of(0, 24, 96);
        model.connections_max = (connections > 0).then_some(connections);
        model
    }

    /// Sessions of minutes: a check has no days.
    fn sessions(&mut self) -> Sessions {
        Sessions {
            stable_per_mille: self.between(500, 900),
            stable_secs: u64::from(self.between(300, 3_600)),
            stable_away_secs: u64::from(self.between(20, 120)),
            tail_percent: self.between(5, 50),
        }
    }

    fn faults(&mut self, nodes: u32, bootstrap: u32, fault_secs: u32) -> Vec<TimedFault> {
        let mut faults = Vec::new();
        let on: [bool; 8] = std::array::from_fn(|_| self.one_in(2));
        for (kind, on) in on.into_iter().enumerate() {
            for _ in 0..if on { self.between(1, 4) } else { 0 } {
                let at_ms = self.between(0, fault_secs * 1_000);
                let node = self.between(0, nodes - 1);
                let fault = match kind {
                    0 => Fault::Stop { node: node.max(bootstrap) },
                    1 => Fault::Restart {
                        node,
                        keep: if self.one_in(2) { Keep::Nothing } else { Keep::Records },
                    },
                    2 => {
                        let heal_ms = at_ms + self.between(1_000, fault_secs * 500);
                        faults.push(TimedFault { at_ms: heal_ms, fault: Fault::Heal });
                        let share = u64::from(self.between(1, 5));
                        let nodes = (0..nodes).filter(|_| below(&mut self.0, 10) < share).collect();
                        Fault::Partition { nodes }
                    }
                    3 => Fault::Loss { per_mille: self.between(1, 300) },
                    4 => Fault::Mute { node },
                    5 => Fault::Slow { node, ms: self.between(100, 20_000) },
                    6 => Fault::ClockStep {
                        node,
                        secs: below(&mut self.0, 2 * CLOCK_STEP_SECS_MAX) as i64 - CLOCK_STEP_SECS_MAX as i64,
                    },
                    _ if self.one_in(2) => Fault::Client { node: node.max(bootstrap) },
                    _ => Fault::Join,
                };
                faults.push(TimedFault { at_ms, fault });
            }
        }
        faults.sort_by_key(|timed| timed.at_ms);
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_the_variants() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let case = Case::draw(seed);
            assert_eq!(case, Case::draw(seed));
            let text = case.to_string();
            for timed in &case.faults {
                assert!(Fault::LABELS.contains(&timed.fault.label()));
                assert!(text.contains(timed.fault.label()), "{text}");
                seen.insert(timed.fault.label());
            }
        }
        assert_eq!(seen.len(), Fault::LABELS.len(), "{seen:?}");
    }

    #[test]
    fn some_cases_have_no_faults_and_some_have_many() {
        let cases: Vec<_> = (0..100).map(Case::draw).collect();
        let off = cases.iter().filter(|case| case.faults.is_empty() && !case.churn).count();
        assert!((5..40).contains(&off), "{off}");
        assert!(cases.iter().any(|case| case.faults.len() > 15));
        assert!(cases.iter().any(|case| case.churn));
        assert!(cases.iter().any(|case| case.to_string().contains("calm")));
    }
}
