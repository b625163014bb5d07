//! `kadmos decode`: bytes and names as people can read them. Pure; the command around it does the reading.

mod message;
mod names;
mod tree;

use std::str::FromStr;

use cid::{Cid, Version};
use kadmos_core::UnixTime;
use kadmos_records::ipns::{self, IpnsRecord};
use kadmos_records::public_key;
use libp2p_core::Multiaddr;
use multibase::Base;

pub(crate) use self::tree::Tree;
use crate::args::DecodeKind;
use crate::parse::{self, Content, exact_multihash};

/// Input as it came: an argument's text, or a file's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Typed.
    Text(String),
    /// Read.
    Bytes(Vec<u8>),
}

impl Input {
    /// A file's bytes; text in a file, without its last line break, counts as typed.
    pub(crate) fn from_file(bytes: Vec<u8>) -> Self {
        match std::str::from_utf8(&bytes).map(str::trim) {
            Ok(text) if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic()) => {
                Self::Text(text.into())
            }
            _ => Self::Bytes(bytes),
        }
    }
}

/// Reads `input` as `kind`, or as the first kind that fits.
///
/// Errors: one sentence.
pub(crate) fn decode(input: &Input, kind: Option<DecodeKind>, now: UnixTime) -> Result<Tree, String> {
    let Some(kind) = kind else { return guess(input, now) };
    if let Input::Text(text) = input
        && let Some(read) = from_text(text, kind)
    {
        return read;
    }
    let readings = match input {
        Input::Text(text) => spelled(text),
        Input::Bytes(bytes) => vec![bytes.clone()],
    };
    let mut reason = "expected bytes in hexadecimal, base64 or multibase".to_string();
    for bytes in readings {
        match from_bytes(&bytes, kind, now) {
            Ok(tree) => return Ok(tree),
            Err(error) => reason = error,
        }
    }
    Err(reason)
}

fn guess(input: &Input, now: UnixTime) -> Result<Tree, String> {
    if let Input::Text(text) = input {
        // In this order: a peer id of old form is a CIDv0 as well, and content is what most people mean by one.
        for kind in [DecodeKind::Addr, DecodeKind::Cid, DecodeKind::Peer] {
            if let Some(Ok(tree)) = from_text(text, kind) {
                return Ok(tree);
            }
        }
    }
    let readings = match input {
        Input::Text(text) => spelled(text),
        Input::Bytes(bytes) => vec![bytes.clone()],
    };
    for bytes in readings {
        // From the strictest form to the loosest: a multihash also reads as a message that has only a key.
        if let Some(multihash) = exact_multihash(&bytes).filter(names::is_known) {
            return Ok(names::multihash(&multihash));
        }
        for kind in [DecodeKind::PublicKey, DecodeKind::Ipns, DecodeKind::Message] {
            if let Ok(tree) = from_bytes(&bytes, kind, now) {
                return Ok(tree);
            }
        }
    }
    Err("expected a peer id, CID, multihash, multiaddress, public key, IPNS record or DHT message, or bytes of one in hexadecimal, base64 or multibase; name its kind with --as to learn why it is none".into())
}

/// Kinds that have a text form of their own; `None` for the others.
fn from_text(text: &str, kind: DecodeKind) -> Option<Result<Tree, String>> {
    match kind {
        DecodeKind::Addr => {
            let read = Multiaddr::from_str(text);
            Some(
                read.map(|addr| names::addr(&addr))
                    .map_err(|error| format!("expected a multiaddress ({error})")),
            )
        }
        DecodeKind::Cid => {
            let name = text.strip_prefix("/ipfs/").or_else(|| text.strip_prefix("ipfs://")).unwrap_or(text);
            let read = match Cid::try_from(name) {
                // The crate takes a multihash in any base for one; the CID specification takes base58 only.
                Ok(cid) if cid.version() == Version::V0 && !name.starts_with("Qm") => {
                    Err("it is a bare multihash".to_string())
                }
                Ok(cid) => Ok(names::cid(&cid)),
                Err(error) => Err(error.to_string()),
            };
            Some(read.map_err(|error| format!("expected a CID ({error})")))
        }
        DecodeKind::Peer => {
            let read = parse::peer(text.strip_prefix("/pk/").unwrap_or(text));
            Some(read.map(|peer| names::peer(&peer.id)).map_err(|error| error.to_string()))
        }
        DecodeKind::Multihash => {
            Content::from_str(text).ok().map(|content| Ok(names::multihash(&content.multihash)))
        }
        DecodeKind::Ipns | DecodeKind::Message | DecodeKind::PublicKey => None,
    }
}

fn from_bytes(bytes: &[u8], kind: DecodeKind, now: UnixTime) -> Result<Tree, String> {
    match kind {
        DecodeKind::Addr => Multiaddr::try_from(bytes.to_vec())
            .map(|addr| names::addr(&addr))
            .map_err(|error| format!("expected a binary multiaddress ({error})")),
        DecodeKind::Cid => Cid::try_from(bytes)
            .map(|cid| names::cid(&cid))
            .map_err(|error| format!("expected a binary CID ({error})")),
        DecodeKind::Peer => libp2p_identity::PeerId::from_bytes(bytes)
            .map(|id| names::peer(&id))
            .map_err(|error| format!("expected a binary peer id ({error})")),
        DecodeKind::Multihash => exact_multihash(bytes)
            .map(|multihash| names::multihash(&multihash))
            .ok_or_else(|| "expected exactly one multihash".into()),
        DecodeKind::PublicKey => public_key::decode(bytes)
            .map(|key| names::public_key(&key))
            .map_err(|error| format!("expected a libp2p public key ({error})")),
        DecodeKind::Ipns => ipns::decode(bytes)
            .map(|record| ipns_record(&record, bytes, now))
            .map_err(|error| format!("expected an IPNS record ({error})")),
        DecodeKind::Message => {
            message::message(bytes).map_err(|error| format!("expected a DHT message ({error})"))
        }
    }
}

/// The bytes that text may spell: hexadecimal, multibase, base64 with either alphabet.
fn spelled(text: &str) -> Vec<Vec<u8>> {
    let hex = parse::bytes_from_hex(text);
    let multibase = multibase::decode(text).ok().map(|(_, bytes)| bytes);
    let base64 = [Base::Base64Pad, Base::Base64, Base::Base64UrlPad, Base::Base64Url];
    let base64 = base64.into_iter().find_map(|base| base.decode(text).ok());
    [hex, multibase, base64].into_iter().flatten().filter(|bytes| !bytes.is_empty()).collect()
}

/// The facts of an IPNS record.
fn ipns_entries(record: &IpnsRecord) -> Tree {
    let path = record.path().unwrap_or_else(|| format!("unreadable: {}", names::hex(&record.value)));
    let mut entries = vec![
        ("path", Tree::Text(path)),
        ("sequence", Tree::Number(record.sequence)),
        ("valid_until", Tree::text(record.valid_until)),
    ];
    if let Some(ttl) = record.ttl {
        entries.push(("ttl_seconds", Tree::Number(ttl.as_secs())));
    }
    Tree::Map(entries)
}

fn ipns_record(record: &IpnsRecord, bytes: &[u8], now: UnixTime) -> Tree {
    let Tree::Map(facts) = ipns_entries(record) else { return Tree::Map(Vec::new()) };
    let mut entries = vec![("kind", Tree::text("ipns_record"))];
    entries.extend(facts);
    entries.push(("expired", Tree::Bool(record.is_expired(now))));
    entries.push(match &record.public_key {
        Some(key) => {
            let name = key.to_peer_id();
            match ipns::validate(&ipns::key(&name), bytes, now) {
                Ok(_) => ("signature", Tree::Text(format!("valid for /ipns/{}", ipns::format_name(&name)))),
                Err(error) => (
                    "signature",
                    Tree::Text(format!("not valid for /ipns/{}: {error}", ipns::format_name(&name))),
                ),
            }
        }
        None => {
            ("signature", Tree::text("not checked: the name, which is not in the record, is its public key"))
        }
    });
    Tree::Map(entries)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use kadmos_core::message::{Record, Request, Response};
    use kadmos_core::wire::{encode_request, encode_response, frame};
    use kadmos_core::{AddrList, Peer, PeerInfo};
    use libp2p_identity::Keypair;

    use super::*;

    const RAW_V1: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    const ED25519: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn typed(text: &str) -> String {
        shown(&Input::Text(text.into()), None)
    }

    fn shown(input: &Input, kind: Option<DecodeKind>) -> String {
        let mut text = Vec::new();
        decode(input, kind, NOW).unwrap().write(&mut text, 0).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn assert_has(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|it| it.trim().starts_with(line)), "no {line:?} in:\n{text}");
        }
    }

    #[test]
    fn names_are_taken_apart() {
        assert_has(
            &typed(RAW_V1),
            &["kind: cid", "version: 1", "codec: raw", "function: sha2-256", "dht key: "],
        );
        assert_has(&typed(&format!("/ipfs/{RAW_V1}")), &["kind: cid"]);
        let v0 = "QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN";
        assert_has(&typed(v0), &["kind: cid", "version: 0", "codec: dag-pb", "cid v1: bafy"]);
        let old_peer = shown(&Input::Text(v0.into()), Some(DecodeKind::Peer));
        assert_has(&old_peer, &["kind: peer_id", "public key: not in the id"]);
        let peer = typed(ED25519);
        assert_has(
            &peer,
            &["kind: peer_id", "ipns name: k51", "type: ed25519", &format!("peer id: {ED25519}")],
        );
        let addr = typed(&format!("/ip4/127.0.0.1/tcp/4010/p2p/{ED25519}"));
        assert_has(&addr, &["kind: multiaddress", "ip4/127.0.0.1", "tcp/4010", "public: no"]);
    }

    #[test]
    fn ipns_names_are_cids_of_keys() {
        let id: libp2p_identity::PeerId = ED25519.parse().unwrap();
        let name = ipns::format_name(&id);
        assert_has(&typed(&name), &["kind: cid", "codec: libp2p-key", &format!("peer id: {ED25519}")]);
        assert_has(&typed(&format!("/ipns/{name}")), &["kind: peer_id"]);
    }

    #[test]
    fn multihashes_are_read_in_every_spelling() {
        let hash = Content::from_str(RAW_V1).unwrap().multihash.to_bytes();
        for text in
            [names::hex(&hash), Base::Base64Pad.encode(&hash), multibase::encode(Base::Base32Lower, &hash)]
        {
            assert_has(
                &typed(&text),
                &["kind: multihash", "digest bytes: 32", &format!("cid v1 raw: {RAW_V1}")],
            );
        }
    }

    #[test]
    fn records_say_what_they_point_at() {
        let keypair = Keypair::generate_ed25519();
        let record =
            ipns::create(&keypair, b"/ipfs/bafkqaaa", 7, NOW + Duration::from_secs(60), ipns::TTL).unwrap();
        let expected = [
            "kind: ipns_record",
            "path: /ipfs/bafkqaaa",
            "sequence: 7",
            "expired: no",
            "signature: not checked",
        ];
        assert_has(&shown(&Input::Bytes(record.to_vec()), None), &expected);
        assert_has(&typed(&Base::Base64Pad.encode(&record)), &expected);
        let public = keypair.public().encode_protobuf();
        assert_has(&typed(&names::hex(&public)), &["kind: public_key", "type: ed25519"]);
    }

    fn info() -> PeerInfo {
        let id = kadmos_core::PeerId::from_digest([7; 32]);
        let addr: Multiaddr = "/ip4/1.2.3.4/tcp/4001".parse().unwrap();
        PeerInfo::new(Peer::new(id), AddrList::collect(&id, [addr.as_ref()]))
    }

    #[test]
    fn messages_are_read_both_ways() {
        let id: libp2p_identity::PeerId = ED25519.parse().unwrap();
        let mut bytes = Vec::new();
        encode_request(&Request::FindNode { key: id.to_bytes().into() }, &mut bytes);
        let text = typed(&names::hex(&bytes));
        assert_has(
            &text,
            &["kind: message", "type: find_node", &format!("text: peer {ED25519}"), "closer peers: none"],
        );

        let mut bytes = Vec::new();
        let response = Response::FindNode { closer: vec![info()] };
        encode_response(&response, &id.to_bytes(), &mut bytes);
        let text = typed(&Base::Base64Pad.encode(&bytes));
        assert_has(&text, &["type: find_node", "closer peers:", "peer id: Qm", "/ip4/1.2.3.4/tcp/4001"]);

        let record = Record { key: ipns::key(&id), value: Bytes::from_static(b"?") };
        let mut bytes = Vec::new();
        encode_request(&Request::PutValue { record }, &mut bytes);
        assert_has(&typed(&names::hex(&bytes)), &["type: put_value", "text: /ipns/k51", "value: 3f"]);
    }

    #[test]
    fn a_stream_of_frames_is_read_message_by_message() {
        let mut bytes = Vec::new();
        frame::write_request(&Request::Ping, &mut bytes);
        assert_has(&shown(&Input::Bytes(bytes.clone()), None), &["kind: message", "type: ping"]);
        frame::write_request(&Request::GetValue { key: Bytes::from_static(b"/x/y") }, &mut bytes);
        let text = shown(&Input::Bytes(bytes), None);
        assert_has(&text, &["kind: messages", "type: ping", "type: get_value", "text: /x/y"]);
    }

    #[test]
    fn what_is_nothing_is_said() {
        let error = decode(&Input::Text("hello world".into()), None, NOW).unwrap_err();
        assert!(error.contains("--as"), "{error}");
        let error = decode(&Input::Text("08ff".into()), Some(DecodeKind::Message), NOW).unwrap_err();
        assert!(error.starts_with("expected a DHT message"), "{error}");
        let error = decode(&Input::Bytes(vec![0xff; 40]), Some(DecodeKind::Ipns), NOW).unwrap_err();
        assert!(error.starts_with("expected an IPNS record"), "{error}");
    }

    #[test]
    fn files_of_text_count_as_typed() {
        assert_eq!(Input::from_file(b" abc\n".to_vec()), Input::Text("abc".into()));
        assert_eq!(Input::from_file(b"\x08\x01\xff".to_vec()), Input::Bytes(b"\x08\x01\xff".to_vec()));
        assert_eq!(Input::from_file(Vec::new()), Input::Bytes(Vec::new()));
    }
}
