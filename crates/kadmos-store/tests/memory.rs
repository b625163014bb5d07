//! The bytes that a store in memory counts are the bytes that it takes: the bounds hold for the process, not only
//! for an account of it.
//!
//! Alone in its file, and one test: it counts every allocation of the process.

#![allow(unsafe_code)] // an allocator cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use kadmos_core::message::Record;
use kadmos_core::record::{ProviderRecord, ValueWrite};
use kadmos_core::time::{Now, UnixTime};
use kadmos_core::{AddrList, Peer, PeerId, PeerInfo};
use kadmos_store::{MemoryLimits, MemoryStore};

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counting what glibc spends: a header of 8 bytes, rounded up to 16, at least 32.
struct Counting;

fn spent(size: usize) -> usize {
    (size + 8).next_multiple_of(16).max(32)
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting touches an atomic only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(spent(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's demands.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(spent(layout.size()), Ordering::Relaxed);
        // SAFETY: as above; the pointer came from the same allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const START: UnixTime = UnixTime::from_secs(1_795_515_912);
const END: UnixTime = UnixTime::from_secs(1_795_688_712);

/// Multiplication by an odd number permutes the keys: neither ascending nor random, and the same each time.
fn key(number: u32) -> [u8; 34] {
    let mut key = [0x12; 34];
    key[2..6].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
    key
}

fn provider(number: u32, addrs: u8) -> PeerInfo {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
    let peer = Peer::new(PeerId::from_digest(digest));
    let addrs: Vec<_> = (0..addrs).map(|port| [4, 93, 1, 2, 3, 6, 1, port]).collect();
    let addrs = AddrList::collect(&peer.id, addrs.iter().map(<[u8; 8]>::as_slice));
    PeerInfo::new(peer, addrs)
}

fn add(store: &MemoryStore, key: &[u8], provider: PeerInfo) {
    let record = ProviderRecord {
        key: Bytes::copy_from_slice(key),
        provider,
        received: START,
        expires: END,
        addrs_expire: END,
    };
    store.add_provider(&record, START).unwrap();
}

fn put(store: &MemoryStore, key: &[u8], value: &[u8]) {
    // A slice of a large frame, as values arrive: the store must not keep the frame.
    let mut frame = vec![0; value.len() + 4_096];
    frame[..value.len()].copy_from_slice(value);
    let value = Bytes::from(frame).slice(..value.len());
    let record = Record { key: Bytes::copy_from_slice(key), value };
    store.put_value(&ValueWrite { record, received: START, expires: END, expected: None }, START).unwrap();
}

#[test]
fn counted_bytes_are_the_bytes_taken() {
    type Fill = fn(&MemoryStore);
    let fills: [(&str, Fill); 9] = [
        ("values, scattered keys", |store| (0..4_000).for_each(|n| put(store, &key(n), &[7; 20]))),
        ("values, ascending keys", |store| {
            (0..4_000u32).for_each(|n| put(store, &n.to_be_bytes(), &[7; 400]))
        }),
        ("values, large", |store| (0..200).for_each(|n| put(store, &key(n), &[7; 60_000]))),
        ("one provider, scattered keys", |store| {
            (0..4_000).for_each(|n| add(store, &key(n), provider(1, 3)));
        }),
        ("one provider, ascending keys", |store| {
            (0..4_000u32).for_each(|n| add(store, &n.to_be_bytes(), provider(1, 3)));
        }),
        ("a provider for each key", |store| (0..4_000).for_each(|n| add(store, &key(n), provider(n, 3)))),
        ("a provider for each key, no addresses", |store| {
            (0..4_000).for_each(|n| add(store, &key(n), provider(n, 0)));
        }),
        ("many providers for each key", |store| {
            (0..4_000).for_each(|n| add(store, &key(n / 200), provider(n, 20)));
        }),
        ("providers displaced", |store| (0..4_000).for_each(|n| add(store, &key(n % 7), provider(n, 20)))),
    ];
    // What the test's own output takes is not the store's.
    println!("{:4000}", "");
    for (name, fill) in fills {
        let before = LIVE.load(Ordering::Relaxed);
        let store = MemoryStore::new(MemoryLimits::default());
        let empty = LIVE.load(Ordering::Relaxed) - before;
        fill(&store);
        let taken = LIVE.load(Ordering::Relaxed) - before - empty;
        let stats = store.stats();
        let counted = stats.value_bytes + stats.provider_bytes;
        println!(
            "{name}: {taken} bytes taken, {counted} counted, {} a record",
            taken / (stats.values + stats.provider_records)
        );
        assert!(empty < 1_024, "an empty store takes {empty} bytes");
        assert!(taken <= counted, "{name}: {taken} bytes taken, only {counted} counted");
        assert!(taken * 5 / 2 >= counted, "{name}: {counted} bytes counted, but only {taken} taken");

        // And everything is given back.
        let end = Now { unix: END, ..Now::default() };
        while store.expire(end, 1_000).more {}
        let left = LIVE.load(Ordering::Relaxed) - before - empty;
        assert!(left <= 2_048, "{name}: {left} bytes are left of an emptied store");
    }
}
