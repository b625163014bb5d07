//! What operations give, with libp2p's peer ids and addresses.

use std::time::Duration;

use bytes::Bytes;
use kadmos_core::error::RequestFailure;
use kadmos_core::health::{Health, Reachability};
use kadmos_core::{operation, record};
use libp2p_identity::PeerId;

use crate::convert::{PeerAddrs, peer_id};

/// The peers closest to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosestPeers {
    /// At most k peers, closest first, each of which answered; never the node itself.
    pub peers: Vec<PeerAddrs>,
    /// Whether all closer candidates had answered or failed when the lookup ended; `false` when the follow-up's
    /// time was up first.
    pub complete: bool,
}

/// What a node is busy with. All 0 when nobody waits for anything and the node does nothing by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Operations of callers.
    pub operations: usize,
    /// Requests to peers, the node's own among them.
    pub requests: usize,
}

/// How well a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthReport {
    /// The state, and what the last round of the rules found.
    pub health: Health,
    /// For how long the state has been what it is.
    pub lasts: Duration,
    /// What is known of how others reach this node.
    pub reachability: Reachability,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Streams of peers that were reset in the middle of a request, because the time was up.
    pub cut_off: usize,
}

/// A value and who had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueFrom {
    /// The bytes.
    pub value: Bytes,
    /// Who had it; `None` for the node's own store.
    pub peer: Option<PeerId>,
}

/// The best value found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundValue {
    /// The value and who had it.
    pub best: ValueFrom,
    /// Valid answers, the own store's included.
    pub answers: usize,
    /// Peers that held a worse value, or none although they are among the closest, and were sent the best.
    pub corrected: usize,
}

/// What became of a record at each peer it was sent to.
///
/// For values, `stored` counts peers that echoed the record. ADD_PROVIDER has no answer, so for providers `stored`
/// stays 0 and `sent` counts records that were flushed to a stream that was not reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishReport {
    /// Peers that were to hold the record.
    pub attempted: usize,
    /// Peers to which the record was sent.
    pub sent: usize,
    /// Peers that proved that they took it.
    pub stored: usize,
    /// The peers counted in `stored` for values, in `sent` for providers; closest first.
    pub holders: Vec<PeerId>,
    /// The others, with the last failure of each.
    pub failed: Vec<(PeerId, RequestFailure)>,
    /// Why this node's own store did not take the record, if it did not. The others were sent it all the same.
    pub local_failure: Option<String>,
}

impl From<operation::ClosestPeers> for ClosestPeers {
    fn from(closest: operation::ClosestPeers) -> Self {
        Self { peers: closest.peers.iter().map(PeerAddrs::from).collect(), complete: closest.complete }
    }
}

impl From<record::ValueFrom> for ValueFrom {
    fn from(from: record::ValueFrom) -> Self {
        Self { value: from.value, peer: from.peer.map(|peer| peer_id(&peer.id)) }
    }
}

impl From<operation::FoundValue> for FoundValue {
    fn from(found: operation::FoundValue) -> Self {
        Self { best: found.best.into(), answers: found.answers, corrected: found.corrected }
    }
}

impl From<kadmos_core::error::PublishReport> for PublishReport {
    fn from(report: kadmos_core::error::PublishReport) -> Self {
        Self {
            attempted: report.attempted,
            sent: report.sent,
            stored: report.stored,
            holders: report.holders.iter().map(|peer| peer_id(&peer.id)).collect(),
            failed: report.failed.iter().map(|(peer, failure)| (peer_id(&peer.id), *failure)).collect(),
            local_failure: report.local_failure,
        }
    }
}
