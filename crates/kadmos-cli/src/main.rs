//! The kadmos program.
fn main() {}
