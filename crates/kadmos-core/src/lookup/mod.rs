//! Iterative lookups: the walk towards a key, and what is asked on the way.

mod candidates;
mod query;
mod walk;

pub(crate) use query::{Query, walk_failure};
pub(crate) use walk::{Walk, WalkLimits};
