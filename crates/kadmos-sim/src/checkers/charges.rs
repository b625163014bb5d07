//! What nodes do unasked stays within reason.

use std::time::Duration;

use kadmos_core::Timestamp;

use super::{Broken, Checker, Findings};
use crate::charges::Charges;
use crate::world::World;

/// Bounds on what an average node does in an hour, in a run of [`ChargeLimits::TIME_MIN`] or more.
#[derive(Debug)]
pub struct ChargeLimits {
    /// Requests of refreshes and of joining.
    pub refresh_messages_max: u64,
    /// Requests to see whether peers answer.
    pub probe_messages_max: u64,
    began: Timestamp,
    before: Charges,
}

impl Default for ChargeLimits {
    /// Six refreshes an hour of 17 walks of 100 requests each, and as many again for joining; a probe for each node
    /// that comes by, at most one each five seconds.
    fn default() -> Self {
        Self {
            refresh_messages_max: 2 * 6 * 17 * 100,
            probe_messages_max: 720,
            began: Timestamp::ZERO,
            before: Charges::default(),
        }
    }
}

impl ChargeLimits {
    /// Shorter runs say nothing about an hour.
    pub const TIME_MIN: Duration = Duration::from_secs(600);

    /// From now on, after `world` has done so much already.
    pub fn since(world: &World) -> Self {
        Self { began: world.now(), before: world.charges_of_all(), ..Self::default() }
    }
}

impl Checker for ChargeLimits {
    fn finish(&mut self, world: &World, findings: &mut Findings) {
        let time = world.now().since(self.began);
        if time < Self::TIME_MIN {
            return;
        }
        let nodes = world.nodes().count() as u64;
        let charges = world.charges_of_all().since(&self.before);
        for (what, count, max) in [
            ("requests for upkeep", charges.refresh_messages, self.refresh_messages_max),
            ("probes", charges.probe_messages, self.probe_messages_max),
        ] {
            let got = Charges::per_node_hour(count, nodes, time);
            if got > max {
                findings.add(world.now(), None, Broken::ChargeTooHigh { what: what.into(), got, max });
            }
        }
    }
}
