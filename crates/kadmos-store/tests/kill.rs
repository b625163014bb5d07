//! A process that writes is killed in the middle, again and again. What it was told is certain must be there afterwards.
//!
//! The child is this test program itself; it prints what it was told, and the parent reads that until it kills it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::executor::block_on;
use kadmos_core::message::Record;
use kadmos_core::record::{ProviderRecord, ValueWrite};
use kadmos_core::time::{Now, UnixTime};
use kadmos_core::{AddrList, Peer, PeerId, PeerInfo};
use kadmos_store::{DiskConfig, DiskStore, Store, StoreError};

/// The directory of the child's store; only the child has it.
const DIRECTORY: &str = "KADMOS_KILL_DIRECTORY";
const DAY: u64 = 86_400;

fn now() -> UnixTime {
    UnixTime::from_secs(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs())
}

fn later(time: UnixTime, secs: u64) -> UnixTime {
    UnixTime::from_secs(time.as_secs() + secs)
}

fn key(number: u64) -> Vec<u8> {
    let mut key = vec![0x12, 0x20];
    key.extend_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key.resize(34, 7);
    key
}

fn peer() -> PeerInfo {
    let id = PeerId::from_digest([9; 32]);
    PeerInfo::new(Peer::new(id), AddrList::collect(&id, [[4, 93, 1, 2, 3, 6, 0, 1].as_slice()]))
}

/// The child. Does nothing in an ordinary run of the tests.
#[test]
fn child_writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = DiskStore::open(DiskConfig::new(directory), now()).unwrap();
    block_on(store.ready()).unwrap();
    let report = store.report();
    assert_eq!((report.lost_bytes, report.broken_files, report.failures), (0, 0, 0), "{report:?}");
    let mut out = std::io::stdout();
    let first = block_on(store.stats()).unwrap().provider_records as u64;
    let mut announced = first;
    for round in 0u64.. {
        for name in 0..8 {
            let value_key = Bytes::from(format!("/v/{name}"));
            let held = block_on(store.value(&value_key, now())).unwrap();
            let count = held.as_ref().map_or(0, |held| number(&held.record.value));
            let mut body = (count + 1).to_be_bytes().to_vec();
            body.resize(8 + (count as usize * 37) % 2_000, 1);
            let write = ValueWrite {
                record: Record { key: value_key, value: body.into() },
                received: now(),
                expires: later(now(), 2 * DAY),
                expected: held.map(|held| held.version),
            };
            assert_eq!(block_on(store.put_values(vec![write], now())), [Ok(())]);
            writeln!(out, "\nvalue {name} {}", count + 1).unwrap();
        }
        let batch: Vec<_> = (announced..announced + 200)
            .map(|number| ProviderRecord {
                key: key(number).into(),
                provider: peer(),
                received: now(),
                expires: later(now(), 2 * DAY),
                addrs_expire: later(now(), DAY),
            })
            .collect();
        announced += 200;
        assert!(block_on(store.add_providers(batch, now())).iter().all(Result::is_ok));
        if round % 3 == 0 {
            block_on(store.sync()).unwrap();
            writeln!(out, "\nclaims {announced}").unwrap();
        }
        // Looking at the clocks is what sets compaction going.
        block_on(store.expire(Now { unix: now(), ..Now::default() }, 10)).unwrap();
        out.flush().unwrap();
    }
}

fn number(value: &[u8]) -> u64 {
    u64::from_be_bytes(*value.first_chunk().expect("eight bytes and more"))
}

/// How often: `KADMOS_KILLS=200` for more than the 20 of an ordinary run.
fn kills() -> u64 {
    std::env::var("KADMOS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

#[test]
fn killed_process_has_lost_nothing_it_was_told_is_certain() {
    let directory = tempfile::tempdir().unwrap();
    let mut certain: BTreeMap<u64, u64> = BTreeMap::new();
    let mut claims = 0;
    for round in 0..kills() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_writes_until_it_is_killed", "--exact", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        // Somewhere within the first hundred lines: also while it opens, and in the middle of a write.
        let enough = round * 7_919 % 101;
        let mut told = 0;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while told < enough {
            let line = lines.next().expect("the child writes until it is killed").unwrap();
            told += u64::from(take(&line, &mut certain, &mut claims));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it was told before it died, and we had not read yet.
        for line in lines.map_while(Result::ok) {
            take(&line, &mut certain, &mut claims);
        }

        let store = DiskStore::open(DiskConfig::new(directory.path()), now()).unwrap();
        block_on(store.ready()).unwrap();
        for (name, count) in &certain {
            let held = block_on(store.value(format!("/v/{name}").as_bytes(), now())).unwrap();
            let found = held.map_or(0, |held| number(&held.record.value));
            assert!(found == *count || found == count + 1, "value {name}: {found}, {count} was certain");
        }
        // The newest, and some of all others.
        for number in (0..claims).filter(|number| number % 37 == 0 || number + 2_000 > claims) {
            let found = block_on(store.providers(&key(number), 9, now())).unwrap();
            assert_eq!(found, [peer()], "record {number} of {claims} that were certain");
        }
        let report = store.report();
        assert_eq!(
            (report.lost_bytes, report.broken_files, report.unreadable_records),
            (0, 0, 0),
            "{report:?}"
        );
        assert_eq!(DiskStore::open(DiskConfig::new(directory.path()), now()).unwrap_err(), StoreError::InUse);
        // Those that were taken and not certain may be there: the next child goes on behind them.
        claims = block_on(store.stats()).unwrap().provider_records as u64;
    }
    assert!(certain.len() == 8 && claims > 200, "something was written: {certain:?}, {claims}");
}

fn take(line: &str, certain: &mut BTreeMap<u64, u64>, claims: &mut u64) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["value", name, count] => {
            // A line that the kill cut off would have fewer digits: counts only grow.
            let (Ok(name), Ok(count)) = (name.parse(), count.parse::<u64>()) else { return false };
            let held = certain.entry(name).or_default();
            *held = count.max(*held);
            true
        }
        ["claims", count] => {
            *claims = count.parse::<u64>().map_or(*claims, |count| count.max(*claims));
            true
        }
        _ => false,
    }
}
