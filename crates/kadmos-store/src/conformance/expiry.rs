//! Expiry, and clocks that are set.

use kadmos_core::time::UnixTime;

use super::{
    DAY, Fresh, HOUR, START, add, after, both, claim, clocks, provider, providers, put, value, write,
};
use crate::error::WriteError;
use crate::memory::MemoryLimits;
use crate::store::{Expired, StoreStats};

pub(super) async fn expired_records_are_never_served(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    put(&*store, write(b"/v/a", b"one", None), START).await.unwrap();
    add(&*store, claim(b"one", provider(1, 1)), START).await.unwrap();
    for (now, served) in [(2 * DAY - 1, true), (2 * DAY, false), (2 * DAY + 1, false), (900 * DAY, false)] {
        assert_eq!(value(&*store, b"/v/a", after(now)).await.is_some(), served, "value, {now} s later");
        assert_eq!(
            !providers(&*store, b"one", after(now)).await.is_empty(),
            served,
            "provider, {now} s later"
        );
    }
    // To a writer an expired value is no value.
    let mut next = write(b"/v/a", b"two", None);
    next.expires = after(5 * DAY);
    put(&*store, next, after(3 * DAY)).await.unwrap();
    assert_eq!(value(&*store, b"/v/a", after(3 * DAY)).await.unwrap().1, "two");
}

pub(super) async fn expired_records_are_not_taken(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    for now in [2 * DAY, 3 * DAY] {
        let expired = Err(WriteError::Expired);
        assert_eq!(put(&*store, write(b"/v/a", b"one", None), after(now)).await, expired);
        assert_eq!(add(&*store, claim(b"one", provider(1, 1)), after(now)).await, expired);
    }
    assert_eq!(store.stats().await.unwrap(), StoreStats::default());
}

pub(super) async fn expire_frees_all_within_its_budget(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    for n in 0..30u8 {
        put(&*store, write(&[b'/', n], b"v", None), START).await.unwrap();
        add(&*store, claim(&[n], provider(u32::from(n), 1)), START).await.unwrap();
    }
    let mut late = write(b"/late", b"v", None);
    late.expires = after(9 * DAY);
    put(&*store, late, START).await.unwrap();

    assert_eq!(store.expire(both(DAY), 1_000).await.unwrap(), Expired::default());
    let mut freed = Expired { more: true, ..Expired::default() };
    let mut calls = 0;
    while freed.more {
        let part = store.expire(both(3 * DAY), 7).await.unwrap();
        assert!(part.values + part.providers <= 7, "{part:?} with a budget of 7");
        freed.values += part.values;
        freed.providers += part.providers;
        freed.more = part.more;
        calls += 1;
        assert!(calls < 100, "expiring does not end");
    }
    assert_eq!((freed.values, freed.providers), (30, 30));
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.values, stats.provider_keys, stats.provider_records), (1, 0, 0));
    assert_eq!((stats.providers, stats.provider_bytes), (0, 0));
    assert_eq!(value(&*store, b"/late", after(3 * DAY)).await.unwrap().1, "v");
}

pub(super) async fn expire_spares_renewed_records(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    put(&*store, write(b"/v/a", b"one", None), START).await.unwrap();
    let (version, _) = value(&*store, b"/v/a", START).await.unwrap();
    let mut renewed = write(b"/v/a", b"one", Some(version));
    renewed.expires = after(4 * DAY);
    put(&*store, renewed, after(DAY)).await.unwrap();
    for number in 0..3 {
        add(&*store, claim(b"one", provider(number, 1)), START).await.unwrap();
    }
    let mut renewed = claim(b"one", provider(1, 1));
    (renewed.received, renewed.expires, renewed.addrs_expire) = (after(DAY), after(4 * DAY), after(4 * DAY));
    add(&*store, renewed, after(DAY)).await.unwrap();

    let freed = store.expire(both(3 * DAY), 1_000).await.unwrap();
    assert_eq!(freed, Expired { values: 0, providers: 2, more: false });
    assert_eq!(providers(&*store, b"one", after(3 * DAY)).await, [provider(1, 1)]);
    assert!(value(&*store, b"/v/a", after(3 * DAY)).await.is_some());
    let freed = store.expire(both(5 * DAY), 1_000).await.unwrap();
    assert_eq!(freed, Expired { values: 1, providers: 1, more: false });
}

/// The wall clock jumps ahead by five days in the middle of a record's life, and stays there.
pub(super) async fn clock_set_forward_expires_nothing_early(fresh: Fresh<'_>) {
    clock_set(fresh, |secs| after(secs + 5 * DAY)).await;
    // By half a century, as when a clock without a battery learns the date.
    clock_set(fresh, |secs| UnixTime::from_secs(START.as_secs() * 2 + secs)).await;
}

/// The wall clock falls back by five days in the middle of a record's life, and stays there.
pub(super) async fn clock_set_back_keeps_nothing_for_ever(fresh: Fresh<'_>) {
    clock_set(fresh, |secs| UnixTime::from_secs(START.as_secs() + secs - 5 * DAY)).await;
    clock_set(fresh, UnixTime::from_secs).await;
}

/// Records of two days, a clock that is set after one; `wall` is the wall clock afterwards.
async fn clock_set(fresh: Fresh<'_>, wall: impl Fn(u64) -> UnixTime) {
    let store = fresh(MemoryLimits::default()).await;
    store.expire(both(0), 100).await.unwrap();
    put(&*store, write(b"/v/a", b"one", None), START).await.unwrap();
    add(&*store, claim(b"one", provider(1, 1)), START).await.unwrap();
    for minute in 0..24 * 60 {
        store.expire(both(minute * 60), 100).await.unwrap();
    }
    for minute in 24 * 60..52 * 60 {
        let secs = minute * 60;
        store.expire(clocks(secs, wall(secs)), 100).await.unwrap();
        let stored = store.value(b"/v/a", wall(secs)).await.unwrap();
        let found = providers(&*store, b"one", wall(secs)).await;
        // Within an hour of its time, as the store promises.
        let (alive, dead) = (secs < 47 * HOUR, secs > 49 * HOUR);
        assert!(!alive || stored.is_some() && !found.is_empty(), "expired {secs} s into its 48 hours");
        assert!(!dead || stored.is_none() && found.is_empty(), "still served after {secs} s");
        if let Some(stored) = stored {
            let age = wall(secs).since(stored.received).as_secs();
            assert!(age.abs_diff(secs) <= HOUR, "an age of {age} s after {secs} s");
        }
    }
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.values, stats.provider_records), (0, 0));
}

/// Records written, read and renewed between the setting of the clock and the next `expire`.
pub(super) async fn clock_set_unnoticed_harms_no_record(fresh: Fresh<'_>) {
    for wall in [5 * DAY, 700 * DAY, 0].map(|ahead| move |secs| UnixTime::from_secs(ahead + secs)) {
        let wall = |secs| UnixTime::from_secs(START.as_secs() - 3 * DAY + wall(secs).as_secs());
        let store = fresh(MemoryLimits::default()).await;
        store.expire(both(0), 100).await.unwrap();
        put(&*store, write(b"/v/old", b"one", None), START).await.unwrap();
        add(&*store, claim(b"one", provider(1, 1)), START).await.unwrap();

        // Half a minute later, on a clock that was set.
        let mut value_now = write(b"/v/new", b"two", None);
        (value_now.received, value_now.expires) = (wall(30), wall(30 + 2 * DAY));
        put(&*store, value_now, wall(30)).await.unwrap();
        let mut claim_now = claim(b"two", provider(2, 1));
        (claim_now.received, claim_now.expires, claim_now.addrs_expire) =
            (wall(30), wall(30 + 2 * DAY), wall(30 + DAY));
        add(&*store, claim_now, wall(30)).await.unwrap();
        assert!(value(&*store, b"/v/new", wall(31)).await.is_some());
        assert_eq!(providers(&*store, b"two", wall(31)).await, [provider(2, 1)]);

        for minute in 1..52 * 60 {
            let secs = minute * 60;
            store.expire(clocks(secs, wall(secs)), 100).await.unwrap();
            for (record, key) in [(&b"/v/old"[..], b"one"), (b"/v/new", b"two")] {
                let served = [
                    value(&*store, record, wall(secs)).await.is_some(),
                    !providers(&*store, key, wall(secs)).await.is_empty(),
                ];
                assert!(secs > 46 * HOUR || served == [true; 2], "{record:?} expired after {secs} s");
                assert!(secs < 50 * HOUR || served == [false; 2], "{record:?} served after {secs} s");
            }
        }
    }
}
