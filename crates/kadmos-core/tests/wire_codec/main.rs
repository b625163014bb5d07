//! The codec against a second opinion: golden bytes written by hand, prost, and every input that once failed.
#![expect(unreachable_pub, reason = "the fuzz crate includes `checks` and `oracle` and exports them")]

mod checks;
mod corpus;
mod differential;
mod golden;
mod oracle;
