//! Who holds a record, judged from outside.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use kadmos::{PeerAddrs, Store, UnixTime};
use kadmos_core::Key;
use libp2p_identity::PeerId;

use super::HOLDERS_PERCENT_MIN;
use super::network::Devnet;
use super::report::Holders;

/// Provider records are sent without an answer, so the last ones may still be on their way when the sender is done.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the stores are looked at until then.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A record that was published.
#[derive(Clone, Debug)]
pub(super) struct Published {
    /// Index of the node that published it.
    pub(super) publisher: usize,
    /// Its key, unhashed.
    pub(super) key: Vec<u8>,
    /// What a holder must have.
    pub(super) content: Content,
}

/// What a record says.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// The publisher provides the key.
    Provider(PeerId),
    /// The value.
    Value(Vec<u8>),
}

/// Looks for each record on its true k closest nodes, the publisher left out: a node does not send to itself.
pub(super) async fn check(devnet: &Devnet, kind: &'static str, records: &[Published]) -> Holders {
    let began = Instant::now();
    loop {
        let mut holders = Holders::new(kind, devnet.k().min(devnet.nodes().len() - 1));
        for record in records {
            let mut held = 0;
            let closest = true_closest(devnet, record);
            for index in &closest {
                held += usize::from(holds(devnet.nodes()[*index].node.store(), record).await);
            }
            holders.add(held, held * 100 >= closest.len() * HOLDERS_PERCENT_MIN);
        }
        // A value's echo says that it is there, so there is nothing to wait for.
        let may_arrive = records.iter().any(|record| matches!(record.content, Content::Provider(_)));
        if holders.all_held() || !may_arrive || began.elapsed() >= ARRIVAL_TIMEOUT {
            return holders;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The nodes nearest to the record's key, by sorting them all.
fn true_closest(devnet: &Devnet, record: &Published) -> Vec<usize> {
    let target = Key::of(&record.key);
    let nodes = devnet.nodes();
    let mut indices: Vec<usize> = (0..nodes.len()).filter(|index| *index != record.publisher).collect();
    indices.sort_by_key(|index| nodes[*index].key.distance(&target));
    indices.truncate(devnet.k());
    indices
}

async fn holds(store: &Arc<dyn Store>, record: &Published) -> bool {
    let now = UnixTime::from_secs(SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()));
    match &record.content {
        Content::Provider(id) => match store.providers(&record.key, usize::MAX, now).await {
            Ok(providers) => providers.iter().any(|provider| PeerAddrs::from(provider).id == *id),
            Err(_) => false,
        },
        Content::Value(value) => match store.value(&record.key, now).await {
            Ok(stored) => stored.is_some_and(|stored| stored.record.value == value.as_slice()),
            Err(_) => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::args;
    use crate::devnet::Progress;

    /// Three records: one is published, one is not, and of one the holders have another value.
    #[tokio::test]
    async fn what_is_missing_or_different_is_noticed() {
        let args = args::Devnet { nodes: 6, k: 3, check: true, seed: 3 };
        let devnet = Devnet::start(&args, &Progress { began: Instant::now() }).await.unwrap();
        let id = devnet.nodes()[1].node.peer_id();
        let key = kadmos_records::pk::key(&id).to_vec();
        let value = kadmos_records::pk::value(&devnet.nodes()[1].keypair.public()).to_vec();
        devnet.nodes()[1].node.put_value(key.clone(), value.clone()).await.unwrap();

        let published = Published { publisher: 1, key: key.clone(), content: Content::Value(value.clone()) };
        let missing = Published { key: b"/pk/nobody".to_vec(), ..published.clone() };
        let different = Published { content: Content::Value(b"else".to_vec()), ..published.clone() };
        for (record, held, too_few) in [(published, 3, 0), (missing, 0, 1), (different, 0, 1)] {
            let holders = check(&devnet, "pk", &[record]).await;
            assert_eq!((holders.held(), holders.too_few), (held, too_few));
        }
        devnet.shutdown().await;
    }

    #[tokio::test]
    async fn the_publisher_is_no_holder() {
        let args = args::Devnet { nodes: 4, k: 4, check: true, seed: 4 };
        let devnet = Devnet::start(&args, &Progress { began: Instant::now() }).await.unwrap();
        let record = Published { publisher: 2, key: b"k".to_vec(), content: Content::Value(Vec::new()) };
        let mut closest = true_closest(&devnet, &record);
        let target = Key::of(b"k");
        assert!(closest.is_sorted_by_key(|index| devnet.nodes()[*index].key.distance(&target)));
        closest.sort_unstable();
        assert_eq!(closest, [0, 1, 3]);
        devnet.shutdown().await;
    }
}
