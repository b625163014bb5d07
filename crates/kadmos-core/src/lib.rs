//! kadmos-core
