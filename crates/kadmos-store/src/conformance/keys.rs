//! Lists of keys.

use bytes::Bytes;

use super::{DAY, Fresh, START, add, after, claim, provider, put, write};
use crate::memory::MemoryLimits;
use crate::store::{RecordKind, Store};

pub(super) async fn keys_pages_cover_every_key_once(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    let keys: Vec<Vec<u8>> = (0..25u8).map(|n| vec![b'/', n.wrapping_mul(97), n]).collect();
    for key in &keys {
        put(&*store, write(key, b"v", None), START).await.unwrap();
        add(&*store, claim(key, provider(1, 1)), START).await.unwrap();
        add(&*store, claim(key, provider(2, 1)), START).await.unwrap();
    }
    let mut sorted = keys;
    sorted.sort();
    for kind in [RecordKind::Provider, RecordKind::Value] {
        for limit in [0, 1, 7, 25, 1_000] {
            assert_eq!(all_keys(&*store, kind, limit).await, sorted, "{kind:?} by {limit}");
        }
        let page = store.keys(kind, Some(&sorted[20]), 100, START).await.unwrap();
        assert_eq!(page.keys, sorted[21..]);
        let page = store.keys(kind, Some(b"0"), 100, START).await.unwrap();
        assert_eq!((page.keys, page.next), (Vec::new(), None));
    }
}

pub(super) async fn keys_leave_expired_records_out(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    for n in 0..10u8 {
        let mut value = write(&[b'/', n], b"v", None);
        let mut record = claim(&[b'/', n], provider(1, 1));
        if n % 3 == 0 {
            (value.expires, record.expires) = (after(4 * DAY), after(4 * DAY));
        }
        put(&*store, value, START).await.unwrap();
        add(&*store, record, START).await.unwrap();
    }
    for kind in [RecordKind::Provider, RecordKind::Value] {
        let mut found = Vec::new();
        let mut after_key: Option<Bytes> = None;
        for _ in 0..20 {
            let page = store.keys(kind, after_key.as_deref(), 2, after(3 * DAY)).await.unwrap();
            found.extend(page.keys);
            after_key = page.next;
            if after_key.is_none() {
                break;
            }
        }
        assert_eq!(after_key, None, "the list ends");
        assert_eq!(found, [[b'/', 0], [b'/', 3], [b'/', 6], [b'/', 9]].map(|key| key.to_vec()), "{kind:?}");
    }
}

/// Every key, by pages of `limit`, each checked against its bound.
async fn all_keys(store: &dyn Store, kind: RecordKind, limit: usize) -> Vec<Bytes> {
    let mut found: Vec<Bytes> = Vec::new();
    let mut after_key: Option<Bytes> = None;
    for _ in 0..200 {
        let page = store.keys(kind, after_key.as_deref(), limit, START).await.unwrap();
        assert!(page.keys.len() <= limit.max(1), "a page of {} keys, limit {limit}", page.keys.len());
        found.extend(page.keys);
        after_key = page.next;
        if after_key.is_none() {
            return found;
        }
    }
    panic!("the list does not end");
}
