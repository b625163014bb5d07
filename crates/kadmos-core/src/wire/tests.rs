//! What decoding refuses, ignores and leaves out.

use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::*;
use crate::addr::AddrList;
use crate::event::Refusal;
use crate::limits::{
    ADDRS_PER_PEER_MAX, CLOSER_PEERS_MAX, KEY_BYTES_MAX, PEER_RECORD_BYTES_MAX, PROVIDER_KEY_BYTES_MAX,
    PROVIDERS_MAX, VALUE_BYTES_MAX,
};
use crate::message::{MessageKind, Record, Request, Response};
use crate::peer::{Peer, PeerId, PeerInfo};
use crate::time::UnixTime;

const TCP: &[u8] = &[4, 1, 2, 3, 4, 6, 0x0f, 0xa1];

fn info(seed: u32) -> PeerInfo {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&seed.to_be_bytes());
    let id = PeerId::from_digest(digest);
    PeerInfo::new(Peer::new(id), AddrList::collect(&id, [TCP]))
}

fn infos(count: usize) -> Vec<PeerInfo> {
    (0..count as u32).map(info).collect()
}

fn record(key: &[u8], value: &[u8]) -> Record {
    Record { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) }
}

/// A length-delimited field.
fn field(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut field = vec![tag];
    varint::write(&mut field, body.len() as u64);
    field.extend(body);
    field
}

fn message(kind: u8, fields: &[Vec<u8>]) -> Bytes {
    let mut bytes = vec![tag::TYPE, kind];
    bytes.extend(fields.concat());
    bytes.into()
}

fn request(kind: MessageKind, fields: &[Vec<u8>]) -> Result<Request, DecodeError> {
    decode_request(&message(kind as u8, fields)).map(|decoded| decoded.message)
}

fn response(kind: MessageKind, fields: &[Vec<u8>]) -> Result<Decoded<Response>, DecodeError> {
    decode_response(&message(kind as u8, fields), kind)
}

#[test]
fn every_request_survives_the_wire() {
    let key = Bytes::from_static(b"/ipns/key");
    for request in [
        Request::PutValue { record: record(&key, b"value") },
        Request::GetValue { key: key.clone() },
        Request::AddProvider { key: key.clone(), providers: infos(3) },
        Request::GetProviders { key: key.clone() },
        Request::FindNode { key },
        Request::Ping,
    ] {
        let mut bytes = Vec::new();
        encode_request(&request, &mut bytes);
        assert_eq!(bytes.len(), request_len(&request));
        let decoded = decode_request(&bytes.into()).unwrap();
        assert_eq!(decoded, Decoded { message: request, dropped: Dropped::default() });
    }
}

#[test]
fn every_response_survives_the_wire() {
    let key = b"/ipns/key";
    for response in [
        Response::PutValue { record: None },
        Response::PutValue { record: Some(record(key, b"value")) },
        Response::GetValue { record: Some(record(key, b"value")), received: None, closer: infos(20) },
        Response::GetValue { record: None, received: None, closer: Vec::new() },
        Response::GetProviders { providers: infos(100), closer: infos(21) },
        Response::FindNode { closer: infos(CLOSER_PEERS_MAX) },
        Response::Ping,
        Response::AddProvider,
    ] {
        let mut bytes = Vec::new();
        encode_response(&response, key, &mut bytes);
        assert_eq!(bytes.len(), response_len(&response, key));
        let kind = response.kind();
        let decoded = decode_response(&bytes.into(), kind).unwrap();
        assert_eq!(decoded, Decoded { message: response, dropped: Dropped::default() });
    }
}

#[test]
fn key_lengths_are_bounded_by_kind() {
    for kind in MessageKind::ALL {
        let max = match kind {
            MessageKind::AddProvider | MessageKind::GetProviders => PROVIDER_KEY_BYTES_MAX,
            MessageKind::Ping => continue,
            _ => KEY_BYTES_MAX,
        };
        for (len, fits) in [(0, false), (1, true), (max, true), (max + 1, false), (1 << 20, false)] {
            let key = vec![7; len];
            let with_record = [field(tag::KEY, &key), field(tag::RECORD, &field(tag::RECORD_KEY, &key))];
            let read = request(kind, &with_record);
            if fits {
                assert_eq!(read.unwrap().key(), &key);
            } else {
                let error = read.unwrap_err();
                assert_eq!(error, DecodeError::KeyLength { got: len, max });
                assert_eq!(error.refusal(), Refusal::KeyLength);
            }
        }
    }
    // A ping needs no key, and one in it does no harm.
    assert_eq!(request(MessageKind::Ping, &[]), Ok(Request::Ping));
    assert_eq!(request(MessageKind::Ping, &[field(tag::KEY, &[7; 2_000])]), Ok(Request::Ping));
    // An empty message is a PUT_VALUE without a key, as its type is the default.
    assert_eq!(decode_request(&Bytes::new()), Err(DecodeError::KeyLength { got: 0, max: KEY_BYTES_MAX }));
    // The key of a served record is bounded, too.
    let long = field(tag::RECORD, &field(tag::RECORD_KEY, &[7; KEY_BYTES_MAX + 1]));
    assert_eq!(
        response(MessageKind::GetValue, &[long]),
        Err(DecodeError::KeyLength { got: KEY_BYTES_MAX + 1, max: KEY_BYTES_MAX })
    );
}

#[test]
fn values_are_bounded() {
    for (len, fits) in [(0, true), (VALUE_BYTES_MAX, true), (VALUE_BYTES_MAX + 1, false)] {
        let body = [field(tag::RECORD_KEY, b"k"), field(tag::RECORD_VALUE, &vec![1; len])].concat();
        let fields = [field(tag::KEY, b"k"), field(tag::RECORD, &body)];
        let error = Some(DecodeError::ValueLength { got: len, max: VALUE_BYTES_MAX }).filter(|_| !fits);
        assert_eq!(request(MessageKind::PutValue, &fields).err(), error);
        assert_eq!(response(MessageKind::GetValue, &fields).err(), error);
        assert_eq!(response(MessageKind::PutValue, &fields).err(), error);
    }
}

#[test]
fn put_value_needs_a_record_of_its_key() {
    let key = field(tag::KEY, b"k");
    assert_eq!(request(MessageKind::PutValue, core::slice::from_ref(&key)), Err(DecodeError::NoRecord));
    for other in [&b""[..], b"l", b"kk"] {
        let record = field(tag::RECORD, &field(tag::RECORD_KEY, other));
        let error = request(MessageKind::PutValue, &[key.clone(), record]).unwrap_err();
        assert_eq!((error, error.refusal()), (DecodeError::KeyMismatch, Refusal::KeyMismatch));
    }
    // In a response it may be missing.
    assert_eq!(response(MessageKind::PutValue, &[key]).unwrap().message, Response::PutValue { record: None });
}

#[test]
fn unknown_types_and_wrong_responses_are_refused() {
    for (kind, got) in [(vec![6], 6), (vec![0xff, 0xff, 0xff, 0xff, 0x0f], -1)] {
        let bytes: Bytes = [&[tag::TYPE][..], &kind].concat().into();
        assert_eq!(decode_request(&bytes), Err(DecodeError::UnknownType { got }));
        assert_eq!(decode_response(&bytes, MessageKind::Ping), Err(DecodeError::UnknownType { got }));
    }
    let error = decode_response(&message(4, &[]), MessageKind::GetValue).unwrap_err();
    assert_eq!(
        error,
        DecodeError::WrongResponse { got: MessageKind::FindNode, expected: MessageKind::GetValue }
    );
    assert_eq!(alloc::format!("{error}"), "the response is find_node, expected get_value");
    for expected in MessageKind::ALL {
        let echo = decode_response(&message(MessageKind::AddProvider as u8, &[]), expected);
        assert_eq!(echo.unwrap().message, Response::AddProvider);
    }
}

#[test]
fn the_last_of_repeated_fields_counts() {
    let bytes = [vec![tag::TYPE, 5], field(tag::KEY, b"first"), field(tag::KEY, b"last"), vec![tag::TYPE, 4]]
        .concat();
    let read = decode_request(&bytes.into()).unwrap().message;
    assert_eq!(read, Request::FindNode { key: Bytes::from_static(b"last") });
    // Records merge, as embedded messages do.
    let fields = [
        field(tag::KEY, b"k"),
        field(tag::RECORD, &[field(tag::RECORD_KEY, b"k"), field(tag::RECORD_VALUE, b"first")].concat()),
        field(tag::RECORD, &field(tag::RECORD_VALUE, b"last")),
    ];
    let read = request(MessageKind::PutValue, &fields).unwrap();
    assert_eq!(read, Request::PutValue { record: record(b"k", b"last") });
    let (first, last) = (PeerId::from_digest([1; 32]), PeerId::from_digest([2; 32]));
    let body = [field(0x12, TCP), field(0x0a, first.as_bytes()), field(0x0a, last.as_bytes())].concat();
    let read = response(MessageKind::FindNode, &[field(tag::CLOSER, &body)]).unwrap().message;
    assert_eq!(read.closer(), [PeerInfo::new(Peer::new(last), AddrList::collect(&last, [TCP]))]);
}

#[test]
fn peers_beyond_the_bounds_are_counted_not_kept() {
    let peer =
        |tag, seed: u32| field(tag, &[field(0x0a, info(seed).peer.id.as_bytes()), field(0x12, TCP)].concat());
    let flood: Vec<_> = (0..100_000).map(|seed| peer(tag::CLOSER, seed)).collect();
    let read = response(MessageKind::FindNode, &flood).unwrap();
    assert_eq!(read.message.closer(), infos(CLOSER_PEERS_MAX));
    assert_eq!(read.dropped.closer, 100_000 - CLOSER_PEERS_MAX);
    assert_eq!(read.dropped.refusal(), Some(Refusal::TooManyPeers));

    let flood: Vec<_> = (0..PROVIDERS_MAX as u32 + 5).map(|seed| peer(tag::PROVIDER, seed)).collect();
    let read = response(MessageKind::GetProviders, &flood).unwrap();
    let Response::GetProviders { providers, closer } = &read.message else { unreachable!() };
    assert_eq!((providers.len(), closer.len(), read.dropped.providers), (PROVIDERS_MAX, 0, 5));
    // Kinds that name no providers do not count what they ignore.
    assert_eq!(response(MessageKind::FindNode, &flood).unwrap().dropped, Dropped::default());
}

#[test]
fn unreadable_peers_are_skipped_one_by_one() {
    let good = field(tag::CLOSER, &[field(0x0a, info(1).peer.id.as_bytes()), field(0x12, TCP)].concat());
    let fields = [
        field(tag::CLOSER, &[]),                               // no id
        field(tag::CLOSER, &field(0x0a, &[0x12, 0x20, 1, 2])), // a short id
        field(tag::CLOSER, &field(0x0a, &[0; 64])),            // a long one
        good.clone(),
    ];
    let read = response(MessageKind::FindNode, &fields).unwrap();
    assert_eq!(read.message.closer(), [info(1)]);
    assert_eq!(read.dropped, Dropped { unreadable: 3, ..Dropped::default() });
    assert_eq!(read.dropped.refusal(), None);
    // They do not use up the room of readable ones.
    let mut fields = vec![field(tag::CLOSER, &[]); CLOSER_PEERS_MAX];
    fields.push(good);
    assert_eq!(response(MessageKind::FindNode, &fields).unwrap().message.closer(), [info(1)]);
    // A peer that is no message is another matter.
    let broken = field(tag::CLOSER, &[0x0a, 0x22, 0x12]);
    assert_eq!(response(MessageKind::FindNode, &[broken]), Err(DecodeError::Truncated));
}

#[test]
fn addresses_are_trimmed_not_refused() {
    let id = info(1).peer.id;
    let read = |addrs: &[Vec<u8>]| {
        let fields: Vec<_> = addrs.iter().map(|addr| field(0x12, addr)).collect();
        let body = [field(0x0a, id.as_bytes()), fields.concat()].concat();
        let mut read = response(MessageKind::FindNode, &[field(tag::CLOSER, &body)]).unwrap().message;
        let Response::FindNode { closer } = &mut read else { unreachable!() };
        closer.pop().unwrap()
    };
    let own = [TCP, &[0xa5, 0x03, 34], id.as_bytes()].concat();
    let foreign = [TCP, &[0xa5, 0x03, 34], PeerId::from_digest([9; 32]).as_bytes()].concat();
    let kept = read(&[own, TCP.to_vec(), vec![], vec![4, 1], foreign]);
    assert_eq!(kept.addrs.iter().collect::<Vec<_>>(), [TCP]);
    let many: Vec<_> = (0..=255u8).map(|port| vec![4, 1, 2, 3, 4, 6, 0, port]).collect();
    assert_eq!(read(&many).addrs.len(), ADDRS_PER_PEER_MAX);
    let long: Vec<_> = (0..100u8).map(|byte| [&[54, 200, 1][..], &[byte; 200]].concat()).collect();
    let kept = read(&long);
    assert!(kept.addrs.len() > 30 && peer_len(&kept) <= PEER_RECORD_BYTES_MAX + 3, "{}", peer_len(&kept));
    assert!(read(&[vec![54; PEER_RECORD_BYTES_MAX]]).addrs.is_empty());
}

#[test]
fn ignored_fields_do_not_matter() {
    let strange = [
        vec![10 << 3, 1],                    // clusterLevelRaw
        field(0x7a, b"unknown"),             // field 15
        vec![0x7b, 0x08, 1, 0x7c],           // a group
        vec![tag::KEY & !7 | 5, 1, 2, 3, 4], // the key as a fixed32
        vec![tag::CLOSER & !7, 3],           // a peer as a varint
        field(tag::TYPE | 2, b"text"),       // the type as bytes
    ]
    .concat();
    let read = request(MessageKind::FindNode, &[strange.clone(), field(tag::KEY, b"k"), strange]).unwrap();
    assert_eq!(read, Request::FindNode { key: Bytes::from_static(b"k") });
    // Stuffed peers in a request, and a time that is no text.
    let peers = [field(tag::CLOSER, b"\xff\xff"), field(tag::PROVIDER, b"\xff\xff")].concat();
    let body = [field(tag::RECORD_KEY, b"k"), field(tag::RECORD_TIME, &[0xff, 0xfe])].concat();
    let fields = [field(tag::KEY, b"k"), field(tag::RECORD, &body), peers];
    assert_eq!(
        request(MessageKind::PutValue, &fields).unwrap(),
        Request::PutValue { record: record(b"k", b"") }
    );
}

#[test]
fn connection_is_read_over_and_time_is_written() {
    let body = [field(0x0a, info(1).peer.id.as_bytes()), field(0x12, TCP), vec![0x18, 1]].concat();
    let read = response(MessageKind::FindNode, &[field(tag::CLOSER, &body)]).unwrap().message;
    assert_eq!(read.closer(), [info(1)]);
    let served = Response::GetValue {
        record: Some(record(b"k", b"v")),
        received: Some(UnixTime::from_secs(1_795_515_912)),
        closer: vec![],
    };
    let mut bytes = Vec::new();
    encode_response(&served, b"k", &mut bytes);
    assert!(bytes.ends_with(&field(tag::RECORD_TIME, b"2026-11-24T10:25:12Z")));
    let read = decode_response(&bytes.into(), MessageKind::GetValue).unwrap().message;
    assert_eq!(read, Response::GetValue { record: Some(record(b"k", b"v")), received: None, closer: vec![] });
}

#[test]
fn a_small_slice_does_not_pin_a_large_frame() {
    let padded = |padding: usize| message(4, &[field(tag::KEY, &[7; 34]), field(0x7a, &vec![0; padding])]);
    for (padding, shares) in [(0, true), (400, true), (1_000, false), (4_000_000, false)] {
        let frame = padded(padding);
        let read = decode_request(&frame).unwrap().message;
        let range = frame.as_ptr_range();
        assert_eq!(range.contains(&read.key().as_ptr()), shares, "{padding} bytes of padding");
    }
}
