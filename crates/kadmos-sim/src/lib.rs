//! kadmos-sim
