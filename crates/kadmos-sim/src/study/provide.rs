//! How long until content is announced, and who then holds the record.

use std::time::Duration;

use kadmos_core::{Operation, Outcome};

use super::arena::{Arena, Scene};
use super::contender::Contender;
use super::lookup::{CLIENTS, SENSITIVITIES, curves, mean, percentiles, warm_up};
use super::report::{Cell, Figure, Table};
use super::stats::Sample;
use super::{Bench, Findings, Stage, StudyError, calibration};
use crate::baseline::Baseline;
use crate::model::Model;
use crate::oracle::Ratio;
use crate::world::OperationState;

/// After a provide has returned, holders are counted this much later: what goes on in the background has ended.
const COUNTED_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Measured {
    ms: Sample,
    messages: Sample,
    /// Sends that the contender believes to have succeeded.
    claimed: Sample,
    /// Of the 20 servers truly closest, those that hold the record.
    closest: Sample,
    /// Servers that hold it, wherever they are.
    holders: Sample,
    succeeded: Ratio,
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<Findings, StudyError> {
    let mut contenders = Contender::all();
    contenders.insert(1, Contender::baseline(Baseline::GoOptimistic));
    let provides = bench.config.pick(200, 800);
    let measured = measure(bench, &contenders, Model::amino(), provides)?;
    let mut findings = Findings {
        method: format!(
            "{} servers, dead ids and slow servers as on the public network; {CLIENTS} clients in data centres, each with the \
             same table for every contender, announce {provides} keys after a few lookups; holders are counted {} s after \
             the last has returned.",
            bench.config.servers(),
            COUNTED_AFTER.as_secs()
        ),
        checks: calibration::provide(&measured[0].ms),
        ..Findings::default()
    };
    findings.tables.push(table("time until a provide returns, ms", &contenders, &measured));
    findings.figures.push(Figure::shares(
        "provide",
        "Time until a provide returns",
        "milliseconds",
        curves(&contenders, &measured, |one| (&one.ms, one.succeeded.whole)),
    ));
    for (name, change) in SENSITIVITIES {
        let provides = bench.config.pick(60, 300);
        let measured = measure(bench, &contenders, change(Model::amino()), provides)?;
        let title = format!("sensitivity, {name}: time until a provide returns, ms");
        findings.tables.push(table(title, &contenders, &measured));
    }
    Ok(findings)
}

fn measure(
    bench: &mut Bench<'_>,
    contenders: &[Contender],
    model: Model,
    provides: usize,
) -> Result<Vec<Measured>, StudyError> {
    let mut measured: Vec<_> = contenders.iter().map(|_| Measured::default()).collect();
    for seed in bench.config.seeds() {
        let servers = bench.config.servers();
        let go_per_mille = bench.config.go_per_mille();
        let scene =
            Scene { servers, clients: CLIENTS, seed, model: model.clone(), upkeep: false, go_per_mille };
        let warmed = Arena::build(&scene)?;
        for (contender, measured) in contenders.iter().zip(&mut measured) {
            let mut arena = warmed.seat(contender)?;
            let stage = |what| Stage { seed, contender: &contender.name, what };
            warm_up(&mut arena, stage("warm-up"), bench);
            let operations =
                arena.keys("provided", provides).into_iter().map(|key| Operation::Provide { key });
            let done = arena.perform(stage("provides"), operations.collect(), bench.progress);
            arena.world.run(COUNTED_AFTER);
            let (mut ms, mut messages, mut claimed) = (Vec::new(), Vec::new(), Vec::new());
            let (mut closest, mut holders) = (Vec::new(), Vec::new());
            for one in &done {
                let OperationState::Ended { outcome, cost } = &one.report.state else { continue };
                let Operation::Provide { key } = &one.report.operation else { continue };
                ms.push(cost.elapsed.as_secs_f64() * 1e3);
                messages.push(cost.requests as f64);
                measured.succeeded.count(matches!(outcome, Outcome::Provide(Ok(_))));
                if let Outcome::Provide(Ok(report)) = outcome {
                    claimed.push(report.sent as f64);
                }
                let (near, all) = arena.holders(key, one.report.node);
                closest.push(near as f64);
                holders.push(all as f64);
            }
            measured.ms.push_seed(ms);
            measured.messages.push_seed(messages);
            measured.claimed.push_seed(claimed);
            measured.closest.push_seed(closest);
            measured.holders.push_seed(holders);
            bench.close(&arena, Some(&warmed));
        }
        bench.close(&warmed, None);
    }
    Ok(measured)
}

fn table(title: impl Into<String>, contenders: &[Contender], measured: &[Measured]) -> Table {
    let columns = ["p50", "p90", "p99", "messages", "claimed", "holders", "of 20 closest", "succeeded"];
    let mut table = Table::new(title, columns);
    for (contender, one) in contenders.iter().zip(measured) {
        let mut cells = Vec::from(percentiles(&one.ms, 0));
        cells.extend([mean(&one.messages), mean(&one.claimed), mean(&one.holders), mean(&one.closest)]);
        cells.push(Cell::share(one.succeeded));
        table.push(&contender.name, cells);
    }
    table
}
