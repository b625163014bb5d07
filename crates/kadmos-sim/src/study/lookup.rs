//! How long until a provider is found, how long until the 20 closest are known, and what each costs.

use kadmos_core::operation::Outcome;
use kadmos_core::{Operation, Update};

use super::arena::{Arena, Scene};
use super::contender::Contender;
use super::report::{Cell, Figure, Table};
use super::stats::{Sample, Statistic};
use super::{Bench, Findings, Stage, StudyError, calibration};
use crate::model::Model;
use crate::oracle::Ratio;
use crate::world::OperationState;

/// Clients at work in each world.
pub(super) const CLIENTS: u32 = 20;
/// Lookups of each client before anything is measured: go then knows the network's size.
pub(super) const WARM_UPS: usize = 6;

/// What one contender measured.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) first_ms: Sample,
    pub(super) first_messages: Sample,
    pub(super) found: Ratio,
    pub(super) walk_ms: Sample,
    pub(super) walk_messages: Sample,
    pub(super) walk_hops: Sample,
    pub(super) recall: Ratio,
    pub(super) complete: Ratio,
}

/// A model that is like the public network's but for one thing.
pub(super) type Sensitivity = (&'static str, fn(Model) -> Model);

/// What the conclusions should not depend on.
pub(super) const SENSITIVITIES: [Sensitivity; 3] = [
    ("round trips x 0.5", Model::half_round_trips),
    ("10 % dead", Model::tenth_dead),
    ("dials refused", Model::refused_fast),
];

pub(super) fn run(bench: &mut Bench<'_>) -> Result<Findings, StudyError> {
    let contenders = Contender::all();
    let config = bench.config;
    let (finds, walks) = (config.pick(300, 1_000), config.pick(100, 400));
    let measured = measure(bench, &contenders, Model::amino(), finds, walks)?;
    let mut findings = Findings {
        method: format!(
            "{} servers, dead ids and slow servers as on the public network; {CLIENTS} clients in data centres, each with the \
             same table for every contender, look for providers of {finds} keys held by 18 of the 20 closest servers, \
             and for the 20 closest to {walks} others; a client begins every 15 s.",
            config.servers()
        ),
        checks: calibration::lookup(&measured[0].first_ms),
        ..Findings::default()
    };
    findings.tables.push(first_table("time to the first provider record, ms", &contenders, &measured));
    findings.tables.push(walk_table(&contenders, &measured));
    findings.figures.push(Figure::shares(
        "first-record",
        "Time to the first provider record",
        "milliseconds",
        curves(&contenders, &measured, |one| (&one.first_ms, one.found.whole)),
    ));
    findings.figures.push(Figure::shares(
        "walk",
        "Time until the 20 closest are known",
        "milliseconds",
        curves(&contenders, &measured, |one| (&one.walk_ms, one.complete.whole)),
    ));
    for (name, change) in SENSITIVITIES {
        let (finds, walks) = (config.pick(100, 400), config.pick(40, 200));
        let measured = measure(bench, &contenders, change(Model::amino()), finds, walks)?;
        let title = format!("sensitivity, {name}: time to the first provider record, ms");
        findings.tables.push(first_table(title, &contenders, &measured));
    }
    Ok(findings)
}

/// Lets each contender look up in clones of one world for each seed.
pub(super) fn measure(
    bench: &mut Bench<'_>,
    contenders: &[Contender],
    model: Model,
    finds: usize,
    walks: usize,
) -> Result<Vec<Measured>, StudyError> {
    let servers = bench.config.servers();
    let go_per_mille = bench.config.go_per_mille();
    let scene = Scene { servers, clients: CLIENTS, seed: 0, model, upkeep: false, go_per_mille };
    measure_in(bench, contenders, &scene, finds, walks)
}

/// As [`measure`], in worlds like `scene`, whose seed is not taken.
pub(super) fn measure_in(
    bench: &mut Bench<'_>,
    contenders: &[Contender],
    scene: &Scene,
    finds: usize,
    walks: usize,
) -> Result<Vec<Measured>, StudyError> {
    let mut measured: Vec<_> = contenders.iter().map(|_| Measured::default()).collect();
    for seed in bench.config.seeds() {
        let mut warmed = Arena::build(&Scene { seed, ..scene.clone() })?;
        let keys = warmed.keys("found", finds);
        warmed.plant_records(&keys);
        for (contender, measured) in contenders.iter().zip(&mut measured) {
            let mut arena = warmed.seat(contender)?;
            let stage = |what| Stage { seed, contender: &contender.name, what };
            warm_up(&mut arena, stage("warm-up"), bench);
            let operations = keys.iter().map(|key| Operation::FindProviders { key: key.clone(), count: 1 });
            let done = arena.perform(stage("providers"), operations.collect(), bench.progress);
            let mut first_ms = Vec::new();
            let mut messages = Vec::new();
            for one in &done {
                let found = one.report.found.iter().any(|update| matches!(update, Update::Provider(_)));
                measured.found.count(found);
                if let (Some(first), OperationState::Ended { cost, .. }) =
                    (one.first_provider, &one.report.state)
                {
                    first_ms.push(first.as_secs_f64() * 1e3);
                    messages.push(cost.requests as f64);
                }
            }
            measured.first_ms.push_seed(first_ms);
            measured.first_messages.push_seed(messages);

            let operations =
                arena.keys("walked", walks).into_iter().map(|key| Operation::ClosestPeers { key });
            let done = arena.perform(stage("closest peers"), operations.collect(), bench.progress);
            let (mut ms, mut messages, mut hops) = (Vec::new(), Vec::new(), Vec::new());
            for one in &done {
                let OperationState::Ended { outcome, cost } = &one.report.state else { continue };
                ms.push(cost.elapsed.as_secs_f64() * 1e3);
                messages.push(cost.requests as f64);
                hops.push(cost.hops as f64);
                measured
                    .complete
                    .count(matches!(outcome, Outcome::ClosestPeers(Ok(found)) if found.complete));
                if let Some(recall) = arena.recall(&one.report) {
                    measured.recall.add(recall);
                }
            }
            measured.walk_ms.push_seed(ms);
            measured.walk_messages.push_seed(messages);
            measured.walk_hops.push_seed(hops);
            bench.close(&arena, Some(&warmed));
        }
        bench.close(&warmed, None);
    }
    Ok(measured)
}

/// Lets each client look up a few keys.
pub(super) fn warm_up(arena: &mut Arena, stage: Stage<'_>, bench: &mut Bench<'_>) {
    let all = WARM_UPS * arena.clients.len();
    let keys = arena.keys("warm-up", bench.config.pick(all, all));
    let operations = keys.into_iter().map(|key| Operation::ClosestPeers { key }).collect();
    arena.perform(stage, operations, bench.progress);
}

pub(super) fn percentiles(sample: &Sample, digits: u8) -> [Cell; 3] {
    [50, 90, 99].map(|percent| Cell::estimate(sample.estimate(Statistic::Percentile(percent)), digits))
}

pub(super) fn mean(sample: &Sample) -> Cell {
    Cell::estimate(sample.estimate(Statistic::Mean), 1)
}

fn first_table(title: impl Into<String>, contenders: &[Contender], measured: &[Measured]) -> Table {
    let mut table = Table::new(title, ["p50", "p90", "p99", "messages", "found"]);
    for (contender, one) in contenders.iter().zip(measured) {
        let mut cells = Vec::from(percentiles(&one.first_ms, 0));
        cells.extend([mean(&one.first_messages), Cell::share(one.found)]);
        table.push(&contender.name, cells);
    }
    table
}

fn walk_table(contenders: &[Contender], measured: &[Measured]) -> Table {
    let columns = ["p50", "p90", "p99", "messages", "hops", "recall", "complete"];
    let mut table = Table::new("time until the 20 closest are known, ms", columns);
    for (contender, one) in contenders.iter().zip(measured) {
        let mut cells = Vec::from(percentiles(&one.walk_ms, 0));
        cells.extend([mean(&one.walk_messages), mean(&one.walk_hops)]);
        cells.extend([Cell::share(one.recall), Cell::share(one.complete)]);
        table.push(&contender.name, cells);
    }
    table
}

/// Each contender's times, and of how many operations they are.
pub(super) fn curves<M>(
    contenders: &[Contender],
    measured: &[M],
    sample: impl Fn(&M) -> (&Sample, u64),
) -> Vec<(String, Vec<f64>, usize)> {
    let curve = |(contender, data): (&Contender, &M)| {
        let (sample, whole) = sample(data);
        (contender.name.clone(), sample.sorted(), whole as usize) // operations of a study
    };
    contenders.iter().zip(measured).map(curve).collect()
}
