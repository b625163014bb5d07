//! kadmos-store
