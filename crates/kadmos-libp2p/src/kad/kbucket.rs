//! What is seen of the table: copies of its buckets as they were at the time of the call.

use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use libp2p_identity::PeerId;
use rand_core::Rng;

use super::addresses::Addresses;
pub use super::key::{Distance, Key, KeyBytes};
pub use super::u256::U256;
use crate::convert::{multiaddrs, peer_id};

/// Whether there is a connection to a peer of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeStatus {
    /// There is.
    Connected,
    /// There is none.
    Disconnected,
}

/// A peer of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node<TKey, TVal> {
    /// Who.
    pub key: TKey,
    /// Where.
    pub value: TVal,
}

/// A peer of the table, and whether it is connected.
#[derive(Clone, Debug)]
pub struct EntryView<TKey, TVal> {
    /// Who and where.
    pub node: Node<TKey, TVal>,
    /// Whether it is connected.
    pub status: NodeStatus,
}

impl<TKey: AsRef<KeyBytes>, TVal> AsRef<KeyBytes> for EntryView<TKey, TVal> {
    fn as_ref(&self) -> &KeyBytes {
        self.node.key.as_ref()
    }
}

/// As [`EntryView`], by reference.
#[derive(Debug)]
pub struct EntryRefView<'a, TKey, TVal> {
    /// Who and where.
    pub node: NodeRefView<'a, TKey, TVal>,
    /// Whether it is connected.
    pub status: NodeStatus,
}

/// As [`Node`], by reference.
#[derive(Debug)]
pub struct NodeRefView<'a, TKey, TVal> {
    /// Who.
    pub key: &'a TKey,
    /// Where.
    pub value: &'a TVal,
}

impl<TKey: Clone, TVal: Clone> EntryRefView<'_, TKey, TVal> {
    /// A copy.
    pub fn to_owned(&self) -> EntryView<TKey, TVal> {
        let node = Node { key: self.node.key.clone(), value: self.node.value.clone() };
        EntryView { node, status: self.status }
    }
}

/// One bucket: all peers whose distance has the same highest bit.
#[derive(Debug)]
pub struct KBucketRef<'a, TKey, TVal> {
    /// That bit.
    index: u8,
    entries: Vec<EntryView<TKey, TVal>>,
    /// The table is borrowed, as by libp2p-kad, though the entries are copies.
    table: std::marker::PhantomData<&'a mut ()>,
}

impl<TKey, TVal> KBucketRef<'_, TKey, TVal> {
    pub(super) fn new(index: u8, entries: Vec<EntryView<TKey, TVal>>) -> Self {
        Self { index, entries, table: std::marker::PhantomData }
    }
}

impl<'a, TKey, TVal> KBucketRef<'a, TKey, TVal>
where
    TKey: Clone + AsRef<KeyBytes>,
    TVal: Clone,
{
    /// The least and the greatest distance.
    pub fn range(&self) -> (Distance, Distance) {
        range(self.index)
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Peers in it.
    pub fn num_entries(&self) -> usize {
        self.entries.len()
    }

    /// Always `false`: who waits for a place is not in the bucket.
    pub fn has_pending(&self) -> bool {
        false
    }

    /// Whether peers at this distance belong here.
    pub fn contains(&self, d: &Distance) -> bool {
        d.ilog2() == Some(self.index.into())
    }

    /// A random distance of this bucket.
    pub fn rand_distance(&self, rng: &mut impl Rng) -> Distance {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        let top = U256::one() << usize::from(self.index);
        Distance((U256::from_big_endian(&bytes) & (top - 1)) | top)
    }

    /// The peers in it.
    pub fn iter(&'a self) -> impl Iterator<Item = EntryRefView<'a, TKey, TVal>> {
        self.entries.iter().map(|EntryView { node, status }| EntryRefView {
            node: NodeRefView { key: &node.key, value: &node.value },
            status: *status,
        })
    }
}

/// The least and the greatest distance whose highest bit is `index`.
pub(super) fn range(index: u8) -> (Distance, Distance) {
    let top = U256::one() << usize::from(index);
    (Distance(top), Distance((top - 1) | top))
}

/// The addresses of a peer of the table, each with its id at the end.
pub(super) fn addresses(info: &kadmos_core::PeerInfo) -> Option<Addresses> {
    let peer = peer_id(&info.peer.id);
    Addresses::collect(multiaddrs(&info.addrs).into_iter().filter_map(|addr| with_id(addr, &peer)))
}

/// An address with a peer's id at the end; `None` if another's is there.
pub(super) fn with_id(addr: Multiaddr, peer: &PeerId) -> Option<Multiaddr> {
    addr.with_p2p(*peer).ok()
}

/// An address without a peer's id at the end, as the core keeps it; `None` if another's is there.
pub(super) fn without_id(mut addr: Multiaddr, peer: &PeerId) -> Option<Multiaddr> {
    match addr.iter().last() {
        Some(Protocol::P2p(id)) if id == *peer => {
            addr.pop();
            Some(addr)
        }
        // The target of a relayed address may be left out; the relay's own id then is not its end.
        Some(Protocol::P2p(_)) => None,
        _ => Some(addr),
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn a_bucket_holds_its_own_distances_only() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for index in 0..=255 {
            let bucket = KBucketRef::<Key<PeerId>, Addresses>::new(index, Vec::new());
            let (least, most) = bucket.range();
            for distance in [least, most, bucket.rand_distance(&mut rng)] {
                assert!(bucket.contains(&distance) && least <= distance && distance <= most);
            }
            assert!(!bucket.contains(&Distance(least.0 - 1)));
        }
        assert_eq!(range(255).1.0, U256::MAX);
    }
}
