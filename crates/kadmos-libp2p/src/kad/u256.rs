//! The integer that distances are.
#![allow(missing_docs, missing_debug_implementations)] // the macro's own

uint::construct_uint! {
    /// A 256-bit unsigned integer.
    pub struct U256(4);
}
