//! kadmos-libp2p
