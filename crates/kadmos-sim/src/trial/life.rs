//! Trials of an ordinary network: joining, and coming and going.

use std::time::Duration;

use bytes::Bytes;
use kadmos_core::{Operation, OperationId};

use super::judge::{self, Tables, found_peer, found_provider, one_of};
use super::report::Sense;
use super::{Stage, TrialError};
use crate::charges::Charges;
use crate::model::{SessionClass, Sessions};
use crate::oracle::Ratio;
use crate::random::child;
use crate::study::random_key;
use crate::world::{NodeIndex, OperationReport, World};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// Between two operations of a trial.
const PAUSE: Duration = Duration::from_millis(500);

/// Through three nodes, all know their neighbourhood in ten minutes.
pub(super) fn join(stage: &mut Stage<'_>) -> Result<World, TrialError> {
    let mut world = stage.builder(stage.servers).build()?;
    stage.run(&mut world, 10 * MINUTE);
    let ours = judge::ours(&world);
    let neighbourhoods = judge::neighbourhoods(&world, &ours);
    stage.share_at_least("nodes that know all their 20 closest after 10 min", neighbourhoods, 99.0);
    let mut rng = child(stage.config.seed, "trial lookups", 0);
    let everybody: Vec<_> = world.nodes().collect();
    let mut looks = Vec::new();
    for _ in 0..if stage.config.full { 2_000 } else { 500 } {
        let (node, target) = (one_of(&ours, &mut rng), one_of(&everybody, &mut rng));
        if node != target {
            looks.push((node, Operation::FindPeer { id: world.info(target).peer.id }));
        }
    }
    let mut found = Ratio::default();
    for report in perform(stage, &mut world, looks) {
        found.count(found_peer(&report));
    }
    stage.share_at_least("lookups that find their target", found, 100.0);
    Ok(world)
}

/// Provider records of the hours that have passed.
struct Announced {
    key: Bytes,
    provider: NodeIndex,
    at_hour: u64,
}

/// Hours after which a record is announced again on the public network, and is no longer looked for here.
const ANNOUNCED_FOR: u64 = 22;

/// Servers come and go as on the public network, and a quarter of the ids in circulation is dead.
pub(super) fn churn(stage: &mut Stage<'_>) -> Result<World, TrialError> {
    let hours = if stage.config.full { 24 } else { 6 };
    // So many that `servers` of them are stable.
    let mut world = stage.builder(stage.servers * 1_000 / Sessions::AMINO.stable_per_mille).build()?;
    stage.run(&mut world, 20 * MINUTE);
    world.churn();
    stage.run(&mut world, 40 * MINUTE);
    let before = upkeep(&world);
    let mut rng = child(stage.config.seed, "trial records", 0);
    let mut announced: Vec<Announced> = Vec::new();
    let (mut judged, mut found) = (Tables::default(), Ratio::default());
    let records = if stage.config.full { 100 } else { 50 };
    for hour in 0..hours {
        let ours = judge::ours(&world);
        let provides: Vec<_> = (0..records)
            .map(|_| {
                let (key, provider) = (random_key(&mut rng), one_of(&ours, &mut rng));
                announced.push(Announced { key: key.clone(), provider, at_hour: hour });
                (provider, Operation::Provide { key })
            })
            .collect();
        let began = world.now();
        perform(stage, &mut world, provides);
        announced.retain(|record| record.at_hour + ANNOUNCED_FOR > hour);
        let spent = world.now().since(began);
        stage.run(&mut world, HOUR.saturating_sub(spent) / 2);
        let sample = judge::tables(&world, &judge::ours(&world));
        judged.filled.add(sample.filled);
        judged.stale_in_full.add(sample.stale_in_full);
        judged.stale_elsewhere.add(sample.stale_elsewhere);
        found.add(find_announced(stage, &mut world, &announced, hour));
        let spent = world.now().since(began);
        stage.run(&mut world, HOUR.saturating_sub(spent));
    }
    stage.share_at_least("tables filled, of what is attainable", judged.filled, 95.0);
    stage.share_at_most("stale in full buckets", judged.stale_in_full, 5.0);
    stage.share_at_most("stale elsewhere", judged.stale_elsewhere, 10.0);
    stage.share_at_least("records with a live holder that are found", found, 99.9);
    let after = upkeep(&world);
    let time = HOUR * hours as u32; // at most 24
    let [mut ours, mut theirs] = [(Charges::default(), 0), (Charges::default(), 0)];
    for (node, charges) in after {
        let Some((_, earlier)) = before.iter().find(|(known, _)| *known == node) else { continue };
        let side = if world.baseline(node).is_some() { &mut theirs } else { &mut ours };
        side.0.add(&charges.since(earlier));
        side.1 += 1;
    }
    let per_hour = |(charges, nodes): &(Charges, u64)| {
        let upkeep = charges.probe_messages + charges.refresh_messages;
        Charges::per_node_hour(upkeep, *nodes, time) as f64
    };
    let (ours_per_hour, theirs_per_hour) = (per_hour(&ours), per_hour(&theirs));
    stage.fact("upkeep messages per node-hour, ours", ours_per_hour);
    stage.fact("upkeep messages per node-hour, go", theirs_per_hour);
    for (name, (charges, nodes)) in [("ours", &ours), ("go", &theirs)] {
        let dials = Charges::per_node_hour(charges.dials, *nodes, time);
        stage.fact(format!("dials per node-hour, {name}"), dials);
    }
    if theirs.1 > 0 {
        let times = ours_per_hour / theirs_per_hour;
        stage.bar("upkeep messages per node-hour, of go's", times, Sense::AtMost, 1.0, "times");
    }
    Ok(world)
}

/// What each server that stays has done so far.
fn upkeep(world: &World) -> Vec<(NodeIndex, Charges)> {
    let stays = |node: &NodeIndex| world.nodes[node.as_usize()].class != Some(SessionClass::Tail);
    world.nodes().filter(stays).map(|node| (node, world.charges(node))).collect()
}

/// How many of the records that somebody who answers holds are found by a random node of ours.
pub(super) fn find_records(
    stage: &mut Stage<'_>,
    world: &mut World,
    records: &[(Bytes, NodeIndex)],
    salt: u64,
) -> Ratio {
    let mut rng = child(stage.config.seed, "trial finds", salt);
    let ours = judge::ours(world);
    let mut looks = Vec::new();
    for (key, provider) in records {
        let node = one_of(&ours, &mut rng);
        if node != *provider && judge::has_live_holder(world, key, node) {
            looks.push((node, Operation::FindProviders { key: key.clone(), count: 1 }));
        }
    }
    let mut found = Ratio::default();
    for report in perform(stage, world, looks) {
        // Who stopped meanwhile found nothing, and nobody's fault is it; nor that of who held it if all of them did.
        let Operation::FindProviders { key, .. } = &report.operation else { continue };
        if world.is_running(report.node)
            && (found_provider(&report) || judge::has_live_holder(world, key, report.node))
        {
            found.count(found_provider(&report));
        }
    }
    found
}

fn find_announced(stage: &mut Stage<'_>, world: &mut World, announced: &[Announced], hour: u64) -> Ratio {
    let records: Vec<_> = announced.iter().map(|record| (record.key.clone(), record.provider)).collect();
    find_records(stage, world, &records, hour)
}

/// Begins these operations one after the other, and lets them end.
pub(super) fn perform(
    stage: &mut Stage<'_>,
    world: &mut World,
    operations: Vec<(NodeIndex, Operation)>,
) -> Vec<OperationReport> {
    let mut ids: Vec<OperationId> = Vec::with_capacity(operations.len());
    for (node, operation) in operations {
        ids.push(world.start_operation(node, operation));
        stage.run(world, PAUSE);
    }
    let until = world.now() + 2 * MINUTE; // twice the deadline of an operation
    while ids.iter().any(|id| world.operation(*id).is_some_and(|report| report.is_running()))
        && world.step(until)
    {}
    ids.into_iter().filter_map(|id| world.take_operation(id)).collect()
}
