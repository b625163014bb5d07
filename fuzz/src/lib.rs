//! What the fuzz targets run: the same checks that the tests of `kadmos-core` and `kadmos-records` run over
//! `corpus/`.

#[path = "../../crates/kadmos-core/tests/wire_codec/checks.rs"]
pub mod checks;
#[path = "../../crates/kadmos-core/tests/wire_codec/oracle.rs"]
pub mod oracle;
#[path = "../../crates/kadmos-records/tests/records/checks.rs"]
pub mod records;
