//! The integer that distances are.
#![allow(missing_docs, missing_debug_implementations, clippy::manual_div_ceil)] // the macro's own

uint::construct_uint! {
    /// A 256-bit unsigned integer.
    pub struct U256(4);
}
