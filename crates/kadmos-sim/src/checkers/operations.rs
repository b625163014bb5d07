//! Every operation ends by its deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use kadmos_core::{Event, OperationId, Timestamp, Update};

use super::{Broken, Checker, Findings};
use crate::trace::{Fact, TraceEvent};
use crate::world::{NodeIndex, World};

/// An operation ends in the instant of its deadline; a second more is none's.
const GRACE: Duration = Duration::from_secs(1);

/// Follows every operation from its start to its end.
#[derive(Debug)]
pub struct Operations {
    deadline: Duration,
    running: BTreeMap<OperationId, (NodeIndex, Timestamp)>,
}

impl Operations {
    /// For operations that have `deadline` to end.
    pub fn new(deadline: Duration) -> Self {
        Self { deadline, running: BTreeMap::new() }
    }
}

impl Checker for Operations {
    fn see(&mut self, event: &TraceEvent<'_>, findings: &mut Findings) {
        match event.fact {
            Fact::OperationStarted { id, .. } => {
                self.running.insert(id, (event.node, event.at + self.deadline));
            }
            Fact::Update { id, update: Update::Ended { .. } } => {
                if let Some((node, deadline)) = self.running.remove(&id)
                    && event.at > deadline + GRACE
                {
                    let late_ms = event.at.since(deadline).as_millis() as u64; // below a run's length
                    let what = Broken::OperationLate { operation: id.0, late_ms };
                    findings.add(event.at, Some(node), what);
                }
            }
            // Also of an operation that its user has cancelled.
            Fact::Core(Event::OperationEnded {
                operation,
                fault: Some(kadmos_core::error::Fault::Caller),
                ..
            }) => {
                self.running.remove(operation);
            }
            Fact::NodeStopped => self.running.retain(|_, (node, _)| *node != event.node),
            _ => {}
        }
    }

    fn inspect(&mut self, world: &World, findings: &mut Findings) {
        self.running.retain(|id, (node, deadline)| {
            let in_time = *deadline + GRACE >= world.now();
            if !in_time {
                findings.add(world.now(), Some(*node), Broken::OperationNeverEnded { operation: id.0 });
            }
            in_time
        });
    }
}
