//! The usage that Kadmos' brief asks for, line by line, on a network of three nodes on loopback.
//!
//! Each comment is a line of the brief; what follows it is how a Rust program says it. `docs/brief.md` maps the rest.
//!
//! Run: `cargo run -p kadmos --example brief`

use std::error::Error;

use futures::StreamExt;
use kadmos::{Config, DhtBuilder, Keypair, MemoryLimits, MemoryStore, Mode, pk};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Somebody to talk to: the brief takes the public network for granted.
    let others = neighbours().await?;
    let keypair = Keypair::generate_ed25519();

    // final dht = IpfsDHTv2(host: host, providerStore: MemoryProviderStore(), options: DHTOptions(mode: DHTMode.server));
    let builder = DhtBuilder::new(keypair.clone())
        .listen("/ip4/127.0.0.1/tcp/0".parse()?)
        .bootstrap(others[0].p2p_addrs()[0].clone())
        .store(std::sync::Arc::new(MemoryStore::new(MemoryLimits::default())))
        .config(Config::private("/brief/kad/1.0.0"))
        .mode(Mode::Server);

    // await dht.start();
    let dht = builder.start().await?;

    // await dht.bootstrap(); // Complete 4-phase bootstrap with peer discovery
    let joined = dht.bootstrap().await?;
    println!(
        "joined: {} of {} bootstrap peers answered, {} peers known",
        joined.answered, joined.tried, joined.peers
    );

    // final peer = await dht.findPeer(targetPeer); // Distributed peer lookup
    let peer = dht.find_peer(others[1].peer_id()).await?;
    println!("found peer {} at {:?}", peer.id, peer.addrs);

    // await dht.putValue(key, value); // Cryptographically signed record storage
    let key = pk::key(&dht.peer_id());
    let report = dht.put_value(key.clone(), pk::value(&keypair.public())).await?;
    println!("stored on {} of {} peers", report.stored, report.attempted);

    // final value = await dht.getValue(key); // Validated record retrieval
    let value = others[1].get_value(key).await?;
    println!("got {} bytes, {} valid answers", value.best.value.len(), value.answers);

    // await dht.provide(cid, true); // Provider announcement with network propagation
    let cid = [&[0x12, 0x20][..], &[42; 32]].concat(); // a CID's multihash: that is what the network is keyed by
    let report = dht.provide(cid.clone()).await?;
    println!("announced to {} of {} peers", report.sent, report.attempted);

    // final providers = dht.findProvidersAsync(cid, 10);
    let mut providers = others[1].find_providers(cid, 10);
    // await for (final provider in providers) { print('Found provider: ${provider.id}'); }
    while let Some(provider) = providers.next().await {
        println!("Found provider: {}", provider?.id);
    }

    dht.shutdown().await;
    for node in others {
        node.shutdown().await;
    }
    Ok(())
}

async fn neighbours() -> Result<Vec<kadmos::Node>, Box<dyn Error>> {
    let mut nodes: Vec<kadmos::Node> = Vec::new();
    for _ in 0..2 {
        let mut builder = DhtBuilder::new(Keypair::generate_ed25519())
            .config(Config::private("/brief/kad/1.0.0"))
            .mode(Mode::Server)
            .listen("/ip4/127.0.0.1/tcp/0".parse()?);
        if let Some(first) = nodes.first() {
            builder = builder.bootstrap(first.p2p_addrs()[0].clone());
        }
        let node = builder.start().await?;
        if !nodes.is_empty() {
            node.bootstrap().await?;
        }
        nodes.push(node);
    }
    Ok(nodes)
}
