//! The rule by which a network is well, applied from outside: the judge knows every server, the judged do not.

use libp2p::PeerId;
use libp2p_kad::KBucketKey;

/// How many of the servers closest to itself a node must know.
pub(crate) const CLOSEST: usize = 20;

/// What share of the nodes must know them, in percent.
pub(crate) const WHOLE_PERCENT: f64 = 99.0;

/// How well the nodes of a network know their neighbours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Judgement {
    /// Nodes that know all of their closest servers.
    pub(crate) whole: usize,
    /// Nodes judged.
    pub(crate) nodes: usize,
    /// Peers in an average table.
    pub(crate) table: f64,
}

impl Judgement {
    /// The share of nodes that know all of their closest servers.
    pub(crate) fn whole_percent(self) -> f64 {
        100.0 * self.whole as f64 / self.nodes.max(1) as f64
    }

    /// Whether the network is well.
    pub(crate) fn is_well(self) -> bool {
        self.nodes > 0 && self.whole_percent() >= WHOLE_PERCENT
    }
}

/// The [`CLOSEST`] of `servers` to `node`, itself left out; all of them if there are fewer. The measure is libp2p-kad's.
pub(crate) fn true_closest(node: PeerId, servers: &[PeerId]) -> Vec<PeerId> {
    let own = KBucketKey::from(node);
    let mut closest: Vec<_> = servers.iter().copied().filter(|server| *server != node).collect();
    closest.sort_by_cached_key(|server| own.distance(&KBucketKey::from(*server)));
    closest.truncate(CLOSEST);
    closest
}

/// Which of the closest, by their number from 1, a node does not know, and how many peers its table holds at the
/// distance of the first of them: so one sees whether there was no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    pub(crate) numbers: Vec<usize>,
    pub(crate) beside_first: usize,
}

/// What a node lacks; `None` if nothing.
pub(crate) fn lack(node: PeerId, closest: &[PeerId], table: &[PeerId]) -> Option<Lack> {
    let missing = |peer: &&PeerId| !table.contains(peer);
    let first = closest.iter().find(missing)?;
    let own = KBucketKey::from(node);
    // Equal for two peers of one bucket: the place of the highest bit in which the keys differ.
    let bucket = |peer: &PeerId| own.distance(&KBucketKey::from(*peer)).ilog2();
    Some(Lack {
        numbers: (1..).zip(closest).filter(|(_, peer)| missing(peer)).map(|(number, _)| number).collect(),
        beside_first: table.iter().filter(|peer| bucket(peer) == bucket(first)).count(),
    })
}

/// Judges nodes by whom each must know and its table.
pub(crate) fn judge<'a>(nodes: impl IntoIterator<Item = (&'a [PeerId], Vec<PeerId>)>) -> Judgement {
    let mut judgement = Judgement { whole: 0, nodes: 0, table: 0.0 };
    let mut peers = 0;
    for (closest, table) in nodes {
        judgement.nodes += 1;
        judgement.whole += usize::from(closest.iter().all(|peer| table.contains(peer)));
        peers += table.len();
    }
    judgement.table = peers as f64 / judgement.nodes.max(1) as f64;
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(count: usize) -> Vec<PeerId> {
        (0..count).map(|_| PeerId::random()).collect()
    }

    #[test]
    fn the_closest_are_nearer_than_all_others_and_not_oneself() {
        let servers = servers(100);
        let node = servers[40];
        let distance = |peer: &PeerId| KBucketKey::from(node).distance(&KBucketKey::from(*peer));
        let closest = true_closest(node, &servers);
        assert_eq!(closest.len(), CLOSEST);
        assert!(!closest.contains(&node));
        let farthest = closest.iter().map(distance).max().unwrap();
        let others = servers.iter().filter(|peer| **peer != node && !closest.contains(peer));
        assert_eq!(others.clone().count(), 79);
        assert!(others.clone().all(|peer| distance(peer) > farthest));
    }

    #[test]
    fn of_few_servers_all_must_be_known() {
        let servers = servers(6);
        assert_eq!(true_closest(servers[0], &servers).len(), 5);
    }

    #[test]
    fn one_missing_neighbour_is_one_node_less() {
        let servers = servers(30);
        let closest = true_closest(servers[0], &servers);
        let most = closest[1..].to_vec();
        let judgement = judge([(&closest[..], servers.clone()), (&closest[..], most)]);
        assert_eq!(judgement, Judgement { whole: 1, nodes: 2, table: 24.5 });
    }

    #[test]
    fn a_lack_says_who_and_where() {
        let servers = servers(200);
        let closest = true_closest(servers[0], &servers);
        assert_eq!(lack(servers[0], &closest, &servers), None);
        let table: Vec<_> = closest[..3].iter().chain(&closest[4..19]).copied().collect();
        let lack = lack(servers[0], &closest, &table).unwrap();
        assert_eq!(lack.numbers, [4, 20]);
        assert!(lack.beside_first < table.len());
        let nobody = super::lack(servers[0], &closest[..1], &[]).unwrap();
        assert_eq!(nobody, Lack { numbers: vec![1], beside_first: 0 });
    }

    #[test]
    fn ninety_nine_of_a_hundred_are_enough() {
        let of_100 = |whole| Judgement { whole, nodes: 100, table: 0.0 };
        assert!(of_100(99).is_well());
        assert!(!of_100(98).is_well());
        assert!(!judge([]).is_well(), "a network of nobody is not well");
    }
}
