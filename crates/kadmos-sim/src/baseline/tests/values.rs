//! Values, put and got.

use std::sync::Arc;

use kadmos_core::error::{GetValueError, PutValueError};
use kadmos_core::operation::FoundValue;

use super::*;
use crate::records;

const BOTH: [Baseline; 2] = [Baseline::Go, Baseline::RustLibp2p];

fn bench(baseline: Baseline) -> Bench {
    let mut bench = Bench::new(baseline, 200, 60);
    bench.client.set_validators(Arc::new(records::validators()));
    bench
}

fn get(bench: &mut Bench, key: &Bytes, quorum: Option<usize>) -> Result<FoundValue, GetValueError> {
    match bench.perform(Operation::GetValue { key: key.clone(), quorum }).0 {
        Outcome::GetValue(result) => result,
        other => panic!("{other:?}"),
    }
}

/// As [`get`], of `version` on the `holders` closest, in a bench of its own.
fn get_from(
    baseline: Baseline,
    holders: usize,
    quorum: Option<usize>,
) -> (Bench, Result<FoundValue, GetValueError>) {
    let (mut bench, key) = (bench(baseline), records::key(b"v"));
    for info in bench.closest(&key, holders) {
        bench.values.insert(info.peer.id, records::value(&key, 1));
    }
    let found = get(&mut bench, &key, quorum);
    (bench, found)
}

#[test]
fn a_value_is_put_on_the_twenty_closest_and_got_back() {
    for baseline in BOTH {
        let (mut bench, key) = (bench(baseline), records::key(b"v"));
        let value = records::value(&key, 1);
        let (outcome, ..) = bench.perform(Operation::PutValue { key: key.clone(), value: value.clone() });
        let Outcome::PutValue(Ok(report)) = outcome else { panic!("{baseline}: {outcome:?}") };
        assert_eq!((report.attempted, report.stored), (20, 20), "{baseline}");
        assert!(
            bench.closest(&key, 20).iter().all(|info| bench.values.contains_key(&info.peer.id)),
            "{baseline}"
        );
        let found = get(&mut bench, &key, None).expect("it was put");
        assert_eq!(found.best.value, value, "{baseline}");
        assert_eq!(found.corrected, 0, "{baseline}");
        let is_counted = if baseline == Baseline::Go { found.answers >= 20 } else { found.answers == 20 };
        assert!(is_counted, "{baseline}: {}", found.answers);
    }
}

#[test]
fn go_stops_one_answer_after_its_quorum_and_rust_at_it() {
    for (baseline, quorum, answers) in
        [(Baseline::Go, 3, 4), (Baseline::RustLibp2p, 3, 3), (Baseline::Go, 1, 2)]
    {
        let (_, found) = get_from(baseline, 20, Some(quorum));
        assert_eq!(found.expect("20 have it").answers, answers, "{baseline}");
    }
    // The own store's counts.
    let (mut bench, key) = (bench(Baseline::Go), records::key(b"v"));
    let record = Record { key: key.clone(), value: records::value(&key, 1) };
    let (received, expires) = (UnixTime::from_secs(0), UnixTime::from_secs(9));
    bench.own = Some(StoredValue { record, received, expires, version: 1 });
    bench.values.insert(bench.closest(&key, 1)[0].peer.id, records::value(&key, 1));
    assert_eq!(get(&mut bench, &key, Some(1)).expect("it is here").answers, 2);
}

#[test]
fn the_better_value_wins_and_go_corrects_the_others_unless_its_quorum_ended_the_walk() {
    for (baseline, quorum, corrected) in
        [(Baseline::Go, None, true), (Baseline::Go, Some(16), false), (Baseline::RustLibp2p, None, false)]
    {
        let (mut bench, key) = (bench(baseline), records::key(b"v"));
        let closest = bench.closest(&key, 20);
        for (index, info) in closest.iter().enumerate() {
            bench.values.insert(info.peer.id, records::value(&key, if index < 18 { 2 } else { 1 }));
        }
        let found = get(&mut bench, &key, quorum).expect("all have one");
        assert_eq!(found.best.value, records::value(&key, 2), "{baseline}");
        bench.run(bench.now + Duration::from_secs(5));
        let new = closest.iter().filter(|info| bench.values[&info.peer.id] == found.best.value).count();
        assert_eq!(new == 20, corrected, "{baseline}: {new}");
    }
}

#[test]
fn invalid_values_are_not_put_nor_believed_and_older_ones_not_put_over_newer() {
    for baseline in BOTH {
        let (mut bench, key) = (bench(baseline), records::key(b"v"));
        let bad = Bytes::from_static(b"nonsense");
        let (outcome, ..) = bench.perform(Operation::PutValue { key: key.clone(), value: bad.clone() });
        assert!(matches!(outcome, Outcome::PutValue(Err(PutValueError::Invalid { .. }))), "{outcome:?}");
        assert!(bench.sends.is_empty());
        for info in bench.closest(&key, 20) {
            bench.values.insert(info.peer.id, bad.clone());
        }
        let found = get(&mut bench, &key, None);
        assert!(matches!(found, Err(GetValueError::NotFound { answered }) if answered >= 20), "{found:?}");

        let record = Record { key: key.clone(), value: records::value(&key, 7) };
        let (received, expires) = (UnixTime::from_secs(0), UnixTime::from_secs(9));
        bench.own = Some(StoredValue { record, received, expires, version: 1 });
        let (outcome, ..) =
            bench.perform(Operation::PutValue { key: key.clone(), value: records::value(&key, 6) });
        assert!(matches!(outcome, Outcome::PutValue(Err(PutValueError::Outdated))), "{outcome:?}");
        assert_eq!((bench.client.running_requests(), bench.client.running_operations()), (0, 0));
    }
}
