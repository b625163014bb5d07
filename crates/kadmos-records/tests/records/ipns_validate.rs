//! What makes an IPNS record valid: the specification's vectors, every field changed, every byte changed, dates.

use kadmos_core::UnixTime;
use kadmos_core::record::InvalidRecord;
use kadmos_records::ipns::{self, IpnsError};
use kadmos_records::public_key::PublicKeyError;
use kadmos_records::{CODES, amino_validators};
use libp2p_identity::Keypair;

use crate::assembly::{
    Assembly, NOW, cbor_bytes, cbor_map, document, head, key_pairs, sign_v1, sign_v2, varint,
};

const VALUE: &[u8] = b"/ipfs/bafkqaddwgevxmmraojswg33smq";
const UNTIL: &str = "2126-11-24T10:25:12.123456789Z";

fn now() -> UnixTime {
    UnixTime::from_secs(NOW)
}

fn validate(keypair: &Keypair, record: &Assembly) -> Result<ipns::IpnsRecord, IpnsError> {
    ipns::validate(&ipns::key(&keypair.public().to_peer_id()), &record.encode(), now())
}

fn code(keypair: &Keypair, record: &Assembly) -> &'static str {
    let error = validate(keypair, record).expect_err("valid");
    assert!(CODES.contains(&error.code()), "{error:?}");
    assert!(!error.to_string().is_empty() && !error.advice().is_empty());
    error.code()
}

/// The six vectors of specs.ipfs.tech/ipns/ipns-record, "Test Vectors", for every type of key.
#[test]
fn the_six_vectors_have_the_specified_results() {
    for (kind, keypair) in key_pairs() {
        let both = Assembly::v1_v2(&keypair, VALUE, UNTIL, 7, 300_000_000_000);

        let v1_only = Assembly { signature_v2: None, data: None, ..both.clone() };
        assert_eq!(code(&keypair, &v1_only), "ipns_no_signature", "{kind}: 1");

        let record = validate(&keypair, &both).unwrap_or_else(|error| panic!("{kind}: 2: {error}"));
        assert_eq!(record.value, VALUE);
        assert_eq!(record.path().as_deref(), Some("/ipfs/bafkqaddwgevxmmraojswg33smq"));
        assert_eq!(record.sequence, 7);
        assert_eq!(
            (record.valid_until.to_string().as_str(), record.valid_until_nanos),
            ("2126-11-24T10:25:12Z", 123_456_789)
        );
        assert_eq!(record.ttl, Some(ipns::TTL));
        assert_eq!(record.public_key.is_some(), matches!(kind, "RSA" | "ECDSA"), "{kind}");
        assert!(record.has_v1);

        let other = b"/ipfs/bafkqahtwgevxmmrao5uxi2bamjzg623fnyqhg2lhnzqxi5lsmuqhmmi";
        let broken_v1_value = Assembly {
            value: Some(other.to_vec()),
            signature_v1: Some(sign_v1(&keypair, other, UNTIL)),
            ..both.clone()
        };
        assert_eq!(code(&keypair, &broken_v1_value), "ipns_mismatch", "{kind}: 3");

        let garbage = Some(b"not a signature".to_vec());
        let broken_v2 = Assembly { signature_v2: garbage.clone(), ..both.clone() };
        assert_eq!(code(&keypair, &broken_v2), "ipns_signature", "{kind}: 4");

        let broken_v1 = Assembly { signature_v1: garbage, ..both.clone() };
        assert_eq!(validate(&keypair, &broken_v1), Ok(record.clone()), "{kind}: 5");

        let v2_only = Assembly::v2(&keypair, both.data.unwrap());
        let without_v1 = validate(&keypair, &v2_only).unwrap_or_else(|error| panic!("{kind}: 6: {error}"));
        assert!(!without_v1.has_v1);
        assert_eq!(without_v1.value, record.value);
    }
}

#[test]
fn every_copy_is_compared_when_any_v1_field_is_there() {
    let keypair = Keypair::generate_ed25519();
    let both = Assembly::v1_v2(&keypair, VALUE, UNTIL, 7, 300);
    type Change = fn(&mut Assembly);
    let changed: [(&str, Change); 10] = [
        ("value", |record| record.value = Some(b"/ipfs/other".to_vec())),
        ("value", |record| record.value = None),
        ("validity", |record| record.validity = Some(b"2126-11-24T10:25:13Z".to_vec())),
        ("validity", |record| record.validity = None),
        ("validityType", |record| record.validity_type = Some(1)),
        ("sequence", |record| record.sequence = Some(8)),
        ("sequence", |record| record.sequence = None),
        ("ttl", |record| record.ttl = Some(301)),
        ("ttl", |record| record.ttl = None),
        ("ttl", |record| record.ttl = Some(u64::MAX)),
    ];
    for (field, change) in changed {
        let mut record = both.clone();
        change(&mut record);
        assert_eq!(validate(&keypair, &record), Err(IpnsError::Mismatch { field }));
        // Without both of the fields that old readers look for, the copies count nothing.
        if record.value.is_some() {
            record.signature_v1 = None;
            assert_eq!(validate(&keypair, &record), Err(IpnsError::Mismatch { field }), "value alone");
        }
        record.value = None;
        record.signature_v1 = None;
        assert!(validate(&keypair, &record).is_ok(), "{field} without value and signatureV1");
    }
    // An absent ValidityType reads as 0, which is what is signed.
    assert!(validate(&keypair, &Assembly { validity_type: None, ..both }).is_ok());
}

#[test]
fn a_copy_cannot_agree_with_a_field_that_is_not_signed() {
    let keypair = Keypair::generate_ed25519();
    let mut entries = document(VALUE, UNTIL, 7, 0);
    entries.remove(0);
    let data = cbor_map(&entries);
    let v2_only = Assembly::v2(&keypair, data);
    assert_eq!(validate(&keypair, &v2_only).unwrap().ttl, None);
    let both = Assembly {
        value: Some(VALUE.to_vec()),
        validity: Some(UNTIL.into()),
        sequence: Some(7),
        ttl: Some(0),
        ..v2_only
    };
    assert_eq!(validate(&keypair, &both), Err(IpnsError::Mismatch { field: "ttl" }));
}

#[test]
fn mandatory_fields_are_missed() {
    let keypair = Keypair::generate_ed25519();
    let both = Assembly::v1_v2(&keypair, VALUE, UNTIL, 7, 300);
    let empty = Some(Vec::new());
    for record in [
        Assembly { signature_v2: None, ..both.clone() },
        Assembly { signature_v2: empty.clone(), ..both.clone() },
    ] {
        assert_eq!(validate(&keypair, &record), Err(IpnsError::NoSignature));
    }
    for record in [Assembly { data: None, ..both.clone() }, Assembly { data: empty, ..both.clone() }] {
        assert_eq!(validate(&keypair, &record), Err(IpnsError::NoData));
    }
    assert_eq!(ipns::decode(b""), Err(IpnsError::NoSignature));
    for name in ["Value", "Sequence", "Validity", "ValidityType"] {
        let mut entries = document(VALUE, UNTIL, 7, 300);
        entries.retain(|(key, _)| *key != name);
        assert_eq!(code(&keypair, &Assembly::v2(&keypair, cbor_map(&entries))), "ipns_data", "{name}");
    }
}

#[test]
fn the_signed_document_is_strict_and_extensible() {
    let keypair = Keypair::generate_ed25519();
    let entries = document(VALUE, UNTIL, 7, 300);
    let signed = |entries: &[(&str, Vec<u8>)]| Assembly::v2(&keypair, cbor_map(entries));
    let with = |at: usize, key: &'static str, value: Vec<u8>| {
        let mut entries = entries.clone();
        entries.insert(at, (key, value));
        signed(&entries)
    };
    assert!(validate(&keypair, &with(0, "_a", cbor_bytes(b"more"))).is_ok());
    assert!(validate(&keypair, &with(0, "_a", cbor_map(&[("b", head(0, 1))]))).is_ok());
    assert!(validate(&keypair, &with(5, "_namespace_of_mine", head(0, 1))).is_ok());

    assert_eq!(code(&keypair, &with(5, "_a", head(0, 1))), "ipns_data", "not sorted");
    assert_eq!(code(&keypair, &with(1, "TTL", head(0, 300))), "ipns_data", "twice");
    let mut unsorted = entries.clone();
    unsorted.swap(0, 1);
    assert_eq!(code(&keypair, &signed(&unsorted)), "ipns_data");
    let trailing = [cbor_map(&entries), vec![0]].concat();
    assert_eq!(code(&keypair, &Assembly::v2(&keypair, trailing)), "ipns_data");
    let deep = [vec![0x81; 9_000], vec![0]].concat();
    assert_eq!(code(&keypair, &with(0, "_a", deep)), "ipns_data");
    for data in [&b"\x80"[..], b"\x05", b"\xf6", b"\xbf\xff", b"plain text"] {
        assert_eq!(code(&keypair, &Assembly::v2(&keypair, data.to_vec())), "ipns_data", "{data:02x?}");
    }
}

#[test]
fn signed_numbers_out_of_range_are_refused() {
    let keypair = Keypair::generate_ed25519();
    let with = |name: &str, value: Vec<u8>| {
        let mut entries = document(VALUE, UNTIL, 7, 300);
        entries.iter_mut().find(|(key, _)| *key == name).unwrap().1 = value;
        Assembly::v2(&keypair, cbor_map(&entries))
    };
    let validate = |record: &Assembly| validate(&keypair, record);
    assert_eq!(validate(&with("TTL", head(1, 0))), Err(IpnsError::NegativeTtl { got: -1 }));
    assert_eq!(validate(&with("TTL", head(1, u64::MAX))), Err(IpnsError::NegativeTtl { got: -(1 << 64) }));
    assert_eq!(validate(&with("ValidityType", head(0, 1))), Err(IpnsError::ValidityType { got: 1 }));
    assert_eq!(validate(&with("ValidityType", head(1, 0))), Err(IpnsError::ValidityType { got: -1 }));
    assert_eq!(validate(&with("Sequence", head(1, 0))).unwrap_err().code(), "ipns_data");
    let largest = validate(&with("Sequence", head(0, u64::MAX))).unwrap();
    assert_eq!(largest.sequence, u64::MAX);
    for date in ["", "tomorrow", "2126-11-24", "2126-11-24T10:25:12", "2126-02-30T10:25:12Z"] {
        let refused = validate(&with("Validity", cbor_bytes(date.as_bytes())));
        assert_eq!(refused, Err(IpnsError::Validity { got: date.into() }));
    }
}

#[test]
fn a_record_ends_with_its_validity() {
    let keypair = Keypair::generate_ed25519();
    let key = ipns::key(&keypair.public().to_peer_id());
    let secs = |secs| UnixTime::from_secs(secs);
    for (until, last_valid) in [
        ("2026-11-24T10:25:12Z", NOW - 1),
        ("2026-11-24T10:25:12.000000000Z", NOW - 1),
        ("2026-11-24T10:25:12.000000001Z", NOW),
        ("2026-11-24T10:25:12.999999999Z", NOW),
        ("2026-11-24T10:25:13Z", NOW),
        ("2026-11-24T12:25:13+02:00", NOW),
    ] {
        let data = cbor_map(&document(VALUE, until, 7, 300));
        let record = Assembly::v2(&keypair, data).encode();
        let read = ipns::validate(&key, &record, secs(last_valid)).unwrap();
        assert!(!read.is_expired(secs(last_valid)) && read.is_expired(secs(last_valid + 1)));
        assert!(ipns::validate(&key, &record, secs(0)).is_ok(), "{until}: a record has no beginning");
        let expired = IpnsError::Expired { valid_until: read.valid_until, now: secs(last_valid + 1) };
        assert_eq!(ipns::validate(&key, &record, secs(last_valid + 1)), Err(expired.clone()), "{until}");
        assert_eq!(expired.code(), "ipns_expired");
        assert!(ipns::validate(&key, &record, secs(u64::MAX)).is_err());
        // Reading and comparing do not depend on the time.
        assert!(ipns::decode(&record).is_ok());
    }
    let data = cbor_map(&document(VALUE, "1960-01-01T00:00:00Z", 7, 300));
    let ancient = Assembly::v2(&keypair, data).encode();
    assert_eq!(ipns::validate(&key, &ancient, secs(0)).unwrap_err().code(), "ipns_expired");
}

#[test]
fn the_signing_key_must_be_the_name() {
    let pairs = key_pairs();
    for (kind, keypair) in &pairs {
        let mine = Assembly::v1_v2(keypair, VALUE, UNTIL, 7, 300);
        for (other_kind, other) in &pairs {
            let (mine_name, other_name) = (keypair.public().to_peer_id(), other.public().to_peer_id());
            if mine_name == other_name {
                continue;
            }
            // Swapped key: a valid record under somebody else's name.
            let swapped = code(other, &mine);
            let carried = mine.public_key.is_some();
            let other_inlined = other_name.to_bytes()[0] == 0;
            let expected = match (carried, other_inlined) {
                (true, _) => "ipns_wrong_key",
                (false, true) => "ipns_signature",
                (false, false) => "ipns_no_public_key",
            };
            assert_eq!(swapped, expected, "{kind} under {other_kind}");
            // Forgery: our own signature and key, embedded, under the other's name.
            let embedded = Assembly { public_key: Some(keypair.public().encode_protobuf()), ..mine.clone() };
            assert_eq!(code(other, &embedded), "ipns_wrong_key", "{kind} forging {other_kind}");
            // And the other's key embedded, with our signature.
            let claimed = Assembly { public_key: Some(other.public().encode_protobuf()), ..mine.clone() };
            assert_eq!(code(other, &claimed), "ipns_signature", "{kind} claiming {other_kind}");
        }
        // Redundant but right: accepted.
        let embedded = Assembly { public_key: Some(keypair.public().encode_protobuf()), ..mine.clone() };
        let read = validate(keypair, &embedded).unwrap();
        assert_eq!(read.public_key, Some(keypair.public()));
    }
}

#[test]
fn a_hashed_name_needs_the_key_in_the_record() {
    for (kind, keypair) in key_pairs() {
        let record = Assembly { public_key: None, ..Assembly::v1_v2(&keypair, VALUE, UNTIL, 7, 300) };
        let result = validate(&keypair, &record);
        match kind {
            "RSA" | "ECDSA" => assert_eq!(result, Err(IpnsError::NoPublicKey), "{kind}"),
            _ => assert!(result.is_ok(), "{kind}"),
        }
    }
}

#[test]
fn unusable_public_keys_are_refused_before_any_signature() {
    let keypair = Keypair::generate_ed25519();
    let good = Assembly::v1_v2(&keypair, VALUE, UNTIL, 7, 300);
    for (public_key, expected) in [
        (vec![1, 2, 3], "ipns_public_key"),
        (vec![0x08, 9, 0x12, 0], "ipns_public_key"),
        (vec![0; 2_049], "ipns_public_key"),
        (keypair.public().encode_protobuf()[..35].to_vec(), "ipns_public_key"),
    ] {
        let record = Assembly { public_key: Some(public_key), ..good.clone() };
        assert_eq!(code(&keypair, &record), expected);
        assert_eq!(ipns::decode(&record.encode()).unwrap_err().code(), expected);
    }
    // An identity name around something that is no key.
    let name = [&b"/ipns/\x00\x04"[..], &[0x08, 1, 0x12, 0]].concat();
    let refused = ipns::validate(&name, &good.encode(), now()).unwrap_err();
    assert_eq!(refused.code(), "ipns_public_key");
    assert!(matches!(refused, IpnsError::PublicKey(PublicKeyError::Malformed { .. })));
}

/// The protobuf of an RSA key with a modulus of `bytes` bytes, all ones, for which there is no private key.
fn rsa_key(bytes: usize) -> Vec<u8> {
    let der = |tag: u8, content: &[u8]| match content.len() {
        len @ ..0x100 => [&[tag, 0x81, len as u8][..], content].concat(), // 128 bytes and more here
        len => [&[tag, 0x82, (len >> 8) as u8, len as u8][..], content].concat(),
    };
    let modulus = der(0x02, &[&[0][..], &vec![0xff; bytes]].concat());
    let key = der(0x30, &[&modulus[..], &[0x02, 3, 1, 0, 1]].concat());
    let algorithm = [0x30, 13, 0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 0x05, 0];
    let info = der(0x30, &[&algorithm[..], &der(0x03, &[&[0][..], &key].concat())].concat());
    let mut out = vec![0x08, 0, 0x12];
    varint(&mut out, info.len() as u64);
    [out, info].concat()
}

#[test]
fn oversized_rsa_keys_are_not_verified() {
    let keypair = Keypair::generate_ed25519();
    for (bytes, expected) in
        [(128, "ipns_rsa_size"), (256, "ipns_signature"), (1_024, "ipns_signature"), (1_025, "ipns_rsa_size")]
    {
        let public_key = rsa_key(bytes);
        let read = libp2p_identity::PublicKey::try_decode_protobuf(&public_key).unwrap();
        let record =
            Assembly { public_key: Some(public_key), ..Assembly::v1_v2(&keypair, VALUE, UNTIL, 7, 300) };
        let key = ipns::key(&read.to_peer_id());
        let error = ipns::validate(&key, &record.encode(), now()).unwrap_err();
        assert_eq!(error.code(), expected, "{bytes} bytes");
    }
}

#[test]
fn records_end_at_ten_kibibytes() {
    let keypair = Keypair::generate_ed25519();
    let key = ipns::key(&keypair.public().to_peer_id());
    let sized = |len: usize| {
        let value = vec![b'/'; len];
        Assembly::v2(&keypair, cbor_map(&document(&value, UNTIL, 7, 300))).encode()
    };
    let overhead = sized(9_000).len() - 9_000;
    let largest = sized(10_240 - overhead);
    assert_eq!(largest.len(), 10_240);
    assert!(ipns::validate(&key, &largest, now()).is_ok());
    let larger = sized(10_241 - overhead);
    let refused = IpnsError::TooLarge { got: 10_241, max: 10_240 };
    assert_eq!(ipns::validate(&key, &larger, now()), Err(refused.clone()));
    assert_eq!(ipns::decode(&larger), Err(refused));
    // Unknown fields count too, and 64 MiB of them are not parsed.
    let padded = [&largest[..], &[0x7a, 1, 0]].concat();
    assert_eq!(ipns::decode(&padded).unwrap_err().code(), "ipns_too_large");
    assert_eq!(ipns::decode(&vec![0x7a; 64 << 20]).unwrap_err().code(), "ipns_too_large");
}

#[test]
fn keys_of_the_namespace_are_binary_peer_ids() {
    let keypair = Keypair::generate_ed25519();
    let id = keypair.public().to_peer_id();
    let record = Assembly::v1_v2(&keypair, VALUE, UNTIL, 7, 300).encode();
    let key = ipns::key(&id);
    assert_eq!(key.len(), 6 + 38);
    assert!(ipns::validate(&key, &record, now()).is_ok());
    let text = id.to_base58();
    for key in [
        b"".to_vec(),
        b"/ipns/".to_vec(),
        [b"/pk/".to_vec(), id.to_bytes()].concat(),
        [b"/ipns/".to_vec(), text.into_bytes()].concat(),
        [&key[..], &[0]].concat(),
        key[..key.len() - 1].to_vec(),
        id.to_bytes(),
        [&b"/ipns/\x12\x20"[..], &[7; 31]].concat(),
        [&b"/ipns/\x13\x20"[..], &[7; 32]].concat(),
        [&b"/ipns/\x00\x2b"[..], &[7; 43]].concat(),
    ] {
        assert_eq!(
            ipns::validate(&key, &record, now()),
            Err(IpnsError::Key { len: key.len() }),
            "{key:02x?}"
        );
    }
}

/// No signed byte can be changed: a record with a flipped bit is refused, or says the same as before.
#[test]
fn every_flipped_bit_is_noticed_or_harmless() {
    for (kind, keypair) in key_pairs() {
        let assembly = Assembly::v1_v2(&keypair, VALUE, UNTIL, 7, 300_000_000_000);
        let original = validate(&keypair, &assembly).unwrap();
        let key = ipns::key(&keypair.public().to_peer_id());
        let mut start = 0;
        for (field, encoded) in assembly.fields() {
            let Some(encoded) = encoded else { continue };
            // Curves without optimised code take milliseconds here. Steps of 5 visit each bit of some bytes, and are
            // no multiple of a byte.
            let step = if kind == "Ed25519" { 1 } else { 5 };
            for bit in (0..encoded.len() * 8).step_by(step) {
                let mut record = assembly.encode();
                record[start + bit / 8] ^= 1 << (bit % 8);
                match ipns::validate(&key, &record, now()) {
                    Ok(read) => {
                        assert_eq!(
                            (&read.value, read.sequence, read.valid_until, read.ttl),
                            (&original.value, original.sequence, original.valid_until, original.ttl),
                            "{kind}: bit {bit} of {field}"
                        );
                        // Only the V1 signature, which nobody verifies, may change, and a field's tag, so that it
                        // becomes an unknown field: of a copy that is 0 anyway, for example.
                        assert!(field == "signatureV1" || bit < 8, "{kind}: bit {bit} of {field}");
                    }
                    Err(error) => assert!(CODES.contains(&error.code())),
                }
            }
            start += encoded.len();
        }
    }
}

/// A change in one field is reported as what it is.
#[test]
fn a_flipped_byte_has_its_fields_code() {
    for (kind, keypair) in key_pairs() {
        let both = Assembly::v1_v2(&keypair, VALUE, UNTIL, 7, 300);
        let v2_only = Assembly::v2(&keypair, both.data.clone().unwrap());
        let flip = |bytes: &Option<Vec<u8>>, at: usize| {
            let mut bytes = bytes.clone().unwrap();
            bytes[at] ^= 1;
            Some(bytes)
        };
        let last = |bytes: &Option<Vec<u8>>| bytes.as_ref().unwrap().len() - 1;
        let check =
            |record: &Assembly, expected: &str| assert_eq!(code(&keypair, record), expected, "{kind}");

        check(&Assembly { value: flip(&both.value, 8), ..both.clone() }, "ipns_mismatch");
        check(&Assembly { validity: flip(&both.validity, 3), ..both.clone() }, "ipns_mismatch");
        let at = last(&both.signature_v2);
        check(&Assembly { signature_v2: flip(&both.signature_v2, at), ..both.clone() }, "ipns_signature");
        // In the signed document: with copies they disagree first, without them the signature does.
        let value_at = 1 + 4 + 3 + 6 + 2 + 8; // map, TTL, 300, Value, its length, and into the path
        check(&Assembly { data: flip(&both.data, value_at), ..both.clone() }, "ipns_mismatch");
        check(&Assembly { data: flip(&v2_only.data, value_at), ..v2_only.clone() }, "ipns_signature");
        if both.public_key.is_some() {
            let flipped =
                Assembly { public_key: flip(&both.public_key, last(&both.public_key)), ..both.clone() };
            assert!(["ipns_wrong_key", "ipns_public_key"].contains(&code(&keypair, &flipped)), "{kind}");
        }
        // Signatures for another purpose, or by V1's rule, do not count.
        let plain = keypair.sign(both.data.as_ref().unwrap()).unwrap();
        check(&Assembly { signature_v2: Some(plain), ..both.clone() }, "ipns_signature");
        check(&Assembly { signature_v2: both.signature_v1.clone(), ..both.clone() }, "ipns_signature");
    }
}

#[test]
fn unknown_and_repeated_protobuf_fields_are_harmless() {
    let keypair = Keypair::generate_ed25519();
    let key = ipns::key(&keypair.public().to_peer_id());
    let assembly = Assembly::v1_v2(&keypair, VALUE, UNTIL, 7, 300);
    let record = assembly.encode();
    let original = ipns::validate(&key, &record, now()).unwrap();
    let unknown = [&record[..], &[0x52, 2, b'h', b'i'], &[0x58, 1]].concat();
    assert_eq!(ipns::validate(&key, &unknown, now()), Ok(original.clone()));
    // The last of a repeated field counts, for the signature too.
    let other = cbor_map(&document(b"/ipfs/forged", UNTIL, 8, 300));
    let forged = Assembly { data: Some(other), ..Assembly::v2(&keypair, Vec::new()) };
    let [.., (_, forged_data)] = forged.fields();
    let appended = [&record[..], &forged_data.unwrap()].concat();
    assert_eq!(ipns::validate(&key, &appended, now()).unwrap_err().code(), "ipns_mismatch");
    let [.., (_, data)] = assembly.fields();
    let restored = [&appended[..], &data.unwrap()].concat();
    assert_eq!(ipns::validate(&key, &restored, now()), Ok(original));
}

#[test]
fn bytes_that_are_no_protobuf_are_malformed() {
    for bytes in [
        &b"\xff"[..],
        b"\x0a\x05ab",
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x08\x01",
        b"\x00",
        b"\x0b\x0b\x0b",
        &[0x0b; 10_000],
    ] {
        assert_eq!(ipns::decode(bytes).unwrap_err().code(), "ipns_malformed", "{:02x?}", &bytes[..1]);
    }
}

#[test]
fn the_core_sees_code_and_reason() {
    let keypair = Keypair::generate_ed25519();
    let key = ipns::key(&keypair.public().to_peer_id());
    let mut record = Assembly::v1_v2(&keypair, VALUE, "2026-11-24T10:25:11Z", 7, 300);
    record.signature_v2 = Some(sign_v2(&keypair, record.data.as_ref().unwrap()));
    let refused = amino_validators().validate(&key, &record.encode(), now());
    let reason = "the record was valid until 2026-11-24T10:25:11Z, now is 2026-11-24T10:25:12Z".into();
    assert_eq!(refused, Err(InvalidRecord::Refused { code: "ipns_expired", reason }));
}
