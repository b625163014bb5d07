//! Provider records.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use kadmos_core::record::Read;

use super::{DAY, Fresh, HOUR, START, add, after, claim, peer, provider, provider_ids, providers};
use crate::error::WriteError;
use crate::memory::MemoryLimits;

pub(super) async fn provider_added_is_read_back(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    assert!(providers(&*store, b"one", START).await.is_empty());
    let mut late = claim(b"three", provider(3, 1));
    late.expires = START;
    let batch = vec![
        claim(b"one", provider(1, 1)),
        late,
        claim(b"one", provider(2, 1)),
        claim(b"two", provider(1, 1)),
    ];
    let results = store.add_providers(batch, START).await;
    assert_eq!(results, [Ok(()), Err(WriteError::Expired), Ok(()), Ok(())]);

    let mut found = providers(&*store, b"one", START).await;
    found.sort_by_key(|found| found.peer.id);
    assert_eq!(found, [provider(1, 1), provider(2, 1)]);
    assert_eq!(providers(&*store, b"two", START).await, [provider(1, 1)]);
    assert!(providers(&*store, b"three", START).await.is_empty());
    assert!(store.add_providers(Vec::new(), START).await.is_empty());
}

pub(super) async fn provider_announced_again_replaces_itself(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    for round in 0..5 {
        let mut renewed = claim(b"one", provider(1, 1));
        renewed.received = after(round * 22 * HOUR);
        renewed.expires = after(round * 22 * HOUR + 2 * DAY);
        renewed.addrs_expire = after(round * 22 * HOUR + DAY);
        let now = renewed.received;
        add(&*store, renewed, now).await.unwrap();
        assert_eq!(providers(&*store, b"one", now).await, [provider(1, 1)]);
    }
    let last = 4 * 22 * HOUR + 2 * DAY;
    assert_eq!(providers(&*store, b"one", after(last - 1)).await.len(), 1);
    assert!(providers(&*store, b"one", after(last)).await.is_empty());
}

pub(super) async fn provider_latest_addresses_serve_every_key(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    add(&*store, claim(b"one", provider(1, 1)), START).await.unwrap();
    let mut moved = claim(b"two", provider(1, 9));
    moved.addrs_expire = after(DAY + 60);
    add(&*store, moved, after(60)).await.unwrap();
    assert_eq!(providers(&*store, b"two", after(60)).await, [provider(1, 9)]);
    // A store that keeps addresses with each record may still give the old ones for the other key.
    let one = providers(&*store, b"one", after(60)).await;
    assert!(one == [provider(1, 9)] || one == [provider(1, 1)], "{one:?}");
}

pub(super) async fn provider_addresses_expire_before_the_claim(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    add(&*store, claim(b"one", provider(1, 1)), START).await.unwrap();
    assert_eq!(providers(&*store, b"one", after(DAY - 1)).await, [provider(1, 1)]);
    for now in [DAY, 2 * DAY - 1] {
        let found = providers(&*store, b"one", after(now)).await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].peer, peer(1));
        assert!(found[0].addrs.is_empty(), "addresses are given after they expired");
    }
    let mut renewed = claim(b"one", provider(1, 2));
    (renewed.received, renewed.expires, renewed.addrs_expire) =
        (after(2 * DAY - 1), after(4 * DAY), after(3 * DAY));
    add(&*store, renewed, after(2 * DAY - 1)).await.unwrap();
    assert_eq!(providers(&*store, b"one", after(2 * DAY)).await, [provider(1, 2)]);
}

pub(super) async fn provider_count_bounds_the_answer(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    for number in 0..10 {
        add(&*store, claim(b"one", provider(number, 1)), START).await.unwrap();
    }
    for (count, expected) in [(0, 0), (1, 1), (9, 9), (10, 10), (11, 10), (usize::MAX, 10)] {
        let found = store.providers(b"one", count, START).await.unwrap();
        let distinct: BTreeSet<_> = found.iter().map(|found| found.peer.id).collect();
        assert_eq!((found.len(), distinct.len()), (expected, expected), "count {count}");
    }
}

/// Ten providers, complete answers: each is first within a few rounds, also when another key is asked for in turn.
pub(super) async fn provider_order_lets_none_stay_first(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    for number in 0..10 {
        add(&*store, claim(b"one", provider(number, 1)), START).await.unwrap();
        add(&*store, claim(b"two", provider(number, 1)), START).await.unwrap();
    }
    let mut first = BTreeSet::new();
    for _ in 0..100 {
        first.insert(providers(&*store, b"one", START).await[0].peer.id);
        providers(&*store, b"two", START).await;
    }
    assert_eq!(first.len(), 10, "each of ten providers is first in 100 answers");
}

/// Answers of three out of ten: everybody is in one of them before long.
pub(super) async fn provider_partial_answers_reach_everyone(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    for number in 0..10 {
        add(&*store, claim(b"one", provider(number, 1)), START).await.unwrap();
    }
    let mut given = BTreeSet::new();
    for _ in 0..40 {
        given.extend(store.providers(b"one", 3, START).await.unwrap().iter().map(|found| found.peer.id));
    }
    assert_eq!(given.len(), 10);
}

pub(super) async fn provider_removal_leaves_the_others(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    for number in 0..3 {
        add(&*store, claim(b"one", provider(number, 1)), START).await.unwrap();
        add(&*store, claim(b"two", provider(number, 1)), START).await.unwrap();
    }
    assert!(store.remove_provider(b"one", &peer(1).id).await.unwrap());
    assert!(!store.remove_provider(b"one", &peer(1).id).await.unwrap());
    assert!(!store.remove_provider(b"one", &peer(9).id).await.unwrap());
    assert!(!store.remove_provider(b"none", &peer(1).id).await.unwrap());
    assert_eq!(provider_ids(&*store, b"one", START).await, [peer(0).id, peer(2).id]);
    assert_eq!(providers(&*store, b"two", START).await.len(), 3);
}

pub(super) async fn provider_reader_sees_what_the_store_has(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    let reader = store.reader();
    for number in 0..5 {
        add(&*store, claim(b"one", provider(number, 1)), START).await.unwrap();
    }
    for (key, now) in [(&b"one"[..], START), (b"one", after(DAY)), (b"one", after(2 * DAY)), (b"two", START)]
    {
        let mut visited = Vec::new();
        let read = reader.providers(key, now, &mut |provider| {
            visited.push(provider.clone());
            ControlFlow::Continue(())
        });
        let mut stored = providers(&*store, key, now).await;
        match read {
            Read::Hit(()) => assert!(!visited.is_empty(), "a hit visits somebody"),
            Read::Absent => assert!(visited.is_empty() && stored.is_empty(), "{key:?}"),
            Read::NotResident => continue,
        }
        visited.sort_by_key(|found| found.peer.id);
        stored.sort_by_key(|found| found.peer.id);
        assert_eq!(visited, stored);
    }
    let mut visits = 0;
    let read = reader.providers(b"one", START, &mut |_| {
        visits += 1;
        ControlFlow::Break(())
    });
    assert!(read == Read::NotResident || visits == 1, "a visitor that breaks is not called again");
}
