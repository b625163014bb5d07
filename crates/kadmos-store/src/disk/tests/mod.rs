//! The conformance suite on disk, restarts, and disks that fail.

use std::sync::Arc;

use bytes::Bytes;
use futures::executor::block_on;
use kadmos_core::message::Record;
use kadmos_core::record::ValueWrite;
use kadmos_core::time::{Now, Timestamp, UnixTime};
use kadmos_core::{AddrList, Peer, PeerId, PeerInfo};

use super::faulty::FaultyFiles;
use super::*;
use crate::conformance::CASES;

mod damage;
mod fixtures;
mod power;
mod restart;

const START: u64 = 1_795_515_912;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

fn date(secs: u64) -> UnixTime {
    UnixTime::from_secs(START + secs)
}

/// Both clocks, this long after the start.
fn both(secs: u64) -> Now {
    Now { monotonic: Timestamp::from_millis(secs * 1_000), unix: date(secs) }
}

fn write(key: &[u8], value: &[u8], secs: u64, expected: Option<u64>) -> ValueWrite {
    ValueWrite {
        record: Record { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) },
        received: date(secs),
        expires: date(secs + 2 * DAY),
        expected,
    }
}

fn peer(number: u8) -> Peer {
    Peer::new(PeerId::from_digest([number; 32]))
}

fn provider(number: u8, network: u8) -> PeerInfo {
    let peer = peer(number);
    let addrs = AddrList::collect(&peer.id, [[4, 93, network, number, 1, 6, 0, 1].as_slice()]);
    PeerInfo::new(peer, addrs)
}

fn record(key: &[u8], provider: PeerInfo, secs: u64) -> ProviderRecord {
    ProviderRecord {
        key: Bytes::copy_from_slice(key),
        provider,
        received: date(secs),
        expires: date(secs + 2 * DAY),
        addrs_expire: date(secs + DAY),
    }
}

/// A multihash of its own for each number.
fn multihash(number: u32) -> [u8; 34] {
    let mut key = [0x12; 34];
    key[1] = 0x20;
    key[2..6].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
    key
}

fn open(files: &FaultyFiles, secs: u64) -> Result<(DiskStore, Engine), StoreError> {
    DiskStore::open_by_hand(Arc::new(files.clone()), MemoryLimits::default(), date(secs), 7)
}

/// Writes what is left, as the thread does when a store is closed.
fn close(engine: &mut Engine) {
    engine.note_clock();
    engine.sync();
    recovery::write_clean(&*engine.files, &engine.closed()).unwrap();
}

/// Puts a value and makes it certain.
fn put(store: &DiskStore, engine: &mut Engine, write: ValueWrite, secs: u64) -> Result<(), WriteError> {
    let (mut results, waiter) = store.put(&[write], date(secs));
    let _ = engine.flush_journal();
    results.remove(0)?;
    let told = waiter.expect("a write that was taken is waited for").try_recv();
    told.expect("the writer answers").expect("the writer has been there").map_err(WriteError::Failed)
}

fn value(store: &DiskStore, key: &[u8], secs: u64) -> Option<Bytes> {
    block_on(store.value(key, date(secs))).unwrap().map(|stored| stored.record.value)
}

fn providers(store: &DiskStore, key: &[u8], secs: u64) -> Vec<PeerInfo> {
    let mut found = block_on(store.providers(key, usize::MAX, date(secs))).unwrap();
    found.sort_by_key(|found| found.peer.id);
    found
}

#[test]
fn disk_store_conforms() {
    for case in CASES {
        eprintln!("{}", case.name);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let numbers = std::sync::atomic::AtomicUsize::new(0);
        block_on((case.run)(&|limits| {
            let number = numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let config = DiskConfig { path: path.join(number.to_string()), limits };
            Box::pin(async move { Arc::new(DiskStore::open(config, date(0)).unwrap()) as Arc<dyn Store> })
        }));
    }
}
