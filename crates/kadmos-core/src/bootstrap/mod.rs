//! Entering a network, and keeping the table true.

mod join;
mod preimages;
mod refresh;

pub(crate) use self::join::Bootstrap;
pub use self::preimages::Preimages;
pub(crate) use self::refresh::{Buckets, Refresh};
