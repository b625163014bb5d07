//! What makes records valid, which is best, and that the ones made here are.

mod assembly;
mod garbage;
mod ipns_create;
mod ipns_select;
mod ipns_validate;
mod pk;
