//! One file per command.

pub(crate) mod decode;
pub(crate) mod key;
