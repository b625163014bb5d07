//! Every request ends exactly once, by its deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use kadmos_core::{RequestId, Timestamp};

use super::{Broken, Checker, Findings};
use crate::trace::{Fact, TraceEvent};
use crate::world::{NodeIndex, World};

/// A request fails in the instant of its deadline; a second more is none's.
const GRACE: Duration = Duration::from_secs(1);

/// Follows every request from its sending to its end.
#[derive(Debug, Default)]
pub struct Requests {
    in_flight: BTreeMap<(NodeIndex, RequestId), Timestamp>,
}

impl Checker for Requests {
    fn see(&mut self, event: &TraceEvent<'_>, findings: &mut Findings) {
        let node = event.node;
        match event.fact {
            Fact::Sent { request, expires, .. } => {
                if self.in_flight.insert((node, request), expires).is_some() {
                    let what = Broken::RequestSentTwice { request: request.0 };
                    findings.add(event.at, Some(node), what);
                }
            }
            Fact::Answered { request, .. }
            | Fact::Flushed(request)
            | Fact::Failed { request, .. }
            | Fact::Cancelled(request) => {
                if self.in_flight.remove(&(node, request)).is_none() {
                    let what = Broken::RequestEndedTwice { request: request.0 };
                    findings.add(event.at, Some(node), what);
                }
            }
            Fact::NodeStopped => self.in_flight.retain(|(whose, _), _| *whose != node),
            _ => {}
        }
    }

    fn inspect(&mut self, world: &World, findings: &mut Findings) {
        self.in_flight.retain(|(node, request), expires| {
            let in_time = *expires + GRACE >= world.now();
            if !in_time {
                let what = Broken::RequestNeverEnded { request: request.0 };
                findings.add(world.now(), Some(*node), what);
            }
            in_time
        });
    }
}
