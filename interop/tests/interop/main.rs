//! Kadmos against other implementations. What each test shows is in `docs/interop.md`.

mod bench;
mod clients;
mod kubo;
mod network;
mod rust_libp2p;
mod servers;

use std::time::Duration;

use bytes::Bytes;
use kadmos::{Keypair, Node, PeerAddrs, UnixTime, ipns};
use kadmos_interop::{core_id, poll};
use libp2p::{Multiaddr, PeerId};

/// The wall clock.
fn now() -> UnixTime {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixTime::from_secs(elapsed.expect("the clock is past 1970").as_secs())
}

/// The multihash of some content: SHA-256, `fill` for a digest.
fn multihash(fill: u8) -> Vec<u8> {
    [&[0x12, 0x20][..], &[fill; 32]].concat()
}

/// What Kubo announces for a file that it added.
fn multihash_of(cid: &str) -> Vec<u8> {
    // A CID of version 0 is the multihash in base58, as peer ids are.
    cid.parse::<PeerId>().expect("Kubo adds files under CIDs of version 0").to_bytes()
}

/// An IPNS record that is valid for an hour.
fn name_record(keypair: &Keypair, path: &str, sequence: u64) -> Bytes {
    let until = now() + Duration::from_secs(3_600);
    ipns::create(keypair, path.as_bytes(), sequence, until, ipns::TTL).unwrap()
}

/// Waits until `node` holds a record that `provider` provides `key`, and gives the addresses in it.
async fn stores_provider(node: &Node, key: &[u8], provider: PeerId) -> Vec<Multiaddr> {
    let id = core_id(&provider);
    poll("a provider in the store of Kadmos", async || {
        let held = node.store().providers(key, 100, now()).await.unwrap();
        held.iter().find(|info| info.peer.id == id).map(|info| PeerAddrs::from(info).addrs)
    })
    .await
}

/// The same addresses in any order, with or without `/p2p` at their end.
fn same_addrs(found: &[Multiaddr], expected: &[Multiaddr]) {
    let sorted = |addrs: &[Multiaddr]| {
        let mut addrs: Vec<_> = addrs.iter().map(ToString::to_string).collect();
        addrs.iter_mut().for_each(|addr| addr.truncate(addr.find("/p2p/").unwrap_or(addr.len())));
        addrs.sort();
        addrs
    };
    assert_eq!(sorted(found), sorted(expected));
}
