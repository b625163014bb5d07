//! From where peers to join through are learnt, beside those that are named: domain names and files.
//!
//! Each source is looked up in a task of its own and tells the node what it finds as it finds it, so one that never answers
//! delays none of the others, and no longer than its own time.

pub(crate) mod dnsaddr;
pub(crate) mod list;

use std::future::Future;
use std::time::Duration;

use kadmos_core::operation::SourceKind;
use kadmos_libp2p::{Dht, PeerAddrs};

/// A source that has told nothing after this long is given up.
pub(crate) const SOURCE_TIMEOUT: Duration = Duration::from_secs(10);

/// Looks a source up and tells the node of what it finds. The lookup is announced before this returns, so that a join
/// that begins after it waits for the source. Peers that a source has found when its time is up count.
pub(crate) async fn spawn<L, F>(dht: Dht, kind: SourceKind, name: String, look_up: L)
where
    L: FnOnce(Found) -> F,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    // Whatever fails here fails because the node has ended.
    if dht.source_lookup_began(kind).await.is_err() {
        return;
    }
    let (sender, mut found) = tokio::sync::mpsc::channel::<Vec<PeerAddrs>>(16);
    let looking = look_up(Found(sender));
    tokio::spawn(async move {
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
                tracing::warn!(source = kind.label(), %name, %reason, "a source of peers failed")
            }
            Err(_) => {
                tracing::warn!(source = kind.label(), %name, "a source of peers did not answer in time")
            }
        }
        let _ = dht.source_lookup_ended(kind).await;
    });
}

/// Where a lookup puts what it finds.
#[derive(Clone, Debug)]
pub(crate) struct Found(tokio::sync::mpsc::Sender<Vec<PeerAddrs>>);

impl Found {
    pub(crate) async fn tell(&self, peers: Vec<PeerAddrs>) {
        // Nobody listens any more when the node has ended.
        let _ = self.0.send(peers).await;
    }
}
