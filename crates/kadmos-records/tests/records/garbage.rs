//! Whatever a stranger sends is read or refused: no panic, no endless loop.

use std::sync::LazyLock;

use kadmos_core::UnixTime;
use kadmos_records::{CODES, amino_validators, ipns, pk};
use libp2p_identity::Keypair;
use proptest::prelude::*;

use crate::assembly::{Assembly, NOW, key_pairs};
use crate::checks;

/// A valid key and record of every type, to change.
static RECORDS: LazyLock<Vec<(Vec<u8>, Vec<u8>)>> = LazyLock::new(|| {
    key_pairs()
        .iter()
        .flat_map(|(_, keypair)| {
            let id = keypair.public().to_peer_id();
            let record = Assembly::v1_v2(keypair, b"/ipfs/bafkqaaa", "2126-11-24T10:25:12Z", 7, 300).encode();
            [
                (ipns::key(&id).to_vec(), record),
                (pk::key(&id).to_vec(), pk::value(&keypair.public()).to_vec()),
            ]
        })
        .collect()
});

/// Runs everything that takes a stranger's bytes; gives the code when the value is refused.
fn feed(key: &[u8], value: &[u8]) -> Option<&'static str> {
    for (_, check) in checks::ALL {
        check(value);
    }
    let now = UnixTime::from_secs(NOW);
    let code = if key.starts_with(pk::PREFIX) {
        pk::validate(key, value).err().map(|error| error.code())
    } else {
        ipns::validate(key, value, now).err().map(|error| error.code())
    };
    assert_eq!(amino_validators().validate(key, value, now).is_ok(), code.is_none());
    assert!(code.is_none_or(|code| CODES.contains(&code)));
    code
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_refused(
        value in proptest::collection::vec(any::<u8>(), 0..12_000),
        key in proptest::collection::vec(any::<u8>(), 0..60),
        namespace in prop::sample::select(vec!["", "/ipns/", "/pk/"]),
    ) {
        prop_assert!(feed(&[namespace.as_bytes(), &key].concat(), &value).is_some());
        prop_assert!(feed(&RECORDS[0].0, &value).is_some());
    }

    /// Bytes that begin like a protobuf field of a record get further than random ones.
    #[test]
    fn any_fields_are_read_or_refused(
        fields in proptest::collection::vec((1u8..12, 0u8..6, proptest::collection::vec(any::<u8>(), 0..80)), 0..12),
    ) {
        let mut value = Vec::new();
        for (tag, wire, bytes) in fields {
            value.push(tag << 3 | wire);
            if wire == 2 {
                value.push(bytes.len() as u8);
            }
            value.extend(bytes);
        }
        feed(&RECORDS[0].0, &value);
        feed(&RECORDS[1].0, &value);
    }

    #[test]
    fn changed_records_are_refused_or_say_the_same(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        extra in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let (key, original) = &RECORDS[which.index(RECORDS.len())];
        let mut value = original.clone();
        for (at, byte) in changes {
            let at = at.index(value.len());
            value[at] = byte;
        }
        if let Some(cut) = cut {
            value.truncate(cut.index(value.len()));
        }
        value.extend(extra);
        if feed(key, &value).is_none() {
            if key.starts_with(pk::PREFIX) {
                prop_assert_eq!(&value, original);
            } else {
                let (read, before) = (ipns::decode(&value).unwrap(), ipns::decode(original).unwrap());
                prop_assert_eq!((read.value, read.sequence, read.ttl), (before.value, before.sequence, before.ttl));
                prop_assert_eq!(read.valid_until, before.valid_until);
            }
        }
    }
}

#[test]
fn the_originals_are_valid() {
    assert_eq!(RECORDS.len(), 8);
    for (key, value) in RECORDS.iter() {
        assert_eq!(feed(key, value), None);
        let stranger = Keypair::generate_ed25519().public().to_peer_id();
        assert!(feed(&ipns::key(&stranger), value).is_some());
        assert!(feed(&pk::key(&stranger), value).is_some());
    }
}
