//! What others run, servers and clients, modelled from their public sources, in the same world as ours.
//!
//! A [`Client`] has the same contract as [`kadmos_core::Node`]: facts in, effects out, time as an argument. It differs
//! in policy only: whom to ask, how many at once, how long to wait, when to stop, to whom to publish, whom to
//! forget. Messages, tables, answers to others and the network are the same for all. Each policy's file names
//! the sources that it models; what is left out is said here:
//!
//! - The original's values are neither put nor got: no study compares them.
//! - A search for providers does not ask the own store; no study lets a node look for what it holds.
//! - Servers answer by our own responder: answering is the wire's job, and no policy.
//! - All contact every bootstrap peer that they know, because this is the program's part and not the library's.

mod candidates;
mod client;
mod go;
mod go_upkeep;
mod ip_groups;
mod job;
mod membership;
mod original;
mod rust_libp2p;
mod size;
#[cfg(test)]
mod tests;
mod upkeep;
mod values;
mod walk;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::client::Client;
use crate::model::HopCosts;

/// Whose behaviour a [`Client`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Baseline {
    /// go-libp2p-kad-dht, its classic provide, as in the releases whose times were published (0.21): a send to a
    /// holder has no limit but the dial's.
    Go,
    /// go-libp2p-kad-dht 0.42 with `EnableOptimisticProvide`, as Kubo 0.39 and later have it.
    GoOptimistic,
    /// The Dart port of go-libp2p-kad-dht that this project set out from, release 1.2.
    Original,
    /// rust-libp2p's libp2p-kad 0.49.
    RustLibp2p,
}

impl Baseline {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Go, Self::GoOptimistic, Self::RustLibp2p, Self::Original];

    /// Stable label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::GoOptimistic => "go-optimistic",
            Self::Original => "original",
            Self::RustLibp2p => "rust-libp2p",
        }
    }

    /// Round trips from the decision to dial until a request's answer, on a new connection and on one that is up.
    ///
    /// go over QUIC: handshake, the wait for identify, the request on a lazily negotiated stream. rust-libp2p:
    /// handshake, multistream on a new stream, the request; streams are not used again, so that a warm request has
    /// the last two. The Dart port waits for identify and opens a stream for each request.
    pub const fn round_trips(self) -> RoundTrips {
        match self {
            Self::Go | Self::GoOptimistic => RoundTrips { cold: 3, warm: 1 },
            Self::Original | Self::RustLibp2p => RoundTrips { cold: 3, warm: 2 },
        }
    }

    /// The same, as the network takes it.
    pub(crate) const fn hops(self) -> HopCosts {
        let RoundTrips { cold, warm } = self.round_trips();
        HopCosts { cold, warm }
    }

    /// Whether it is one of go's.
    pub(crate) const fn is_go(self) -> bool {
        matches!(self, Self::Go | Self::GoOptimistic)
    }

    /// When an operation without a deadline of its own ends at the latest.
    pub(crate) const fn deadline(self) -> Duration {
        match self {
            Self::Go | Self::GoOptimistic => go::DEADLINE,
            // The walk, then as long again for the sends: libp2p-kad's second phase is a new query.
            Self::RustLibp2p => Duration::from_secs(2 * rust_libp2p::QUERY_TIMEOUT.as_secs()),
            Self::Original => Duration::from_secs(2 * original::QUERY_TIMEOUT.as_secs()),
        }
    }

    /// The time a walk has, if it has its own.
    const fn walk_timeout(self) -> Option<Duration> {
        match self {
            Self::Go | Self::GoOptimistic => None,
            Self::RustLibp2p => Some(rust_libp2p::QUERY_TIMEOUT),
            Self::Original => Some(original::QUERY_TIMEOUT),
        }
    }

    const fn refresh_interval(self) -> Option<Duration> {
        match self {
            Self::Go | Self::GoOptimistic => Some(go::REFRESH_INTERVAL),
            Self::RustLibp2p => Some(rust_libp2p::BOOTSTRAP_INTERVAL),
            // Its refresh never asks the network.
            Self::Original => None,
        }
    }

    const fn holders(self) -> usize {
        match self {
            Self::Go | Self::GoOptimistic => go::K,
            Self::RustLibp2p => rust_libp2p::K,
            Self::Original => original::HOLDERS,
        }
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// See [`Baseline::round_trips`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundTrips {
    /// From the decision to dial until the answer.
    pub cold: u32,
    /// On a connection that is up.
    pub warm: u32,
}
