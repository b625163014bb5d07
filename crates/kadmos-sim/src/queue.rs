//! The one queue of the world: what happens next, in an order that depends on nothing but the run itself.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use kadmos_core::Timestamp;

/// How many nanoseconds a slot of the wheel spans, as a power of two: a millisecond, in which a large world has a few
/// dozen events.
const SLOT_BITS: u32 = 20;
/// Slots of the wheel: more than a second in all, and so every message's way.
const SLOTS: usize = 1 << 10;
const WORDS: usize = SLOTS / 64;

/// Events ordered by time; those of one instant in the order in which they were pushed.
///
/// Each kind of wait has its own place. What is due within a second, nearly all messages, goes into a wheel of slots, each
/// sorted when its turn comes. Time-outs, which are many, wait long and mostly find their work done, are pushed in the
/// order in which they are due. The rest is in a heap. All move 24-byte keys; the events lie in a slab beside them.
/// Cost: O(1) for the wheel and time-outs, O(log n) for the rest.
#[derive(Clone, Debug)]
pub(crate) struct EventQueue<E> {
    heap: BinaryHeap<Reverse<Place>>,
    /// Sorted, because [`EventQueue::push_timeout`] keeps it so.
    timeouts: VecDeque<Due<E>>,
    /// What is due in slot `turn` or was pushed for an earlier one; sorted, next one last.
    current: Vec<Place>,
    /// The slot whose turn it is, counted from the beginning of time.
    turn: u64,
    /// Slots `turn + 1` to `turn + SLOTS - 1`, by their numbers modulo [`SLOTS`]; unsorted.
    wheel: Vec<Vec<Place>>,
    /// Which places of the wheel have events, a bit each.
    filled: [u64; WORDS],
    /// How many of `current`, from its front, nobody has looked at; see [`EventQueue::unseen`].
    unseen: usize,
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
            current: Vec::new(),
            turn: 0,
            wheel: vec![Vec::new(); SLOTS],
            filled: [0; WORDS],
            unseen: 0,
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
        let slot = at.as_nanos() >> SLOT_BITS;
        match slot.checked_sub(self.turn) {
            None | Some(0) => {
                let index = self.current.partition_point(|known| *known > place);
                self.current.insert(index, place);
            }
            Some(ahead) if ahead < SLOTS as u64 => {
                let index = slot as usize % SLOTS;
                self.filled[index / 64] |= 1 << (index % 64);
                self.wheel[index].push(place);
            }
            Some(_) => self.heap.push(Reverse(place)),
        }
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
        if self.current.is_empty() {
            self.turn_wheel();
        }
        let key = |(at, sequence, _): &Place| (*at, *sequence);
        let candidates = [
            self.current.last().map(key),
            self.timeouts.front().map(|due| (due.at, due.sequence)),
            self.heap.peek().map(|Reverse(place)| key(place)),
        ];
        let next = candidates.iter().flatten().min().copied().filter(|(at, _)| *at <= until)?;
        let due = if candidates[1] == Some(next) {
            self.timeouts.pop_front()?
        } else {
            let (at, sequence, slot) =
                if candidates[0] == Some(next) { self.current.pop()? } else { self.heap.pop()?.0 };
            self.free.push(slot);
            // A slot is in a place exactly while it is filled: a push fills it, and this takes both.
            Due { at, sequence, event: self.slab[slot as usize].take()? }
        };
        if self.current.is_empty() && self.filled == [0; WORDS] {
            // Nothing waits in the wheel, so it may follow the others.
            self.turn = self.turn.max(due.at.as_nanos() >> SLOT_BITS);
        }
        Some(due)
    }

    /// The places, for [`EventQueue::waiting`], of the next events that are known together and were not given before, the
    /// next last; at most `max`. Empty as long as some that were given have not been taken.
    pub(crate) fn unseen(&mut self, max: usize) -> impl ExactSizeIterator<Item = u32> {
        if self.current.is_empty() {
            self.turn_wheel();
        }
        let len = self.current.len();
        let from = if len <= self.unseen { len.saturating_sub(max) } else { len };
        self.unseen = self.unseen.min(from);
        self.current[from..].iter().map(|(.., slot)| *slot)
    }

    /// An event that waits.
    pub(crate) fn waiting(&self, place: u32) -> Option<&E> {
        self.slab.get(place as usize)?.as_ref()
    }

    /// Gives the turn to the next slot that has events.
    fn turn_wheel(&mut self) {
        let first = (self.turn + 1) as usize % SLOTS;
        // The first word is read twice: its later bits are the nearest slots, its earlier ones the farthest.
        for step in 0..=WORDS {
            let index = (first / 64 + step) % WORDS;
            let mask = match step {
                0 => u64::MAX << (first % 64),
                WORDS => !(u64::MAX << (first % 64)),
                _ => u64::MAX,
            };
            let bits = self.filled[index] & mask;
            if bits != 0 {
                let place = index * 64 + bits.trailing_zeros() as usize;
                self.filled[index] &= !(1 << (place % 64));
                self.turn += 1 + ((place + SLOTS - first) % SLOTS) as u64;
                std::mem::swap(&mut self.current, &mut self.wheel[place]);
                self.current.sort_unstable_by(|a, b| b.cmp(a));
                self.unseen = self.current.len();
                return;
            }
        }
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
        assert_eq!(queue.pop_due(at(9)).map(|due| due.event), Some("e"));
        assert_eq!(queue.pop_due(at(9)), None);
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

    /// As the world does: what happens causes what happens next, near and far, and time passes in steps of any length.
    #[test]
    fn events_that_cause_events_come_in_order() {
        let mut rng = crate::random::child(2, "queue", 0);
        let mut queue = EventQueue::default();
        let mut waiting = std::collections::BTreeSet::new();
        let (mut sequence, mut popped, mut now) = (0, 0, Timestamp::ZERO);
        for _ in 0..2_000 {
            let until = now + std::time::Duration::from_nanos(crate::random::below(&mut rng, 40_000_000));
            for _ in 0..crate::random::below(&mut rng, 3) {
                queue.push(until, ());
                waiting.insert((until, sequence));
                sequence += 1;
            }
            while let Some(due) = queue.pop_due(until) {
                assert_eq!(Some((due.at, due.sequence)), waiting.pop_first());
                now = due.at;
                popped += 1;
                // Fewer than one on average, so that this ends; within the slot, the wheel and beyond it.
                let reach =
                    [1, 1 << 18, 1 << 26, 1 << 30, 1 << 34][crate::random::below(&mut rng, 5) as usize];
                for _ in 0..crate::random::below(&mut rng, 2) {
                    let at = now + std::time::Duration::from_nanos(crate::random::below(&mut rng, reach));
                    if crate::random::below(&mut rng, 4) == 0 {
                        queue.push_timeout(at, ());
                    } else {
                        queue.push(at, ());
                    }
                    waiting.insert((at, sequence));
                    sequence += 1;
                }
            }
            assert!(waiting.first().is_none_or(|(at, _)| *at > until));
            now = until;
        }
        assert!(popped > 3_000, "{popped}");
        while let Some(due) = queue.pop_due(Timestamp::from_nanos(u64::MAX)) {
            assert_eq!(Some((due.at, due.sequence)), waiting.pop_first());
        }
        assert!(waiting.is_empty());
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
        assert!(queue.heap.is_empty() && queue.current.is_empty());
    }
}
