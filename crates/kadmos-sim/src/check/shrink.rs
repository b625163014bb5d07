//! Makes a failing case smaller as long as it fails in the same way.

use std::time::{Duration, Instant};

use super::case::Case;
use super::{CheckReport, FailureKind, check_case};
use crate::model::Model;

/// The smallest case found within `time` that fails as `report`'s does, and what it came to. `tried` hears of each case
/// that was run.
///
/// Greedy: takes away faults, the larger half first, then nodes, traits of the network, load and time, and begins again
/// until nothing can be taken away.
pub fn shrink(report: &CheckReport, time: Duration, tried: &mut dyn FnMut(&CheckReport)) -> CheckReport {
    let mut smallest = report.clone();
    let Some(kind) = report.failure else { return smallest };
    let until = Instant::now() + time;
    loop {
        let mut smaller = false;
        let mut step = 0;
        // Candidates are made anew from each smaller case; `step` goes on, so that none is tried twice in a round.
        while let Some(case) = candidates(&smallest.case).nth(step) {
            if Instant::now() >= until {
                return smallest;
            }
            let got = check_case(&case);
            tried(&got);
            if fails_alike(&got, kind, report) {
                smallest = got;
                smaller = true;
            } else {
                step += 1;
            }
        }
        if !smaller {
            return smallest;
        }
    }
}

/// Whether a failure is the one that is being made smaller: of the same kind, and of the same sort of violation.
fn fails_alike(got: &CheckReport, kind: FailureKind, like: &CheckReport) -> bool {
    let sorts = |report: &CheckReport| {
        report.violations.iter().map(|violation| std::mem::discriminant(&violation.what)).collect::<Vec<_>>()
    };
    let wanted = sorts(like);
    got.failure == Some(kind) && (wanted.is_empty() || sorts(got).iter().any(|sort| wanted.contains(sort)))
}

/// Cases that are a little smaller than `case`, the boldest first.
fn candidates(case: &Case) -> impl Iterator<Item = Case> + use<> {
    let mut smaller = Vec::new();
    let mut push = |change: &dyn Fn(&mut Case)| {
        let mut candidate = case.clone();
        change(&mut candidate);
        if candidate != *case {
            smaller.push(candidate);
        }
    };
    push(&|case| case.faults.clear());
    push(&|case| case.churn = false);
    push(&|case| case.model = Model { sessions: case.model.sessions, ..Model::calm() });
    let faults = case.faults.len();
    let mut piece = faults / 2;
    while piece >= 1 {
        for from in (0..faults).step_by(piece) {
            push(&|case| {
                case.faults.drain(from..(from + piece).min(faults));
            });
        }
        piece /= 2;
    }
    for nodes in [case.nodes / 2, case.nodes * 3 / 4, case.nodes.saturating_sub(1)] {
        push(&|case| case.nodes = nodes.max(NODES_MIN).min(case.nodes));
    }
    push(&|case| case.clients = 0);
    push(&|case| case.bootstrap = 1);
    push(&|case| case.k = 20);
    push(&|case| case.wire = false);
    push(&|case| case.records = 0);
    push(&|case| case.records = case.records.min(1));
    push(&|case| case.operation_every_ms = 0);
    // Half as many operations, until there are one or two.
    if case.operation_every_ms < case.fault_secs.saturating_mul(500) {
        push(&|case| case.operation_every_ms *= 2);
    }
    push(&|case| case.fault_secs = (case.fault_secs / 2).max(last_fault_secs(case)).min(case.fault_secs));
    let calm = Model::calm();
    push(&|case| case.model.round_trip_percent = calm.round_trip_percent);
    push(&|case| case.model.tcp_per_mille = 0);
    push(&|case| {
        (case.model.stopped_dials, case.model.unknown_dials) = (calm.stopped_dials, calm.unknown_dials);
    });
    push(&|case| case.model.undialable_per_mille = 0);
    push(&|case| case.model.slow_per_mille = 0);
    push(&|case| case.model.mute_per_mille = 0);
    push(&|case| case.model.loss_per_mille = 0);
    push(&|case| case.model.hosts_per_group = 1);
    push(&|case| case.model.connections_max = None);
    if !case.churn {
        push(&|case| case.model.sessions = None);
    }
    smaller.into_iter()
}

/// Fewer servers are no network.
const NODES_MIN: u32 = 4;

/// Shorter, and later faults would not happen.
fn last_fault_secs(case: &Case) -> u32 {
    case.faults.iter().map(|timed| timed.at_ms / 1_000 + 1).max().unwrap_or(1)
}
