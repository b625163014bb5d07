//! Entering a network, and keeping the table true.

mod join;
mod refresh;

pub(crate) use self::join::Bootstrap;
pub(crate) use self::refresh::{Buckets, Refresh};
