//! What stands outside the nodes and says how well they are.

use bytes::Bytes;
use kadmos_core::{Key, Operation, Outcome, Update};
use rand_chacha::ChaCha8Rng;

use crate::model::SessionClass;
use crate::oracle::Ratio;
use crate::random::below;
use crate::world::{NodeIndex, OperationReport, World};

/// How full tables are, and of whom.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tables {
    /// Living peers in them, of those that could be.
    pub(super) filled: Ratio,
    /// Peers in full buckets that do not run.
    pub(super) stale_in_full: Ratio,
    /// Peers in other buckets that do not run.
    pub(super) stale_elsewhere: Ratio,
}

/// Servers that run our core, and run, but for those of the tail that come and go.
pub(super) fn ours(world: &World) -> Vec<NodeIndex> {
    let is_ours = |node: &NodeIndex| {
        let state = &world.nodes[node.as_usize()];
        world.is_running(*node)
            && world.baseline(*node).is_none()
            && !state.traits.mute
            && state.class != Some(SessionClass::Tail)
    };
    world.nodes().filter(is_ours).collect()
}

/// How many of these nodes know all of the k servers closest to them, as far as those answer.
pub(super) fn neighbourhoods(world: &World, nodes: &[NodeIndex]) -> Ratio {
    let mut ratio = Ratio::default();
    for node in nodes {
        let own = world.info(*node).peer.key;
        let view = world.table(*node);
        let closest = world.oracle().closest(&own, k(world), *node);
        let knows = |peer: &NodeIndex| view.get(&world.info(*peer).peer.id).is_some();
        ratio.count(closest.iter().filter(|peer| !world.traits(**peer).mute).all(knows));
    }
    ratio
}

/// How full the tables of these nodes are, and of whom.
pub(super) fn tables(world: &World, nodes: &[NodeIndex]) -> Tables {
    let k = k(world);
    let mut judged = Tables::default();
    let servers: Vec<_> = world.nodes().filter(|node| serves(world, *node)).collect();
    for node in nodes {
        let own = world.info(*node).peer.key;
        let mut there = vec![0u64; usize::from(Key::BITS)];
        for server in servers.iter().filter(|server| *server != node) {
            there[usize::from(own.common_prefix_len(&world.info(*server).peer.key))] += 1;
        }
        let mut living = vec![0u64; usize::from(Key::BITS)];
        for (prefix_len, bucket) in world.table(*node).buckets() {
            let lives = |id, key| world.find(id, key).is_some_and(|peer| serves(world, peer));
            let alive = bucket.iter().filter(|info| lives(&info.peer.id, &info.peer.key)).count();
            living[usize::from(prefix_len)] = alive as u64;
            let stale = Ratio { part: (bucket.len() - alive) as u64, whole: bucket.len() as u64 };
            let of_its_kind =
                if bucket.len() >= k { &mut judged.stale_in_full } else { &mut judged.stale_elsewhere };
            of_its_kind.add(stale);
        }
        for (there, living) in there.into_iter().zip(living) {
            let attainable = there.min(k as u64);
            judged.filled.add(Ratio { part: living.min(attainable), whole: attainable });
        }
    }
    judged
}

fn serves(world: &World, node: NodeIndex) -> bool {
    world.is_running(node) && world.table(node).mode() == kadmos_core::config::Mode::Server
}

/// Whether a node that runs and answers, other than `except`, holds a provider record for `key`.
pub(super) fn has_live_holder(world: &World, key: &Bytes, except: NodeIndex) -> bool {
    let now = world.unix();
    world.nodes().any(|node| {
        node != except
            && serves(world, node)
            && !world.traits(node).mute
            && !world.store(node).providers(key, 1, now).is_empty()
    })
}

/// One of `nodes`, by chance.
pub(super) fn one_of(nodes: &[NodeIndex], rng: &mut ChaCha8Rng) -> NodeIndex {
    nodes[below(rng, nodes.len().max(1) as u64) as usize] // below its length; trials have nodes
}

/// Whether a provider was reported.
pub(super) fn found_provider(report: &OperationReport) -> bool {
    report.found.iter().any(|update| matches!(update, Update::Provider(_)))
}

/// How much of the truth a closest-peers operation found; mute servers are no part of it.
pub(super) fn recall(world: &World, report: &OperationReport) -> Ratio {
    let Operation::ClosestPeers { key } = &report.operation else { return Ratio::default() };
    let found = match report.outcome() {
        Some(Outcome::ClosestPeers(Ok(found))) => found.peers.as_slice(),
        _ => &[],
    };
    world.oracle().recall(&Key::of(key), k(world), report.node, found)
}

/// Whether a find-peer operation found who it looked for.
pub(super) fn found_peer(report: &OperationReport) -> bool {
    matches!(
        (&report.operation, report.outcome()),
        (Operation::FindPeer { id }, Some(Outcome::FindPeer(Ok(found)))) if found.peer.id == *id
    )
}

fn k(world: &World) -> usize {
    world.blueprint.config.lookup.k.get()
}
