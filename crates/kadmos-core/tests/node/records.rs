//! Values and provider records of one node against scripted peers.

use std::time::Duration;

use crate::rig::{Rig, Sent, nearest, peer, private, record};
use bytes::Bytes;
use kadmos_core::error::{GetValueError, OperationError, ProvideError, PutValueError, RequestFailure};
use kadmos_core::message::{Record, Request, Response};
use kadmos_core::operation::{FoundValue, OperationOptions};
use kadmos_core::record::{InvalidRecord, StoreReply, StoreRequest, StoredValue, ValueFrom};
use kadmos_core::{AddrList, Config, Input, Operation, OperationId, Outcome, RetryPolicy, UnixTime, Update};

const KEY: &[u8] = b"/v/key";

fn get(rig: &mut Rig, quorum: usize) -> OperationId {
    rig.start(Operation::GetValue { key: Bytes::from_static(KEY), quorum: Some(quorum) })
}

fn put(rig: &mut Rig, value: &'static [u8]) -> OperationId {
    rig.start(Operation::PutValue { key: Bytes::from_static(KEY), value: Bytes::from_static(value) })
}

fn value_answer(value: Option<&'static [u8]>) -> Response {
    Response::GetValue { record: value.map(|value| record(KEY, value)), received: None, closer: vec![] }
}

fn stored(value: &'static [u8], version: u64) -> StoredValue {
    let now = UnixTime::from_secs(1_800_000_000);
    StoredValue { record: record(KEY, value), received: now, expires: now + Duration::from_secs(60), version }
}

fn found(outcome: Outcome) -> FoundValue {
    match outcome {
        Outcome::GetValue(Ok(found)) => found,
        other => panic!("{other:?}"),
    }
}

fn puts(rig: &mut Rig) -> Vec<Sent> {
    rig.sent.drain(..).filter(|sent| matches!(sent.message, Request::PutValue { .. })).collect()
}

#[test]
fn the_quorum_is_exact_and_counts_the_own_copy() {
    let mut rig = Rig::with_peers(private(), 40);
    let id = get(&mut rig, 3);
    rig.store_reply(StoreReply::Value(Some(stored(b"1", 9))));
    for _ in 0..2 {
        assert_eq!(rig.outcome(id), None);
        let sent = rig.sent.pop_front().expect("a request");
        rig.answer(&sent, value_answer(Some(b"1")));
    }
    let found = found(rig.ended(id));
    assert_eq!((found.answers, found.corrected), (3, 0));
    assert_eq!(found.best, ValueFrom { value: Bytes::from_static(b"1"), peer: None });
}

#[test]
fn stale_holders_are_corrected_also_when_the_quorum_ends_early() {
    let mut rig = Rig::with_peers(private(), 40);
    let id = get(&mut rig, 3);
    rig.store_reply(StoreReply::Value(Some(stored(b"1", 9))));
    let stale = rig.sent.pop_front().expect("a request");
    rig.answer(&stale, value_answer(Some(b"2")));
    let fresh = rig.sent.pop_front().expect("a request");
    rig.answer(&fresh, value_answer(Some(b"5")));
    let found = found(rig.ended(id));
    assert_eq!((found.best.value.as_ref(), found.answers, found.corrected), (&b"5"[..], 3, 1));
    let improvements: Vec<_> = rig
        .updates
        .iter()
        .filter_map(|(_, update)| match update {
            Update::Value(from) => Some(from.value.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(improvements, [&b"1"[..], b"2", b"5"]);
    // Our own copy is corrected against the version that was read.
    let (_, StoreRequest::PutValue(write)) = rig.stores.pop_front().expect("a correction") else { panic!() };
    assert_eq!((write.record, write.expected), (record(KEY, b"5"), Some(9)));
    let corrections: Vec<_> = puts(&mut rig).into_iter().map(|sent| (sent.to.peer, sent.message)).collect();
    assert_eq!(corrections, [(stale.to.peer, Request::PutValue { record: record(KEY, b"5") })]);
}

#[test]
fn a_full_walk_corrects_the_closest_that_have_none() {
    let mut rig = Rig::with_peers(private(), 20);
    let id = get(&mut rig, 0);
    rig.store_reply(StoreReply::Value(None));
    let holder = nearest(20, KEY, 1).remove(0);
    while rig.outcome(id).is_none() {
        let sent = rig.sent.pop_front().expect("a request");
        let value: Option<&[u8]> = if sent.to == holder { Some(b"3") } else { None };
        rig.answer(&sent, value_answer(value));
    }
    let found = found(rig.ended(id));
    assert_eq!((found.answers, found.corrected), (1, 19));
    assert_eq!(found.best.peer, Some(holder.peer));
    assert_eq!(puts(&mut rig).len(), 19);
}

#[test]
fn invalid_and_foreign_records_count_for_nothing() {
    let mut rig = Rig::with_peers(private(), 3);
    let id = get(&mut rig, 0);
    rig.store_reply(StoreReply::Value(Some(stored(b"x-expired", 1))));
    let bad = [value_answer(Some(b"xyz")), value_answer(None), {
        let foreign = Record { key: Bytes::from_static(b"/v/other"), value: Bytes::from_static(b"9") };
        Response::GetValue { record: Some(foreign), received: None, closer: vec![] }
    }];
    for response in bad {
        let sent = rig.sent.pop_front().expect("a request");
        rig.answer(&sent, response);
    }
    assert_eq!(rig.ended(id), Outcome::GetValue(Err(GetValueError::NotFound { answered: 3 })));
    assert!(puts(&mut rig).is_empty());
}

#[test]
fn a_key_without_rules_is_refused_by_name() {
    let mut rig = Rig::with_peers(private(), 3);
    let id = rig.start(Operation::GetValue { key: Bytes::from_static(b"/nope/1"), quorum: None });
    let Outcome::GetValue(Err(error)) = rig.ended(id) else { panic!() };
    assert!(error.to_string().contains("nope"), "{error}");
    let id = rig.start(Operation::PutValue { key: Bytes::from_static(b"nope"), value: Bytes::new() });
    let invalid = InvalidRecord::NoNamespace;
    assert_eq!(rig.ended(id), Outcome::PutValue(Err(PutValueError::Invalid { invalid })));
    assert!(rig.sent.is_empty() && rig.stores.is_empty());
}

#[test]
fn a_value_found_before_the_deadline_is_returned() {
    let mut rig = Rig::with_peers(private(), 40);
    let id = get(&mut rig, 16);
    rig.store_reply(StoreReply::Value(None));
    let sent = rig.sent.pop_front().expect("a request");
    rig.answer(&sent, value_answer(Some(b"4")));
    rig.advance(Duration::from_secs(60));
    assert_eq!(found(rig.ended(id)).answers, 1);
    let id = get(&mut rig, 16);
    rig.store_reply(StoreReply::Value(None));
    rig.advance(Duration::from_secs(60));
    assert_eq!(rig.ended(id), Outcome::GetValue(Err(OperationError::TimedOut.into())));
}

/// Starts a put and answers its walk; the PUT_VALUE requests are then waiting.
fn put_until_spread(rig: &mut Rig, universe: u32) -> (OperationId, Vec<Sent>) {
    let id = put(rig, b"5");
    rig.store_reply(StoreReply::Value(None));
    rig.store_reply(StoreReply::Written);
    loop {
        let sent = rig.sent.pop_front().expect("a request");
        if let Request::FindNode { key } = &sent.message {
            let closer = nearest(universe, key, 20);
            rig.answer(&sent, Response::FindNode { closer });
        } else {
            rig.sent.push_front(sent);
            return (id, puts(rig));
        }
    }
}

#[test]
fn a_put_reaches_the_k_closest_and_counts_echoes() {
    let mut rig = Rig::with_peers(private(), 40);
    let (id, sent) = put_until_spread(&mut rig, 400);
    let holders: Vec<_> = sent.iter().map(|sent| sent.to.clone()).collect();
    assert_eq!(holders, nearest(400, KEY, 20));
    let echo = |value| Response::PutValue { record: Some(record(KEY, value)) };
    rig.answer(&sent[0], Response::PutValue { record: None });
    rig.answer(&sent[1], echo(b"6"));
    for put in &sent[2..] {
        rig.answer(put, echo(b"5"));
    }
    let Outcome::PutValue(Ok(report)) = rig.ended(id) else { panic!() };
    assert_eq!((report.attempted, report.sent, report.stored), (20, 19, 18));
    assert_eq!(report.holders, holders[2..].iter().map(|info| info.peer.clone()).collect::<Vec<_>>());
    assert_eq!(report.failed, [(holders[1].peer.clone(), RequestFailure::Malformed)]);
}

#[test]
fn a_put_that_nobody_stored_is_an_error() {
    let mut rig = Rig::with_peers(private(), 40);
    let (id, sent) = put_until_spread(&mut rig, 40);
    for put in &sent {
        rig.answer(put, Response::PutValue { record: None });
    }
    let Outcome::PutValue(Err(error)) = rig.ended(id) else { panic!() };
    assert_eq!(error, PutValueError::NotStored { attempted: 20, failed: vec![] });
}

#[test]
fn a_put_never_replaces_a_better_value() {
    let mut rig = Rig::with_peers(private(), 40);
    let id = put(&mut rig, b"5");
    rig.store_reply(StoreReply::Value(Some(stored(b"7", 3))));
    assert_eq!(rig.ended(id), Outcome::PutValue(Err(PutValueError::Outdated)));
    // A faster writer makes us compare again.
    let id = put(&mut rig, b"5");
    rig.store_reply(StoreReply::Value(Some(stored(b"4", 3))));
    let (_, StoreRequest::PutValue(write)) = &rig.stores[0] else { panic!() };
    assert_eq!(write.expected, Some(3));
    rig.store_reply(StoreReply::Conflict);
    rig.store_reply(StoreReply::Value(Some(stored(b"6", 4))));
    assert_eq!(rig.ended(id), Outcome::PutValue(Err(PutValueError::Outdated)));
    assert!(rig.sent.is_empty());
}

#[test]
fn a_store_that_fails_is_reported_and_keeps_nobody_from_publishing() {
    let mut rig = Rig::with_peers(private(), 40);
    let id = put(&mut rig, b"5");
    rig.store_reply(StoreReply::Value(None));
    rig.store_reply(StoreReply::Failed { reason: "full".into() });
    rig.answer_all(40);
    let Outcome::PutValue(Ok(report)) = rig.ended(id) else { panic!("{:?}", rig.ended(id)) };
    assert_eq!((report.stored, report.local_failure.as_deref()), (20, Some("full")));
    let id = rig.start(Operation::Provide { key: Bytes::from_static(b"multihash") });
    rig.store_reply(StoreReply::Failed { reason: "full".into() });
    rig.answer_all(40);
    let Outcome::Provide(Ok(report)) = rig.ended(id) else { panic!() };
    assert_eq!((report.sent, report.local_failure.as_deref()), (20, Some("full")));
}

#[test]
fn invented_peers_that_never_answer_do_not_keep_a_record_from_those_who_did() {
    let mut rig = Rig::with_peers(private(), 10);
    let key = Bytes::from_static(b"multihash");
    let id = rig.start(Operation::Provide { key: key.clone() });
    rig.store_reply(StoreReply::Written);
    // Forty nearer than all who are real, and nobody answers there.
    let invented = nearest(40_000, &key, 40);
    let honest = rig.sent.pop_front().expect("a request");
    rig.answer(&honest, Response::FindNode { closer: invented.clone() });
    rig.advance(Duration::from_secs(54));
    let announced: Vec<_> = rig
        .sent
        .iter()
        .filter(|sent| matches!(sent.message, Request::AddProvider { .. }))
        .map(|sent| sent.to.peer.clone())
        .collect();
    assert_eq!(announced, [honest.to.peer]);
    rig.advance(Duration::from_secs(6));
    assert!(matches!(rig.ended(id), Outcome::Provide(Err(ProvideError::NotSent { attempted: 1, .. }))));
}

#[test]
fn only_network_failures_are_retried_and_the_delays_are_exact() {
    let retry = RetryPolicy { attempts: 3, jitter_percent: 0, ..RetryPolicy::default() };
    let mut rig = Rig::with_peers(Config { retry, ..private() }, 40);
    let (id, sent) = put_until_spread(&mut rig, 40);
    rig.fail(&sent[0], RequestFailure::TimedOut);
    for put in &sent[1..] {
        rig.fail(put, RequestFailure::Malformed);
    }
    rig.advance(Duration::from_millis(499));
    assert!(rig.sent.is_empty(), "not yet, and protocol errors never");
    rig.advance(Duration::from_millis(1));
    let again = rig.sent.pop_front().expect("the second try after 500 ms");
    assert_eq!((again.to.clone(), rig.sent.len()), (sent[0].to.clone(), 0));
    rig.fail(&again, RequestFailure::Closed);
    rig.advance(Duration::from_millis(999));
    // The holder has left the table, and who waited for its place is asked.
    rig.sent.retain(|sent| matches!(sent.message, Request::PutValue { .. }));
    assert!(rig.sent.is_empty());
    rig.advance(Duration::from_millis(1));
    let last = rig.sent.pop_front().expect("the third try after another second");
    rig.fail(&last, RequestFailure::TimedOut);
    let Outcome::PutValue(Err(PutValueError::NotStored { attempted, failed })) = rig.ended(id) else {
        panic!()
    };
    assert_eq!((attempted, failed.len()), (20, 20));
    assert_eq!(failed[0], (sent[0].to.peer.clone(), RequestFailure::TimedOut));
}

#[test]
fn cancelling_stops_retries() {
    let mut rig = Rig::with_peers(private(), 40);
    let (id, sent) = put_until_spread(&mut rig, 40);
    rig.fail(&sent[0], RequestFailure::TimedOut);
    rig.input(Input::Cancel(id));
    rig.advance(Duration::from_secs(5));
    assert!(rig.sent.is_empty());
}

#[test]
fn the_last_tenth_of_the_time_is_for_sending() {
    let mut rig = Rig::with_peers(private(), 40);
    let options = OperationOptions { deadline: Some(Duration::from_secs(10)), alpha: None };
    let key = Bytes::from_static(b"multihash");
    let id = rig.start_with(Operation::Provide { key: key.clone() }, options);
    rig.store_reply(StoreReply::Written);
    let first = rig.sent.pop_front().expect("a request");
    rig.answer(&first, Response::FindNode { closer: vec![] });
    rig.sent.clear();
    rig.advance(Duration::from_millis(8_999));
    assert!(rig.sent.is_empty());
    rig.advance(Duration::from_millis(1));
    let sent = rig.sent.pop_front().expect("whoever has answered gets the record");
    assert!(matches!(sent.message, Request::AddProvider { .. }));
    rig.input(Input::Flushed(sent.id));
    assert!(matches!(rig.ended(id), Outcome::Provide(Ok(report)) if report.sent == 1));
}

#[test]
fn a_provide_names_ourselves_with_our_addresses_to_the_k_closest() {
    let mut rig = Rig::with_peers(private(), 40);
    let key = Bytes::from_static(b"multihash");
    let id = rig.start(Operation::Provide { key: key.clone() });
    let (_, StoreRequest::AddProvider(own)) = rig.stores[0].clone() else { panic!() };
    assert_eq!((own.provider, own.received), (peer(u32::MAX), rig.now.unix));
    rig.store_reply(StoreReply::Written);
    let announced: Vec<_> = rig
        .answer_all(400)
        .into_iter()
        .filter_map(|sent| match sent.message {
            Request::AddProvider { key, providers } => Some((sent.to, key, providers)),
            _ => None,
        })
        .collect();
    let expected: Vec<_> =
        nearest(400, &key, 20).into_iter().map(|to| (to, key.clone(), vec![peer(u32::MAX)])).collect();
    assert_eq!(announced, expected);
    let Outcome::Provide(Ok(report)) = rig.ended(id) else { panic!() };
    assert_eq!((report.attempted, report.sent, report.stored), (20, 20, 0), "nobody proved that it stored");
}

#[test]
fn a_node_without_addresses_cannot_provide() {
    let mut rig = Rig::with_peers(private(), 40);
    rig.input(Input::SetAddrs(AddrList::EMPTY));
    let id = rig.start(Operation::Provide { key: Bytes::from_static(b"multihash") });
    assert_eq!(rig.ended(id), Outcome::Provide(Err(ProvideError::NoAddresses)));
}

#[test]
fn a_provide_that_reaches_nobody_says_why() {
    let retry = RetryPolicy::NEVER;
    let mut rig = Rig::with_peers(Config { retry, ..private() }, 1);
    let id = rig.start(Operation::Provide { key: Bytes::from_static(b"multihash") });
    rig.store_reply(StoreReply::Written);
    let walk = rig.sent.pop_front().expect("a request");
    rig.answer(&walk, Response::FindNode { closer: vec![] });
    let add = rig.sent.pop_front().expect("an announcement");
    rig.fail(&add, RequestFailure::Closed);
    let failed = vec![(add.to.peer.clone(), RequestFailure::Closed)];
    assert_eq!(rig.ended(id), Outcome::Provide(Err(ProvideError::NotSent { attempted: 1, failed })));
}
