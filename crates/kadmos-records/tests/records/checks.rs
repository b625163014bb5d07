//! What must hold for any bytes at all, one function per decoder. Tests, corpus and fuzz targets run these.
//!
//! The fuzz crate includes this file as well.

use std::cmp::Ordering;
use std::sync::LazyLock;
use std::time::Duration;

use kadmos_core::{PeerId as RawPeerId, UnixTime};
use kadmos_records::{CODES, amino_validators, ipns, pk, public_key};
use libp2p_identity::{Keypair, PeerId};

/// Panics when `data` is not treated as it must be.
pub type Check = fn(data: &[u8]);

/// Every check by the name of its directory in `corpus/`.
pub const ALL: [(&str, Check); 3] = [
    ("records_document", records_document),
    ("records_ipns", records_ipns),
    ("records_public_key", records_public_key),
];

/// When the checks happen, 2026-11-24T10:25:12Z.
const NOW: UnixTime = UnixTime::from_secs(1_795_515_912);

/// The owner of the name; always the same, so that the records in `corpus/` stay valid.
static KEYPAIR: LazyLock<Keypair> =
    LazyLock::new(|| Keypair::ed25519_from_bytes([7; 32]).expect("any 32 bytes are an Ed25519 secret"));

/// A good record, to compare others with.
static RECORD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let until = NOW + Duration::from_secs(1_000);
    let record = ipns::create(&KEYPAIR, b"/ipfs/bafkqaaa", 7, until, ipns::TTL);
    record.expect("the arguments are in range").to_vec()
});

/// Bytes as a record: refused with a listed code, or signed by the owner of the name and the same on every way in.
pub fn records_ipns(data: &[u8]) {
    let key = ipns::key(&KEYPAIR.public().to_peer_id());
    let decoded = ipns::decode(data);
    assert_eq!(amino_validators().validate(&key, data, NOW).is_ok(), valid(&key, data));
    match ipns::validate(&key, data, NOW) {
        Ok(record) => {
            assert!(data.len() <= ipns::RECORD_BYTES_MAX);
            assert!(!record.is_expired(NOW));
            assert_eq!(decoded, Ok(record));
            // Valid here means signed by this key, and by no other's name.
            assert!(!valid(&ipns::key(&PeerId::from(Keypair::generate_ed25519().public())), data));
        }
        Err(error) => assert!(CODES.contains(&error.code()), "{error:?}"),
    }
    if let Ok(record) = &decoded {
        let path = record.path();
        assert!(path.is_none_or(|path| path.starts_with('/')));
        assert!(record.valid_until_nanos < 1_000_000_000);
    }
    // Bytes that cannot be decoded are worse than a good record, unless only their public key cannot be.
    let order = ipns::compare(data, &RECORD);
    assert_eq!(ipns::compare(&RECORD, data), order.reverse());
    assert_eq!(ipns::compare(data, data), Ordering::Equal);
    if let Err(ipns::IpnsError::Malformed { .. } | ipns::IpnsError::Data { .. }) = decoded {
        assert_eq!(order, Ordering::Less);
    }
}

/// Bytes as the document of a record that is signed: what the signature does not keep out.
pub fn records_document(data: &[u8]) {
    let signed = [b"ipns-signature:", data].concat();
    let signature = KEYPAIR.sign(&signed).expect("Ed25519 signs anything");
    // Protobuf by hand: signatureV2 = 8, data = 9, both bytes.
    let mut record = vec![0x42, 64];
    record.extend(signature);
    record.push(0x4a);
    let mut len = data.len();
    while len >= 0x80 {
        record.push(len as u8 | 0x80);
        len >>= 7;
    }
    record.push(len as u8);
    record.extend(data);

    records_ipns(&record);
    let key = ipns::key(&KEYPAIR.public().to_peer_id());
    match ipns::validate(&key, &record, NOW) {
        Err(error) => assert_ne!(error.code(), "ipns_signature"),
        Ok(read) => {
            assert!(!read.has_v1 && read.public_key.is_none());
            // What we would publish in its place is better by the number alone.
            if let Some(next) = read.sequence.checked_add(1).filter(|next| *next <= i64::MAX as u64) {
                let newer = ipns::create(&KEYPAIR, b"", next, NOW, Duration::ZERO).expect("in range");
                assert_eq!(ipns::compare(&newer, &record), Ordering::Greater);
            }
        }
    }
}

/// Bytes as a public key: bounded, one encoding, one name under which it is a value.
pub fn records_public_key(data: &[u8]) {
    let decoded = public_key::decode(data);
    // Random bytes as text, too: names have a decoder of their own.
    let text = String::from_utf8_lossy(data);
    if let Ok(name) = ipns::parse_name(&text) {
        assert_eq!(ipns::parse_name(&ipns::format_name(&name)), Ok(name));
        assert!(RawPeerId::from_bytes(&name.to_bytes()).is_ok());
    }
    match decoded {
        Ok(read) => {
            assert!(data.len() <= public_key::PUBLIC_KEY_BYTES_MAX);
            assert_eq!(pk::value(&read), data);
            let key = pk::key(&read.to_peer_id());
            assert!(amino_validators().validate(&key, data, NOW).is_ok());
            assert!(
                pk::validate(&pk::key(&KEYPAIR.public().to_peer_id()), data).is_err()
                    || read == KEYPAIR.public()
            );
            // Nobody has signed this.
            assert!(!read.verify(b"ipns-signature:", &[0; 64]));
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(pk::validate(&pk::key(&KEYPAIR.public().to_peer_id()), data).is_err());
        }
    }
}

fn valid(key: &[u8], data: &[u8]) -> bool {
    ipns::validate(key, data, NOW).is_ok()
}
