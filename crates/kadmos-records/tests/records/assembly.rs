//! Records assembled byte by byte, independently of the code under test: a protobuf writer, a CBOR writer and the key
//! pairs to sign with.

use cid::multibase::Base;
use libp2p_identity::Keypair;

/// A throw-away RSA key, made with `openssl genpkey` for these tests; libp2p-identity cannot generate one.
const RSA_PKCS8: &str = include_str!("rsa.pkcs8.base64");

/// A time for tests, 2026-11-24T10:25:12Z.
pub(crate) const NOW: u64 = 1_795_515_912;

/// One key pair of each type, with its name.
pub(crate) fn key_pairs() -> [(&'static str, Keypair); 4] {
    let text: String = RSA_PKCS8.split_whitespace().collect();
    let mut der = Base::Base64Pad.decode(text).unwrap();
    [
        ("Ed25519", Keypair::generate_ed25519()),
        ("RSA", Keypair::rsa_from_pkcs8(&mut der).unwrap()),
        ("ECDSA", Keypair::generate_ecdsa()),
        ("secp256k1", Keypair::generate_secp256k1()),
    ]
}

/// Appends an unsigned varint.
pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A CBOR head: major type and argument in the shortest form.
pub(crate) fn head(major: u8, argument: u64) -> Vec<u8> {
    let major = major << 5;
    match argument {
        0..=23 => vec![major | argument as u8],
        24..=0xff => vec![major | 24, argument as u8],
        0x100..=0xffff => [&[major | 25][..], &(argument as u16).to_be_bytes()].concat(),
        0x1_0000..=0xffff_ffff => [&[major | 26][..], &(argument as u32).to_be_bytes()].concat(),
        _ => [&[major | 27][..], &argument.to_be_bytes()].concat(),
    }
}

pub(crate) fn cbor_bytes(bytes: &[u8]) -> Vec<u8> {
    [head(2, bytes.len() as u64), bytes.to_vec()].concat()
}

/// The fields of an IPNS record, each present or not, in protobuf and in CBOR.
#[derive(Clone, Debug)]
pub(crate) struct Assembly {
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) signature_v1: Option<Vec<u8>>,
    pub(crate) validity_type: Option<u64>,
    pub(crate) validity: Option<Vec<u8>>,
    pub(crate) sequence: Option<u64>,
    pub(crate) ttl: Option<u64>,
    pub(crate) public_key: Option<Vec<u8>>,
    pub(crate) signature_v2: Option<Vec<u8>>,
    pub(crate) data: Option<Vec<u8>>,
}

/// The signed document's entries in canonical order, values already in CBOR.
pub(crate) fn document(
    value: &[u8],
    validity: &str,
    sequence: u64,
    ttl: u64,
) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("TTL", head(0, ttl)),
        ("Value", cbor_bytes(value)),
        ("Sequence", head(0, sequence)),
        ("Validity", cbor_bytes(validity.as_bytes())),
        ("ValidityType", head(0, 0)),
    ]
}

/// A CBOR map of `entries` in the given order.
pub(crate) fn cbor_map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = head(5, entries.len() as u64);
    for (key, value) in entries {
        out.extend(head(3, key.len() as u64));
        out.extend(key.as_bytes());
        out.extend(value);
    }
    out
}

impl Assembly {
    /// A V2-only record of `data`, with the public key when the peer id does not contain it.
    pub(crate) fn v2(keypair: &Keypair, data: Vec<u8>) -> Self {
        let public = keypair.public();
        let hashed = public.to_peer_id().to_bytes()[0] == 0x12;
        Self {
            value: None,
            signature_v1: None,
            validity_type: None,
            validity: None,
            sequence: None,
            ttl: None,
            public_key: hashed.then(|| public.encode_protobuf()),
            signature_v2: Some(sign_v2(keypair, &data)),
            data: Some(data),
        }
    }

    /// A record with both signatures whose copies agree.
    pub(crate) fn v1_v2(keypair: &Keypair, value: &[u8], validity: &str, sequence: u64, ttl: u64) -> Self {
        Self {
            value: Some(value.to_vec()),
            signature_v1: Some(sign_v1(keypair, value, validity)),
            validity_type: Some(0),
            validity: Some(validity.as_bytes().to_vec()),
            sequence: Some(sequence),
            ttl: Some(ttl),
            ..Self::v2(keypair, cbor_map(&document(value, validity, sequence, ttl)))
        }
    }

    /// The fields by name, in the order in which they are written.
    pub(crate) fn fields(&self) -> [(&'static str, Option<Vec<u8>>); 9] {
        let number = |tag: u64, value: Option<u64>| {
            value.map(|value| {
                let mut out = Vec::new();
                varint(&mut out, tag << 3);
                varint(&mut out, value);
                out
            })
        };
        let bytes = |tag: u64, value: &Option<Vec<u8>>| {
            value.as_ref().map(|value| {
                let mut out = Vec::new();
                varint(&mut out, tag << 3 | 2);
                varint(&mut out, value.len() as u64);
                out.extend(value);
                out
            })
        };
        [
            ("value", bytes(1, &self.value)),
            ("signatureV1", bytes(2, &self.signature_v1)),
            ("validityType", number(3, self.validity_type)),
            ("validity", bytes(4, &self.validity)),
            ("sequence", number(5, self.sequence)),
            ("ttl", number(6, self.ttl)),
            ("pubKey", bytes(7, &self.public_key)),
            ("signatureV2", bytes(8, &self.signature_v2)),
            ("data", bytes(9, &self.data)),
        ]
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        self.fields().into_iter().filter_map(|(_, bytes)| bytes).flatten().collect()
    }
}

pub(crate) fn sign_v2(keypair: &Keypair, data: &[u8]) -> Vec<u8> {
    keypair.sign(&[b"ipns-signature:", data].concat()).unwrap()
}

pub(crate) fn sign_v1(keypair: &Keypair, value: &[u8], validity: &str) -> Vec<u8> {
    keypair.sign(&[value, validity.as_bytes(), b"EOL"].concat()).unwrap()
}
