//! Values: compare-and-swap.

use std::collections::BTreeSet;
use std::thread;

use kadmos_core::record::Read;

use super::{DAY, Fresh, START, after, block_on, put, value, write};
use crate::error::WriteError;
use crate::memory::MemoryLimits;

pub(super) async fn value_written_is_read_back(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    assert_eq!(value(&*store, b"/v/a", START).await, None);
    let mut written = write(b"/v/a", b"one", None);
    written.received = after(5);
    put(&*store, written.clone(), after(7)).await.unwrap();

    let stored = store.value(b"/v/a", after(8)).await.unwrap().expect("a value");
    assert_eq!(stored.record, written.record);
    assert_eq!((stored.received, stored.expires), (written.received, written.expires));
    assert_eq!(value(&*store, b"/v/b", after(8)).await, None);

    put(&*store, write(b"/v/empty", b"", None), after(8)).await.unwrap();
    assert_eq!(value(&*store, b"/v/empty", after(8)).await.unwrap().1, "");
}

pub(super) async fn value_write_with_wrong_version_conflicts(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    let conflict = Err(WriteError::Conflict);
    assert_eq!(put(&*store, write(b"/v/a", b"one", Some(0)), START).await, conflict);
    assert_eq!(put(&*store, write(b"/v/a", b"one", Some(1)), START).await, conflict);
    put(&*store, write(b"/v/a", b"one", None), START).await.unwrap();
    assert_eq!(put(&*store, write(b"/v/a", b"two", None), START).await, conflict);

    let (first, _) = value(&*store, b"/v/a", START).await.unwrap();
    put(&*store, write(b"/v/a", b"two", Some(first)), START).await.unwrap();
    assert_eq!(put(&*store, write(b"/v/a", b"three", Some(first)), START).await, conflict);
    let (second, held) = value(&*store, b"/v/a", START).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(held, "two");
}

/// A version that came back would let a writer undo what it has not read.
pub(super) async fn value_version_never_returns(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    let mut seen = BTreeSet::new();
    for round in 0..20 {
        put(&*store, write(b"/v/a", b"same", None), START).await.unwrap();
        let (version, _) = value(&*store, b"/v/a", START).await.unwrap();
        assert!(seen.insert(version), "version {version} came back in round {round}");
        assert!(store.remove_value(b"/v/a", None).await.unwrap());
    }
}

pub(super) async fn value_batch_answers_each_write_in_order(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    let mut expired = write(b"/v/c", b"late", None);
    expired.expires = START;
    let batch = vec![
        write(b"/v/a", b"one", None),
        write(b"/v/a", b"two", None),
        expired,
        write(b"/v/b", b"three", Some(77)),
        write(b"/v/d", b"four", None),
    ];
    let results = store.put_values(batch, START).await;
    assert_eq!(
        results,
        [Ok(()), Err(WriteError::Conflict), Err(WriteError::Expired), Err(WriteError::Conflict), Ok(())]
    );
    assert_eq!(value(&*store, b"/v/a", START).await.unwrap().1, "one");
    assert_eq!(value(&*store, b"/v/d", START).await.unwrap().1, "four");
    assert!(store.put_values(Vec::new(), START).await.is_empty());
}

/// Eight threads count to twenty each in one value; every step must be there.
pub(super) async fn value_writers_racing_lose_no_update(fresh: Fresh<'_>) {
    const THREADS: u64 = 8;
    const STEPS: u64 = 20;
    let store = fresh(MemoryLimits::default()).await;
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                block_on(async {
                    let mut steps = 0;
                    while steps < STEPS {
                        let current = value(&*store, b"/v/count", START).await;
                        let (version, count) = match &current {
                            Some((version, bytes)) => (Some(*version), number(bytes)),
                            None => (None, 0),
                        };
                        let next = (count + 1).to_be_bytes();
                        match put(&*store, write(b"/v/count", &next, version), START).await {
                            Ok(()) => steps += 1,
                            // Somebody else stepped, so the loop as a whole ends.
                            Err(WriteError::Conflict) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            });
        }
    });
    let (_, bytes) = value(&*store, b"/v/count", START).await.unwrap();
    assert_eq!(number(&bytes), THREADS * STEPS);
}

pub(super) async fn value_removal_respects_the_version(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    assert!(!store.remove_value(b"/v/a", None).await.unwrap());
    put(&*store, write(b"/v/a", b"one", None), START).await.unwrap();
    let (first, _) = value(&*store, b"/v/a", START).await.unwrap();
    put(&*store, write(b"/v/a", b"two", Some(first)), START).await.unwrap();
    assert!(!store.remove_value(b"/v/a", Some(first)).await.unwrap());
    let (second, _) = value(&*store, b"/v/a", START).await.expect("a newer value is not removed");
    assert!(store.remove_value(b"/v/a", Some(second)).await.unwrap());
    assert_eq!(value(&*store, b"/v/a", START).await, None);
    put(&*store, write(b"/v/a", b"three", None), START).await.unwrap();
}

/// A reader may not know; what it knows must be what the store says.
pub(super) async fn value_reader_sees_what_the_store_has(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    let reader = store.reader();
    for (key, now, written) in
        [(b"/v/a", START, true), (b"/v/b", START, false), (b"/v/c", after(3 * DAY), true)]
    {
        if written {
            put(&*store, write(key, b"one", None), START).await.unwrap();
        }
        let stored = store.value(key, now).await.unwrap();
        match reader.value(key, now) {
            Read::Hit(hit) => assert_eq!(Some(hit), stored),
            Read::Absent => assert_eq!(stored, None),
            Read::NotResident => {}
        }
    }
}

pub(super) async fn value_keys_of_any_bytes_are_apart(fresh: Fresh<'_>) {
    let store = fresh(MemoryLimits::default()).await;
    let long = vec![0xff; kadmos_core::limits::KEY_BYTES_MAX];
    let keys: [&[u8]; 7] = [b"\0", b"\0\0", b"/", b"/v/\xff\xfe", b"/v/", b"a\0b", &long];
    for (index, key) in keys.iter().enumerate() {
        put(&*store, write(key, &[index as u8], None), START).await.unwrap();
    }
    for (index, key) in keys.iter().enumerate() {
        assert_eq!(*value(&*store, key, START).await.unwrap().1, [index as u8], "{key:?}");
    }
    let largest = vec![7; kadmos_core::limits::VALUE_BYTES_MAX];
    put(&*store, write(b"/v/largest", &largest, None), START).await.unwrap();
    assert_eq!(value(&*store, b"/v/largest", START).await.unwrap().1, largest);
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}
