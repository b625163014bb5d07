//! Which of several IPNS records is the best.

use std::cmp::Ordering;

use kadmos_core::Validator;
use kadmos_records::{IpnsValidator, ipns};
use libp2p_identity::Keypair;
use proptest::prelude::*;

use crate::assembly::{Assembly, cbor_map, document};

fn record(keypair: &Keypair, value: &str, until: &str, sequence: u64) -> Assembly {
    Assembly::v1_v2(keypair, value.as_bytes(), until, sequence, 300)
}

#[test]
fn the_order_is_version_sequence_validity_bytes() {
    let keypair = Keypair::generate_ed25519();
    let until = "2126-11-24T10:25:12Z";
    let base = record(&keypair, "/ipfs/a", until, 5);
    let v1 = |sequence, until| Assembly {
        signature_v2: None,
        data: None,
        ..record(&keypair, "/ipfs/z", until, sequence)
    };
    let extended = [base.encode(), vec![0x52, 0]].concat();
    // Worst first; each is better than all before it.
    let ladder = [
        b"no record at all".to_vec(),
        v1(1, until).encode(),
        v1(900, "2126-11-24T10:25:12Z").encode(),
        v1(900, "2126-11-24T10:25:12.1Z").encode(),
        record(&keypair, "/ipfs/z", "2199-01-01T00:00:00Z", 4).encode(),
        record(&keypair, "/ipfs/z", "2126-11-24T10:25:11.999999999Z", 5).encode(),
        base.encode(),
        extended,
        record(&keypair, "/ipfs/a", "2126-11-24T10:25:12.000000001Z", 5).encode(),
        record(&keypair, "/ipfs/a", "2126-11-24T10:25:12.2Z", 5).encode(),
        // Later in the text, and earlier as text, than the one before.
        record(&keypair, "/ipfs/a", "2126-11-24T09:25:13-01:00", 5).encode(),
        record(&keypair, "/ipfs/a", "2026-01-01T00:00:00Z", 6).encode(),
        record(&keypair, "/ipfs/a", until, 1 << 63).encode(),
        record(&keypair, "/ipfs/a", until, u64::MAX).encode(),
    ];
    for (i, a) in ladder.iter().enumerate() {
        for (j, b) in ladder.iter().enumerate() {
            assert_eq!(ipns::compare(a, b), i.cmp(&j), "{i} against {j}");
            assert_eq!(IpnsValidator.compare(b"/ipns/x", a, b), i.cmp(&j));
        }
    }
}

#[test]
fn the_signed_fields_decide_not_the_copies() {
    let keypair = Keypair::generate_ed25519();
    let until = "2126-11-24T10:25:12Z";
    let low = Assembly { sequence: Some(99), ..record(&keypair, "/ipfs/a", until, 5) };
    let high = Assembly::v2(&keypair, cbor_map(&document(b"/ipfs/a", until, 6, 300)));
    assert_eq!(ipns::compare(&low.encode(), &high.encode()), Ordering::Less);
}

#[test]
fn equal_bytes_are_equal_and_garbage_never_wins() {
    let keypair = Keypair::generate_ed25519();
    let good = record(&keypair, "/ipfs/a", "2026-11-24T10:25:12Z", 0);
    let bytes = good.encode();
    assert_eq!(ipns::compare(&bytes, &bytes), Ordering::Equal);
    let garbage = [
        Vec::new(),
        vec![0xff; 100],
        vec![0; 20_000],
        Assembly { data: None, ..good.clone() }.encode(),
        Assembly { data: Some(b"\x80".to_vec()), ..good.clone() }.encode(),
        record(&keypair, "/ipfs/a", "tomorrow", 9).encode(),
        Assembly { signature_v2: None, validity: None, ..good }.encode(),
    ];
    for a in &garbage {
        assert_eq!(ipns::compare(a, &bytes), Ordering::Less);
        assert_eq!(ipns::compare(&bytes, a), Ordering::Greater);
        for b in &garbage {
            assert_eq!(ipns::compare(a, b), Ordering::Equal);
        }
    }
}

/// What a node does with the values that arrive: keep the first, replace it by a greater one.
fn best(records: &[Vec<u8>]) -> &[u8] {
    let mut best = &records[0];
    for record in &records[1..] {
        if ipns::compare(record, best) == Ordering::Greater {
            best = record;
        }
    }
    best
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_best_does_not_depend_on_the_order(
        fields in proptest::collection::vec((0u64..3, 0u32..3, "[ab]"), 1..7),
        swaps in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 12),
    ) {
        let keypair = Keypair::generate_ed25519();
        let mut records: Vec<_> = fields
            .iter()
            .map(|(sequence, nanos, value)| {
                record(&keypair, &format!("/ipfs/{value}"), &format!("2126-11-24T10:25:12.{nanos}Z"), *sequence).encode()
            })
            .collect();
        let expected = best(&records).to_vec();
        for record in &records {
            prop_assert_ne!(ipns::compare(record, &expected), Ordering::Greater);
        }
        for (a, b) in swaps {
            let (a, b) = (a.index(records.len()), b.index(records.len()));
            records.swap(a, b);
            prop_assert_eq!(best(&records), &expected);
        }
    }
}
