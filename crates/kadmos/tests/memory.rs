//! What a node keeps over a restart, and other ways into a network than a named peer, over real sockets.

use std::time::Duration;

use kadmos::{BootstrapError, Config, DhtBuilder, Keypair, Mode, Node, Phase, PhaseOutcome, SourceKind};

fn builder() -> DhtBuilder {
    DhtBuilder::new(Keypair::generate_ed25519())
        .config(Config::private("/kadmos-test/memory/1"))
        .mode(Mode::Server)
        .listen("/ip4/127.0.0.1/tcp/0".parse().unwrap())
}

async fn bounded<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("within a minute")
}

/// A node that is known to nobody, and its address.
async fn first() -> (Node, kadmos::Multiaddr) {
    let node = builder().start().await.unwrap();
    let addr = node.p2p_addrs().remove(0);
    (node, addr)
}

/// Goal: a node whose bootstrap peers are gone is back from memory; a corrupt memory is a cold start.
#[tokio::test]
async fn a_restarted_node_is_back_from_memory() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("memory");
    let (far, far_addr) = first().await;
    let (source, source_addr) = first().await;
    far.add_bootstrap_peers([source_addr.clone().try_into().unwrap()]).await.unwrap();
    bounded(far.bootstrap()).await.unwrap();
    bounded(async {
        while source.table().await.unwrap().is_empty() {
            tokio::task::yield_now().await; // the source asks who has come before it names it
        }
    })
    .await;

    let near = builder().bootstrap(source_addr).memory(&path).start().await.unwrap();
    bounded(near.bootstrap()).await.unwrap();
    assert!(near.table().await.unwrap().iter().count() == 2, "it has met both");
    bounded(near.shutdown()).await;
    bounded(source.shutdown()).await;

    let near = builder().memory(&path).start().await.unwrap();
    assert_eq!(near.table().await.unwrap().len(), 2, "both are remembered");
    let report = bounded(near.bootstrap()).await.unwrap();
    let verify = report.phase(Phase::Verify);
    assert_eq!((verify.tried, verify.answered), (2, 1), "{report:?}");
    assert_eq!(report.source(SourceKind::Remembered).map(|source| source.answered), Some(1));
    let table = near.table().await.unwrap();
    assert!(
        table.iter().all(|info| kadmos::convert::peer_id(&info.peer.id) == far.peer_id()),
        "the dead one is gone"
    );
    bounded(near.shutdown()).await;

    std::fs::write(&path, b"not a memory").unwrap();
    let cold = builder().memory(&path).bootstrap(far_addr).start().await.unwrap();
    assert!(cold.table().await.unwrap().is_empty());
    assert!(home.path().join("memory.corrupt").exists());
    bounded(cold.bootstrap()).await.unwrap();
    bounded(cold.shutdown()).await;
    let again = builder().memory(&path).start().await.unwrap();
    assert_eq!(again.table().await.unwrap().len(), 1, "the next start is warm");
}

/// Goal: a file is a way in, and mistakes in it only cost that way.
#[tokio::test]
async fn a_file_names_peers_to_join_through() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("peers.txt");
    let (far, far_addr) = first().await;
    std::fs::write(&path, format!("# one peer\n{far_addr}\n")).unwrap();
    let near = builder().bootstrap_file(&path).start().await.unwrap();
    let report = bounded(near.bootstrap()).await.unwrap();
    assert_eq!(report.phase(Phase::Connect).outcome, PhaseOutcome::Done);
    assert_eq!(report.source(SourceKind::File).map(|source| (source.tried, source.answered)), Some((1, 1)));

    std::fs::write(&path, "no address\n").unwrap();
    let lost = builder().bootstrap_file(&path).start().await.unwrap();
    assert_eq!(bounded(lost.bootstrap()).await, Err(BootstrapError::NoSources));
    drop(far);
}

/// Goal: a page that never comes delays no other way into the network. Method: a server that takes the connection and says
/// nothing, and a file beside it.
#[cfg(feature = "url")]
#[tokio::test]
async fn a_black_holed_page_delays_nobody() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("peers.txt");
    let (far, far_addr) = first().await;
    std::fs::write(&path, far_addr.to_string()).unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/peers.txt", silent.local_addr().unwrap());
    let node = builder().bootstrap_file(&path).bootstrap_url(url.parse().unwrap()).start().await.unwrap();
    let began = std::time::Instant::now();
    let report = bounded(node.bootstrap()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(8), "it did not wait for the page: {:?}", began.elapsed());
    let page = report.source(SourceKind::Url).copied().unwrap();
    assert_eq!((page.tried, page.answered, page.pending), (0, 0, true));
    assert_eq!(report.source(SourceKind::File).map(|source| source.answered), Some(1));
    bounded(node.shutdown()).await;
    drop(far);
}

/// Goal: a page is a way in, by itself. Method: a server of one answer on loopback.
#[cfg(feature = "url")]
#[tokio::test]
async fn a_page_names_peers_to_join_through() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let (far, far_addr) = first().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/peers.txt", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let read = stream.read(&mut request).await.unwrap();
        assert!(request[..read].starts_with(b"GET /peers.txt HTTP/1.1\r\n"));
        let text = format!("# ours\n{far_addr}\n");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let node = builder().bootstrap_url(url.parse().unwrap()).start().await.unwrap();
    let report = bounded(node.bootstrap()).await.unwrap();
    let page = report.source(SourceKind::Url).copied().unwrap();
    assert_eq!((page.tried, page.answered), (1, 1), "{report:?}");
    server.await.unwrap();
    bounded(node.shutdown()).await;
    drop(far);
}
