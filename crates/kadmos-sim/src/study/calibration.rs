//! What others have measured on the public network. The modelled go client must come near it, or the world is wrong.

use super::report::Check;
use super::stats::{Sample, Statistic};

/// Time to the first provider record of a warmed go client, in milliseconds, as the range of ProbeLab's Parsec reports
/// from November 2024 to June 2025: p50, p90, p99.
const LOOKUP: [(u32, (f64, f64)); 3] =
    [(50, (274.0, 399.0)), (90, (920.0, 1_233.0)), (99, (1_480.0, 1_800.0))];
/// How far from it a model may lie: the reports differ among themselves by as much.
const LOOKUP_FACTOR: f64 = 1.5;

/// Duration of a classic provide of the same clients and time.
const PROVIDE: [(u32, (f64, f64)); 3] =
    [(50, (10_620.0, 10_910.0)), (90, (27_200.0, 31_000.0)), (99, (121_300.0, 125_700.0))];
/// The times are sums of dial time-outs, so a step more or less doubles them.
const PROVIDE_FACTOR: f64 = 2.0;

pub(super) fn lookup(measured: &Sample) -> Vec<Check> {
    checks("lookup", measured, &LOOKUP, LOOKUP_FACTOR)
}

pub(super) fn provide(measured: &Sample) -> Vec<Check> {
    checks("provide", measured, &PROVIDE, PROVIDE_FACTOR)
}

fn checks(what: &str, measured: &Sample, published: &[(u32, (f64, f64))], factor: f64) -> Vec<Check> {
    let check = |(percent, range): &(u32, (f64, f64))| {
        let value =
            measured.estimate(Statistic::Percentile(*percent)).map_or(f64::NAN, |estimate| estimate.value);
        Check::new(format!("go, {what}, p{percent}"), value, *range, factor)
    };
    published.iter().map(check).collect()
}
