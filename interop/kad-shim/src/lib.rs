//! `kadmos_libp2p::kad` under libp2p-kad's name.

pub use kadmos_libp2p::kad::*;
