//! Bytes of the protocol, written out by hand from the schema, and the key space's published vectors.

use bytes::Bytes;
use kadmos_core::message::{MessageKind, Record, Request, Response};
use kadmos_core::wire::frame::{FrameReader, write_request, write_response};
use kadmos_core::wire::{Decoded, Dropped, decode_request, decode_response, encode_request, encode_response};
use kadmos_core::{AddrList, Key, Peer, PeerId, PeerInfo, UnixTime};
use prost::Message as _;

use super::oracle::{Message, message_of_request, message_of_response};

/// Hexadecimal with spaces, `xx*n` for repeated bytes, and comments to the end of a line.
fn hex(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in text.lines().flat_map(|line| line.split("//").next().unwrap().split_whitespace()) {
        let (digits, times) =
            word.split_once('*').map_or((word, 1), |(digits, n)| (digits, n.parse().unwrap()));
        for _ in 0..times {
            let pairs = digits.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
            bytes.extend(pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()));
        }
    }
    bytes
}

/// `/ip4/1.2.3.4/tcp/4001`
const TCP: &str = "04 01020304  06 0fa1";
/// `/ip4/1.2.3.4/udp/4001/quic-v1`
const QUIC: &str = "04 01020304  9102 0fa1  cd03";

/// A peer with an RSA key: the id is a SHA-256 multihash of 34 bytes.
fn hashed(addrs: &[&str]) -> PeerInfo {
    info("1220 11*32", addrs)
}

/// A peer with an Ed25519 key: the id is an identity multihash of 38 bytes, the key in protobuf.
fn inlined(addrs: &[&str]) -> PeerInfo {
    info("0024 0801 1220 22*32", addrs)
}

fn info(id: &str, addrs: &[&str]) -> PeerInfo {
    let id = PeerId::from_bytes(&hex(id)).unwrap();
    let addrs: Vec<_> = addrs.iter().map(|addr| hex(addr)).collect();
    PeerInfo::new(Peer::new(id), AddrList::collect(&id, addrs.iter().map(Vec::as_slice)))
}

fn multihash() -> Bytes {
    hex("1220 33*32").into()
}

fn record() -> Record {
    Record {
        key: [b"/ipns/".as_slice(), &hex("1220 11*32")].concat().into(),
        value: Bytes::from_static(b"value"),
    }
}

fn check_request(request: &Request, golden: &str) {
    let golden = hex(golden);
    let decoded = Decoded { message: request.clone(), dropped: Dropped::default() };
    assert_eq!(decode_request(&golden.clone().into()), Ok(decoded));
    let mut bytes = Vec::new();
    encode_request(request, &mut bytes);
    assert_eq!(bytes, golden, "{request:?}");
    assert_eq!(message_of_request(request).encode_to_vec(), golden, "prost disagrees");
    assert_eq!(Message::decode(golden.as_slice()), Ok(message_of_request(request)));
    let mut framed = Vec::new();
    write_request(request, &mut framed);
    check_frame(&framed, &golden);
}

fn check_response(response: &Response, key: &[u8], golden: &str) {
    let golden = hex(golden);
    // The time of a record is written, never read.
    let read = match response.clone() {
        Response::GetValue { record, closer, .. } => Response::GetValue { record, received: None, closer },
        other => other,
    };
    let decoded = Decoded { message: read, dropped: Dropped::default() };
    assert_eq!(decode_response(&golden.clone().into(), response.kind()), Ok(decoded));
    let mut bytes = Vec::new();
    encode_response(response, key, &mut bytes);
    assert_eq!(bytes, golden, "{response:?}");
    assert_eq!(message_of_response(response, key).encode_to_vec(), golden, "prost disagrees");
    assert_eq!(Message::decode(golden.as_slice()), Ok(message_of_response(response, key)));
    let mut framed = Vec::new();
    write_response(response, key, &mut framed);
    check_frame(&framed, &golden);
}

fn check_frame(mut framed: &[u8], message: &[u8]) {
    let frame = FrameReader::new(4 << 20).read(&mut framed).unwrap().unwrap();
    assert_eq!(frame, message);
    assert!(framed.is_empty());
}

#[test]
fn put_value() {
    let golden = "
        // 1 type: PUT_VALUE = 0, the default, is left out
        12 28 2f69706e732f 1220 11*32   // 2 key: 40 bytes, /ipns/ and the peer id
        1a 31                           // 3 record: 49 bytes
           0a 28 2f69706e732f 1220 11*32   // 1 key, the same
           12 05 76616c7565                // 2 value
    ";
    check_request(&Request::PutValue { record: record() }, golden);
    check_response(&Response::PutValue { record: Some(record()) }, &record().key, golden);
    let no_record = "12 28 2f69706e732f 1220 11*32";
    check_response(&Response::PutValue { record: None }, &record().key, no_record);
}

#[test]
fn get_value() {
    let key = record().key;
    check_request(
        &Request::GetValue { key: key.clone() },
        "
        08 01                           // 1 type: GET_VALUE
        12 28 2f69706e732f 1220 11*32   // 2 key
    ",
    );
    let response = Response::GetValue {
        record: Some(record()),
        received: Some(UnixTime::from_secs(1_795_515_912)),
        closer: vec![hashed(&[TCP])],
    };
    check_response(
        &response,
        &key,
        "
        08 01                           // 1 type: GET_VALUE
        12 28 2f69706e732f 1220 11*32   // 2 key
        1a 47                           // 3 record: 71 bytes
           0a 28 2f69706e732f 1220 11*32   // 1 key
           12 05 76616c7565                // 2 value
           2a 14                           // 5 timeReceived: 20 characters
              323032362d31312d32345431303a32353a31325a // 2026-11-24T10:25:12Z
        42 2e                           // 8 closerPeers: 46 bytes
           0a 22 1220 11*32                // 1 id
           12 08 04 01020304  06 0fa1      // 2 addrs
    ",
    );
    let nothing = Response::GetValue { record: None, received: None, closer: vec![] };
    check_response(
        &nothing,
        b"/pk/x",
        "
        08 01             // 1 type: GET_VALUE
        12 05 2f706b2f78  // 2 key: /pk/x
    ",
    );
}

#[test]
fn add_provider() {
    let providers = vec![inlined(&[TCP, QUIC])];
    check_request(
        &Request::AddProvider { key: multihash(), providers },
        "
        08 02                // 1 type: ADD_PROVIDER
        12 22 1220 33*32     // 2 key: the multihash
        4a 3f                // 9 providerPeers: 63 bytes
           0a 26 0024 0801 1220 22*32             // 1 id
           12 08 04 01020304  06 0fa1             // 2 addrs
           12 0b 04 01020304  9102 0fa1  cd03     // 2 addrs
    ",
    );
    check_response(
        &Response::AddProvider,
        &multihash(),
        "
        08 02                // 1 type: ADD_PROVIDER
        12 22 1220 33*32     // 2 key
    ",
    );
}

#[test]
fn get_providers() {
    check_request(
        &Request::GetProviders { key: multihash() },
        "
        08 03                // 1 type: GET_PROVIDERS
        12 22 1220 33*32     // 2 key: the multihash
    ",
    );
    let response = Response::GetProviders {
        providers: vec![inlined(&[TCP, QUIC]), hashed(&[])],
        closer: vec![hashed(&[TCP])],
    };
    check_response(
        &response,
        &multihash(),
        "
        08 03                // 1 type: GET_PROVIDERS
        12 22 1220 33*32     // 2 key
        42 2e                // 8 closerPeers: 46 bytes
           0a 22 1220 11*32                       // 1 id
           12 08 04 01020304  06 0fa1             // 2 addrs
        4a 3f                // 9 providerPeers: 63 bytes
           0a 26 0024 0801 1220 22*32             // 1 id
           12 08 04 01020304  06 0fa1             // 2 addrs
           12 0b 04 01020304  9102 0fa1  cd03     // 2 addrs
        4a 24                // 9 providerPeers: 36 bytes
           0a 22 1220 11*32                       // 1 id, without an address
    ",
    );
}

#[test]
fn find_node() {
    let key = Bytes::copy_from_slice(hashed(&[]).peer.id.as_bytes());
    check_request(
        &Request::FindNode { key: key.clone() },
        "
        08 04                // 1 type: FIND_NODE
        12 22 1220 11*32     // 2 key: the peer id
    ",
    );
    let response = Response::FindNode { closer: vec![hashed(&[TCP]), inlined(&[QUIC])] };
    check_response(
        &response,
        &key,
        "
        08 04                // 1 type: FIND_NODE
                             // 2 key: go leaves it out
        42 2e                // 8 closerPeers: 46 bytes
           0a 22 1220 11*32                       // 1 id
           12 08 04 01020304  06 0fa1             // 2 addrs
        42 35                // 8 closerPeers: 53 bytes
           0a 26 0024 0801 1220 22*32             // 1 id
           12 0b 04 01020304  9102 0fa1  cd03     // 2 addrs
    ",
    );
}

#[test]
fn ping() {
    check_request(&Request::Ping, "08 05 // 1 type: PING");
    check_response(&Response::Ping, b"ignored", "08 05 // 1 type: PING");
}

#[test]
fn what_others_add_is_read_over() {
    // go: clusterLevelRaw = 1 in every message, connection = CONNECTED for peers it is connected to.
    let go = "
        08 04                // 1 type: FIND_NODE
        42 30                // 8 closerPeers: 48 bytes
           0a 22 1220 11*32                       // 1 id
           12 08 04 01020304  06 0fa1             // 2 addrs
           18 01                                  // 3 connection
        50 01                // 10 clusterLevelRaw
    ";
    // rust-libp2p: the peer's own id behind each address.
    let rust = "
        08 04                // 1 type: FIND_NODE
        42 53                // 8 closerPeers: 83 bytes
           0a 22 1220 11*32                                     // 1 id
           12 2d 04 01020304  06 0fa1  a503 22 1220 11*32       // 2 addrs
    ";
    for golden in [go, rust] {
        let read = decode_response(&hex(golden).into(), MessageKind::FindNode).unwrap();
        let message = Response::FindNode { closer: vec![hashed(&[TCP])] };
        assert_eq!(read, Decoded { message, dropped: Dropped::default() });
    }
}

#[test]
fn key_space_vectors() {
    // Source: ipfs/specs kad-dht, "Distance".
    let id = base58("12D3KooWLU2znyJMtDiHArqAGbZn8CgUGp92kxDBtefftEEaHSZS");
    assert_eq!(id[..6], hex("0024 0801 1220"), "an inlined Ed25519 key");
    let peer = Peer::new(PeerId::from_bytes(&id).unwrap());
    assert_eq!(peer.key.to_string(), "e43d28f0996557c0d5571d75c62a57a59d7ac1d30a51ecedcdb9d5e4afa56100");

    let cid = base32("afybeihfg3d7rdltd43u3tfvncx7n5loqofbsobojcadtmokrljfthuc7y"); // after the multibase prefix b
    assert_eq!(cid[..4], hex("01 70 1220"), "version 1, dag-pb, SHA-256");
    let multihash = &cid[2..];
    assert_eq!((multihash[2], multihash[33], multihash.len()), (0xe5, 0xfe, 34));
    assert_eq!(
        Key::of(multihash).to_string(),
        "d623250f3f660ab4c3a53d3c97b3f6a0194c548053488d093520206248253bcb"
    );
}

fn base58(text: &str) -> Vec<u8> {
    const DIGITS: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut number = Vec::new(); // base 256, least significant first
    for digit in text.chars() {
        let mut carry = DIGITS.find(digit).unwrap();
        for byte in &mut number {
            carry += usize::from(*byte) * 58;
            *byte = carry as u8; // the low eight bits
            carry >>= 8;
        }
        if carry > 0 {
            number.push(carry as u8); // below 58
        }
    }
    number.extend(text.bytes().take_while(|digit| *digit == b'1').map(|_| 0));
    number.reverse();
    number
}

fn base32(text: &str) -> Vec<u8> {
    const DIGITS: &str = "abcdefghijklmnopqrstuvwxyz234567";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for digit in text.chars() {
        bits = bits << 5 | DIGITS.find(digit).unwrap() as u32; // below 32
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8); // the eight bits that are complete
        }
    }
    bytes
}
