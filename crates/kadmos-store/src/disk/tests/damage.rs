//! Full disks, disks that fail, and files that are not what was written.

use super::super::faulty::Dice;
use super::*;
use crate::disk::format::{FileKind, FileName, HEADER_LEN};

/// Values and provider records in several files, closed.
fn filled(closed: bool) -> FaultyFiles {
    let files = FaultyFiles::default();
    let (store, mut engine) = open(&files, 0).unwrap();
    block_on(store.expire(both(0), 100)).unwrap();
    for number in 0..40u8 {
        let secs = u64::from(number) * 600;
        put(&store, &mut engine, write(&[b'/', number], &[number; 100], secs, None), secs).unwrap();
        store.add(&[record(&multihash(number.into()), provider(number % 5, 1), secs)], date(secs));
        engine.flush_claims().unwrap();
    }
    if closed {
        close(&mut engine);
    }
    files
}

/// What a store that was opened in damaged files has lost, and whether it says so.
fn missing(store: &DiskStore) -> usize {
    let mut missing = 0;
    for number in 0..40u8 {
        match value(store, &[b'/', number], 40 * 600) {
            Some(found) => assert_eq!(found, [number; 100].as_slice(), "a value is whole or not there"),
            None => missing += 1,
        }
        let found = providers(store, &multihash(number.into()), 40 * 600);
        assert!(found.is_empty() || found == [provider(number % 5, 1)], "{found:?}");
        missing += usize::from(found.is_empty());
    }
    missing
}

fn opened_or_refused(files: &FaultyFiles, what: &str) {
    match open(files, 40 * 600) {
        Ok((store, mut engine)) => {
            let report = store.report();
            let missing = missing(&store);
            let told =
                report.lost_bytes + report.torn_bytes + report.unreadable_records + report.broken_files;
            assert!(missing == 0 || told > 0, "{what}: {missing} records are missing, and nothing is said");
            // And it goes on.
            put(&store, &mut engine, write(b"/new", b"x", 40 * 600, None), 40 * 600).unwrap();
        }
        Err(StoreError::Damaged { reason }) => assert!(reason.contains("journal-"), "{what}: {reason}"),
        Err(StoreError::Newer { .. }) => {} // the version itself was hit
        Err(error) => panic!("{what}: {error}"),
    }
}

#[test]
fn flipped_bits_are_never_silent() {
    let sound = filled(true);
    let mut dice = Dice::new(1);
    for (name, len) in sound.lengths() {
        if name == recovery::CLEAN {
            continue;
        }
        for round in 0..150 {
            let files = sound.copy();
            // The beginning, every bit of it in time, and anywhere.
            let bit = if round < 50 { dice.below(HEADER_LEN as u64 * 8) } else { dice.below(len * 8) };
            files.flip(&name, bit);
            opened_or_refused(&files, &format!("{name}, bit {bit} of {}", len * 8));
        }
    }
}

#[test]
fn shortened_files_are_never_silent() {
    let sound = filled(true);
    for (name, len) in sound.lengths() {
        if name == recovery::CLEAN {
            continue;
        }
        for cut in (0..len).step_by(7).chain([len - 1]) {
            let files = sound.copy();
            files.shorten(&name, cut);
            opened_or_refused(&files, &format!("{name}, {cut} of {len} bytes"));
        }
        let files = sound.copy();
        files.remove(&name).unwrap();
        opened_or_refused(&files, &format!("{name}, taken away"));
    }
}

/// Behind a damaged frame the others are still read.
#[test]
fn damage_in_the_middle_costs_one_group() {
    let files = filled(false);
    let (name, len) = files.lengths().into_iter().find(|(name, _)| name.starts_with("journal")).unwrap();
    files.flip(&name, len / 2 * 8);
    let (store, _engine) = open(&files, 40 * 600).unwrap();
    assert_eq!(missing(&store), 1);
    assert!(store.report().lost_bytes > 100 && store.report().torn_bytes == 0, "{:?}", store.report());
}

#[test]
fn files_of_a_newer_version_are_refused_untouched() {
    let files = filled(true);
    let before = files.lengths();
    let name = FileName { kind: FileKind::Journal, id: 9_999 };
    let mut header = crate::disk::format::Header { first: 0, salt: 0 }.write(name).to_vec();
    header[8] = 2;
    let mut file = files.create(&name.to_string()).unwrap();
    file.append(&header).unwrap();
    let error = open(&files, 0).unwrap_err();
    assert_eq!(error, StoreError::Newer { format: 2 });
    assert_eq!(
        error.to_string(),
        "the store was written by a newer version: its format is 2, this version reads up to 1"
    );
    let mut after = files.lengths();
    after.remove(&name.to_string());
    assert_eq!(after, before);
}

#[test]
fn foreign_files_are_left_alone() {
    let files = filled(true);
    files.create("notes.txt").unwrap();
    let (store, _engine) = open(&files, 0).unwrap();
    assert_eq!(store.report().foreign_files, 1);
    assert!(files.lengths().contains_key("notes.txt"));
}

#[test]
fn full_disk_refuses_values_and_keeps_what_was_there() {
    let files = filled(false);
    let (store, mut engine) = open(&files, 40 * 600).unwrap();
    let now = 40 * 600;
    put(&store, &mut engine, write(b"/first", b"x", now, None), now).unwrap();
    let used: u64 = files.lengths().values().sum();
    files.limit_to(Some(used + 50));
    let version = block_on(store.value(&[b'/', 1], date(now))).unwrap().unwrap().version;
    for _ in 0..20 {
        let error =
            put(&store, &mut engine, write(&[b'/', 1], &[9; 100], now, Some(version)), now).unwrap_err();
        assert!(matches!(error, WriteError::Failed(StoreError::Unavailable { .. })), "{error:?}");
        // What was there is there again, under its version.
        let held = block_on(store.value(&[b'/', 1], date(now))).unwrap().unwrap();
        assert_eq!((held.version, held.record.value), (version, Bytes::from(vec![1; 100])));
    }
    assert!(matches!(store.condition(), Condition::Failing { .. }));
    // Provider records are served, and kept until they can be written.
    store.add(&[record(b"late", provider(1, 1), now)], date(now));
    assert!(engine.flush_claims().is_err() && engine.flush_claims().is_err());
    assert_eq!(providers(&store, b"late", now), [provider(1, 1)]);
    assert!(files.lengths().len() < 20, "a full disk is not filled with beginnings: {:?}", files.lengths());
    files.limit_to(None);
    engine.flush_claims().unwrap();
    put(&store, &mut engine, write(&[b'/', 1], &[9; 100], now, Some(version)), now).unwrap();
    assert_eq!(store.condition(), Condition::Ready);
    let (again, _engine) = open(&files, now).unwrap();
    assert_eq!(value(&again, &[b'/', 1], now).unwrap(), vec![9; 100]);
    assert_eq!(providers(&again, b"late", now), [provider(1, 1)]);
    assert_eq!(again.report().lost_bytes, 0);
}

#[test]
fn sync_that_fails_is_told_and_the_file_left_alone() {
    let files = filled(false);
    let (store, mut engine) = open(&files, 40 * 600).unwrap();
    let now = 40 * 600;
    put(&store, &mut engine, write(b"/first", b"x", now, None), now).unwrap();
    let journals = engine.journals.len();
    files.fail_syncs(1);
    assert!(put(&store, &mut engine, write(b"/second", b"x", now, None), now).is_err());
    assert_eq!(value(&store, b"/second", now), None);
    put(&store, &mut engine, write(b"/third", b"x", now, None), now).unwrap();
    assert_eq!(engine.journals.len(), journals + 1, "after a failed sync a new file is begun");
    // A disk that fails for good is not filled with new files.
    files.fail_syncs(u64::MAX);
    for _ in 0..50 {
        assert!(put(&store, &mut engine, write(b"/fourth", b"x", now, None), now).is_err());
    }
    assert!(files.lengths().len() < 15, "{} files", files.lengths().len());
}

/// A group that fails takes with it what came after it and stands on it.
#[test]
fn failed_group_is_undone_with_what_stands_on_it() {
    let files = FaultyFiles::default();
    let (store, mut engine) = open(&files, 0).unwrap();
    put(&store, &mut engine, write(b"/a", b"one", 0, None), 0).unwrap();
    let version = |store: &DiskStore| block_on(store.value(b"/a", date(0))).unwrap().map(|held| held.version);
    let first = version(&store);
    let (_, one) = store.put(&[write(b"/a", b"two", 0, first)], date(0));
    let (_, two) = store.put(&[write(b"/a", b"three", 0, version(&store))], date(0));
    files.fail_syncs(1);
    assert!(engine.flush_journal().is_err());
    for mut waiter in [one.unwrap(), two.unwrap()] {
        assert!(waiter.try_recv().unwrap().unwrap().is_err());
    }
    assert_eq!((value(&store, b"/a", 0).unwrap(), version(&store)), (Bytes::from_static(b"one"), first));
}
