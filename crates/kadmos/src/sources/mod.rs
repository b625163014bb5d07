//! From where peers to join through are learnt, beside those that are named: domain names, files and pages.
//!
//! Each source is looked up in a task of its own and tells the node what it finds as it finds it, so one that never answers
//! delays none of the others, and no longer than its own time. While the node knows few peers, it is looked up again: a
//! server that was down may be up, and a list may have changed.

pub(crate) mod dnsaddr;
pub(crate) mod list;
#[cfg(feature = "url")]
pub(crate) mod page;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures::future::BoxFuture;
use kadmos_core::operation::SourceKind;
use kadmos_libp2p::{Dht, PeerAddrs};
use libp2p::Multiaddr;
use tokio::sync::{mpsc, watch};

/// A source that has told nothing after this long is given up.
pub(crate) const SOURCE_TIMEOUT: Duration = Duration::from_secs(10);

/// When sources are looked up again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rhythm {
    /// How often it is seen whether the node knows few peers, and the first wait until a lookup then.
    pub(crate) first: Duration,
    /// Each wait is twice the one before, up to this: whoever keeps a list need not serve it every half minute to
    /// somebody whom it does not help.
    pub(crate) longest: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self { first: Duration::from_secs(30), longest: Duration::from_secs(900) }
    }
}

type LookUp = Box<dyn Fn(Found) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Something that names peers to join through.
pub(crate) struct Source {
    kind: SourceKind,
    /// For the log.
    name: String,
    look_up: LookUp,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.label(), self.name)
    }
}

impl Source {
    /// `look_up` is called for each lookup and puts into [`Found`] what it finds. Its error is why it found less than
    /// there may be.
    pub(crate) fn new<F>(
        kind: SourceKind,
        name: String,
        look_up: impl Fn(Found) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { kind, name, look_up: Box::new(move |found| Box::pin(look_up(found))) }
    }

    /// Looks it up now, and again while fewer than `peers_min` peers are known, until the node has ended. The first lookup
    /// is announced before this returns, so that a join that begins after it waits for the source.
    pub(crate) async fn keep(
        self,
        dht: &Dht,
        peers_min: usize,
        rhythm: Rhythm,
        mut node: watch::Receiver<Vec<Multiaddr>>,
    ) {
        // Whatever fails here fails because the node has ended.
        if dht.source_lookup_began(self.kind).await.is_err() {
            return;
        }
        let (first, weak) = (dht.clone(), dht.downgrade());
        tokio::spawn(async move {
            let ended = async { while node.changed().await.is_ok() {} };
            let again = async {
                self.look_up(first).await;
                let mut next = Next::new(rhythm);
                loop {
                    tokio::time::sleep(rhythm.first).await;
                    if next.is_due(weak.table_now().len() < peers_min) {
                        let Some(dht) = weak.upgrade() else { return };
                        if dht.source_lookup_began(self.kind).await.is_err() {
                            return;
                        }
                        self.look_up(dht).await;
                    }
                }
            };
            tokio::select! {
                () = ended => {}
                () = again => {}
            }
        });
    }

    /// One lookup, from its announcement on. Peers that it has found when its time is up count.
    async fn look_up(&self, dht: Dht) {
        let (kind, name) = (self.kind, &self.name);
        let (sender, mut found) = mpsc::channel::<Vec<PeerAddrs>>(16);
        let looking = (self.look_up)(Found(sender));
        let telling = async {
            while let Some(peers) = found.recv().await {
                if dht.add_bootstrap_peers_from(kind, peers).await.is_err() {
                    break;
                }
            }
        };
        let (result, ()) = tokio::join!(tokio::time::timeout(SOURCE_TIMEOUT, looking), telling);
        match result {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => {
                tracing::warn!(source = kind.label(), %name, %reason, "a source of peers failed");
            }
            Err(_) => {
                tracing::warn!(source = kind.label(), %name, "a source of peers did not answer in time");
            }
        }
        let _ = dht.source_lookup_ended(kind).await;
    }
}

/// Tells at each look whether it is time to look a source up again.
#[derive(Debug)]
struct Next {
    rhythm: Rhythm,
    wait: Duration,
    waited: Duration,
}

impl Next {
    fn new(rhythm: Rhythm) -> Self {
        Self { rhythm, wait: rhythm.first, waited: Duration::ZERO }
    }

    /// `few`: whether few peers are known now. Called once in `rhythm.first`.
    fn is_due(&mut self, few: bool) -> bool {
        if !few {
            *self = Self::new(self.rhythm);
            return false;
        }
        self.waited += self.rhythm.first;
        if self.waited < self.wait {
            return false;
        }
        (self.wait, self.waited) = ((self.wait * 2).min(self.rhythm.longest), Duration::ZERO);
        true
    }
}

/// Where a lookup puts what it finds.
#[derive(Clone, Debug)]
pub(crate) struct Found(mpsc::Sender<Vec<PeerAddrs>>);

impl Found {
    pub(crate) async fn tell(&self, peers: Vec<PeerAddrs>) {
        // Nobody listens any more when the node has ended.
        let _ = self.0.send(peers).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use crate::{Config, DhtBuilder, Event, Keypair, Mode, Node};

    use super::*;

    #[test]
    fn waits_grow_while_few_are_known_and_begin_anew_after() {
        let seconds = Duration::from_secs;
        let mut next = Next::new(Rhythm::default());
        let due: Vec<usize> = (1..=130).filter(|_| next.is_due(true)).collect();
        assert_eq!(due, [1, 3, 7, 15, 31, 61, 91, 121], "after 30 s, 1, 2, 4, 8 and then every 15 min");
        assert!(!next.is_due(false));
        assert!(next.is_due(true));
        let mut quick = Next::new(Rhythm { first: seconds(1), longest: seconds(1) });
        assert!((0..5).all(|_| quick.is_due(true)));
    }

    async fn node() -> Node {
        DhtBuilder::new(Keypair::generate_ed25519())
            .config(Config::private("/kadmos-test/sources/1"))
            .mode(Mode::Server)
            .listen("/ip4/127.0.0.1/tcp/0".parse().unwrap())
            .start()
            .await
            .unwrap()
    }

    /// Goal: a source that was down is looked up again, what it finds then is joined through, and its task neither keeps the
    /// node running nor outlives it. Method: the first two lookups fail, the third names a peer; looks are milliseconds apart.
    #[tokio::test]
    async fn failed_sources_are_looked_up_again_as_long_as_the_node_runs() {
        let (near, far) = (node().await, node().await);
        let calls = Arc::new(AtomicUsize::new(0));
        let names = PeerAddrs::try_from(far.p2p_addrs().remove(0)).unwrap();
        let gone = Arc::new(Mutex::new(Some(())));
        let held = Arc::downgrade(&gone);
        let source = {
            let calls = Arc::clone(&calls);
            Source::new(SourceKind::File, "test".into(), move |found: Found| {
                let (call, names, _held) =
                    (calls.fetch_add(1, Ordering::Relaxed), names.clone(), gone.clone());
                async move {
                    if call < 2 {
                        return Err("it is down".into());
                    }
                    found.tell(vec![names]).await;
                    Ok(())
                }
            })
        };
        let rhythm = Rhythm { first: Duration::from_millis(5), longest: Duration::from_millis(5) };
        let mut events = near.events();
        source.keep(near.dht(), 4, rhythm, near.listening()).await;
        let admitted = async { while !matches!(events.next().await, Some(Event::PeerAdmitted { .. })) {} };
        tokio::time::timeout(Duration::from_secs(40), admitted)
            .await
            .expect("it joins through what is found");
        assert!(calls.load(Ordering::Relaxed) >= 3);
        drop(near);
        let ends = async {
            while held.upgrade().is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ends).await.expect("the task ends with the node");
        far.shutdown().await;
    }
}
