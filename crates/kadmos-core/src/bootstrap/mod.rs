//! Entering a network, and keeping the table true.

mod join;
mod phases;
mod preimages;
mod refresh;
mod report;

pub(crate) use self::join::Bootstrap;
pub use self::preimages::Preimages;
pub(crate) use self::refresh::{Buckets, Refresh};
pub use self::report::{Bootstrapped, Phase, PhaseOutcome, PhaseReport, SourceKind, SourceReport};
