//! Claims by key, packed: a sorted list of keys with their claims in leaves of some kilobytes, and an index of the leaves.
//!
//! A million keys of 34 bytes with one claim each take some 60 bytes a key; a map with an allocation for each takes four
//! times that. Nothing is ever copied but one leaf, so that no write takes long, and neighbours by key are neighbours in
//! memory. What expires is found by leaf: each is filed under the earliest expiry in it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};

use kadmos_core::wire::varint;

use crate::memory::roster::Place;

/// A leaf is split when it becomes longer. Some 60 keys: a search reads half of it, and a write moves half of it.
const LEAF_MAX: usize = 3_584;
/// A leaf shorter than this is joined with its neighbour, when both together are no longer than [`JOINED_MAX`].
const LEAF_MIN: usize = LEAF_MAX / 4;
/// Joined leaves have room, so that they are not split again at once.
const JOINED_MAX: usize = LEAF_MAX * 3 / 4;
/// Leaves grow by this, small ones by an eighth of it. More wastes memory, less copies more often.
const GROWTH: usize = 256;
/// What a leaf costs beyond its bytes: an entry of 48 bytes in the slab, which doubles as it grows; entries of 48 and of 8
/// bytes in nodes that are half full and linked; its allocation's header.
pub(super) const LEAF_COST: usize = 96 + 112 + 32 + 16;
/// Bytes of a claim.
const CLAIM_LEN: usize = 12;
/// Bytes of a separator that are kept in its place. Keys are hashes, so that five tell 50,000 leaves apart.
const HEAD_LEN: usize = 16;

/// A claim to provide a key. Dates are in seconds since the epoch of the tree's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) place: Place,
    pub(super) received: u32,
    /// Seconds from `received` to expiry; 136 years at most.
    pub(super) lifetime: u32,
}

impl Claim {
    pub(super) fn expires(&self) -> u32 {
        self.received.saturating_add(self.lifetime)
    }

    fn read(bytes: &[u8; CLAIM_LEN]) -> Self {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self { place: number(0), received: number(4), lifetime: number(8) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        for number in [self.place, self.received, self.lifetime] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}

/// The claims of one key, in their order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claims<'a>(&'a [u8]);

impl<'a> Claims<'a> {
    pub(super) const NONE: Self = Self(&[]);

    pub(super) fn len(&self) -> usize {
        self.0.len() / CLAIM_LEN
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Claim> + use<'a> {
        self.0.as_chunks::<CLAIM_LEN>().0.iter().map(Claim::read)
    }

    /// The first `at` and the rest.
    pub(super) fn split_at(&self, at: usize) -> (Self, Self) {
        let (first, rest) = self.0.split_at(at * CLAIM_LEN);
        (Self(first), Self(rest))
    }
}

/// Where a key is, or would be. Any write makes it void.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    leaf: Option<u32>,
    /// The entry's bytes in the leaf; empty where it would be.
    range: Range<usize>,
    claims: Range<usize>,
}

impl Spot {
    pub(super) fn is_taken(&self) -> bool {
        !self.range.is_empty()
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// Leaves by a key that is above all keys of the leaf before, and not above any of its own; of the first, by anything.
    index: BTreeMap<Separator, u32>,
    leaves: Vec<Leaf>,
    free: Vec<u32>,
    /// Leaves by [`Leaf::due`].
    due: BTreeSet<(u32, u32)>,
    keys: usize,
    /// Separators with a tail. While there are none, looking up allocates nothing.
    long_separators: usize,
    /// Of the leaves' allocations.
    bytes: usize,
    entry: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Leaf {
    /// Entries: length of the key, number of claims, both as varints; key; claims.
    bytes: Vec<u8>,
    /// No claim in it expires before this.
    due: u32,
}

/// The beginning of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Separator {
    /// The first bytes, zeros behind them.
    head: u128,
    /// Of the key, where more than [`HEAD_LEN`] are one more.
    len: u8,
    tail: Box<[u8]>,
}

impl Separator {
    fn of(key: &[u8], with_tail: bool) -> Self {
        let mut head = [0; HEAD_LEN];
        let len = key.len().min(HEAD_LEN);
        head[..len].copy_from_slice(&key[..len]);
        let tail = key.get(HEAD_LEN..).filter(|_| with_tail).unwrap_or(&[]);
        Self {
            head: u128::from_be_bytes(head),
            len: key.len().min(HEAD_LEN + 1) as u8, // at most 17
            tail: tail.into(),
        }
    }
}

impl Ord for Separator {
    /// As the bytes are ordered: where heads are equal, zeros were put behind the shorter.
    fn cmp(&self, other: &Self) -> Ordering {
        self.head.cmp(&other.head).then(self.len.cmp(&other.len)).then_with(|| self.tail.cmp(&other.tail))
    }
}

impl PartialOrd for Separator {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Tree {
    /// Keys.
    pub(super) fn len(&self) -> usize {
        self.keys
    }

    /// What all of it costs.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + (self.leaves.len() * LEAF_COST)
    }

    /// At most how many bytes more a key or claim takes.
    pub(super) fn cost_of(key_len: usize, claims: usize) -> usize {
        // It may split a leaf, and both then have room to grow.
        key_len + 8 + claims * CLAIM_LEN + LEAF_COST + 2 * GROWTH
    }

    /// Finds `key`. Cost: O(log n), and a leaf is read.
    pub(super) fn find(&self, key: &[u8]) -> Spot {
        let Some(leaf) = self.leaf_of(key) else { return Spot { leaf: None, range: 0..0, claims: 0..0 } };
        let (range, claims) = self.leaves[leaf as usize].find(key);
        Spot { leaf: Some(leaf), range, claims }
    }

    /// The claims at a spot.
    pub(super) fn claims(&self, spot: &Spot) -> Claims<'_> {
        match spot.leaf {
            Some(leaf) => Claims(&self.leaves[leaf as usize].bytes[spot.claims.clone()]),
            None => Claims::NONE,
        }
    }

    /// Makes these the claims of `key`, which is at `spot`; none of them takes the key away.
    pub(super) fn set(&mut self, spot: &Spot, key: &[u8], claims: &[Claim]) {
        self.entry.clear();
        if !claims.is_empty() {
            varint::write(&mut self.entry, key.len() as u64);
            varint::write(&mut self.entry, claims.len() as u64);
            self.entry.extend_from_slice(key);
            claims.iter().for_each(|claim| claim.write(&mut self.entry));
        }
        let Some(leaf) = spot.leaf.or_else(|| (!claims.is_empty()).then(|| self.first_leaf())) else {
            return;
        };
        self.keys += usize::from(!claims.is_empty());
        self.keys -= usize::from(spot.is_taken());

        let entry = std::mem::take(&mut self.entry);
        let target = &mut self.leaves[leaf as usize];
        let before = target.bytes.capacity();
        target.splice(spot.range.clone(), &entry);
        self.bytes = self.bytes + target.bytes.capacity() - before;
        self.entry = entry;
        let (len, due) = (target.bytes.len(), target.due);
        if let Some(earliest) = claims.iter().map(Claim::expires).min()
            && earliest < due
        {
            self.file(leaf, earliest);
        }
        if len > LEAF_MAX {
            self.split(leaf);
        } else if len < LEAF_MIN && claims.is_empty() {
            self.join(leaf, key);
        }
    }

    /// The keys after `after` with their claims, in order.
    pub(super) fn after(&self, after: Option<&[u8]>) -> impl Iterator<Item = (&[u8], Claims<'_>)> {
        let first = after.and_then(|after| {
            let probe = self.probe(after);
            self.index.range(..=probe).next_back().map(|(separator, _)| separator)
        });
        let start = first.map_or(Bound::Unbounded, Bound::Included);
        let leaves = self.index.range::<Separator, _>((start, Bound::Unbounded));
        leaves
            .flat_map(|(_, leaf)| self.leaves[*leaf as usize].entries(0))
            .map(|entry| (entry.key, entry.claims))
            .skip_while(move |(key, _)| after.is_some_and(|after| *key <= after))
    }

    /// The earliest date under which a leaf is filed.
    pub(super) fn first_due(&self) -> Option<u32> {
        self.due.first().map(|(due, _)| *due)
    }

    /// A key with a claim that has expired by `now`, of the leaf that is due first. When there is none in it the leaf is
    /// filed anew, and the key is empty.
    pub(super) fn due_key(&mut self, now: u32) -> Option<Vec<u8>> {
        let (_, leaf) = *self.due.first().filter(|(due, _)| *due <= now)?;
        let expired = self.leaves[leaf as usize]
            .entries(0)
            .find(|entry| entry.claims.iter().any(|claim| claim.expires() <= now))
            .map(|entry| entry.key.to_vec());
        if expired.is_none() {
            self.refile(leaf);
        }
        Some(expired.unwrap_or_default())
    }

    /// The keys of the leaf with this number that have a claim received after `date`, when there is such a leaf.
    pub(super) fn received_after(&self, leaf: usize, date: u32) -> Option<Vec<Vec<u8>>> {
        let entries = self.leaves.get(leaf)?.entries(0);
        let late = entries.filter(|entry| entry.claims.iter().any(|claim| claim.received > date));
        Some(late.map(|entry| entry.key.to_vec()).collect())
    }

    fn probe(&self, key: &[u8]) -> Separator {
        Separator::of(key, self.long_separators > 0)
    }

    fn leaf_of(&self, key: &[u8]) -> Option<u32> {
        let probe = self.probe(key);
        // Below the first separator there is the first leaf.
        let found = self.index.range(..=probe).next_back().or_else(|| self.index.first_key_value());
        found.map(|(_, leaf)| *leaf)
    }

    fn first_leaf(&mut self) -> u32 {
        let leaf = self.new_leaf(Vec::new(), u32::MAX);
        self.index.insert(Separator::of(&[], false), leaf);
        leaf
    }

    fn new_leaf(&mut self, bytes: Vec<u8>, due: u32) -> u32 {
        self.bytes += bytes.capacity();
        let new = Leaf { bytes, due };
        let leaf = match self.free.pop() {
            Some(leaf) => {
                self.leaves[leaf as usize] = new;
                leaf
            }
            None => {
                self.leaves.push(new);
                (self.leaves.len() - 1) as u32 // 2^32 leaves are 8 TiB
            }
        };
        self.due.insert((due, leaf));
        leaf
    }

    fn drop_leaf(&mut self, leaf: u32) {
        let dropped = std::mem::take(&mut self.leaves[leaf as usize]);
        self.bytes -= dropped.bytes.capacity();
        self.due.remove(&(dropped.due, leaf));
        self.free.push(leaf);
        if self.index.is_empty() {
            self.leaves = Vec::new();
            self.free = Vec::new();
            self.entry = Vec::new();
        }
    }

    fn file(&mut self, leaf: u32, due: u32) {
        let target = &mut self.leaves[leaf as usize];
        if target.due != due {
            self.due.remove(&(target.due, leaf));
            target.due = due;
            self.due.insert((due, leaf));
        }
    }

    fn refile(&mut self, leaf: u32) {
        let due = self.leaves[leaf as usize].earliest();
        self.file(leaf, due);
    }

    /// Divides the leaf in the middle; a key with claims beyond measure has one of its own.
    fn split(&mut self, leaf: u32) {
        let source = &mut self.leaves[leaf as usize];
        let Some((middle, separator)) = source.middle() else { return };
        let before = source.bytes.capacity();
        let mut right = Vec::new();
        right.reserve_exact(rounded(source.bytes.len() - middle));
        right.extend_from_slice(&source.bytes[middle..]);
        source.bytes.truncate(middle);
        source.bytes.shrink_to(rounded(middle));
        self.bytes = self.bytes + source.bytes.capacity() - before;
        let separator = Separator::of(&separator, true);
        self.long_separators += usize::from(!separator.tail.is_empty());
        let right = self.new_leaf(right, u32::MAX);
        self.index.insert(separator, right);
        self.refile(leaf);
        self.refile(right);
    }

    /// Lets go of an empty leaf; joins one that has become short with the one behind it, or before it.
    fn join(&mut self, leaf: u32, key: &[u8]) {
        let probe = self.probe(key);
        let here = self.index.range(..=&probe).next_back().or_else(|| self.index.first_key_value());
        let Some(here) = here.map(|(separator, _)| separator.clone()) else { return };
        if self.leaves[leaf as usize].bytes.is_empty() {
            self.unindex(&here);
            self.drop_leaf(leaf);
            return;
        }
        let behind = (Bound::Excluded(&here), Bound::Unbounded);
        let next = self.index.range(behind).next().map(|(separator, next)| (separator.clone(), leaf, *next));
        let previous = self.index.range(..&here).next_back().map(|(_, previous)| (here, *previous, leaf));
        for (separator, left, right) in [next, previous].into_iter().flatten() {
            let joined = self.leaves[left as usize].bytes.len() + self.leaves[right as usize].bytes.len();
            if joined <= JOINED_MAX {
                let moved = std::mem::take(&mut self.leaves[right as usize].bytes);
                self.bytes -= moved.capacity();
                let target = &mut self.leaves[left as usize];
                let before = target.bytes.capacity();
                let end = target.bytes.len();
                target.splice(end..end, &moved);
                self.bytes = self.bytes + target.bytes.capacity() - before;
                self.unindex(&separator);
                self.drop_leaf(right);
                self.refile(left);
                return;
            }
        }
    }

    fn unindex(&mut self, separator: &Separator) {
        if let Some((separator, _)) = self.index.remove_entry(separator) {
            self.long_separators -= usize::from(!separator.tail.is_empty());
        }
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.index.len() + self.free.len(), self.leaves.len());
        assert_eq!(self.due.len(), self.index.len());
        let long = self.index.keys().filter(|separator| !separator.tail.is_empty()).count();
        assert_eq!(self.long_separators, long);
        assert_eq!(self.bytes, self.leaves.iter().map(|leaf| leaf.bytes.capacity()).sum::<usize>());
        let mut keys = 0;
        let mut last: Option<Vec<u8>> = None;
        for (number, (separator, leaf)) in self.index.iter().enumerate() {
            let held = &self.leaves[*leaf as usize];
            assert!(
                !held.bytes.is_empty()
                    && self.due.contains(&(held.due, *leaf))
                    && held.due <= held.earliest()
            );
            assert!(held.bytes.len() <= LEAF_MAX || held.entries(0).count() == 1);
            for entry in held.entries(0) {
                keys += 1;
                assert!(last.as_deref().is_none_or(|last| last < entry.key), "keys ascend");
                assert!(number == 0 || *separator <= Separator::of(entry.key, true));
                assert!(entry.claims.len() > 0);
                last = Some(entry.key.to_vec());
            }
        }
        assert_eq!(self.keys, keys);
    }
}

struct Entry<'a> {
    start: usize,
    end: usize,
    key: &'a [u8],
    claims: Claims<'a>,
}

impl Leaf {
    fn entries(&self, mut at: usize) -> impl Iterator<Item = Entry<'_>> {
        std::iter::from_fn(move || {
            let entry = self.entry(at)?;
            at = entry.end;
            Some(entry)
        })
    }

    #[inline]
    fn entry(&self, start: usize) -> Option<Entry<'_>> {
        let rest = self.bytes.get(start..)?;
        // Nearly all lengths are one byte.
        let (key_len, rest) = varint::read(rest).ok()?;
        let (claims, rest) = varint::read(rest).ok()?;
        let (key, rest) = rest.split_at_checked(key_len as usize)?;
        let claims = rest.get(..claims as usize * CLAIM_LEN)?;
        let end = self.bytes.len() - rest.len() + claims.len();
        Some(Entry { start, end, key, claims: Claims(claims) })
    }

    /// The bytes of `key`'s entry, and of the claims in it; an empty range where it would be.
    fn find(&self, key: &[u8]) -> (Range<usize>, Range<usize>) {
        let mut at = 0;
        while let Some(entry) = self.entry(at) {
            match entry.key.cmp(key) {
                Ordering::Less => at = entry.end,
                Ordering::Equal => return (at..entry.end, entry.end - entry.claims.0.len()..entry.end),
                Ordering::Greater => break,
            }
        }
        (at..at, at..at)
    }

    /// The first entry of the second half, and the shortest key that is above the last of the first half and not above it.
    fn middle(&self) -> Option<(usize, Vec<u8>)> {
        let mut before: Option<Entry<'_>> = None;
        for entry in self.entries(0) {
            if let Some(before) = before
                && entry.end > self.bytes.len() / 2
            {
                let common = before.key.iter().zip(entry.key).take_while(|(a, b)| a == b).count();
                return Some((entry.start, entry.key[..=common].to_vec()));
            }
            before = Some(entry);
        }
        None
    }

    fn earliest(&self) -> u32 {
        self.entries(0)
            .flat_map(|entry| entry.claims.iter())
            .map(|claim| claim.expires())
            .min()
            .unwrap_or(u32::MAX)
    }

    /// Puts `new` in the place of a range.
    fn splice(&mut self, range: Range<usize>, new: &[u8]) {
        let bytes = &mut self.bytes;
        let (len, old) = (bytes.len(), range.len());
        if new.len() > old {
            let wanted = len + new.len() - old;
            if wanted > bytes.capacity() {
                bytes.reserve_exact(rounded(wanted) - len);
            }
            bytes.resize(wanted, 0);
        }
        bytes.copy_within(range.end..len, range.start + new.len());
        bytes.truncate(len + new.len() - old);
        bytes[range.start..range.start + new.len()].copy_from_slice(new);
        let slack = if bytes.len() < 2 * GROWTH { 0 } else { 2 * GROWTH };
        if bytes.capacity() > rounded(bytes.len()) + slack {
            bytes.shrink_to(rounded(bytes.len()));
        }
    }
}

/// The capacity for so many bytes. The allocator's header of 8 bytes is counted, so that no room is left in its steps.
fn rounded(len: usize) -> usize {
    let step = if len < 2 * GROWTH { GROWTH / 8 } else { GROWTH };
    (len + 8).next_multiple_of(step) - 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(number: u32) -> Claim {
        Claim { place: number, received: number % 50, lifetime: 100 }
    }

    fn set(tree: &mut Tree, key: &[u8], claims: &[Claim]) {
        let spot = tree.find(key);
        tree.set(&spot, key, claims);
    }

    /// Keys of every kind, in an order that is neither ascending nor random, put in and taken out again.
    #[test]
    fn tree_is_a_sorted_map() {
        let long = |number: u32| [vec![7; 40], number.to_be_bytes().to_vec()].concat();
        let hashed = |number: u32| number.wrapping_mul(2_654_435_761).to_be_bytes().repeat(8);
        let zeros = |number: u32| vec![0; number as usize % 90];
        let kinds: [&dyn Fn(u32) -> Vec<u8>; 4] =
            [&long, &hashed, &zeros, &|number| [hashed(number), long(number)].concat()];
        for key in kinds {
            let mut tree = Tree::default();
            let mut model = BTreeMap::new();
            for number in 0..3_000u32 {
                let key = key(number);
                let claims: Vec<_> =
                    (0..1 + number % 3 * (number % 40)).map(|more| claim(number + more)).collect();
                set(&mut tree, &key, &claims);
                model.insert(key, claims);
                if number % 100 == 0 {
                    tree.check();
                }
            }
            compare(&tree, &model);
            for number in (0..3_000).filter(|number| number % 7 != 0) {
                set(&mut tree, &key(number), &[]);
                model.remove(&key(number));
                if number % 100 == 0 {
                    tree.check();
                }
            }
            compare(&tree, &model);
            for key in model.keys() {
                set(&mut tree, key, &[]);
            }
            tree.check();
            assert_eq!((tree.len(), tree.bytes(), tree.first_due()), (0, 0, None));
        }
    }

    fn compare(tree: &Tree, model: &BTreeMap<Vec<u8>, Vec<Claim>>) {
        tree.check();
        let listed = |after: Option<&[u8]>, count| -> Vec<(Vec<u8>, Vec<Claim>)> {
            let found = tree.after(after).take(count);
            found.map(|(key, claims)| (key.to_vec(), claims.iter().collect())).collect()
        };
        let expected: Vec<_> = model.iter().map(|(key, claims)| (key.clone(), claims.clone())).collect();
        assert_eq!(listed(None, usize::MAX), expected);
        for after in expected.iter().map(|(key, _)| key).step_by(97) {
            for after in [after.clone(), [after.as_slice(), &[0]].concat()] {
                let first = expected.iter().find(|(key, _)| *key > after);
                assert_eq!(listed(Some(&after), 1).first(), first);
            }
        }
        for (key, claims) in model {
            assert!(tree.claims(&tree.find(key)).iter().eq(claims.iter().copied()));
        }
    }

    #[test]
    fn due_keys_come_until_none_is_left() {
        let mut tree = Tree::default();
        for number in 0..2_000u32 {
            let claim = Claim { place: 0, received: 0, lifetime: number };
            set(&mut tree, &number.wrapping_mul(2_654_435_761).to_be_bytes(), &[claim]);
        }
        for now in [0, 10, 500, 1_998, 1_999] {
            let mut visits = 0;
            while let Some(key) = tree.due_key(now) {
                visits += 1;
                assert!(visits < 5_000, "visits do not end");
                if !key.is_empty() {
                    set(&mut tree, &key, &[]);
                }
            }
            assert_eq!(tree.len() as u32, 1_999 - now);
        }
    }

    /// Bytes that are at the head's end and zeros behind it.
    #[test]
    fn separators_are_ordered_as_bytes_are() {
        let keys: Vec<Vec<u8>> = (0..20)
            .flat_map(|len| [vec![0; len], vec![1; len], [vec![1; len], vec![0; 3]].concat()])
            .collect();
        for a in &keys {
            for b in &keys {
                assert_eq!(Separator::of(a, true).cmp(&Separator::of(b, true)), a.cmp(b), "{a:?} {b:?}");
            }
        }
    }
}
