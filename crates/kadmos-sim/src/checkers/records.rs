//! What a node has taken, it has until it expires.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kadmos_core::Timestamp;

use super::{Broken, Checker, Findings, hex};
use crate::trace::{Fact, TraceEvent};
use crate::world::{NodeIndex, World};

/// Records are looked for while they are younger than this: half of the shortest life, that of addresses, so that no
/// clock that was set by less than half a day makes a difference.
const AGE_MAX: Duration = Duration::from_secs(12 * 3_600);

/// Remembers every record that a store took, and whether it is still there.
#[derive(Debug, Default)]
pub struct Records {
    taken: BTreeMap<NodeIndex, BTreeMap<Bytes, Timestamp>>,
    /// Those already told of.
    lost: BTreeSet<(NodeIndex, Bytes)>,
}

impl Checker for Records {
    fn see(&mut self, event: &TraceEvent<'_>, _: &mut Findings) {
        match event.fact {
            Fact::RecordTaken { key } => {
                self.taken.entry(event.node).or_default().insert(Bytes::copy_from_slice(key), event.at);
            }
            Fact::NodeRestarted { kept_records: false } => {
                self.taken.remove(&event.node);
            }
            _ => {}
        }
    }

    fn inspect(&mut self, world: &World, findings: &mut Findings) {
        for (node, taken) in &mut self.taken {
            taken.retain(|_, at| world.now().since(*at) < AGE_MAX);
            for key in taken.keys() {
                if !world.holds(*node, key) && self.lost.insert((*node, key.clone())) {
                    findings.add(world.now(), Some(*node), Broken::RecordLost { key: hex(key) });
                }
            }
        }
    }
}
