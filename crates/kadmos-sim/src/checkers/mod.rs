//! Checkers that stand outside the nodes: each watches the same events, looks into the world from time to time, and
//! says what must not be.

mod bounds;
mod charges;
mod operations;
mod records;
mod requests;
mod results;

use std::cell::RefCell;
use std::fmt;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use kadmos_core::{OperationId, Timestamp};
use serde::{Deserialize, Serialize};

pub use self::bounds::Bounds;
pub use self::charges::ChargeLimits;
pub use self::operations::Operations;
pub use self::records::Records;
pub use self::requests::Requests;
pub use self::results::Results;
use crate::oracle::Ratio;
use crate::trace::TraceEvent;
use crate::world::{NodeIndex, OperationReport, World};

/// Something that must not be, where and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Virtual milliseconds since the world's beginning.
    pub at_ms: u64,
    /// Whose; `None` for the world as a whole.
    pub node: Option<u32>,
    /// What.
    pub what: Broken,
}

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "broken", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Broken {
    /// A bucket holds more peers than it may.
    BucketTooLarge {
        /// Its common prefix length.
        prefix_len: u16,
        /// Peers in it.
        peers: usize,
        /// Its bound.
        max: usize,
    },
    /// A bucket holds a peer that belongs elsewhere, or peers out of order, or the node itself.
    BucketMisplaced {
        /// Its common prefix length.
        prefix_len: u16,
    },
    /// More requests are in flight than the running operations account for.
    TooManyRequests {
        /// In flight.
        got: usize,
        /// Their bound.
        max: usize,
    },
    /// The core and its driver count different requests in flight.
    RequestsDisagree {
        /// The core's count.
        core: usize,
        /// The driver's.
        driver: usize,
    },
    /// A request was sent under an id that is in flight.
    RequestSentTwice {
        /// Which.
        request: u64,
    },
    /// A request ended that was not in flight.
    RequestEndedTwice {
        /// Which.
        request: u64,
    },
    /// A request did not end by its deadline.
    RequestNeverEnded {
        /// Which.
        request: u64,
    },
    /// An operation has not ended long after its deadline.
    OperationNeverEnded {
        /// Which.
        operation: u64,
    },
    /// An operation ended after its deadline.
    OperationLate {
        /// Which.
        operation: u64,
        /// How long after.
        late_ms: u64,
    },
    /// An operation's result names a node that had stopped before the operation began.
    DeadInResult {
        /// Which operation.
        operation: u64,
        /// The dead node.
        dead: u32,
    },
    /// A node said that it took a record, and does not have it.
    RecordLost {
        /// The record's key, in hexadecimal.
        key: String,
    },
    /// A record has a holder where it is looked for, and was not found.
    RecordNotFound {
        /// The record's key, in hexadecimal.
        key: String,
        /// One who holds it.
        holder: u32,
    },
    /// A node runs, and after everything was healed and time had passed it knows nobody.
    NotRecovered,
    /// Lookups found too few of the true closest nodes after everything was healed.
    RecallLow {
        /// What they found.
        recall: Ratio,
        /// What was demanded, per mille.
        min_per_mille: u64,
    },
    /// An operation failed after everything was healed.
    OperationFailed {
        /// How, as `Debug`.
        outcome: String,
    },
    /// Nodes did more of something than they may.
    ChargeTooHigh {
        /// Of what.
        what: String,
        /// How often per node and hour.
        got: u64,
        /// Its bound.
        max: u64,
    },
    /// A core and its driver broke a promise to each other.
    Promise {
        /// Which, in a sentence.
        what: String,
    },
    /// Virtual time stands still: far more events in a second than any network of this size has.
    Stalled {
        /// Events in that second, at least.
        events: u64,
    },
}

impl Broken {
    /// Whether something never ended, rather than ended wrong.
    pub const fn is_stuck(&self) -> bool {
        matches!(
            self,
            Self::RequestNeverEnded { .. } | Self::OperationNeverEnded { .. } | Self::Stalled { .. }
        )
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s, ", self.at_ms / 1_000, self.at_ms % 1_000)?;
        match self.node {
            Some(node) => write!(f, "n{node}: ")?,
            None => write!(f, "all: ")?,
        }
        match &self.what {
            Broken::BucketTooLarge { prefix_len, peers, max } => {
                write!(
                    f,
                    "the bucket at prefix length {prefix_len} has {peers} peers, at most {max} are allowed"
                )
            }
            Broken::BucketMisplaced { prefix_len } => {
                write!(f, "the bucket at prefix length {prefix_len} holds a peer in the wrong place")
            }
            Broken::TooManyRequests { got, max } => {
                write!(f, "{got} requests in flight, at most {max} are allowed")
            }
            Broken::RequestsDisagree { core, driver } => {
                write!(f, "{core} requests in flight for the core, {driver} for the driver")
            }
            Broken::RequestSentTwice { request } => write!(f, "request {request} was sent while in flight"),
            Broken::RequestEndedTwice { request } => {
                write!(f, "request {request} ended, but was not in flight")
            }
            Broken::RequestNeverEnded { request } => {
                write!(f, "request {request} did not end by its deadline")
            }
            Broken::OperationNeverEnded { operation } => write!(f, "operation {operation} has not ended"),
            Broken::OperationLate { operation, late_ms } => {
                write!(f, "operation {operation} ended {late_ms} ms after its deadline")
            }
            Broken::DeadInResult { operation, dead } => {
                write!(f, "operation {operation} found n{dead}, which had stopped before")
            }
            Broken::RecordLost { key } => write!(f, "took the record {key} and does not have it"),
            Broken::RecordNotFound { key, holder } => {
                write!(f, "did not find the record {key}, which n{holder} holds")
            }
            Broken::NotRecovered => f.write_str("runs and knows nobody, long after everything was healed"),
            Broken::RecallLow { recall, min_per_mille } => {
                write!(
                    f,
                    "recall is {recall} after everything was healed, expected {min_per_mille} per mille"
                )
            }
            Broken::OperationFailed { outcome } => write!(f, "failed after everything was healed: {outcome}"),
            Broken::ChargeTooHigh { what, got, max } => {
                write!(f, "{got} {what} per node and hour, at most {max} are allowed")
            }
            Broken::Promise { what } => f.write_str(what),
            Broken::Stalled { events } => write!(f, "{events} events in one virtual second, and no end"),
        }
    }
}

/// Where violations go; the first ones are kept.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    violations: Vec<Violation>,
}

impl Findings {
    /// Violations kept; what matters is the first.
    pub const MAX: usize = 100;

    /// Notes a violation.
    pub fn add(&mut self, at: Timestamp, node: Option<NodeIndex>, what: Broken) {
        if self.violations.len() < Self::MAX {
            let at_ms = at.as_nanos() / 1_000_000;
            self.violations.push(Violation { at_ms, node: node.map(NodeIndex::as_u32), what });
        }
    }

    /// What was found, in order.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }
}

/// Watches a world for one kind of violation.
pub trait Checker: fmt::Debug {
    /// Something happened.
    fn see(&mut self, event: &TraceEvent<'_>, findings: &mut Findings) {
        let _ = (event, findings);
    }

    /// Some time has passed.
    fn inspect(&mut self, world: &World, findings: &mut Findings) {
        let _ = (world, findings);
    }

    /// A user's operation has ended.
    fn ended(&mut self, world: &World, id: OperationId, report: &OperationReport, findings: &mut Findings) {
        let _ = (world, id, report, findings);
    }

    /// The run is over.
    fn finish(&mut self, world: &World, findings: &mut Findings) {
        let _ = (world, findings);
    }
}

/// Checkers that watch one world together.
#[derive(Clone, Debug)]
pub struct Watch {
    suite: Rc<RefCell<Suite>>,
}

#[derive(Debug)]
struct Suite {
    checkers: Vec<Box<dyn Checker>>,
    findings: Findings,
    promises: usize,
}

impl Watch {
    /// Every checker, with the bounds that `world`'s nodes are configured for. Nodes that run others' implementations are
    /// held to what all share: their deadlines, one end for each request, buckets in order.
    pub fn all(world: &mut World) -> Self {
        let config = world.config();
        let (k, deadline) = (config.table.bucket_size.get(), config.lookup.deadline);
        let modelled =
            world.nodes().filter_map(|node| world.baseline(node)).map(|model| model.baseline().deadline());
        let deadline = modelled.fold(deadline, Duration::max);
        Self::with(
            world,
            vec![
                Box::new(Requests::default()),
                Box::new(Operations::new(deadline)),
                Box::new(Bounds::new(k)),
                Box::new(Records::default()),
                Box::new(Results::default()),
                Box::new(ChargeLimits::default()),
            ],
        )
    }

    /// These checkers, which from now on see everything that happens in `world`.
    pub fn with(world: &mut World, checkers: Vec<Box<dyn Checker>>) -> Self {
        let suite = Rc::new(RefCell::new(Suite { checkers, findings: Findings::default(), promises: 0 }));
        let observed = Rc::clone(&suite);
        world.observe(Box::new(move |event| {
            let Suite { checkers, findings, .. } = &mut *observed.borrow_mut();
            checkers.iter_mut().for_each(|checker| checker.see(event, findings));
            ControlFlow::Continue(())
        }));
        Self { suite }
    }

    /// Lets every checker look into the world, and tells it of operations that have ended; returns these.
    pub fn inspect(&self, world: &mut World) -> Vec<(OperationId, OperationReport)> {
        let ended = world.take_ended();
        let Suite { checkers, findings, promises } = &mut *self.suite.borrow_mut();
        for (id, report) in &ended {
            checkers.iter_mut().for_each(|checker| checker.ended(world, *id, report, findings));
        }
        checkers.iter_mut().for_each(|checker| checker.inspect(world, findings));
        for what in &world.violations()[*promises..] {
            findings.add(world.now(), None, Broken::Promise { what: what.clone() });
        }
        *promises = world.violations().len();
        ended
    }

    /// Notes what somebody else has found.
    pub fn add(&self, world: &World, node: Option<NodeIndex>, what: Broken) {
        self.suite.borrow_mut().findings.add(world.now(), node, what);
    }

    /// Ends the watch, and returns what was found.
    pub fn finish(self, world: &mut World) -> Vec<Violation> {
        self.inspect(world);
        let Suite { checkers, findings, .. } = &mut *self.suite.borrow_mut();
        checkers.iter_mut().for_each(|checker| checker.finish(world, findings));
        std::mem::take(&mut findings.violations)
    }

    /// What was found so far.
    pub fn found(&self) -> Vec<Violation> {
        self.suite.borrow().findings.violations.clone()
    }
}

/// Hexadecimal digits, for keys.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a string does not fail
        text
    })
}
