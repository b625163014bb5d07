//! Records that we make: read by us, by the letter of the specification, and refused when others would refuse them.

use std::time::Duration;

use kadmos_core::error::Fault;
use kadmos_core::{UnixTime, Validator};
use kadmos_records::ipns::{self, SignError};
use kadmos_records::{IpnsValidator, amino_validators};
use libp2p_identity::{Keypair, PeerId};
use proptest::prelude::*;

use crate::assembly::{Assembly, NOW, cbor_map, document, key_pairs, sign_v1, sign_v2};

const VALUE: &[u8] = b"/ipfs/bafkqaaa";

fn now() -> UnixTime {
    UnixTime::from_secs(NOW)
}

fn until() -> UnixTime {
    now() + ipns::LIFETIME
}

/// Byte for byte what the specification describes, for the types whose signatures are deterministic.
#[test]
fn created_records_are_the_specified_bytes() {
    for (kind, keypair) in key_pairs() {
        let record = ipns::create(&keypair, VALUE, 7, until(), ipns::TTL).unwrap();
        let validity = "2026-11-26T10:25:12.000000000Z";
        let expected = Assembly {
            signature_v1: Some(sign_v1(&keypair, VALUE, validity)),
            signature_v2: Some(sign_v2(&keypair, &cbor_map(&document(VALUE, validity, 7, 300_000_000_000)))),
            ..Assembly::v1_v2(&keypair, VALUE, validity, 7, 300_000_000_000)
        };
        // RSA as PKCS#1 v1.5, Ed25519 as RFC 8032, and both curves with the nonces of RFC 6979.
        assert_eq!(record, expected.encode(), "{kind}");
        let read = ipns::decode(&record).unwrap();
        assert_eq!(read.public_key.is_some(), matches!(kind, "RSA" | "ECDSA"), "{kind}");
        assert!(read.has_v1);
    }
}

#[test]
fn created_records_are_valid_until_they_end() {
    let validators = amino_validators();
    for (kind, keypair) in key_pairs() {
        let key = ipns::key(&keypair.public().to_peer_id());
        let record = ipns::create(&keypair, VALUE, 0, until(), Duration::ZERO).unwrap();
        assert_eq!(validators.validate(&key, &record, now()), Ok(()), "{kind}");
        assert_eq!(
            validators.validate(&key, &record, UnixTime::from_secs(until().as_secs() - 1)),
            Ok(()),
            "{kind}"
        );
        assert!(validators.validate(&key, &record, until()).is_err(), "{kind}");
        let newer = ipns::create(&keypair, VALUE, 1, now(), Duration::ZERO).unwrap();
        assert_eq!(validators.compare(&key, &newer, &record), std::cmp::Ordering::Greater, "{kind}");
    }
}

#[test]
fn values_that_readers_cannot_resolve_are_not_signed() {
    let keypair = Keypair::generate_ed25519();
    let raw_cid = [0x01, 0x55, 0x00, 0x00];
    let cid_v0 = [&[0x12, 0x20][..], &[7; 32]].concat();
    let longer = [&raw_cid[..], &[0]].concat();
    let base58 = "QmNrgEMcUygbKzZeZgYFosdd27VE9KnWbyUD73bKZJ3bGi";
    let create = |value: &[u8]| ipns::create(&keypair, value, 1, until(), ipns::TTL);
    for (value, path) in [
        (&b""[..], "/ipfs/bafkqaaa"),
        (b"/ipfs/bafkqaaa/readme", "/ipfs/bafkqaaa/readme"),
        (b"/ipns/example.com", "/ipns/example.com"),
        (&raw_cid, "/ipfs/bafkqaaa"),
        (&cid_v0, "/ipfs/QmNp5n7FFav5ZDaHAj6HzuhJ8LDbL1N6NRzAgT6piWS2Kx"),
    ] {
        let record = ipns::decode(&create(value).unwrap()).unwrap();
        assert_eq!(record.value, value);
        assert_eq!(record.path().as_deref(), Some(path));
    }
    for value in [&b"/"[..], b"bafkqaaa", base58.as_bytes(), b"hello", b"/\xff", &longer, &cid_v0[..33]] {
        let error = create(value).unwrap_err();
        assert!(matches!(error, SignError::Value), "{value:02x?}");
        assert_eq!(error.fault(), Fault::Caller);
        // Others may sign such a record; it is shown, without a path.
        let data = cbor_map(&document(value, "2126-11-24T10:25:12Z", 1, 0));
        let foreign = ipns::decode(&Assembly::v2(&keypair, data).encode()).unwrap();
        assert_eq!(foreign.path(), None, "{value:02x?}");
    }
}

#[test]
fn numbers_that_others_refuse_are_not_signed() {
    let keypair = Keypair::generate_ed25519();
    let create = |sequence, until, ttl| ipns::create(&keypair, VALUE, sequence, until, ttl);
    let largest = i64::MAX as u64;
    let last = UnixTime::from_secs(253_402_300_799);
    let record = create(largest, last, Duration::from_nanos(largest)).unwrap();
    let read = ipns::validate(&ipns::key(&keypair.public().to_peer_id()), &record, now()).unwrap();
    assert_eq!(
        (read.sequence, read.valid_until, read.ttl),
        (largest, last, Some(Duration::from_nanos(largest)))
    );

    let refused = create(largest + 1, last, ipns::TTL).unwrap_err();
    assert!(matches!(refused, SignError::Sequence { got } if got == largest + 1));
    let refused = create(1, UnixTime::from_secs(253_402_300_800), ipns::TTL).unwrap_err();
    assert!(matches!(refused, SignError::ValidUntil { .. }));
    let refused = create(1, last, Duration::from_nanos(largest + 1)).unwrap_err();
    assert!(matches!(refused, SignError::Ttl { .. }));
    assert!(matches!(create(1, last, Duration::MAX), Err(SignError::Ttl { .. })));
}

#[test]
fn records_over_ten_kibibytes_are_not_signed() {
    for (kind, keypair) in key_pairs() {
        let key = ipns::key(&keypair.public().to_peer_id());
        let sized = |len| ipns::create(&keypair, &vec![b'/'; len], 1, until(), ipns::TTL);
        // The value is in the record twice, so a record's length is even or odd with everything else; signatures of
        // the curves vary by a few bytes.
        let fits = (10_240 - (sized(4_000).unwrap().len() - 8_000) - 8) / 2;
        let record = sized(fits).unwrap();
        assert!(record.len() > 10_200 && IpnsValidator.validate(&key, &record, now()).is_ok(), "{kind}");
        for len in [fits + 10, 10_240, 1 << 20] {
            let refused = sized(len).unwrap_err();
            assert!(
                matches!(refused, SignError::TooLarge { got, max: 10_240 } if got > 10_240),
                "{kind}: {len}"
            );
        }
    }
}

#[test]
fn keys_have_the_two_shapes_of_peer_ids() {
    for (kind, keypair) in key_pairs() {
        let id = keypair.public().to_peer_id();
        let key = ipns::key(&id);
        assert!(key.starts_with(b"/ipns/"));
        assert_eq!(PeerId::from_bytes(&key[6..]).unwrap(), id);
        let len = match kind {
            "Ed25519" => 38,
            "secp256k1" => 39,
            _ => 34,
        };
        assert_eq!(key.len(), 6 + len, "{kind}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_created_is_valid_and_says_what_was_asked(
        path in "/[a-zA-Z0-9/]{1,200}",
        sequence in 0..=i64::MAX as u64,
        life in 1u64..10_000_000_000,
        ttl in 0..=i64::MAX as u64,
    ) {
        let keypair = Keypair::generate_ed25519();
        let until = now() + Duration::from_secs(life);
        let record = ipns::create(&keypair, path.as_bytes(), sequence, until, Duration::from_nanos(ttl)).unwrap();
        let read = ipns::validate(&ipns::key(&keypair.public().to_peer_id()), &record, now()).unwrap();
        prop_assert_eq!(&read, &ipns::decode(&record).unwrap());
        prop_assert_eq!(read.value, path.as_bytes());
        prop_assert_eq!(read.sequence, sequence);
        prop_assert_eq!((read.valid_until, read.valid_until_nanos), (until, 0));
        prop_assert_eq!(read.ttl, Some(Duration::from_nanos(ttl)));
    }
}
