//! From where those are connected that are.

use alloc::collections::BTreeMap;

use crate::limits::LINKS_MAX;
use crate::peer::PeerId;
use crate::routing::Group;

/// The groups of connected peers, at most [`LINKS_MAX`] of them.
///
/// By 64 bits of their ids, which are digests or public keys: searched are eight bytes a peer instead of 45, all over the
/// memory with each connection. Of two with the same bits, which take 2^32 keys to make, one is not known here.
#[derive(Clone, Debug, Default)]
pub(super) struct Links(BTreeMap<u64, (PeerId, Group)>);

impl Links {
    /// Remembers a connected peer's group, if there is room.
    pub(super) fn insert(&mut self, id: PeerId, group: Group) {
        let len = self.0.len();
        match self.0.get_mut(&tag(&id)) {
            Some(known) if known.0 == id => known.1 = group,
            None if len < LINKS_MAX => {
                self.0.insert(tag(&id), (id, group));
            }
            Some(_) | None => {}
        }
    }

    /// Forgets a peer that is no longer connected.
    pub(super) fn remove(&mut self, id: &PeerId) {
        if self.get(id).is_some() {
            self.0.remove(&tag(id));
        }
    }

    /// The group of a connected peer.
    pub(super) fn get(&self, id: &PeerId) -> Option<Group> {
        self.0.get(&tag(id)).filter(|(known, _)| known == id).map(|(_, group)| *group)
    }
}

/// The first and the last bytes after the header, together: those of a key inlined in an id are the last.
fn tag(id: &PeerId) -> u64 {
    let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let bytes = id.as_bytes();
    word(bytes.get(2..).and_then(<[u8]>::first_chunk)) ^ word(bytes.last_chunk())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_that_look_alike_are_not_taken_for_each_other() {
        let id = |middle: u8| PeerId::from_digest(core::array::from_fn(|i| if i == 16 { middle } else { 7 }));
        let group = |n: u8| Group::of([20, n, 0, 1].into(), None);
        let mut links = Links::default();
        links.insert(id(1), group(1));
        links.insert(id(2), group(2));
        assert_eq!((links.get(&id(1)), links.get(&id(2))), (Some(group(1)), None));
        links.remove(&id(2));
        links.insert(id(1), group(3));
        assert_eq!(links.get(&id(1)), Some(group(3)), "another's end is not its own");
        links.remove(&id(1));
        links.insert(id(2), group(2));
        assert_eq!((links.get(&id(1)), links.get(&id(2))), (None, Some(group(2))));
    }

    #[test]
    fn links_are_bounded() {
        let id = |n: u32| {
            let mut digest = [0; 32];
            digest[28..].copy_from_slice(&n.to_be_bytes());
            PeerId::from_digest(digest)
        };
        let mut links = Links::default();
        (0..LINKS_MAX as u32 + 10).for_each(|n| links.insert(id(n), Group::EXEMPT));
        assert_eq!(links.0.len(), LINKS_MAX);
        links.insert(id(0), Group::of([1, 2, 3, 4].into(), None));
        assert!(links.get(&id(0)).is_some_and(|group| !group.is_exempt()), "one that is known may move");
    }
}
