//! The one queue of the world: what happens next, in an order that depends on nothing but the run itself.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use kadmos_core::Timestamp;

/// Events ordered by time; those of one instant in the order in which they were pushed.
///
/// The heap moves 24-byte keys; the events lie in a slab beside it. Time-outs, which are many, wait long and mostly
/// find their work done, need no heap: they are pushed in the order in which they are due.
/// Cost: O(log n) per push and pop, O(1) for time-outs.
#[derive(Clone, Debug)]
pub(crate) struct EventQueue<E> {
    heap: BinaryHeap<Reverse<Place>>,
    /// Sorted, because [`EventQueue::push_timeout`] keeps it so.
    timeouts: VecDeque<Due<E>>,
    slab: Vec<Option<E>>,
    free: Vec<u32>,
    sequence: u64,
}

/// When, in which order among equals, and where in the slab.
type Place = (Timestamp, u64, u32);

/// An event that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        Self {
            heap: BinaryHeap::new(),
            timeouts: VecDeque::new(),
            slab: Vec::new(),
            free: Vec::new(),
            sequence: 0,
        }
    }
}

impl<E> EventQueue<E> {
    /// Adds an event.
    ///
    /// Panics: at 2^32 waiting events, far past the memory of any machine.
    pub(crate) fn push(&mut self, at: Timestamp, event: E) {
        let place = self.place(at, event);
        self.heap.push(Reverse(place));
    }

    /// As [`EventQueue::push`], and cheaper when no time-out that was pushed before is due later.
    pub(crate) fn push_timeout(&mut self, at: Timestamp, event: E) {
        if self.timeouts.back().is_none_or(|last| last.at <= at) {
            self.timeouts.push_back(Due { at, sequence: self.sequence, event });
            self.sequence += 1;
        } else {
            self.push(at, event);
        }
    }

    /// Takes the next event if it is due at `until` or before.
    pub(crate) fn pop_due(&mut self, until: Timestamp) -> Option<Due<E>> {
        let heap = self.heap.peek().map(|Reverse((at, sequence, _))| (*at, *sequence));
        let timeout = self.timeouts.front().map(|due| (due.at, due.sequence));
        let is_timeout = match (heap, timeout) {
            (Some(heap), Some(timeout)) => timeout < heap,
            (_, timeout) => timeout.is_some(),
        };
        let (at, sequence) = if is_timeout { timeout } else { heap }.filter(|(at, _)| *at <= until)?;
        if is_timeout {
            return self.timeouts.pop_front();
        }
        let Reverse((.., slot)) = self.heap.pop()?;
        self.free.push(slot);
        // A slot is in the heap exactly while it is filled: a push fills it, and this takes both.
        let event = self.slab[slot as usize].take()?;
        Some(Due { at, sequence, event })
    }

    fn place(&mut self, at: Timestamp, event: E) -> Place {
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
        let sequence = self.sequence;
        self.sequence += 1;
        (at, sequence, slot)
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
        assert_eq!(queue.heap.len(), 1);
    }

    #[test]
    fn timeouts_and_others_are_one_order() {
        let mut rng = crate::random::child(1, "queue", 0);
        let mut queue = EventQueue::default();
        let mut expected = Vec::new();
        for sequence in 0..2_000u64 {
            let at = Timestamp::from_millis(crate::random::below(&mut rng, 50));
            expected.push((at, sequence));
            if crate::random::below(&mut rng, 2) == 0 {
                queue.push(at, ())
            } else {
                queue.push_timeout(at, ())
            }
        }
        expected.sort_unstable();
        let popped = std::iter::from_fn(|| queue.pop_due(Timestamp::from_millis(50)));
        assert_eq!(popped.map(|due| (due.at, due.sequence)).collect::<Vec<_>>(), expected);
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
        assert!(queue.heap.is_empty());
    }
}
