//! Opening what an earlier run left, with a real directory and thread where it matters.

use super::*;

#[test]
fn closed_store_has_everything_when_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let config = DiskConfig::new(directory.path());
    let mut version = 0;
    for round in 0..3u8 {
        let store = DiskStore::open(config.clone(), date(0)).unwrap();
        block_on(store.ready()).unwrap();
        assert_eq!(store.condition(), Condition::Ready);
        for earlier in 0..round {
            assert_eq!(value(&store, &[b'/', earlier], 1).unwrap(), [earlier].as_slice());
            assert_eq!(providers(&store, b"many", 1)[usize::from(earlier)], provider(earlier, 1));
        }
        assert_eq!(value(&store, b"/gone", 1), None);
        assert!(providers(&store, b"gone", 1).is_empty());
        let batch = vec![write(&[b'/', round], &[round], 0, None), write(b"/gone", b"x", 0, None)];
        assert_eq!(block_on(store.put_values(batch, date(1))), [Ok(()), Ok(())]);
        let stored = block_on(store.value(&[b'/', round], date(1))).unwrap().unwrap();
        assert!(stored.version > version, "versions do not come back");
        version = stored.version;
        assert_eq!(stored.received, date(0));
        block_on(store.add_providers(
            vec![record(b"many", provider(round, 1), 0), record(b"gone", provider(round, 1), 0)],
            date(1),
        ));
        assert!(block_on(store.remove_value(b"/gone", None)).unwrap());
        assert!(block_on(store.remove_provider(b"gone", &peer(round).id)).unwrap());
        let report = store.report();
        assert_eq!((report.lost_bytes, report.torn_bytes, report.failures), (0, 0, 0), "{report:?}");
    }
}

#[test]
fn second_store_in_a_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = DiskConfig::new(directory.path());
    let store = DiskStore::open(config.clone(), date(0)).unwrap();
    assert_eq!(DiskStore::open(config.clone(), date(0)).unwrap_err(), StoreError::InUse);
    drop(store);
    DiskStore::open(config, date(0)).unwrap();
}

#[test]
fn closed_store_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = DiskStore::open(DiskConfig::new(directory.path()), date(0)).unwrap();
    block_on(store.ready()).unwrap();
    store.close();
    let closed = [Err(WriteError::Failed(StoreError::Closed))];
    assert_eq!(block_on(store.put_values(vec![write(b"/a", b"x", 0, None)], date(0))), closed);
    assert_eq!(block_on(store.add_providers(vec![record(b"a", provider(1, 1), 0)], date(0))), closed);
    assert_eq!(block_on(store.sync()), Err(StoreError::Closed));
}

#[test]
fn reader_knows_nothing_until_all_is_read() {
    let shared = Arc::new(Shared::new(MemoryLimits::default()));
    let store =
        DiskStore { handle: Arc::new(Handle { shared: Arc::clone(&shared), thread: Mutex::new(None) }) };
    let reader = store.reader();
    assert_eq!(store.condition(), Condition::Loading);
    assert_eq!(reader.value(b"/a", date(0)), Read::NotResident);
    assert_eq!(reader.providers(b"a", date(0), &mut |_| ControlFlow::Break(())), Read::NotResident);
    let mut waiting = std::pin::pin!(store.value(b"/a", date(0)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    shared.open_gate(Ok(()));
    assert_eq!(block_on(waiting), Ok(None));
    assert_eq!(reader.value(b"/a", date(0)), Read::Absent);
}

#[test]
fn store_that_cannot_be_read_says_why() {
    let shared = Arc::new(Shared::new(MemoryLimits::default()));
    let store =
        DiskStore { handle: Arc::new(Handle { shared: Arc::clone(&shared), thread: Mutex::new(None) }) };
    let error = StoreError::Unavailable { reason: "no disk".into() };
    shared.open_gate(Err(error.clone()));
    assert_eq!(store.condition(), Condition::Unusable(error.clone()));
    assert_eq!(block_on(store.stats()), Err(error));
}

#[test]
fn renewed_and_corrected_records_come_back_as_they_were() {
    let files = FaultyFiles::default();
    let (store, mut engine) = open(&files, 0).unwrap();
    block_on(store.expire(both(0), 100)).unwrap();
    // Renewed with a shorter life, moved to other addresses, removed and announced again.
    store.add(&[record(b"one", provider(1, 1), 0)], date(0));
    let shorter = ProviderRecord { expires: date(5 * HOUR), ..record(b"one", provider(1, 2), 10) };
    store.add(&[shorter], date(10));
    store.add(&[record(b"two", provider(2, 1), 20)], date(20));
    block_on(store.remove_provider(b"two", &peer(2).id)).unwrap();
    store.add(&[record(b"three", provider(3, 1), 20)], date(20));
    block_on(store.remove_provider(b"three", &peer(3).id)).unwrap();
    store.add(&[record(b"three", provider(3, 4), 30)], date(30));
    engine.flush_claims().unwrap();
    let (again, _engine) = open(&files.copy(), 40).unwrap();
    assert_eq!(providers(&again, b"one", 40), [provider(1, 2)]);
    assert!(providers(&again, b"one", 5 * HOUR).is_empty(), "the shorter life counts");
    assert!(providers(&again, b"two", 40).is_empty());
    assert_eq!(providers(&again, b"three", 40), [provider(3, 4)]);
    assert!(providers(&again, b"three", 30 + DAY)[0].addrs.is_empty());
    assert!(providers(&again, b"three", 30 + 2 * DAY).is_empty());
}

/// The wall clock jumps ahead by five days while the store runs, and stays there over a restart: nothing expires early,
/// and nothing is kept for ever.
#[test]
fn clock_that_was_set_is_remembered() {
    let files = FaultyFiles::default();
    let (store, mut engine) = open(&files, 0).unwrap();
    block_on(store.expire(both(0), 100)).unwrap();
    put(&store, &mut engine, write(b"/a", b"x", 0, None), 0).unwrap();
    store.add(&[record(b"one", provider(1, 1), 0)], date(0));
    let set = |secs: u64| Now { unix: date(secs + 5 * DAY), ..both(secs) };
    block_on(store.expire(set(HOUR), 100)).unwrap();
    // Written after the setting, by the clock as it is now.
    store.add(&[record(b"two", provider(1, 1), 5 * DAY + HOUR)], set(HOUR).unix);
    close(&mut engine);
    let (again, mut engine) = open(&files, 5 * DAY + 2 * HOUR).unwrap();
    for hours in 2..60 {
        // The monotonic clock begins anew.
        let now = Now { monotonic: Timestamp::from_millis((hours - 2) * HOUR * 1_000), ..set(hours * HOUR) };
        block_on(again.expire(now, 100)).unwrap();
        engine.note_clock();
        engine.unlink_dead_hours().unwrap();
        let at = 5 * DAY + hours * HOUR;
        assert_eq!(value(&again, b"/a", at).is_some(), hours < 48, "after {hours} h");
        assert_eq!(providers(&again, b"one", at).is_empty(), hours >= 48, "after {hours} h");
        assert_eq!(providers(&again, b"two", at).is_empty(), hours >= 49, "after {hours} h");
    }
    assert_eq!(engine.hours.len(), 0, "all files are gone");
}

/// A machine without a battery starts in 1970: time stands still until somebody sets its clock.
#[test]
fn clock_that_fell_back_between_runs_keeps_nothing_for_ever() {
    let files = FaultyFiles::default();
    let (store, mut engine) = open(&files, 0).unwrap();
    block_on(store.expire(both(0), 100)).unwrap();
    store.add(&[record(b"one", provider(1, 1), 0)], date(0));
    close(&mut engine);
    drop(store);
    let lost =
        |secs: u64| Now { monotonic: Timestamp::from_millis(secs * 1_000), unix: UnixTime::from_secs(secs) };
    let (again, _engine) =
        DiskStore::open_by_hand(Arc::new(files), MemoryLimits::default(), lost(0).unix, 7).unwrap();
    for hours in 0..60 {
        block_on(again.expire(lost(hours * HOUR), 100)).unwrap();
        let served = !block_on(again.providers(b"one", 9, lost(hours * HOUR).unix)).unwrap().is_empty();
        assert_eq!(served, hours < 48, "after {hours} h");
    }
}

#[test]
fn hours_go_with_their_files() {
    let files = FaultyFiles::default();
    let (store, mut engine) = open(&files, 0).unwrap();
    for hour in 0..50 {
        block_on(store.expire(both(hour * HOUR), 10_000)).unwrap();
        store.add(&[record(&multihash(hour as u32), provider(1, 1), hour * HOUR)], date(hour * HOUR));
        engine.flush_claims().unwrap();
        engine.unlink_dead_hours().unwrap();
        assert!(engine.hours.len() <= 50, "{} hours of files", engine.hours.len());
    }
    let full = engine.bytes();
    // Announced again all the time: what is replaced goes early, by compaction or with its hour.
    for hour in 50..100 {
        block_on(store.expire(both(hour * HOUR), 10_000)).unwrap();
        store.add(&[record(&multihash(49), provider(1, 1), hour * HOUR)], date(hour * HOUR));
        engine.flush_claims().unwrap();
        engine.unlink_dead_hours().unwrap();
    }
    assert_eq!(engine.hours.len(), 1, "one record is live, in the last hour");
    assert!(engine.bytes() < full / 10);
    block_on(store.expire(both(400 * HOUR), 10_000)).unwrap();
    engine.unlink_dead_hours().unwrap();
    assert_eq!((engine.hours.len(), engine.bytes()), (0, 0));
}

#[test]
fn compaction_keeps_what_lives() {
    let files = FaultyFiles::default();
    let (store, mut engine) = open(&files, 0).unwrap();
    block_on(store.expire(both(0), 100)).unwrap();
    let announce = |engine: &mut Engine, numbers: std::ops::Range<u32>, secs: u64| {
        let batch: Vec<_> =
            numbers.map(|number| record(&multihash(number), provider((number % 9) as u8, 1), secs)).collect();
        assert!(store.add(&batch, date(secs)).iter().all(Result::is_ok));
        engine.flush_claims().unwrap();
    };
    announce(&mut engine, 0..3_000, 0);
    block_on(store.remove_provider(&multihash(1), &peer(1).id)).unwrap();
    announce(&mut engine, 0..2_900, 22 * HOUR);
    let before = engine.bytes();
    for n in 0..2_000u32 {
        put(
            &store,
            &mut engine,
            write(&[b'/', (n % 7) as u8], &[n as u8; 4_000], 0, version(&store, (n % 7) as u8)),
            1,
        )
        .unwrap();
    }
    let mut steps = 0;
    while engine.compact().unwrap() {
        steps += 1;
        assert!(steps < 1_000, "compaction does not end");
    }
    assert_eq!(store.report().compactions, 2);
    assert!(engine.bytes() < before * 2 / 3, "{} of {before} bytes are left", engine.bytes());
    assert_eq!(engine.journals.len(), 1);
    assert!(engine.hours.values().all(|hour| hour.records <= 2_900));
    for copy in [files.copy(), files.after_power_cut(&mut super::super::faulty::Dice::new(1))] {
        let (again, _engine) = open(&copy, 22 * HOUR).unwrap();
        let stats = block_on(again.stats()).unwrap();
        assert_eq!((stats.provider_records, stats.values), (3_000, 7));
        for number in [0, 1, 2, 2_899, 2_900, 2_999] {
            let expected = [provider((number % 9) as u8, 1)];
            assert_eq!(providers(&again, &multihash(number), 22 * HOUR), expected, "{number}");
        }
        assert_eq!(again.report().lost_bytes, 0);
    }
}

fn version(store: &DiskStore, key: u8) -> Option<u64> {
    block_on(store.value(&[b'/', key], date(1))).unwrap().map(|stored| stored.version)
}

#[test]
fn lower_limits_refuse_what_no_longer_fits() {
    let files = FaultyFiles::default();
    let (store, mut engine) = open(&files, 0).unwrap();
    for number in 0..50u8 {
        put(&store, &mut engine, write(&[b'/', number], b"x", 0, None), 0).unwrap();
        store.add(&[record(&[number], provider(number, 1), 0)], date(0));
    }
    close(&mut engine);
    let limits = MemoryLimits { values: 10, provider_keys: 20, ..MemoryLimits::default() };
    let (again, _engine) = DiskStore::open_by_hand(Arc::new(files), limits, date(1), 7).unwrap();
    let stats = block_on(again.stats()).unwrap();
    assert_eq!((stats.values, stats.provider_keys), (10, 20));
    assert_eq!(again.report().over_limits, 40 + 30);
}

/// Files of one hour, of which compaction makes one.
fn many_files_of_one_hour(files: &FaultyFiles) -> (DiskStore, Engine) {
    let (store, mut engine) = open(files, 0).unwrap();
    for round in 0..8u32 {
        let records: Vec<_> =
            (0..500).map(|number| record(&multihash(round * 500 + number), provider(1, 1), 0)).collect();
        assert!(store.add(&records, date(0)).iter().all(Result::is_ok));
        engine.flush_claims().unwrap();
        let hour = *engine.hours.keys().next().expect("one was written");
        engine.close(hour).unwrap();
    }
    (store, engine)
}

/// Goal: what a compaction has written stays when a file that it replaces cannot be removed: the others have gone.
#[test]
fn compaction_that_cannot_remove_a_file_loses_nothing() {
    let files = FaultyFiles::default();
    let (store, mut engine) = many_files_of_one_hour(&files);
    let before = store.report().compactions;
    while engine.compacting.is_none() {
        engine.force_compaction();
        while engine.compacting_journal.is_some() {
            engine.compact().unwrap();
        }
    }
    files.fail_remove_after(3);
    while engine.compact().is_ok() {
        assert_eq!(store.report().compactions, before, "it was to fail");
    }
    drop((store, engine));
    let (store, _engine) = open(&files, 0).unwrap();
    let lost = (0..4_000).filter(|number| providers(&store, &multihash(*number), 0).is_empty()).count();
    assert_eq!(lost, 0);
}

/// Goal: records that are kept although they expire in another hour are no reason to rewrite a file for ever. Method: all
/// are announced again with half of their life, as after a change of the configuration.
#[test]
fn compaction_of_shortened_records_ends() {
    let files = FaultyFiles::default();
    let (store, mut engine) = many_files_of_one_hour(&files);
    let shorter =
        |number| ProviderRecord { expires: date(DAY), ..record(&multihash(number), provider(1, 1), 0) };
    let records: Vec<_> = (0..4_000).map(shorter).collect();
    assert!(store.add(&records, date(0)).iter().all(Result::is_ok));
    engine.flush_claims().unwrap();
    let steps = (0..1_000).take_while(|_| engine.compact().unwrap()).count();
    assert!(steps < 1_000, "it does not end");
}

/// Goal: what could not be read back is refused before it is acknowledged.
#[test]
fn records_too_long_for_a_frame_are_refused() {
    let files = FaultyFiles::default();
    let (store, mut engine) = open(&files, 0).unwrap();
    let refused = put(&store, &mut engine, write(b"/a", &vec![1; 2 << 20], 0, None), 0);
    assert!(matches!(refused, Err(WriteError::Failed(StoreError::Unavailable { .. }))), "{refused:?}");
    let refused = store.add(&[record(&[7; 2_000], provider(1, 1), 0)], date(0));
    assert!(matches!(refused.as_slice(), [Err(WriteError::Failed(_))]), "{refused:?}");
}
