//! Stores that earlier versions wrote, byte for byte. Whatever changes later, these must still be read.

use std::fs;
use std::path::PathBuf;

use super::*;

fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Each kind of entry: values of which one was replaced and one removed, the clock, provider records of two hours, renewed,
/// moved, shortened and removed.
fn version_1() -> FaultyFiles {
    let files = FaultyFiles::default();
    let (store, mut engine) = open(&files, 0).unwrap();
    block_on(store.expire(both(0), 100)).unwrap();
    engine.note_clock();
    put(&store, &mut engine, write(b"/v/kept", b"kept", 0, None), 0).unwrap();
    put(&store, &mut engine, write(b"/v/replaced", b"old", 1, None), 1).unwrap();
    let version = block_on(store.value(b"/v/replaced", date(1))).unwrap().unwrap().version;
    put(&store, &mut engine, write(b"/v/replaced", b"new", 2, Some(version)), 2).unwrap();
    put(&store, &mut engine, write(b"/v/removed", b"gone", 3, None), 3).unwrap();
    {
        let mut state = store.shared().write();
        let mut queue = store.shared().queue();
        state.remove_value(b"/v/removed", None).unwrap();
        let version = state.next_version();
        queue.journal.push(&JournalEntry::Removed { key: Bytes::from_static(b"/v/removed"), version });
    }
    engine.flush_journal().unwrap();
    store.add(
        &[
            record(&multihash(1), provider(1, 1), 10),
            record(&multihash(1), provider(2, 1), 11),
            record(&multihash(2), provider(1, 1), 12),
            record(&multihash(3), provider(3, 1), HOUR),
        ],
        date(HOUR),
    );
    engine.flush_claims().unwrap();
    store.add(&[record(&multihash(1), provider(1, 7), HOUR + 1)], date(HOUR + 1));
    let shorter = ProviderRecord { expires: date(DAY), ..record(&multihash(2), provider(1, 7), HOUR + 2) };
    store.add(&[shorter], date(HOUR + 2));
    block_on(store.remove_provider(&multihash(3), &peer(3).id)).unwrap();
    close(&mut engine);
    files
}

#[test]
fn version_1_is_written_as_ever() {
    let files = version_1();
    let directory = directory("disk-v1");
    if std::env::var_os("KADMOS_WRITE_FIXTURES").is_some() {
        fs::create_dir_all(&directory).unwrap();
        for name in files.lengths().keys() {
            fs::write(directory.join(name), files.contents(name).unwrap()).unwrap();
        }
    }
    for name in files.lengths().keys() {
        let kept = fs::read(directory.join(name)).unwrap();
        assert!(
            files.contents(name).unwrap() == kept,
            "{name} differs: a change of format needs a new version"
        );
    }
    assert_eq!(files.lengths().len(), fs::read_dir(&directory).unwrap().count());
}

#[test]
fn version_1_is_read() {
    let files = FaultyFiles::default();
    for entry in fs::read_dir(directory("disk-v1")).unwrap() {
        let entry = entry.unwrap();
        files.place(&entry.file_name().into_string().unwrap(), &fs::read(entry.path()).unwrap());
    }
    let (store, _engine) = open(&files, 2 * HOUR).unwrap();
    let now = 2 * HOUR;
    assert_eq!(value(&store, b"/v/kept", now).unwrap(), "kept");
    assert_eq!(value(&store, b"/v/replaced", now).unwrap(), "new");
    assert_eq!(value(&store, b"/v/removed", now), None);
    assert_eq!(providers(&store, &multihash(1), now), [provider(1, 7), provider(2, 1)]);
    assert_eq!(providers(&store, &multihash(2), now), [provider(1, 7)]);
    assert!(providers(&store, &multihash(2), DAY).is_empty(), "the shorter life counts");
    assert!(providers(&store, &multihash(3), now).is_empty());
    let stats = block_on(store.stats()).unwrap();
    assert_eq!((stats.values, stats.provider_keys, stats.provider_records), (2, 2, 3));
    let report = store.report();
    assert_eq!((report.lost_bytes, report.torn_bytes, report.unreadable_records), (0, 0, 0));
}
