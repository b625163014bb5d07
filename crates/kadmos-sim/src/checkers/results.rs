//! Results name nodes that answered. Of our own nodes: go's also name those that failed in the follow-up.

use std::collections::BTreeMap;

use kadmos_core::{OperationId, Outcome, Timestamp};

use super::{Broken, Checker, Findings};
use crate::trace::{Fact, TraceEvent};
use crate::world::{NodeIndex, OperationReport, World};

/// Knows when each node stopped, and reads the results of lookups.
#[derive(Debug, Default)]
pub struct Results {
    stopped: BTreeMap<NodeIndex, Timestamp>,
}

impl Checker for Results {
    fn see(&mut self, event: &TraceEvent<'_>, _: &mut Findings) {
        match event.fact {
            Fact::NodeStopped => {
                self.stopped.insert(event.node, event.at);
            }
            Fact::NodeStarted => {
                self.stopped.remove(&event.node);
            }
            _ => {}
        }
    }

    fn ended(&mut self, world: &World, id: OperationId, report: &OperationReport, findings: &mut Findings) {
        let Some(Outcome::ClosestPeers(Ok(found))) = report.outcome() else { return };
        if world.core(report.node).is_none() {
            return;
        }
        for info in &found.peers {
            // An id that nobody has answers nobody, so naming one is as wrong.
            let dead = match world.find(&info.peer.id, &info.peer.key) {
                Some(node) => {
                    let stopped = self.stopped.get(&node).is_some_and(|at| *at < report.started);
                    stopped.then_some(node.as_u32())
                }
                None => Some(u32::MAX),
            };
            if let Some(dead) = dead {
                let what = Broken::DeadInResult { operation: id.0, dead };
                findings.add(world.now(), Some(report.node), what);
            }
        }
    }
}
