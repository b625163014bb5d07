//! Bugs to plant, so that tests see whether the checkers find them. No run has one unless a test asks for it.

use serde::{Deserialize, Serialize};

/// A bug in the driver or the nodes, one of each kind that checkers look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plant {
    /// Servers say that they took a provider record, and drop it.
    LostRecord,
    /// Every fourth request has no time-out, however long nobody answers.
    StuckRequest,
    /// Buckets take three times as many peers as they may.
    BrokenBound,
    /// What a message meets on its way depends on a random hash.
    NonDeterminism,
    /// A node panics when it is stopped a second time.
    Crash,
}
