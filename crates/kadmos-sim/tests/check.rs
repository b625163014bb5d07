//! The checkers find what they are for: each planted bug is caught, as what it is, and made smaller. And cases that
//! failed once are run again.

use std::path::Path;
use std::time::Duration;

use kadmos_sim::check::{Case, CheckReport, FailureKind, Saved, check, check_case, shrink};
use kadmos_sim::checkers::Broken;
use kadmos_sim::model::Model;
use kadmos_sim::plant::Plant;

/// A case in which every planted bug has something to do, and without it nothing fails.
fn case(plant: Option<Plant>) -> Case {
    let drawn = Case::draw(1);
    Case {
        nodes: 24,
        clients: 0,
        bootstrap: 2,
        k: 6,
        wire: false,
        model: Model { mute_per_mille: 100, ..Model::calm() },
        records: 2,
        fault_secs: 60,
        operation_every_ms: 1_000,
        faults: serde_json::from_str(
            r#"[{"at_ms": 5000, "fault": {"fault": "restart", "node": 9, "keep": "records"}},
                {"at_ms": 30000, "fault": {"fault": "restart", "node": 9, "keep": "nothing"}}]"#,
        )
        .expect("two faults"),
        churn: false,
        plant,
        ..drawn
    }
}

fn sees(report: &CheckReport, is: impl Fn(&Broken) -> bool) -> bool {
    report.violations.iter().any(|violation| is(&violation.what))
}

/// Goal: no false alarm. Method: the case that all the others start from.
#[test]
#[cfg_attr(feature = "canary-random-map", ignore = "the canary breaks it, as it should")]
fn check_nothing_planted_passes() {
    let report = check_case(&case(None));
    assert!(report.passed(), "{report}");
    assert!(report.figures.operations.whole >= 50, "{report}");
    assert_eq!(report.figures.records_alive.part, 4, "{report}");
}

/// Goal: a server that forgets what it took is found. Method: servers drop provider records.
#[test]
#[cfg_attr(feature = "canary-random-map", ignore = "the canary breaks it, as it should")]
fn check_lost_record_is_caught() {
    let report = check_case(&case(Some(Plant::LostRecord)));
    assert_eq!(report.failure, Some(FailureKind::Wrong), "{report}");
    assert!(sees(&report, |what| matches!(what, Broken::RecordLost { .. })), "{report}");
}

/// Goal: a request that never ends is found. Method: one in four has no time-out; mute servers do the rest.
#[test]
#[cfg_attr(feature = "canary-random-map", ignore = "the canary breaks it, as it should")]
fn check_stuck_request_is_caught() {
    let report = check_case(&case(Some(Plant::StuckRequest)));
    assert_eq!(report.failure, Some(FailureKind::Stuck), "{report}");
    assert!(sees(&report, |what| matches!(what, Broken::RequestNeverEnded { .. })), "{report}");
}

/// Goal: a bucket that is too large is found. Method: tables take three times as many.
#[test]
#[cfg_attr(feature = "canary-random-map", ignore = "the canary breaks it, as it should")]
fn check_broken_bound_is_caught() {
    let report = check_case(&Case { k: 3, ..case(Some(Plant::BrokenBound)) });
    assert_eq!(report.failure, Some(FailureKind::Wrong), "{report}");
    assert!(
        sees(&report, |what| matches!(what, Broken::BucketTooLarge { peers: 7.., max: 6, .. })),
        "{report}"
    );
}

/// Goal: a run that does not repeat itself is found. Method: latencies hang on a random hash.
#[test]
fn check_nondeterminism_is_caught() {
    let report = check_case(&case(Some(Plant::NonDeterminism)));
    assert_eq!(report.failure, Some(FailureKind::Nondeterministic), "{report}");
    assert_eq!(report.trace_hashes.len(), 2);
}

/// Goal: a panic is a result, not the end. Method: a node panics when it is stopped again.
#[test]
#[cfg_attr(feature = "canary-random-map", ignore = "the canary breaks it, as it should")]
fn check_crash_is_caught() {
    let report = check_case(&case(Some(Plant::Crash)));
    assert_eq!(report.failure, Some(FailureKind::Crash), "{report}");
    assert_eq!(report.panic.as_deref(), Some("planted: stopped again"));
}

/// Goal: what is left after shrinking is what matters. Method: of many faults only the second restart of one node
/// makes the planted crash.
#[test]
#[cfg_attr(feature = "canary-random-map", ignore = "the canary breaks it, as it should")]
fn shrink_keeps_only_what_fails() {
    let mut planted = case(Some(Plant::Crash));
    let more = r#"[{"at_ms": 1000, "fault": {"fault": "mute", "node": 3}},
        {"at_ms": 40000, "fault": {"fault": "loss", "per_mille": 20}}]"#;
    planted.faults.extend(serde_json::from_str::<Vec<_>>(more).expect("two faults"));
    planted.faults.sort_by_key(|timed| timed.at_ms);
    let report = check_case(&planted);
    let mut tried = 0;
    let small = shrink(&report, Duration::from_secs(120), &mut |_| tried += 1);
    assert_eq!(small.failure, Some(FailureKind::Crash));
    assert_eq!(small.case.faults.len(), 2, "{small}");
    assert!(small.case.faults.iter().all(|timed| timed.fault.label() == "restart"), "{small}");
    assert!(small.case.nodes < 24 && small.case.records == 0, "{small}");
    assert!(tried > 5);
}

/// Goal: a seed is a case, and reports travel. Method: check one, and read its report and its saved case back.
#[test]
#[cfg_attr(feature = "canary-random-map", ignore = "the canary breaks it, as it should")]
fn check_seed_reports_and_saves() {
    let report = check(1);
    assert!(report.passed(), "{report}");
    assert_eq!(report.case, Case::draw(1));
    let text = serde_json::to_string(&report).expect("plain data");
    assert_eq!(serde_json::from_str::<CheckReport>(&text).expect("as written"), report);

    let folder = tempfile::tempdir().expect("a folder");
    let saved = Saved::of(&report);
    let path = saved.write(folder.path()).expect("room");
    assert_eq!(path.file_name().and_then(|name| name.to_str()), Some("1-passed.json"));
    assert_eq!(Saved::read_all(folder.path()).expect("readable"), [(path, saved)]);
}

/// Goal: what failed once fails no more, and what is known to fail still does. Method: run every case of
/// `corpus/sim`.
#[test]
#[cfg_attr(feature = "canary-random-map", ignore = "the canary breaks it, as it should")]
fn corpus_replays_as_noted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/sim");
    let all = Saved::read_all(&folder).expect("the corpus");
    assert!(!all.is_empty());
    for (path, saved) in all {
        let report = saved.replay();
        assert_eq!(report.failure, saved.fails, "{}: {}\n{report}", path.display(), saved.note);
    }
}
