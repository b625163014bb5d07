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
        let broken = match event.fact {
            Fact::Sent { request, expires, .. } => {
                let known = self.in_flight.insert((node, request), expires);
                known.map(|_| Broken::RequestSentTwice { request: request.0 })
            }
            Fact::Answered { request, .. }
            | Fact::Flushed(request)
            | Fact::Failed { request, .. }
            | Fact::Cancelled(request) => match self.in_flight.remove(&(node, request)) {
                Some(_) => None,
                None => Some(Broken::RequestEndedTwice { request: request.0 }),
            },
            Fact::NodeStopped => {
                self.in_flight.retain(|(whose, _), _| *whose != node);
                None
            }
            _ => None,
        };
        if let Some(what) = broken {
            findings.add(event.at, Some(node), what);
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
