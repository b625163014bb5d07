//! What decoding allocates, measured: hostile messages must not make us hold more than their bounds.
#![allow(unsafe_code, reason = "only an allocator can see every allocation, and implementing one is unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use kadmos_core::PeerId;
use kadmos_core::limits::{CLOSER_PEERS_MAX, MESSAGE_BYTES_MAX, PEER_RECORD_BYTES_MAX};
use kadmos_core::message::MessageKind;
use kadmos_core::wire::frame::FrameReader;
use kadmos_core::wire::{decode_request, decode_response, varint};

/// Counts the bytes that the current thread holds, and the most it held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    let held = HELD.get() + change;
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

// SAFETY: every call goes to the system's allocator unchanged; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most bytes held at once by `run` beyond what was held before, and bytes held after it.
fn measure<T>(run: impl FnOnce() -> T) -> (T, isize, isize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = run();
    (result, PEAK.get() - before, HELD.get() - before)
}

/// `count` times `bytes`.
fn bound(count: usize, bytes: usize) -> isize {
    (count * bytes) as isize // far below the largest
}

fn field(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut field = vec![tag];
    varint::write(&mut field, body.len() as u64);
    field.extend(body);
    field
}

fn peer(tag: u8, seed: u32, addrs: &[u8]) -> Vec<u8> {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&seed.to_be_bytes());
    field(tag, &[&field(0x0a, PeerId::from_digest(digest).as_bytes())[..], addrs].concat())
}

fn message(kind: MessageKind, fields: impl IntoIterator<Item = Vec<u8>>) -> Bytes {
    let mut bytes = vec![8, kind as u8];
    fields.into_iter().for_each(|field| bytes.extend(field));
    bytes.truncate(MESSAGE_BYTES_MAX);
    bytes.into()
}

/// Bytes that one kept peer without addresses may hold: its descriptor, its place in the list, the allocator's rounding.
const PEER: usize = 160;

#[test]
fn counting_counts() {
    let (kept, peak, held) = measure(|| {
        drop(vec![0u8; 10_000]);
        vec![0u8; 1_000]
    });
    assert_eq!((kept.len(), peak, held), (1_000, 10_000, 1_000));
}

#[test]
fn a_flood_of_peers_costs_no_more_than_the_peers_that_are_kept() {
    let tcp = field(0x12, &[4, 1, 2, 3, 4, 6, 0x0f, 0xa1]);
    let flood = message(MessageKind::FindNode, (0..80_000).map(|seed| peer(0x42, seed, &tcp)));
    let (read, peak, _) = measure(|| decode_response(&flood, MessageKind::FindNode));
    assert_eq!(read.unwrap().message.closer().len(), CLOSER_PEERS_MAX);
    assert!(peak <= bound(CLOSER_PEERS_MAX, PEER) + 1_024, "{peak} bytes for {CLOSER_PEERS_MAX} peers");

    // Two million peers without an id, and a request with peers that its kind has not.
    let empty = message(MessageKind::FindNode, (0..2_097_000).map(|_| vec![0x42, 0]));
    let (read, peak, _) = measure(|| decode_response(&empty, MessageKind::FindNode));
    assert_eq!(read.unwrap().message.closer().len(), 0);
    assert!(peak <= bound(CLOSER_PEERS_MAX, PEER), "{peak} bytes for no peers");
    let stuffed = message(MessageKind::Ping, (0..80_000).map(|seed| peer(0x4a, seed, &tcp)));
    let (_, peak, _) = measure(|| decode_request(&stuffed));
    assert_eq!(peak, 0);
}

#[test]
fn large_peers_cost_no_more_than_their_bound() {
    let addr = |byte: u32| field(0x12, &[&[54, 100][..], &[byte as u8; 100]].concat());
    let addrs: Vec<u8> = (0..200).flat_map(addr).collect();
    let large = message(MessageKind::FindNode, (0..180).map(|seed| peer(0x42, seed, &addrs)));
    let (read, peak, held) = measure(|| decode_response(&large, MessageKind::FindNode));
    assert_eq!(read.unwrap().message.closer().len(), CLOSER_PEERS_MAX);
    assert!(held <= bound(CLOSER_PEERS_MAX, PEER + PEER_RECORD_BYTES_MAX), "{held} bytes held");
    assert!(peak <= held + bound(2, PEER_RECORD_BYTES_MAX), "{peak} bytes while reading, {held} after");
}

#[test]
fn what_is_kept_of_a_large_frame_is_small() {
    let frame = message(
        MessageKind::PutValue,
        [
            field(0x12, b"/k/k"),
            field(0x1a, &[field(0x0a, b"/k/k"), field(0x12, b"value")].concat()),
            field(0x7a, &[0; 1 << 20]),
        ],
    );
    let (read, _, held) = measure(|| {
        let read = decode_request(&frame);
        drop(frame);
        read
    });
    assert!(read.is_ok());
    assert!(held < 1_024 - (1 << 20), "dropping the frame must free it, but {held} bytes were freed");
}

#[test]
fn announced_lengths_cost_nothing() {
    let length = message(MessageKind::FindNode, [vec![0x12, 0xff, 0xff, 0xff, 0xff, 0x0f, 7]]);
    let (read, peak, _) = measure(|| decode_request(&length));
    assert!(read.is_err());
    assert_eq!(peak, 0);
    let mut header = Vec::new();
    varint::write(&mut header, MESSAGE_BYTES_MAX as u64);
    let (readers, peak, _) = measure(|| {
        core::array::from_fn::<_, 100, _>(|_| {
            let mut reader = FrameReader::new(MESSAGE_BYTES_MAX);
            assert_eq!(reader.read(&mut header.as_slice()), Ok(None));
            reader
        })
    });
    assert!(readers.iter().all(|reader| !reader.is_between_frames()));
    assert_eq!(peak, 0);
    let mut reader = FrameReader::new(MESSAGE_BYTES_MAX);
    let _ = reader.read(&mut header.as_slice());
    let (_, peak, held) = measure(|| reader.read(&mut &[0; 1_000][..]));
    assert_eq!((peak, held), (1_000, 1_000));
}
