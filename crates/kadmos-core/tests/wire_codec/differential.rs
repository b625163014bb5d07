//! Whatever prost writes we read the same, whatever we write prost reads the same, whatever else comes does no harm.

use bytes::Bytes;
use kadmos_core::message::{Record, Request, Response};
use kadmos_core::wire::{encode_request, encode_response};
use kadmos_core::{AddrList, Peer, PeerId, PeerInfo, UnixTime};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

use super::checks;
use super::oracle::{self, Message, WirePeer, message_of_request, message_of_response};

fn addr() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| {
            [&[4][..], &ip, &[6], &port.to_be_bytes()].concat()
        }),
        1 => vec(any::<u8>(), 0..40),
        1 => (0u8..3).prop_map(|digest| [&[4, 1, 2, 3, 4, 0xa5, 0x03, 34, 0x12, 0x20][..], &[digest; 32]].concat()),
    ]
}

fn id() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0u8..3).prop_map(|digest| PeerId::from_digest([digest; 32]).as_bytes().to_vec()),
        2 => any::<[u8; 32]>().prop_map(|key| [&[0, 36, 8, 1, 18, 32][..], &key].concat()),
        1 => vec(any::<u8>(), 0..60),
    ]
}

fn wire_peer() -> impl Strategy<Value = WirePeer> {
    (id(), vec(addr(), 0..6), -1i32..5).prop_map(|(id, addrs, connection)| WirePeer { id, addrs, connection })
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![6 => vec(any::<u8>(), 0..90), 1 => (1_000usize..1_100).prop_map(|len| vec![1; len])]
}

fn message() -> impl Strategy<Value = Message> {
    let record = (any::<bool>(), key(), vec(any::<u8>(), 0..50), "[0-9TZ:-]{0,25}");
    let peers = || vec(wire_peer(), 0..45);
    let kind = prop_oneof![10 => 0i32..6, 1 => any::<i32>()];
    (kind, key(), proptest::option::of(record), peers(), peers(), any::<i32>()).prop_map(
        |(kind, key, record, closer_peers, provider_peers, cluster_level_raw)| {
            let record = record.map(|(own, other_key, value, time_received)| oracle::Record {
                key: if own { key.clone() } else { other_key },
                value,
                time_received,
            });
            Message { kind, key, record, closer_peers, provider_peers, cluster_level_raw }
        },
    )
}

fn info() -> impl Strategy<Value = PeerInfo> {
    (id(), vec(addr(), 0..5)).prop_filter_map("no peer id", |(id, addrs)| {
        let id = PeerId::from_bytes(&id).ok()?;
        Some(PeerInfo::new(Peer::new(id), AddrList::collect(&id, addrs.iter().map(Vec::as_slice))))
    })
}

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn record() -> impl Strategy<Value = Record> {
    (bytes(90), bytes(2_000)).prop_map(|(key, value)| Record { key, value })
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        record().prop_map(|record| Request::PutValue { record }),
        bytes(90).prop_map(|key| Request::GetValue { key }),
        (bytes(80), vec(info(), 0..4)).prop_map(|(key, providers)| Request::AddProvider { key, providers }),
        bytes(80).prop_map(|key| Request::GetProviders { key }),
        bytes(90).prop_map(|key| Request::FindNode { key }),
        Just(Request::Ping),
    ]
}

fn response() -> impl Strategy<Value = Response> {
    let closer = || vec(info(), 0..22);
    let record = || proptest::option::of(record());
    let time = proptest::option::of(any::<u64>().prop_map(UnixTime::from_secs));
    prop_oneof![
        record().prop_map(|record| Response::PutValue { record }),
        (record(), time, closer()).prop_map(|(record, received, closer)| Response::GetValue {
            record,
            received,
            closer
        }),
        (vec(info(), 0..30), closer())
            .prop_map(|(providers, closer)| Response::GetProviders { providers, closer }),
        closer().prop_map(|closer| Response::FindNode { closer }),
        Just(Response::Ping),
        Just(Response::AddProvider),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_prost_writes_we_read(message in message()) {
        let bytes = message.encode_to_vec();
        prop_assert!(Message::decode(bytes.as_slice()).is_ok());
        checks::request(&bytes);
        checks::response(&bytes);
    }

    #[test]
    fn what_we_write_prost_reads(request in request(), response in response(), key in bytes(80)) {
        let mut bytes = Vec::new();
        encode_request(&request, &mut bytes);
        prop_assert_eq!(Message::decode(bytes.as_slice()), Ok(message_of_request(&request)));
        prop_assert_eq!(bytes, message_of_request(&request).encode_to_vec());
        let mut bytes = Vec::new();
        encode_response(&response, &key, &mut bytes);
        prop_assert_eq!(Message::decode(bytes.as_slice()), Ok(message_of_response(&response, &key)));
        prop_assert_eq!(bytes, message_of_response(&response, &key).encode_to_vec());
    }

    #[test]
    fn mutated_messages_do_no_harm(
        message in message(),
        edits in vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = message.encode_to_vec();
        bytes.truncate(cut.index(bytes.len() + 1));
        for (at, byte, edit) in edits {
            let at = at.index(bytes.len() + 1);
            match edit {
                0 if at < bytes.len() => bytes[at] ^= byte,
                1 if at < bytes.len() => { bytes.remove(at); }
                _ => bytes.insert(at, byte),
            }
        }
        checks::request(&bytes);
        checks::response(&bytes);
        checks::frames(&bytes);
    }

    #[test]
    fn any_bytes_do_no_harm(data in vec(any::<u8>(), 0..300)) {
        for (_, check) in checks::ALL {
            check(&data);
        }
    }
}
