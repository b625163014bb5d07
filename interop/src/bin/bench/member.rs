//! A node of either kind, in this process.

use std::net::Ipv4Addr;

use kadmos::{Config, DhtBuilder, Keypair, Mode, Node, PeerAddrs};
use kadmos_interop::rust_libp2p::{self, RustPeer};
use kadmos_interop::{Transport, libp2p_id};
use libp2p::{Multiaddr, PeerId};

/// Whose node it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Ours.
    Kadmos,
    /// libp2p-kad's.
    #[value(name = "rust-libp2p")]
    #[serde(rename = "rust-libp2p")]
    RustLibp2p,
}

impl Kind {
    /// Both, in the order in which they take turns.
    pub(crate) const ALL: [Self; 2] = [Self::Kadmos, Self::RustLibp2p];
}

impl core::fmt::Display for Kind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Kadmos => "kadmos",
            Self::RustLibp2p => "rust-libp2p",
        })
    }
}

/// A running node with its implementation's default settings.
#[derive(Debug)]
pub(crate) enum Member {
    Kadmos(Node),
    RustLibp2p(RustPeer),
}

impl Member {
    /// A server on TCP of `host` that knows nobody; with `None`, a client that listens nowhere.
    pub(crate) async fn start(kind: Kind, host: Option<Ipv4Addr>) -> Result<Self, crate::Failure> {
        let listen = host.map(|host| Transport::Tcp.listen_addr(host));
        match kind {
            Kind::Kadmos => {
                let mode = if listen.is_some() { Mode::Server } else { Mode::Client };
                let builder = DhtBuilder::new(Keypair::generate_ed25519());
                let builder = builder.config(Config::lan()).mode(mode);
                Ok(Self::Kadmos(listen.into_iter().fold(builder, DhtBuilder::listen).start().await?))
            }
            Kind::RustLibp2p => {
                let mode = match listen {
                    Some(_) => libp2p_kad::Mode::Server,
                    None => libp2p_kad::Mode::Client,
                };
                let listen = listen.into_iter().collect();
                let options = rust_libp2p::Options { listen, mode, idle_timeout: None };
                Ok(Self::RustLibp2p(RustPeer::start_with(options).await))
            }
        }
    }

    pub(crate) fn id(&self) -> PeerId {
        match self {
            Self::Kadmos(node) => node.peer_id(),
            Self::RustLibp2p(peer) => peer.id(),
        }
    }

    /// Its addresses, with `/p2p`.
    pub(crate) fn addrs(&self) -> Vec<Multiaddr> {
        match self {
            Self::Kadmos(node) => node.p2p_addrs(),
            Self::RustLibp2p(peer) => peer.addrs().to_vec(),
        }
    }

    /// Begins to join through `peers`, by the means that its implementation has for that. Does not wait for the end.
    pub(crate) fn join(&self, peers: &[Multiaddr]) {
        match self {
            Self::Kadmos(node) => {
                let (node, peers) = (node.clone(), peers.to_vec());
                tokio::spawn(async move {
                    let peers = peers.into_iter().filter_map(|addr| PeerAddrs::try_from(addr).ok());
                    // The judge sees what came of it; a node that is shut down meanwhile need not say so.
                    let _ = node.add_bootstrap_peers(peers).await;
                    let _ = node.bootstrap().await;
                });
            }
            Self::RustLibp2p(peer) => peer.join(peers.to_vec()),
        }
    }

    /// Who is in its table now. Waits for nobody.
    pub(crate) fn table(&self) -> Vec<PeerId> {
        match self {
            Self::Kadmos(node) => node.table_now().iter().map(|info| libp2p_id(&info.peer.id)).collect(),
            Self::RustLibp2p(peer) => peer.table(),
        }
    }

    /// Requests of the DHT that it has sent, and that it has answered.
    pub(crate) async fn requests(&self) -> Result<[u64; 2], crate::Failure> {
        match self {
            Self::Kadmos(node) => {
                let page = node.scrape().await?;
                Ok([
                    sum_of(&page, "kadmos_rpc_sent_total"),
                    sum_of(&page, "kadmos_rpc_served_duration_seconds_count"),
                ])
            }
            Self::RustLibp2p(peer) => {
                let requests = peer.requests();
                Ok([requests.sent, requests.served])
            }
        }
    }

    /// Ends it and waits until its sockets are closed.
    pub(crate) async fn stop(self) {
        match self {
            Self::Kadmos(node) => node.shutdown().await,
            Self::RustLibp2p(peer) => peer.stop().await,
        }
    }
}

/// The sum of a metric over all its labels, on a page for Prometheus.
fn sum_of(page: &str, metric: &str) -> u64 {
    let values = page.lines().filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        let name = name.split_once('{').map_or(name, |(name, _)| name);
        if name == metric { value.parse::<f64>().ok() } else { None }
    });
    values.sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_labels_and_no_others() {
        let page = "# TYPE sent counter\nsent_total{type=\"a b\"} 3\nsent_total{type=\"c\"} 4\n\
                    sent_totals 100\nplain 5\n# EOF\n";
        assert_eq!(sum_of(page, "sent_total"), 7);
        assert_eq!(sum_of(page, "plain"), 5);
        assert_eq!(sum_of(page, "absent"), 0);
    }

    #[tokio::test]
    async fn requests_of_both_kinds_are_counted_on_both_sides() {
        for kind in Kind::ALL {
            let host = Some(Ipv4Addr::LOCALHOST);
            let server = Member::start(kind, host).await.unwrap();
            let client = Member::start(kind, None).await.unwrap();
            client.join(&server.addrs());
            kadmos_interop::poll(&format!("a request of {kind}"), async || {
                let [sent, served] = client.requests().await.unwrap();
                assert_eq!(served, 0, "nobody can ask a client");
                let [_, answered] = server.requests().await.unwrap();
                (sent > 0 && answered > 0).then_some(())
            })
            .await;
            assert_eq!(client.table(), [server.id()]);
            assert!(server.table().is_empty(), "a client is in no table");
            client.stop().await;
            server.stop().await;
        }
    }
}
