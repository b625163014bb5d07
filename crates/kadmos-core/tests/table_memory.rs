//! What a table entry takes beside the descriptor it shares: simulations hold tens of millions.
#![allow(unsafe_code, reason = "only an allocator can see every allocation, and implementing one is unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use kadmos_core::{AddrList, Config, Node, Peer, PeerId, PeerInfo, Validators};

/// Counts the bytes that the current thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.set(HELD.get() + layout.size() as isize);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.set(HELD.get() - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn info(index: u32) -> PeerInfo {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&index.to_be_bytes());
    let id = PeerId::from_digest(digest);
    PeerInfo::new(Peer::new(id), AddrList::collect(&id, [[4, 20, 1, 2, 3, 6, 15, 161].as_slice()]))
}

/// Goal: at most 64 bytes an entry. Method: the table of a node among 50,000, filled one by one, as it is in life.
#[test]
fn table_entry_is_small() {
    let everybody: Vec<_> = (0..50_000).map(info).collect();
    let mut node = Node::new(info(u32::MAX).peer, Config::private("/x"), Arc::new(Validators::new()))
        .expect("a sound configuration");
    let before = HELD.get();
    node.restore_table(everybody.iter().cloned());
    let entries = node.table().view().len() as isize; // some 250
    let held = HELD.get() - before;
    assert!(entries > 200, "{entries}");
    assert!(held <= 64 * entries, "{} bytes an entry", held / entries);
    // What runs of the simulator print is what the allocator says.
    assert_eq!(node.table().allocated_bytes() as isize, held);
}
