//! The main job: what a network is for, done by every node at once.

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use futures::StreamExt as _;
use kadmos::{Event, Events, Node, UnixTime};
use kadmos_core::Key;
use kadmos_core::operation::OperationKind;
use kadmos_records::{ipns, pk};

use super::checker::{self, Content, Published};
use super::network::{Devnet, Member};
use super::report::{Holders, Operations, Samples};
use super::{Progress, TOLD_EVERY};

/// Operations under way at once, each on another node. More would measure the machine and not the network.
const AT_ONCE: usize = 8;
/// The event that tells what an operation cost comes with its result, or not at all.
const COST_TIMEOUT: Duration = Duration::from_secs(1);

/// What the job came to.
pub(super) struct Done {
    pub(super) operations: Vec<Operations>,
    pub(super) holders: Vec<Holders>,
}

/// Lets every node provide content, find another's, put and get a record of each namespace, and find a peer.
///
/// Where records went is looked at before anybody reads them, since readers correct what they find wrong.
pub(super) async fn run(devnet: &Devnet, seed: u64, progress: &Progress) -> Done {
    let job = Job {
        devnet,
        progress,
        records: Records::make(devnet, seed),
        pairs: pairs(devnet.nodes().len(), seed),
    };
    let mut operations = Vec::new();
    let mut holders = Vec::new();

    operations.push(job.phase("provide", OperationKind::Provide, |index| job.provide(index)).await);
    holders.push(checker::check(devnet, "provider", &job.records.provided).await);
    operations.push(
        job.phase("find providers", OperationKind::FindProviders, |index| job.find_provider(index)).await,
    );

    for (put, get, kind, values) in
        [("put ipns", "get ipns", "ipns", &job.records.ipns), ("put pk", "get pk", "pk", &job.records.pk)]
    {
        operations.push(job.phase(put, OperationKind::PutValue, |index| job.put(&values[index])).await);
        holders.push(checker::check(devnet, kind, values).await);
        operations.push(job.phase(get, OperationKind::GetValue, |index| job.get(index, values)).await);
    }
    operations.push(job.phase("find peer", OperationKind::FindPeer, |index| job.find_peer(index)).await);
    Done { operations, holders }
}

/// Everything that is published, by publisher.
struct Records {
    provided: Vec<Published>,
    ipns: Vec<Published>,
    pk: Vec<Published>,
}

impl Records {
    fn make(devnet: &Devnet, seed: u64) -> Self {
        let now = UnixTime::from_secs(SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()));
        let (mut provided, mut ipns_records, mut pk_records) = (Vec::new(), Vec::new(), Vec::new());
        for (publisher, member) in devnet.nodes().iter().enumerate() {
            let id = member.node.peer_id();
            let multihash = multihash(&format!("kadmos devnet content {seed} {publisher}"));
            provided.push(Published { publisher, key: multihash.clone(), content: Content::Provider(id) });

            let path =
                format!("/ipfs/{}", multibase::encode(multibase::Base::Base32Lower, cid_v1_raw(&multihash)));
            let record = ipns::create(&member.keypair, path.as_bytes(), 1, now + ipns::LIFETIME, ipns::TTL);
            // A readable path, a small sequence number and an Ed25519 key can always be signed.
            let value = record.map(|record| record.to_vec()).unwrap_or_default();
            ipns_records.push(Published {
                publisher,
                key: ipns::key(&id).to_vec(),
                content: Content::Value(value),
            });

            let value = pk::value(&member.keypair.public()).to_vec();
            pk_records.push(Published {
                publisher,
                key: pk::key(&id).to_vec(),
                content: Content::Value(value),
            });
        }
        Self { provided, ipns: ipns_records, pk: pk_records }
    }
}

/// SHA-256 of `text`, as a multihash.
fn multihash(text: &str) -> Vec<u8> {
    [&[0x12, 0x20][..], Key::of(text.as_bytes()).as_bytes()].concat()
}

fn cid_v1_raw(multihash: &[u8]) -> Vec<u8> {
    [&[0x01, 0x55][..], multihash].concat()
}

/// For each node the one whose things it looks for: never itself, and no node twice.
fn pairs(nodes: usize, seed: u64) -> Vec<usize> {
    // One cycle through all nodes in an order that the seed decides.
    let mut order: Vec<usize> = (0..nodes).collect();
    order.sort_by_key(|index| *Key::of(format!("kadmos devnet pairs {seed} {index}").as_bytes()).as_bytes());
    let mut pairs = vec![0; nodes];
    for (position, index) in order.iter().enumerate() {
        pairs[*index] = order[(position + 1) % nodes];
    }
    pairs
}

struct Job<'a> {
    devnet: &'a Devnet,
    progress: &'a Progress,
    records: Records,
    pairs: Vec<usize>,
}

impl Job<'_> {
    /// Runs `operation` once for each node, several at a time, and measures.
    async fn phase<'j, F>(
        &'j self,
        name: &'static str,
        kind: OperationKind,
        operation: impl Fn(usize) -> F,
    ) -> Operations
    where
        F: Future<Output = Result<(), String>> + 'j,
    {
        let count = self.devnet.nodes().len();
        let (mut samples, mut told) = (Samples::default(), Instant::now());
        let running = (0..count).map(|index| {
            let work = operation(index);
            async move {
                // One operation of a kind runs on a node at a time, so the next end of that kind is its own.
                let mut events = self.node(index).events();
                let began = Instant::now();
                let result = work.await;
                let elapsed = began.elapsed();
                (
                    elapsed,
                    requests(&mut events, kind).await,
                    result.map_err(|error| format!("{name} on node {index}: {error}")),
                )
            }
        });
        let mut running = futures::stream::iter(running).buffer_unordered(AT_ONCE);
        while let Some((elapsed, messages, result)) = running.next().await {
            samples.add(elapsed, messages, result);
            if told.elapsed() >= TOLD_EVERY {
                told = Instant::now();
                self.progress.tell(format_args!("{name}: {} of {count}", samples.tried()));
            }
        }
        let operations = samples.finish(name);
        self.progress
            .tell(format_args!("{name}: {} of {} succeeded", operations.succeeded, operations.tried));
        operations
    }

    fn member(&self, index: usize) -> &Member {
        &self.devnet.nodes()[index]
    }

    fn node(&self, index: usize) -> &Node {
        &self.member(index).node
    }

    async fn provide(&self, index: usize) -> Result<(), String> {
        let report = self.node(index).provide(self.records.provided[index].key.clone()).await;
        report.map(|_| ()).map_err(|error| error.to_string())
    }

    async fn find_provider(&self, index: usize) -> Result<(), String> {
        let other = self.pairs[index];
        let expected = self.node(other).peer_id();
        let mut providers = self.node(index).find_providers(self.records.provided[other].key.clone(), 0);
        let mut found = false;
        while let Some(provider) = providers.next().await {
            let provider = provider.map_err(|error| error.to_string())?;
            found |= provider.id == expected && !provider.addrs.is_empty();
        }
        if found { Ok(()) } else { Err(format!("{expected} was not found with an address")) }
    }

    async fn put(&self, record: &Published) -> Result<(), String> {
        let Content::Value(value) = &record.content else { return Err("no value to put".into()) };
        let report = self.node(record.publisher).put_value(record.key.clone(), value.clone()).await;
        report.map(|_| ()).map_err(|error| error.to_string())
    }

    async fn get(&self, index: usize, values: &[Published]) -> Result<(), String> {
        let record = &values[self.pairs[index]];
        let found =
            self.node(index).get_value(record.key.clone()).await.map_err(|error| error.to_string())?;
        match &record.content {
            Content::Value(value) if found.best.value == value.as_slice() => Ok(()),
            _ => Err("another value was found than was put".into()),
        }
    }

    async fn find_peer(&self, index: usize) -> Result<(), String> {
        let other = self.node(self.pairs[index]);
        let found = self.node(index).find_peer(other.peer_id()).await.map_err(|error| error.to_string())?;
        if other.listen_addrs().iter().any(|addr| found.addrs.contains(addr)) {
            Ok(())
        } else {
            Err(format!("{} was found without the address at which it listens", other.peer_id()))
        }
    }
}

/// Requests that the operation which has just ended sent; `None` if its event was lost.
async fn requests(events: &mut Events, kind: OperationKind) -> Option<usize> {
    let ended = async {
        loop {
            match events.next().await {
                Some(Event::OperationEnded { kind: ended, requests, .. }) if ended == kind => {
                    return Some(requests);
                }
                Some(_) => {}
                None => return None,
            }
        }
    };
    tokio::time::timeout(COST_TIMEOUT, ended).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_looks_for_somebody_else() {
        for nodes in [2, 3, 50] {
            let mut pairs = pairs(nodes, 7);
            assert!(pairs.iter().enumerate().all(|(index, other)| index != *other));
            pairs.sort_unstable();
            assert_eq!(pairs, (0..nodes).collect::<Vec<_>>());
        }
        assert_ne!(pairs(50, 1), pairs(50, 2));
    }
}
