//! The one queue of the world: what happens next, in an order that depends on nothing but the run itself.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use kadmos_core::Timestamp;

/// Events ordered by time; those of one instant in the order in which they were pushed.
///
/// The heap moves 24-byte keys; the events lie in a slab beside it. Cost: O(log n) per push and pop.
#[derive(Debug)]
pub(crate) struct EventQueue<E> {
    heap: BinaryHeap<Reverse<(Timestamp, u64, u32)>>,
    slab: Vec<Option<E>>,
    free: Vec<u32>,
    sequence: u64,
}

/// An event that is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due<E> {
    /// When.
    pub(crate) at: Timestamp,
    /// How many events were pushed before it: unique, and equal in equal runs.
    pub(crate) sequence: u64,
    /// What.
    pub(crate) event: E,
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), slab: Vec::new(), free: Vec::new(), sequence: 0 }
    }
}

impl<E> EventQueue<E> {
    /// Adds an event.
    ///
    /// Panics: at 2^32 waiting events, far past the memory of any machine.
    pub(crate) fn push(&mut self, at: Timestamp, event: E) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slab[slot as usize] = Some(event);
                slot
            }
            None => {
                let slot = u32::try_from(self.slab.len()).expect("fewer than 2^32 events wait at once");
                self.slab.push(Some(event));
                slot
            }
        };
        self.heap.push(Reverse((at, self.sequence, slot)));
        self.sequence += 1;
    }

    /// Takes the next event if it is due at `until` or before.
    pub(crate) fn pop_due(&mut self, until: Timestamp) -> Option<Due<E>> {
        if self.next_at()? > until {
            return None;
        }
        let Reverse((at, sequence, slot)) = self.heap.pop()?;
        self.free.push(slot);
        // A slot is in the heap exactly while it is filled: `push` fills it, and this takes both.
        let event = self.slab[slot as usize].take()?;
        Some(Due { at, sequence, event })
    }

    /// When the next event is due.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_instant_keep_their_order() {
        let mut queue = EventQueue::default();
        let at = Timestamp::from_millis;
        for (ms, name) in [(5, "c"), (1, "a"), (5, "d"), (1, "b"), (9, "e")] {
            queue.push(at(ms), name);
        }
        let mut order = String::new();
        while let Some(due) = queue.pop_due(at(5)) {
            order.push_str(due.event);
        }
        assert_eq!(order, "abcd");
        assert_eq!((queue.heap.len(), queue.next_at()), (1, Some(at(9))));
    }

    #[test]
    fn slots_are_used_again() {
        let mut queue = EventQueue::default();
        for round in 0..1_000u64 {
            queue.push(Timestamp::from_nanos(round), round);
            queue.push(Timestamp::from_nanos(round), round);
            for sequence in [2 * round, 2 * round + 1] {
                let due = queue.pop_due(Timestamp::from_nanos(round));
                assert_eq!(due, Some(Due { at: Timestamp::from_nanos(round), sequence, event: round }));
            }
        }
        assert_eq!(queue.slab.len(), 2);
        assert_eq!(queue.next_at(), None);
    }
}
