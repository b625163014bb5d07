//! Who has which key.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use kadmos_core::Key;

use crate::world::NodeIndex;

/// Nodes by the first 64 bits of their keys. Only asked, never iterated over, so its order decides nothing.
///
/// Two nodes of one world that share 64 bits would take 2^32 nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    nodes: HashMap<u64, NodeIndex, BuildHasherDefault<AsIs>>,
}

impl Directory {
    pub(crate) fn add(&mut self, key: &Key, node: NodeIndex) {
        self.nodes.insert(key.prefix(), node);
    }

    /// The node whose key begins as `key` does.
    pub(crate) fn find(&self, key: &Key) -> Option<NodeIndex> {
        self.nodes.get(&key.prefix()).copied()
    }
}

/// Keys are hashes already, of ids that nobody chose.
#[derive(Clone, Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_found_by_their_keys() {
        let mut directory = Directory::default();
        let key = |index: u32| Key::of(&index.to_be_bytes());
        (0..1_000).for_each(|index| directory.add(&key(index), NodeIndex::new(index)));
        assert!((0..1_000).all(|index| directory.find(&key(index)) == Some(NodeIndex::new(index))));
        assert_eq!(directory.find(&key(1_000)), None);
    }
}
