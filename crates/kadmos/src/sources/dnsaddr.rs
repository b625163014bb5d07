//! `/dnsaddr/<name>`: peers in the TXT records of a domain name.
//!
//! The transport resolves such addresses too, each time it dials and for one peer; here all peers of the name are wanted,
//! and names that the records name in turn. Source: multiformats/multiaddr, "DNSADDR"; the records of `_dnsaddr.<name>` are
//! `dnsaddr=<multiaddr>`.

use std::collections::{BTreeSet, VecDeque};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use kadmos_libp2p::PeerAddrs;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::Found;

/// Names within names that are followed. The public network's list has one level.
const DEPTH_MAX: usize = 4;
/// Names looked up for one source, so that records that name each other end.
const NAMES_MAX: usize = 32;
/// Names looked up at once.
const NAMES_AT_ONCE: usize = 8;
/// Peers taken from one source; the node keeps no more.
const PEERS_MAX: usize = kadmos_core::limits::BOOTSTRAP_PEERS_MAX;
/// Records of one name that are read.
const RECORDS_MAX: usize = 256;

/// Looks up TXT records.
pub(crate) trait Txt: Clone + Send + Sync + 'static {
    /// The records of `name`, each in one piece.
    fn txt(&self, name: String) -> BoxFuture<'static, Result<Vec<String>, String>>;
}

/// The machine's resolver.
#[derive(Clone)]
pub(crate) struct SystemTxt(hickory_resolver::TokioResolver);

impl SystemTxt {
    /// Errors: the machine's configuration of name servers cannot be read.
    pub(crate) fn new() -> Result<Self, String> {
        let builder = hickory_resolver::TokioResolver::builder_tokio().map_err(|error| error.to_string())?;
        Ok(Self(builder.build().map_err(|error| error.to_string())?))
    }
}

impl Txt for SystemTxt {
    fn txt(&self, name: String) -> BoxFuture<'static, Result<Vec<String>, String>> {
        let resolver = self.0.clone();
        Box::pin(async move {
            let lookup = resolver.txt_lookup(name).await.map_err(|error| error.to_string())?;
            let records = lookup.answers().iter().filter_map(|record| match &record.data {
                hickory_resolver::proto::rr::RData::TXT(txt) => {
                    let bytes: Vec<u8> = txt.txt_data.iter().flat_map(|part| part.iter().copied()).collect();
                    String::from_utf8(bytes).ok()
                }
                _ => None,
            });
            Ok(records.take(RECORDS_MAX).collect())
        })
    }
}

/// The domain name of a `/dnsaddr` address, and the peer it is wanted for if it names one.
pub(crate) fn name_of(addr: &Multiaddr) -> Option<(String, Option<libp2p::PeerId>)> {
    let mut parts = addr.iter();
    let Some(Protocol::Dnsaddr(name)) = parts.next() else { return None };
    match (parts.next(), parts.next()) {
        (None, _) => Some((name.into_owned(), None)),
        (Some(Protocol::P2p(id)), None) => Some((name.into_owned(), Some(id))),
        _ => None,
    }
}

/// Looks a name up, and the names it names, and tells of each peer as soon as it is found.
///
/// A name that fails or never answers delays none of the others. Errors: nobody was found, with the first failure.
pub(crate) async fn resolve<T: Txt>(
    txt: T,
    name: String,
    wanted: Option<libp2p::PeerId>,
    found: Found,
) -> Result<(), String> {
    let mut seen = BTreeSet::from([name.clone()]);
    let mut waiting = VecDeque::from([(name, wanted, 0)]);
    let mut looking = FuturesUnordered::new();
    let mut peers = 0;
    let mut failure = None;
    loop {
        while looking.len() < NAMES_AT_ONCE
            && let Some((name, wanted, depth)) = waiting.pop_front()
        {
            let records = txt.txt(format!("_dnsaddr.{name}"));
            looking.push(async move { (records.await, wanted, depth) });
        }
        let Some((records, wanted, depth)) = looking.next().await else { break };
        let records = match records {
            Ok(records) => records,
            Err(error) => {
                failure.get_or_insert(error);
                continue;
            }
        };
        let mut batch: Vec<PeerAddrs> = Vec::new();
        let addrs = records.iter().take(RECORDS_MAX).filter_map(|record| record.strip_prefix("dnsaddr="));
        for addr in addrs.filter_map(|text| text.parse::<Multiaddr>().ok()) {
            if let Some((next, peer)) = name_of(&addr) {
                // A name within a name may only narrow down who is wanted.
                let fits = wanted.is_none() || peer.is_none() || peer == wanted;
                if fits && depth < DEPTH_MAX && seen.len() < NAMES_MAX && seen.insert(next.clone()) {
                    waiting.push_back((next, wanted.or(peer), depth + 1));
                }
            } else if let Ok(peer) = PeerAddrs::try_from(addr)
                && wanted.is_none_or(|wanted| wanted == peer.id)
            {
                match batch.iter_mut().find(|known| known.id == peer.id) {
                    Some(known) => known.addrs.extend(peer.addrs),
                    None if peers < PEERS_MAX => {
                        peers += 1;
                        batch.push(peer);
                    }
                    None => {}
                }
            }
        }
        if !batch.is_empty() {
            found.tell(batch).await;
        }
    }
    match failure {
        Some(error) if peers == 0 => Err(error),
        _ if peers == 0 => Err("it names no peer".into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use libp2p::PeerId;

    use super::*;

    /// Records by name; a name without any never answers, and each is counted.
    #[derive(Clone, Default)]
    struct Fake {
        records: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
        asked: Arc<AtomicUsize>,
    }

    impl Fake {
        fn with(self, name: &str, records: &[&str]) -> Self {
            let records = records.iter().map(|record| format!("dnsaddr={record}")).collect();
            self.records.lock().unwrap().insert(format!("_dnsaddr.{name}"), records);
            self
        }
    }

    impl Txt for Fake {
        fn txt(&self, name: String) -> BoxFuture<'static, Result<Vec<String>, String>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            match self.records.lock().unwrap().get(&name).cloned() {
                Some(records) => Box::pin(async move { Ok(records) }),
                None if name.contains("missing") => Box::pin(async { Err("no such name".into()) }),
                None => Box::pin(std::future::pending()),
            }
        }
    }

    async fn all(fake: Fake, name: &str, wanted: Option<PeerId>) -> (Result<(), String>, Vec<PeerAddrs>) {
        let (sender, mut found) = tokio::sync::mpsc::channel(64);
        let result = resolve(fake, name.into(), wanted, Found(sender)).await;
        let mut peers = Vec::new();
        while let Some(batch) = found.recv().await {
            peers.extend(batch);
        }
        (result, peers)
    }

    fn addr(port: u16, id: PeerId) -> String {
        format!("/ip4/127.0.0.1/tcp/{port}/p2p/{id}")
    }

    #[tokio::test]
    async fn names_within_names_are_followed() {
        let (a, b) = (PeerId::random(), PeerId::random());
        let fake = Fake::default()
            .with("x.test", &["/dnsaddr/a.x.test", "/dnsaddr/b.x.test", "nonsense", "/ip4/1.2.3.4/tcp/1"])
            .with("a.x.test", &[&addr(1, a), &addr(2, a)])
            .with("b.x.test", &[&addr(3, b), "/dnsaddr/x.test"]);
        let (result, peers) = all(fake.clone(), "x.test", None).await;
        assert_eq!(result, Ok(()));
        assert_eq!(
            peers.iter().map(|peer| (peer.id, peer.addrs.len())).collect::<Vec<_>>(),
            [(a, 2), (b, 1)]
        );
        let (_, peers) = all(fake.clone(), "x.test", Some(b)).await;
        assert_eq!(peers.iter().map(|peer| peer.id).collect::<Vec<_>>(), [b]);
        let (result, _) = all(fake, "missing.test", None).await;
        assert_eq!(result, Err("no such name".into()));
    }

    #[tokio::test]
    async fn loops_and_floods_end() {
        let inner: Vec<String> = (0..200).map(|n| format!("/dnsaddr/missing{n}.test")).collect();
        let inner: Vec<&str> = inner.iter().map(String::as_str).collect();
        let fake = Fake::default().with("x.test", &inner);
        let (result, _) = all(fake.clone(), "x.test", None).await;
        assert!(result.is_err());
        assert_eq!(fake.asked.load(Ordering::Relaxed), NAMES_MAX);

        let mut deep = Fake::default();
        for n in 0..20 {
            deep = deep.with(&format!("{n}.test"), &[&format!("/dnsaddr/{}.test", n + 1)]);
        }
        let (result, _) = all(deep.clone(), "0.test", None).await;
        assert!(result.is_err());
        assert_eq!(deep.asked.load(Ordering::Relaxed), DEPTH_MAX + 1);

        let many: Vec<String> = (0..400).map(|_| addr(1, PeerId::random())).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let (_, peers) = all(Fake::default().with("x.test", &many), "x.test", None).await;
        assert!(peers.len() <= PEERS_MAX);
    }

    /// Goal: a name that never answers delays none of the others.
    #[tokio::test]
    async fn a_black_holed_name_delays_no_other() {
        let a = PeerId::random();
        let fake = Fake::default()
            .with("x.test", &["/dnsaddr/silent.test", "/dnsaddr/a.test"])
            .with("a.test", &[&addr(1, a)]);
        let (sender, mut found) = tokio::sync::mpsc::channel(64);
        let resolving = resolve(fake, "x.test".into(), None, Found(sender));
        tokio::select! {
            _ = resolving => panic!("one name never answers"),
            batch = found.recv() => assert_eq!(batch.map(|peers| peers[0].id), Some(a)),
        }
    }
}
