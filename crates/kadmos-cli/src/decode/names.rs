//! CIDs, multihashes, peer ids, public keys and addresses, taken apart.

use cid::{Cid, Version};
use kadmos_core::Key;
use kadmos_records::{ipns, public_key};
use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use libp2p_identity::{PeerId, PublicKey};
use multibase::Base;

use super::tree::Tree;
use crate::identity::key_type_name;
use crate::parse::{LIBP2P_KEY_CODEC, Multihash};

/// Multicodecs that content has. Source: the multicodec table.
const CODECS: [(u64, &str); 9] = [
    (0x51, "cbor"),
    (0x55, "raw"),
    (0x70, "dag-pb"),
    (0x71, "dag-cbor"),
    (0x72, "libp2p-key"),
    (0x78, "git-raw"),
    (0x0129, "dag-json"),
    (0x0200, "json"),
    (0x0202, "car"),
];

/// Hash functions of multihashes. Source: the multicodec table.
const HASHES: [(u64, &str); 10] = [
    (0x00, "identity"),
    (0x11, "sha1"),
    (0x12, "sha2-256"),
    (0x13, "sha2-512"),
    (0x14, "sha3-512"),
    (0x16, "sha3-256"),
    (0x1b, "keccak-256"),
    (0x1e, "blake3"),
    (0xb220, "blake2b-256"),
    (0xb240, "blake2b-512"),
];

fn name_of(table: &[(u64, &str)], code: u64) -> String {
    let known = table.iter().find(|(known, _)| *known == code);
    known.map_or_else(|| format!("0x{code:x}"), |(_, name)| (*name).to_string())
}

/// Whether the hash function is one that content has; any two bytes begin some multihash.
pub(super) fn is_known(multihash: &Multihash) -> bool {
    HASHES.iter().any(|(code, _)| *code == multihash.code())
}

/// Hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    Base::Base16Lower.encode(bytes)
}

/// Where bytes stand in the keyspace.
pub(super) fn dht_key(bytes: &[u8]) -> (&'static str, Tree) {
    ("dht_key", Tree::text(Key::of(bytes)))
}

/// A CID and what is in it.
pub(super) fn cid(cid: &Cid) -> Tree {
    let version = match cid.version() {
        Version::V0 => 0,
        Version::V1 => 1,
    };
    let mut entries = vec![
        ("kind", Tree::text("cid")),
        ("version", Tree::Number(version)),
        ("codec", Tree::Text(name_of(&CODECS, cid.codec()))),
        ("multihash", multihash_entries(cid.hash())),
    ];
    if version == 0 {
        entries.push(("cid_v1", Tree::text(Cid::new_v1(cid.codec(), *cid.hash()))));
    }
    if cid.codec() == LIBP2P_KEY_CODEC
        && let Ok(id) = PeerId::from_multihash(*cid.hash())
    {
        entries.push(("peer_id", Tree::text(id)));
    }
    entries.push(dht_key(&cid.hash().to_bytes()));
    Tree::Map(entries)
}

fn multihash_entries(multihash: &Multihash) -> Tree {
    Tree::Map(vec![
        ("function", Tree::Text(name_of(&HASHES, multihash.code()))),
        ("digest_bytes", Tree::Number(u64::from(multihash.size()))),
        ("digest", Tree::Text(hex(multihash.digest()))),
        ("hex", Tree::Text(hex(&multihash.to_bytes()))),
    ])
}

/// A bare multihash.
pub(super) fn multihash(multihash: &Multihash) -> Tree {
    Tree::Map(vec![
        ("kind", Tree::text("multihash")),
        ("multihash", multihash_entries(multihash)),
        ("cid_v1_raw", Tree::text(Cid::new_v1(0x55, *multihash))),
        dht_key(&multihash.to_bytes()),
    ])
}

/// A peer id, and the public key when the id contains it.
pub(super) fn peer(id: &PeerId) -> Tree {
    let hash: &Multihash = id.as_ref();
    let mut entries = vec![
        ("kind", Tree::text("peer_id")),
        ("peer_id", Tree::text(id)),
        ("ipns_name", Tree::Text(ipns::format_name(id))),
        ("hex", Tree::Text(hex(&id.to_bytes()))),
    ];
    entries.push(match (hash.code(), public_key::decode(hash.digest())) {
        (0, Ok(key)) => ("public_key", key_entries(&key)),
        (0, Err(error)) => ("public_key", Tree::Text(format!("unreadable: {error}"))),
        _ => ("public_key", Tree::text("not in the id, which is its hash; `kadmos get /pk/<id>` finds it")),
    });
    entries.push(dht_key(&id.to_bytes()));
    Tree::Map(entries)
}

fn key_entries(key: &PublicKey) -> Tree {
    Tree::Map(vec![
        ("type", Tree::text(key_type_name(key.key_type()))),
        ("base64", Tree::Text(Base::Base64Pad.encode(key.encode_protobuf()))),
    ])
}

/// A public key and the peer it belongs to.
pub(super) fn public_key(key: &PublicKey) -> Tree {
    let id = key.to_peer_id();
    Tree::Map(vec![
        ("kind", Tree::text("public_key")),
        ("public_key", key_entries(key)),
        ("peer_id", Tree::text(id)),
        ("ipns_name", Tree::Text(ipns::format_name(&id))),
    ])
}

/// A multiaddress, part by part.
pub(super) fn addr(addr: &Multiaddr) -> Tree {
    let parts = addr.iter().map(|part| Tree::text(part.to_string().trim_start_matches('/')));
    let mut entries = vec![
        ("kind", Tree::text("multiaddress")),
        ("parts", Tree::List(parts.collect())),
        ("hex", Tree::Text(hex(addr.as_ref()))),
        ("public", Tree::Bool(kadmos_core::addr::is_public(addr.as_ref()))),
    ];
    if let Some(Protocol::P2p(id)) = addr.iter().last() {
        entries.push(("peer_id", Tree::text(id)));
    }
    Tree::Map(entries)
}
