//! What makes records valid, which is best, and that the ones made here are.
#![allow(unreachable_pub, reason = "the fuzz crate includes `checks` and exports it")]

mod assembly;
mod checks;
mod corpus;
mod garbage;
mod ipns_create;
mod ipns_select;
mod ipns_validate;
mod pk;
