//! Bounds: each is reached, refuses by its name, and opens again when records expire.

use kadmos_core::record::{ProviderRecord, ValueWrite};

use super::{
    DAY, Fresh, START, add, after, claim, peer, provider, provider_ids, providers, put, value, write,
};
use crate::error::{Capacity, WriteError};
use crate::memory::MemoryLimits;
use crate::store::{Store, StoreStats};

pub(super) async fn full_of_values_refuses_by_name(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits { values: 5, ..MemoryLimits::default() }).await;
    let full = Err(WriteError::Full { capacity: Capacity::Values, limit: 5 });
    for n in 0..5 {
        put(&*store, write(&[b'/', n], b"v", None), START).await.unwrap();
    }
    assert_eq!(put(&*store, write(b"/x", b"v", None), START).await, full);
    // Nothing was lost, and a value that is there can still be replaced.
    let (version, _) = value(&*store, b"/\0", START).await.unwrap();
    put(&*store, write(b"/\0", b"w", Some(version)), START).await.unwrap();
    assert_eq!(store.stats().await.unwrap().values, 5);
    // Room comes with removal and with expiry.
    assert!(store.remove_value(b"/\0", None).await.unwrap());
    put(&*store, write(b"/x", b"v", None), START).await.unwrap();
    assert_eq!(put(&*store, write(b"/y", b"v", None), START).await, full);
    put(&*store, value_of(b"/y", b"v", 3 * DAY), after(3 * DAY)).await.unwrap();
    assert!(store.stats().await.unwrap().values <= 5);
}

pub(super) async fn full_of_value_bytes_refuses_by_name(fresh: Fresh<'_>) {
    let limit = 64 << 10;
    let store = fresh(MemoryLimits { value_bytes: limit, ..MemoryLimits::default() }).await;
    let full = Err(WriteError::Full { capacity: Capacity::ValueBytes, limit });
    let body = [7; 4 << 10];
    let mut written = 0;
    while put(&*store, write(&[b'/', written], &body, None), START).await != full {
        written += 1;
        assert!(written < 16, "16 values of 4 KiB and their keys are more than 64 KiB");
        assert!(store.stats().await.unwrap().value_bytes <= limit);
    }
    assert!(written > 4, "{written} values of 4 KiB within 64 KiB");
    put(&*store, value_of(b"/y", &body, 3 * DAY), after(3 * DAY)).await.unwrap();
    // A value larger than the whole store never fits.
    let huge = vec![7; limit];
    assert_eq!(put(&*store, value_of(b"/z", &huge, 6 * DAY), after(6 * DAY)).await, full);
}

pub(super) async fn full_of_provider_keys_refuses_by_name(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits { provider_keys: 5, ..MemoryLimits::default() }).await;
    let full = Err(WriteError::Full { capacity: Capacity::ProviderKeys, limit: 5 });
    for n in 0..5 {
        add(&*store, claim(&[n], provider(1, 1)), START).await.unwrap();
    }
    assert_eq!(add(&*store, claim(b"x", provider(2, 1)), START).await, full);
    add(&*store, claim(&[0], provider(2, 1)), START).await.expect("a key that is there takes more providers");
    assert_eq!(store.stats().await.unwrap().provider_keys, 5);
    assert!(store.remove_provider(&[1], &peer(1).id).await.unwrap());
    add(&*store, claim(b"x", provider(2, 1)), START).await.unwrap();
    assert_eq!(add(&*store, claim(b"y", provider(2, 1)), START).await, full);
    add(&*store, claim_of(b"y", 2, 3 * DAY), after(3 * DAY)).await.unwrap();
    assert!(store.stats().await.unwrap().provider_keys <= 5);
}

pub(super) async fn full_of_provider_bytes_refuses_by_name(fresh: Fresh<'_>) {
    let limit = 64 << 10;
    let store = fresh(MemoryLimits { provider_bytes: limit, ..MemoryLimits::default() }).await;
    let full = Err(WriteError::Full { capacity: Capacity::ProviderBytes, limit });
    let mut written = 0u32;
    while add(&*store, claim(&written.to_be_bytes(), provider(written, 1)), START).await != full {
        written += 1;
        assert!(written < 2_000, "2,000 providers with their keys are more than 64 KiB");
        assert!(store.stats().await.unwrap().provider_bytes <= limit);
    }
    assert!(written > 20, "{written} providers within 64 KiB");
    assert_eq!(providers(&*store, &[0; 4], START).await, [provider(0, 1)], "what was taken is kept");
    add(&*store, claim_of(b"y", 2, 3 * DAY), after(3 * DAY)).await.unwrap();
}

pub(super) async fn full_share_of_a_provider_refuses_by_name(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits { records_per_provider: 5, ..MemoryLimits::default() }).await;
    let full = Err(WriteError::Full { capacity: Capacity::RecordsPerProvider, limit: 5 });
    for n in 0..5 {
        add(&*store, claim(&[n], provider(1, 1)), START).await.unwrap();
    }
    assert_eq!(add(&*store, claim(b"x", provider(1, 1)), START).await, full);
    add(&*store, claim(&[0], provider(1, 1)), START).await.expect("a claim can be renewed");
    add(&*store, claim(b"x", provider(2, 1)), START).await.expect("another provider has its own share");
    assert!(store.remove_provider(&[1], &peer(1).id).await.unwrap());
    add(&*store, claim(b"x", provider(1, 1)), START).await.unwrap();
    add(&*store, claim_of(b"y", 1, 3 * DAY), after(3 * DAY)).await.expect("expired claims do not count");
}

pub(super) async fn full_key_takes_the_newcomer(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits { providers_per_key: 5, ..MemoryLimits::default() }).await;
    // All of one network: the one announced longest ago gives way, and renewing counts as announcing.
    for number in 0..5 {
        add(&*store, claim(b"one", provider(number, 1)), START).await.unwrap();
    }
    add(&*store, claim(b"one", provider(0, 1)), START).await.unwrap();
    for number in 5..9 {
        add(&*store, claim(b"one", provider(number, 1)), START).await.unwrap();
        let ids = provider_ids(&*store, b"one", START).await;
        assert_eq!(ids.len(), 5);
        assert!(ids.contains(&peer(number).id) && ids.contains(&peer(0).id), "{number}: {ids:?}");
    }
    // Expired claims give way before any other.
    for number in 0..4 {
        add(&*store, claim(b"two", provider(number, 1)), START).await.unwrap();
    }
    add(&*store, claim_of(b"two", 4, DAY), after(DAY)).await.unwrap();
    add(&*store, claim_of(b"two", 5, 2 * DAY), after(2 * DAY)).await.unwrap();
    assert_eq!(provider_ids(&*store, b"two", after(2 * DAY)).await, [peer(4).id, peer(5).id]);
}

/// Squatters of one network fill a key first and announce all the time; a provider of another network enters and
/// stays, wherever it comes in the order.
pub(super) async fn full_key_of_squatters_keeps_the_honest_provider(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits { providers_per_key: 20, ..MemoryLimits::default() }).await;
    for number in 0..20 {
        add(&*store, claim(b"one", provider(number, 6)), START).await.unwrap();
    }
    add(&*store, claim(b"one", provider(1_000, 7)), START).await.unwrap();
    for number in 20..500 {
        add(&*store, claim(b"one", provider(number, 6)), START).await.unwrap();
        let ids = provider_ids(&*store, b"one", START).await;
        assert!(ids.contains(&peer(1_000).id), "displaced by squatter {number}");
        assert_eq!(ids.len(), 20);
    }
}

pub(super) async fn stats_follow_every_write(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    assert_eq!(store.stats().await.unwrap(), StoreStats::default());
    put(&*store, write(b"/v/a", b"12345", None), START).await.unwrap();
    add(&*store, claim(b"one", provider(1, 1)), START).await.unwrap();
    add(&*store, claim(b"one", provider(2, 1)), START).await.unwrap();
    add(&*store, claim(b"two", provider(2, 1)), START).await.unwrap();
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.values, stats.provider_keys, stats.provider_records, stats.providers), (1, 2, 3, 2));
    assert!(stats.value_bytes >= 9 && stats.provider_bytes >= 6 + 3 * 8, "{stats:?}");

    assert!(store.remove_value(b"/v/a", None).await.unwrap());
    for (key, number) in [(b"one", 1), (b"one", 2), (b"two", 2)] {
        assert!(store.remove_provider(key, &peer(number).id).await.unwrap());
    }
    empty(&*store).await;
}

async fn empty(store: &dyn Store) {
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.values, stats.provider_keys, stats.provider_records, stats.providers), (0, 0, 0, 0));
    assert_eq!((stats.value_bytes, stats.provider_bytes), (0, 0));
}

/// A value received `secs` after the start, of two days.
fn value_of(key: &[u8], body: &[u8], secs: u64) -> ValueWrite {
    ValueWrite { received: after(secs), expires: after(secs + 2 * DAY), ..write(key, body, None) }
}

/// A claim of peer `number` received `secs` after the start, of two days.
fn claim_of(key: &[u8], number: u32, secs: u64) -> ProviderRecord {
    ProviderRecord {
        received: after(secs),
        expires: after(secs + 2 * DAY),
        addrs_expire: after(secs + DAY),
        ..claim(key, provider(number, 1))
    }
}
