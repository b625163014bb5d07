//! Tables and queues stay within their bounds, and buckets in order.

use kadmos_core::limits::{BOOTSTRAP_PEERS_AT_ONCE_MAX, PROBES_MAX, REFRESH_WALKS_MAX};
use kadmos_core::{Key, PeerInfo};

use super::{Broken, Checker, Findings};
use crate::world::{NodeIndex, World};

/// Looks into every running node.
#[derive(Debug)]
pub struct Bounds {
    bucket_size: usize,
}

impl Bounds {
    /// For buckets of at most `bucket_size` peers beside the `bucket_size` nearest of the table, which are kept in any case,
    /// and at most as many that were among these.
    pub fn new(bucket_size: usize) -> Self {
        Self { bucket_size }
    }

    fn table(&self, world: &World, node: NodeIndex, findings: &mut Findings) {
        let own = world.info(node).peer.key;
        let view = world.table(node);
        let mut distances: Vec<_> = view.iter().map(|info| info.peer.key.distance(&own)).collect();
        distances.sort_unstable();
        // Who is as far as this is none of the nearest.
        let far_from = distances.get(self.bucket_size);
        for (prefix_len, bucket) in view.buckets() {
            let is_far =
                |info: &&PeerInfo| far_from.is_some_and(|from| info.peer.key.distance(&own) >= *from);
            let (peers, max) = (bucket.iter().filter(is_far).count(), 2 * self.bucket_size);
            if peers > max {
                findings.add(world.now(), Some(node), Broken::BucketTooLarge { prefix_len, peers, max });
            }
            let mut before: Option<Key> = None;
            for info in bucket.iter() {
                let key = info.peer.key;
                let in_order = before.is_none_or(|before| before < key);
                if !in_order || shared_bits(&own, &key) != usize::from(prefix_len) {
                    findings.add(world.now(), Some(node), Broken::BucketMisplaced { prefix_len });
                    break;
                }
                before = Some(key);
            }
        }
    }
}

/// Counted bit by bit, to share no code with the table.
fn shared_bits(a: &Key, b: &Key) -> usize {
    let bit = |key: &Key, index: usize| key.as_bytes()[index / 8] >> (7 - index % 8) & 1;
    (0..256).take_while(|index| bit(a, *index) == bit(b, *index)).count()
}

impl Checker for Bounds {
    fn inspect(&mut self, world: &World, findings: &mut Findings) {
        let running = world.running_operations_by_node();
        for node in world.nodes().filter(|node| world.is_running(*node)) {
            self.table(world, node, findings);
            let (core, driver) = (world.running_requests(node), world.requests_in_flight(node));
            if core != driver {
                findings.add(world.now(), Some(node), Broken::RequestsDisagree { core, driver });
            }
            if world.core(node).is_none() {
                continue; // others have bounds of their own
            }
            // A walk asks at most its k nearest at once; a get then corrects as many, after it has ended.
            let k = self.bucket_size;
            let operations = running.get(&node).copied().unwrap_or(0);
            let walks = REFRESH_WALKS_MAX + 2 * operations + CORRECTIONS_MAX;
            let max = PROBES_MAX + BOOTSTRAP_PEERS_AT_ONCE_MAX + walks * (k + ALPHA);
            if driver > max {
                findings.add(world.now(), Some(node), Broken::TooManyRequests { got: driver, max });
            }
        }
    }
}

/// Corrections of earlier operations that are still under way.
const CORRECTIONS_MAX: usize = 4;
/// Requests that a walk has under way to peers that were among the k nearest when they were asked. Default of
/// `lookup.alpha`.
const ALPHA: usize = 10;
