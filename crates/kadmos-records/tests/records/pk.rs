//! Public keys as records.

use std::cmp::Ordering;

use kadmos_core::record::InvalidRecord;
use kadmos_core::{UnixTime, Validator};
use kadmos_records::pk::{self, PkError};
use kadmos_records::{CODES, PkValidator, amino_validators};
use libp2p_identity::Keypair;

use crate::assembly::key_pairs;

#[test]
fn every_key_type_is_its_own_value() {
    for (kind, keypair) in key_pairs() {
        let public = keypair.public();
        let (key, value) = (pk::key(&public.to_peer_id()), pk::value(&public));
        let len = match kind {
            "Ed25519" => 38,
            "secp256k1" => 39,
            _ => 34,
        };
        assert_eq!(key.len(), 4 + len, "{kind}");
        assert_eq!(pk::validate(&key, &value), Ok(public), "{kind}");
        assert_eq!(amino_validators().validate(&key, &value, UnixTime::default()), Ok(()), "{kind}");
        assert_eq!(
            amino_validators().validate(&key, &value, UnixTime::from_secs(u64::MAX)),
            Ok(()),
            "{kind}"
        );
    }
}

#[test]
fn another_key_is_refused() {
    let pairs = key_pairs();
    for (kind, keypair) in &pairs {
        let key = pk::key(&keypair.public().to_peer_id());
        for (other_kind, other) in &pairs {
            let result = pk::validate(&key, &pk::value(&other.public()));
            if kind == other_kind {
                assert!(result.is_ok());
            } else {
                assert_eq!(result, Err(PkError::Mismatch), "{other_kind} under {kind}");
            }
        }
        let second = Keypair::generate_ed25519();
        assert_eq!(pk::validate(&key, &pk::value(&second.public())), Err(PkError::Mismatch));
    }
}

/// There is exactly one value per key: not one bit of it can change.
#[test]
fn every_flipped_bit_and_every_length_is_refused() {
    for (kind, keypair) in key_pairs() {
        let public = keypair.public();
        let (key, value) = (pk::key(&public.to_peer_id()), pk::value(&public));
        for bit in 0..value.len() * 8 {
            let mut changed = value.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let error = pk::validate(&key, &changed).expect_err(kind);
            assert!(CODES.contains(&error.code()), "{error:?}");
        }
        for len in 0..value.len() {
            assert!(pk::validate(&key, &value[..len]).is_err(), "{kind} cut to {len}");
        }
        for bit in 32..key.len() * 8 {
            let mut changed = key.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(pk::validate(&changed, &value).is_err(), "{kind}: bit {bit} of the key");
        }
    }
}

#[test]
fn other_encodings_of_the_same_key_are_refused() {
    for (kind, keypair) in key_pairs() {
        let public = keypair.public();
        let (key, value) = (pk::key(&public.to_peer_id()), pk::value(&public));
        // Each is the same protobuf message: the type first as here, last, twice, and with an unknown field.
        let (kind_field, data_field) = value.split_at(2);
        for other in [
            [data_field, kind_field].concat(),
            [kind_field, kind_field, data_field].concat(),
            [&value[..], &[0x18, 1]].concat(),
            [&[kind_field[0], kind_field[1] | 0x80, 0], data_field].concat(),
        ] {
            assert_eq!(libp2p_identity::PublicKey::try_decode_protobuf(&other).unwrap(), public);
            assert_eq!(pk::validate(&key, &other).unwrap_err().code(), "pk_public_key", "{kind}");
        }
    }
}

#[test]
fn keys_of_the_namespace_are_binary_peer_ids() {
    let public = Keypair::generate_ed25519().public();
    let id = public.to_peer_id();
    let value = pk::value(&public);
    for key in [
        Vec::new(),
        b"/pk/".to_vec(),
        id.to_bytes(),
        [b"/ipns/".to_vec(), id.to_bytes()].concat(),
        [b"/pk/".to_vec(), id.to_base58().into_bytes()].concat(),
        [b"/pk/".to_vec(), id.to_bytes(), vec![0]].concat(),
    ] {
        assert_eq!(pk::validate(&key, &value), Err(PkError::Key { len: key.len() }), "{key:02x?}");
    }
}

#[test]
fn unusable_keys_are_named() {
    let key = pk::key(&Keypair::generate_ed25519().public().to_peer_id());
    for value in [&b""[..], b"\xff", b"\x08\x09\x12\x00", &[0; 2_049], &[0; 1 << 20]] {
        let error = pk::validate(&key, value).unwrap_err();
        assert_eq!(error.code(), "pk_public_key", "{error}");
        assert!(!error.advice().is_empty());
    }
    let refused = PkValidator.validate(b"/pk/x", b"", UnixTime::default());
    let reason = "the key of 5 bytes is not /pk/ and a binary peer id".to_string();
    assert_eq!(refused, Err(InvalidRecord::Refused { code: "pk_key", reason }));
}

#[test]
fn no_value_is_better_than_another() {
    let (a, b) = (Keypair::generate_ed25519().public(), Keypair::generate_ed25519().public());
    let key = pk::key(&a.to_peer_id());
    assert_eq!(PkValidator.compare(&key, &pk::value(&a), &pk::value(&b)), Ordering::Equal);
    assert_eq!(amino_validators().compare(&key, &pk::value(&b), &pk::value(&a)), Ordering::Equal);
}
