//! A deterministic simulator of the Kadmos DHT.
//!
//! A [`World`] runs any number of nodes of the same core, and the same responder, that the real network runs: only
//! the driver differs. It has virtual time, one seed and one queue, so a run can be repeated to the last event, and
//! [`trace::TraceHash`] tells whether it was. An [`oracle::Oracle`] that knows every node judges what they find.
//! What is modelled, and what is not, is in `docs/simulator.md`.
#![forbid(unsafe_code)]

mod ahead;
pub mod baseline;
pub mod charges;
pub mod check;
pub mod checkers;
mod connections;
pub mod diff;
mod directory;
mod driver;
mod faults;
mod keyspace;
pub mod model;
pub mod network;
pub mod oracle;
#[doc(hidden)]
pub mod plant;
mod queue;
mod random;
pub mod records;
pub mod replay;
pub mod report;
pub mod run;
pub mod scenario;
mod seat;
mod serving;
pub mod study;
pub mod trace;
pub mod trial;
mod wire;
pub mod world;

pub use baseline::Baseline;
pub use charges::Charges;
pub use check::{Case, CheckReport, check, check_case};
pub use diff::{Divergence, diff};
pub use faults::Keep;
pub use model::{HopCosts, Model};
pub use oracle::{Oracle, Ratio};
pub use report::{OperationStats, RunReport, Spread};
pub use run::{Phase, Progress, RunConfig, RunError, run};
pub use scenario::WorldBuilder;
pub use trace::{Fact, Observer, TraceEvent, TraceHash};
pub use world::{Counters, NodeIndex, OperationReport, OperationState, World};
