//! Public keys from strangers: bounded before they are parsed.

use kadmos_core::error::Fault;
use libp2p_identity::{KeyType, PublicKey};

/// Largest protobuf-encoded public key that is read. An 8192-bit RSA key with the usual exponent takes 1,065 bytes;
/// 2 KiB leave room for other encodings of it and none for more.
pub const PUBLIC_KEY_BYTES_MAX: usize = 2 << 10;

/// Smallest RSA modulus, in bits, as go-libp2p has it (`MinRsaKeyBits`).
pub const RSA_BITS_MIN: usize = 2_048;

/// Largest RSA modulus, in bits. Verifying costs the square of the size, so without a bound one record keeps a core
/// busy: CVE-2023-39533 in go-libp2p, which has the same bound since.
pub const RSA_BITS_MAX: usize = 8_192;

/// Largest RSA exponent, in bytes. Verifying costs one multiplication a bit; 33 bits are what verifiers take.
const RSA_EXPONENT_BYTES_MAX: usize = 5;

/// Why bytes are no usable public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicKeyError {
    /// Longer than any supported key.
    #[error("the public key has {got} bytes, expected at most {max}")]
    TooLarge {
        /// Bytes read.
        got: usize,
        /// [`PUBLIC_KEY_BYTES_MAX`].
        max: usize,
    },
    /// No protobuf `PublicKey`, or of a kind that libp2p does not have: Ed25519, RSA, secp256k1, ECDSA on P-256.
    #[error("the public key cannot be read: {reason}")]
    Malformed {
        /// What the decoder said.
        reason: String,
    },
    /// An RSA key that is too weak to trust or too large to verify cheaply.
    #[error("the RSA key has {bits} bits, expected {RSA_BITS_MIN} to {RSA_BITS_MAX}")]
    RsaSize {
        /// Bits of the modulus.
        bits: usize,
    },
}

impl PublicKeyError {
    /// Always the peer's whose record carries the key.
    pub const fn fault(&self) -> Fault {
        Fault::Peer
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } | Self::Malformed { .. } => {
                "publish with an Ed25519, RSA, secp256k1 or ECDSA P-256 key, encoded as libp2p does"
            }
            Self::RsaSize { .. } => "publish with an RSA key of 2048 to 8192 bits, or better with Ed25519",
        }
    }
}

/// Reads a protobuf `PublicKey`, refusing what is too large to verify and every encoding but the deterministic one.
///
/// Errors: [`PublicKeyError`]. Cost: bounded by [`PUBLIC_KEY_BYTES_MAX`].
/// Source: libp2p/specs peer-ids, "Keys": the encoding is deterministic, or peer ids would not be.
pub fn decode(bytes: &[u8]) -> Result<PublicKey, PublicKeyError> {
    if bytes.len() > PUBLIC_KEY_BYTES_MAX {
        return Err(PublicKeyError::TooLarge { got: bytes.len(), max: PUBLIC_KEY_BYTES_MAX });
    }
    let key = PublicKey::try_decode_protobuf(bytes).map_err(|error| PublicKeyError::Malformed {
        reason: match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    })?;
    check(&key)?;
    // A peer id is the hash of one encoding. The decoder also takes fields in another order, twice, unknown or left
    // out, which others read differently or not at all.
    if key.encode_protobuf() != bytes {
        return Err(PublicKeyError::Malformed { reason: "not the deterministic encoding".into() });
    }
    Ok(key)
}

/// Checks the size of an RSA key; other kinds have one size.
///
/// Errors: [`PublicKeyError::RsaSize`], or [`PublicKeyError::Malformed`] when it is no RSA key at all.
pub fn check(key: &PublicKey) -> Result<(), PublicKeyError> {
    if key.key_type() != KeyType::RSA {
        return Ok(());
    }
    // libp2p-identity keeps the PKCS#1 bytes of an RSA key unread until a signature is verified.
    let bits = key
        .clone()
        .try_into_rsa()
        .ok()
        .and_then(|rsa| rsa_modulus_bits(&rsa.encode_pkcs1()))
        .ok_or_else(|| PublicKeyError::Malformed { reason: "no PKCS#1 RSAPublicKey".into() })?;
    if (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) { Ok(()) } else { Err(PublicKeyError::RsaSize { bits }) }
}

/// Bits of n in `RSAPublicKey ::= SEQUENCE { n INTEGER, e INTEGER }`, when it is strict DER and nothing else.
///
/// Source: RFC 8017, appendix A.1.1; X.690, 8.3 and 10.1.
fn rsa_modulus_bits(pkcs1: &[u8]) -> Option<usize> {
    let (sequence, rest) = der_value(pkcs1, 0x30)?;
    let (modulus, exponent) = der_value(sequence, 0x02)?;
    let (exponent, trailing) = der_value(exponent, 0x02)?;
    let modulus = der_positive(modulus)?;
    let exponent = der_positive(exponent)?;
    if !rest.is_empty() || !trailing.is_empty() || exponent.len() > RSA_EXPONENT_BYTES_MAX {
        return None;
    }
    let first = modulus.first()?;
    Some(modulus.len() * 8 - first.leading_zeros() as usize) // at most 8, less than the first byte gives
}

/// Splits off one DER value with `tag`: its content, and what follows.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, der) = der.split_first()?;
    let (first, der) = der.split_first()?;
    let (len, der) = match *first {
        len @ ..=0x7f => (usize::from(len), der),
        0x81 => (usize::from(*der.first()?), &der[1..]), // `first` proves one byte
        0x82 => (usize::from(u16::from_be_bytes([*der.first()?, *der.get(1)?])), &der[2..]), // and `get` two
        _ => return None,                                // 64 KiB and more, or no definite length
    };
    // DER wants the shortest length; the same key must not have two encodings.
    let shortest = match *first {
        0x81 => len >= 0x80,
        0x82 => len >= 0x100,
        _ => true,
    };
    (*found == tag && shortest && len <= der.len()).then(|| der.split_at(len))
}

/// The magnitude of a positive DER integer, without its sign byte.
fn der_positive(integer: &[u8]) -> Option<&[u8]> {
    match integer {
        [0, rest @ ..] => rest.first().filter(|first| **first >= 0x80).map(|_| rest),
        [1..0x80, ..] => Some(integer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        match content.len() {
            len @ 0..0x80 => out.push(len as u8),
            len @ 0x80..0x100 => out.extend([0x81, len as u8]),
            len => out.extend([0x82, (len >> 8) as u8, len as u8]),
        }
        out.extend(content);
        out
    }

    fn integer(bits: usize) -> Vec<u8> {
        let mut magnitude = vec![0xff; bits.div_ceil(8)];
        magnitude[0] >>= (8 - bits % 8) % 8;
        if magnitude[0] >= 0x80 {
            magnitude.insert(0, 0);
        }
        der(0x02, &magnitude)
    }

    fn pkcs1(bits: usize, exponent: &[u8]) -> Vec<u8> {
        der(0x30, &[integer(bits), der(0x02, exponent)].concat())
    }

    /// A protobuf `PublicKey` around an RSA key that nobody has the other half of.
    fn rsa(pkcs1: &[u8]) -> Vec<u8> {
        let algorithm = [&[0x06, 9][..], &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1], &[0x05, 0]].concat();
        let bits = [&[0][..], pkcs1].concat();
        let spki = der(0x30, &[der(0x30, &algorithm), der(0x03, &bits)].concat());
        let mut out = vec![0x08, 0, 0x12, (spki.len() & 0x7f | 0x80) as u8, (spki.len() >> 7) as u8];
        out.extend(spki);
        out
    }

    #[test]
    fn rsa_keys_are_bounded_both_ways() {
        for bits in [2_048, 2_049, 3_072, 4_096, 8_191, 8_192] {
            assert!(decode(&rsa(&pkcs1(bits, &[1, 0, 1]))).is_ok(), "{bits}");
        }
        for bits in [512, 1_024, 2_047, 8_193, 8_200, 12_000] {
            let refused = decode(&rsa(&pkcs1(bits, &[1, 0, 1]))).map(|_| ());
            assert_eq!(refused, Err(PublicKeyError::RsaSize { bits }));
        }
    }

    #[test]
    fn larger_keys_are_not_parsed_at_all() {
        let bytes = rsa(&pkcs1(16_384, &[1, 0, 1]));
        let got = bytes.len();
        assert_eq!(decode(&bytes), Err(PublicKeyError::TooLarge { got, max: 2_048 }));
        let at_the_bound = [&[0x08, 1, 0x12, 0xfb, 0x0f][..], &[0; 2_043]].concat();
        assert_eq!(at_the_bound.len(), PUBLIC_KEY_BYTES_MAX);
        assert!(matches!(decode(&at_the_bound), Err(PublicKeyError::Malformed { .. })));
    }

    #[test]
    fn rsa_exponents_are_bounded() {
        for (exponent, read) in [
            (&[3][..], true),
            (&[1, 0, 1], true),
            (&[1, 0, 0, 0, 1], true),
            (&[0, 0x80, 0, 0, 0, 1], true),
            (&[1, 0, 0, 0, 0, 1], false),
            (&[0], false),
            (&[], false),
            (&[0x80], false),
            (&[0, 1], false),
        ] {
            let result = decode(&rsa(&pkcs1(2_048, exponent)));
            assert_eq!(result.is_ok(), read, "{exponent:?}");
        }
    }

    #[test]
    fn rsa_keys_must_be_strict_der() {
        let good = pkcs1(2_048, &[1, 0, 1]);
        assert_eq!(rsa_modulus_bits(&good), Some(2_048));
        for len in 0..good.len() {
            assert_eq!(rsa_modulus_bits(&good[..len]), None, "cut to {len}");
        }
        assert_eq!(rsa_modulus_bits(&[&good[..], &[0]].concat()), None, "bytes after the key");
        let inner = [integer(2_048), der(0x02, &[3])].concat();
        assert_eq!(rsa_modulus_bits(&der(0x31, &inner)), None, "another tag");
        assert_eq!(rsa_modulus_bits(&der(0x30, &[&inner[..], &[5, 0]].concat())), None, "a third field");
        let long_form = [&[0x30, 0x83, 0, 1, 12][..], &inner].concat();
        assert_eq!(rsa_modulus_bits(&long_form), None, "a three-byte length");
        for (value, why) in [
            (&[0x02, 0x81, 0x7f][..], "127 in the long form"),
            (&[0x02, 0x82, 0x00, 0xff], "255 in the longer form"),
            (&[0x02, 0x80], "an indefinite length"),
        ] {
            let padded = [value, &[0; 300]].concat();
            assert_eq!(der_value(&padded, 0x02), None, "{why}");
        }
        let longest_short = [&[0x02, 0x7f][..], &[7; 127]].concat();
        assert_eq!(der_value(&longest_short, 0x02), Some((&[7; 127][..], &[][..])));
        let shortest_long = [&[0x02, 0x81, 0x80][..], &[7; 129]].concat();
        assert_eq!(der_value(&shortest_long, 0x02), Some((&[7; 128][..], &[7][..])));
        let shortest_longer = [&[0x02, 0x82, 0x01, 0x00][..], &[7; 256]].concat();
        assert_eq!(der_value(&shortest_longer, 0x02), Some((&[7; 256][..], &[][..])));
    }

    #[test]
    fn errors_say_what_was_read_and_what_to_do() {
        let unknown = decode(&[0x08, 9, 0x12, 0]).unwrap_err();
        assert!(unknown.to_string().contains("unknown key type 9"), "{unknown}");
        assert_eq!(unknown.fault(), Fault::Peer);
        let small = PublicKeyError::RsaSize { bits: 1_024 };
        assert_eq!(small.to_string(), "the RSA key has 1024 bits, expected 2048 to 8192");
        assert_ne!(small.advice(), unknown.advice());
    }
}
