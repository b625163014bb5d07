//! Studies that ask the same lookups while one number of the world, or of us, changes.

use kadmos_core::Config;

use super::arena::Scene;
use super::contender::Contender;
use super::lookup::{CLIENTS, Measured, mean, measure, measure_in, percentiles};
use super::report::{Cell, Figure, Series, Table};
use super::stats::{Sample, Statistic};
use super::{Bench, Findings, StudyError};
use crate::baseline::Baseline;
use crate::model::{HopCosts, INCIDENT_MUTE_PER_MILLE, Model};

/// Servers that take connections and answer nothing.
pub(super) fn mute(bench: &mut Bench<'_>) -> Result<Findings, StudyError> {
    let shares = [0, 100, 300, INCIDENT_MUTE_PER_MILLE];
    let method = format!(
        "As the study of lookups, but so many servers in a thousand take connections and never answer, holders of records among \
         them; {INCIDENT_MUTE_PER_MILLE} were the worst on record, in January 2023, when content was still found and lookups took 25 % \
         longer.",
    );
    let model = |share| Model { mute_per_mille: share, ..Model::amino() };
    sweep(bench, method, "mute servers, per mille", &shares, model)
}

/// A foreign network with the same protocol id, whose servers nobody reaches.
pub(super) fn merge(bench: &mut Bench<'_>) -> Result<Findings, StudyError> {
    let shares = [260, 500, 700, 833];
    let method = "As the study of lookups, but so many of a thousand ids that servers name are dead, as after a foreign network \
         of unreachable servers had joined under the same protocol id in December 2023; 833 are five dead ids for each \
         living one."
        .into();
    let model = |share| Model { undialable_per_mille: share, ..Model::amino() };
    sweep(bench, method, "dead ids, per mille", &shares, model)
}

/// How lookups grow with the network.
pub(super) fn scale(bench: &mut Bench<'_>) -> Result<Findings, StudyError> {
    let sizes: &[u32] = if bench.config.quick {
        &[250, 500, 1_000, 2_000]
    } else {
        &[500, 1_000, 2_000, 4_000, 8_000, 16_000]
    };
    let contenders =
        [Contender::baseline(Baseline::Go), Contender::baseline(Baseline::RustLibp2p), Contender::kadmos()];
    let (finds, walks) = (bench.config.pick(60, 300), bench.config.pick(40, 200));
    let mut findings = Findings {
        method: format!(
            "As the study of lookups, in networks of different sizes; {finds} searches for providers and {walks} full walks each."
        ),
        ..Findings::default()
    };
    let mut measured = Vec::new();
    for servers in sizes {
        let go_per_mille = bench.config.go_per_mille();
        let scene = Scene {
            servers: *servers,
            clients: CLIENTS,
            seed: 0,
            model: Model::amino(),
            upkeep: false,
            go_per_mille,
        };
        let of_size = measure_in(bench, &contenders, &scene, finds, walks)?;
        let title = format!("{servers} servers: time to the first provider record, ms");
        findings.tables.push(table(title, &contenders, &of_size));
        measured.push((f64::from(*servers), of_size));
    }
    let p50 = |sample: &Sample| sample.estimate(Statistic::Percentile(50)).map(|one| one.value);
    let hops = |one: &Measured| one.walk_hops.estimate(Statistic::Mean).map(|one| one.value);
    findings.figures.push(lines(
        "hops",
        "Hops of a full walk",
        "servers",
        "hops",
        &contenders,
        &measured,
        hops,
    ));
    findings.figures.push(lines(
        "first-record",
        "Time to the first provider record, p50",
        "servers",
        "milliseconds",
        &contenders,
        &measured,
        |one| p50(&one.first_ms),
    ));
    findings.figures.iter_mut().for_each(|figure| figure.log_x = true);
    Ok(findings)
}

/// What each of our choices is worth: Kadmos as it is shipped, and with one thing changed.
pub(super) fn ablation(bench: &mut Bench<'_>) -> Result<Findings, StudyError> {
    let kadmos = HopCosts::KADMOS;
    let contenders = [
        Contender::kadmos(),
        Contender::variant("3 round trips when cold", |_| {}, HopCosts::GO),
        Contender::variant("2 round trips when warm", |_| {}, HopCosts::RUST_LIBP2P),
        Contender::variant("alpha 3", |config| config.lookup.alpha = non_zero(3), kadmos),
        Contender::variant("alpha 20", |config| config.lookup.alpha = non_zero(20), kadmos),
        Contender::variant("beta 1", |config| config.lookup.beta = non_zero(1), kadmos),
        Contender::variant("beta 20", |config| config.lookup.beta = non_zero(20), kadmos),
        Contender::variant("requests of 3 s", requests_of_3_s, kadmos),
        Contender::variant("one failure evicts", |config| config.table.failures_max = 1, kadmos),
        Contender::variant(
            "top buckets 128/64/32",
            |config| config.table.top_buckets = vec![128, 64, 32],
            kadmos,
        ),
    ];
    let (finds, walks) = (bench.config.pick(200, 1_000), bench.config.pick(100, 400));
    let measured = measure(bench, &contenders, Model::amino(), finds, walks)?;
    let mut findings = Findings {
        method: format!(
            "As the study of lookups, {finds} searches for providers and {walks} full walks, by Kadmos as it is shipped and with one \
             thing changed."
        ),
        ..Findings::default()
    };
    findings.tables.push(table("time to the first provider record, ms", &contenders, &measured));
    let mut walked =
        Table::new("time until the 20 closest are known, ms", ["p50", "p90", "p99", "messages", "recall"]);
    for (contender, one) in contenders.iter().zip(&measured) {
        let mut cells = Vec::from(percentiles(&one.walk_ms, 0));
        cells.extend([mean(&one.walk_messages), Cell::share(one.recall)]);
        walked.push(&contender.name, cells);
    }
    findings.tables.push(walked);
    Ok(findings)
}

fn requests_of_3_s(config: &mut Config) {
    config.lookup.request_timeout = std::time::Duration::from_secs(3);
    config.lookup.follow_up_timeout = std::time::Duration::from_secs(3);
}

fn non_zero(number: usize) -> std::num::NonZeroUsize {
    std::num::NonZeroUsize::new(number).unwrap_or(std::num::NonZeroUsize::MIN)
}

/// Measures lookups with each of these models.
fn sweep(
    bench: &mut Bench<'_>,
    method: String,
    what: &str,
    values: &[u32],
    model: fn(u32) -> Model,
) -> Result<Findings, StudyError> {
    let contenders =
        [Contender::baseline(Baseline::Go), Contender::baseline(Baseline::RustLibp2p), Contender::kadmos()];
    let (finds, walks) = (bench.config.pick(100, 400), bench.config.pick(40, 200));
    let mut findings = Findings { method, ..Findings::default() };
    let mut measured = Vec::new();
    for value in values {
        let of_value = measure(bench, &contenders, model(*value), finds, walks)?;
        let title = format!("{what}: {value}: time to the first provider record, ms");
        findings.tables.push(table(title, &contenders, &of_value));
        measured.push((f64::from(*value), of_value));
    }
    for percent in [50, 90] {
        let value = |one: &Measured| {
            one.first_ms.estimate(Statistic::Percentile(percent)).map(|estimate| estimate.value)
        };
        findings.figures.push(lines(
            &format!("first-record-p{percent}"),
            &format!("Time to the first provider record, p{percent}"),
            what,
            "milliseconds",
            &contenders,
            &measured,
            value,
        ));
    }
    Ok(findings)
}

fn table(title: impl Into<String>, contenders: &[Contender], measured: &[Measured]) -> Table {
    let columns = ["p50", "p90", "p99", "messages", "found", "walk p50", "walk p90", "hops", "recall"];
    let mut table = Table::new(title, columns);
    for (contender, one) in contenders.iter().zip(measured) {
        let mut cells = Vec::from(percentiles(&one.first_ms, 0));
        cells.extend([mean(&one.first_messages), Cell::share(one.found)]);
        cells.extend(percentiles(&one.walk_ms, 0).into_iter().take(2));
        cells.extend([mean(&one.walk_hops), Cell::share(one.recall)]);
        table.push(&contender.name, cells);
    }
    table
}

fn lines(
    name: &str,
    title: &str,
    x: &str,
    y: &str,
    contenders: &[Contender],
    measured: &[(f64, Vec<Measured>)],
    value: impl Fn(&Measured) -> Option<f64>,
) -> Figure {
    let series = contenders.iter().enumerate().map(|(index, contender)| Series {
        name: contender.name.clone(),
        points: measured.iter().filter_map(|(at, data)| Some((*at, value(&data[index])?))).collect(),
    });
    Figure {
        name: name.into(),
        title: title.into(),
        x: x.into(),
        y: y.into(),
        log_x: false,
        series: series.collect(),
    }
}
