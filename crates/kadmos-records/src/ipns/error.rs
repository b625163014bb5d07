//! Why IPNS records are refused, and why they cannot be made.

use kadmos_core::UnixTime;
use kadmos_core::error::Fault;
use kadmos_core::record::InvalidRecord;
use libp2p_identity::SigningError;

use crate::public_key::PublicKeyError;

/// Why a value under `/ipns` was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IpnsError {
    /// The key is not `/ipns/` and a binary peer id.
    #[error("the key of {len} bytes is not /ipns/ and a binary peer id")]
    Key {
        /// Bytes of the key.
        len: usize,
    },
    /// Longer than records may be.
    #[error("the record has {got} bytes, expected at most {max}")]
    TooLarge {
        /// Bytes of the record.
        got: usize,
        /// [`super::RECORD_BYTES_MAX`].
        max: usize,
    },
    /// No protobuf `IpnsEntry`.
    #[error("the record is no protobuf IpnsEntry: {reason}")]
    Malformed {
        /// What the decoder said.
        reason: String,
    },
    /// `signatureV2` is absent or empty; a V1 signature alone is not enough since 2021.
    #[error("the record has no signatureV2")]
    NoSignature,
    /// `data` is absent or empty.
    #[error("the record has no data")]
    NoData,
    /// `data` is not the strict DAG-CBOR map that it must be.
    #[error("the record's data is not the expected DAG-CBOR map: {reason}")]
    Data {
        /// What the decoder said.
        reason: String,
    },
    /// A protobuf field differs from the signed field of the same name.
    #[error("the protobuf field {field} differs from the signed one")]
    Mismatch {
        /// Its name in the protobuf definition.
        field: &'static str,
    },
    /// A kind of validity that is not defined.
    #[error("the record's ValidityType is {got}, expected 0 (end of life)")]
    ValidityType {
        /// What was read.
        got: i128,
    },
    /// The expiry date cannot be read.
    #[error("the record's Validity is {got:?}, expected a date such as 2026-11-24T10:25:12.000000000Z")]
    Validity {
        /// The first 40 bytes of what was read.
        got: String,
    },
    /// The record is over.
    #[error("the record was valid until {valid_until}, now is {now}")]
    Expired {
        /// Its end, without the fraction of a second.
        valid_until: UnixTime,
        /// The time of the check.
        now: UnixTime,
    },
    /// A TTL below zero.
    #[error("the record's TTL is {got} ns, expected 0 or more")]
    NegativeTtl {
        /// Nanoseconds.
        got: i128,
    },
    /// The name is a hash, and the record does not carry the key behind it.
    #[error("the record has no public key, and the name is only a hash of one")]
    NoPublicKey,
    /// The public key, carried or inlined, cannot be used.
    #[error(transparent)]
    PublicKey(#[from] PublicKeyError),
    /// The public key is fine, but another one's name is in the key.
    #[error("the public key does not belong to the name in the key")]
    WrongKey,
    /// `signatureV2` was not made over `data` with the name's key.
    #[error("the record's signatureV2 does not verify")]
    Signature,
}

impl IpnsError {
    /// Stable code, for metrics and `docs/records.md`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Key { .. } => "ipns_key",
            Self::TooLarge { .. } => "ipns_too_large",
            Self::Malformed { .. } => "ipns_malformed",
            Self::NoSignature => "ipns_no_signature",
            Self::NoData => "ipns_no_data",
            Self::Data { .. } => "ipns_data",
            Self::Mismatch { .. } => "ipns_mismatch",
            Self::ValidityType { .. } | Self::Validity { .. } => "ipns_validity",
            Self::Expired { .. } => "ipns_expired",
            Self::NegativeTtl { .. } => "ipns_ttl",
            Self::NoPublicKey => "ipns_no_public_key",
            Self::PublicKey(PublicKeyError::RsaSize { .. }) => "ipns_rsa_size",
            Self::PublicKey(_) => "ipns_public_key",
            Self::WrongKey => "ipns_wrong_key",
            Self::Signature => "ipns_signature",
        }
    }

    /// The caller's for the key, else of the peer that gave the record.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Key { .. } => Fault::Caller,
            _ => Fault::Peer,
        }
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Key { .. } => "make the key with ipns::key; text forms of a name do not belong in it",
            Self::TooLarge { .. } => "publish a shorter value, or fewer extra fields",
            Self::Malformed { .. }
            | Self::Data { .. }
            | Self::ValidityType { .. }
            | Self::Validity { .. } => {
                "make the record with ipns::create or another implementation of the specification"
            }
            Self::NoSignature | Self::NoData => "publish again with software newer than 2021, which signs V2",
            Self::Mismatch { .. } => "do not change a signed record; sign a new one",
            Self::Expired { .. } => "ask its owner to publish again; check this machine's clock",
            Self::NegativeTtl { .. } => "publish with a TTL of 0 or more",
            Self::NoPublicKey => "publish with the public key in the record, as ipns::create does",
            Self::PublicKey(error) => error.advice(),
            Self::WrongKey | Self::Signature => "sign the record with the key that the name belongs to",
        }
    }
}

impl From<IpnsError> for InvalidRecord {
    fn from(error: IpnsError) -> Self {
        Self::Refused { code: error.code(), reason: error.to_string() }
    }
}

/// Why no record was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// Readers could not tell what the name points at.
    #[error("the value is neither empty, nor a path such as /ipfs/bafy…, nor a binary CID")]
    Value,
    /// Go keeps sequence numbers in 63 bits and would refuse the record.
    #[error("the sequence number is {got}, expected at most {}", i64::MAX)]
    Sequence {
        /// What was given.
        got: u64,
    },
    /// RFC 3339 cannot write the date.
    #[error("the expiry date is {} s after 1970, expected at most the end of the year 9999", got.as_secs())]
    ValidUntil {
        /// What was given.
        got: UnixTime,
    },
    /// Go keeps the TTL in 63 bits of nanoseconds and would refuse the record.
    #[error("the TTL is {} s, expected at most {}", got.as_secs(), i64::MAX / 1_000_000_000)]
    Ttl {
        /// What was given.
        got: std::time::Duration,
    },
    /// Longer than records may be.
    #[error("the record would have {got} bytes, expected at most {max}")]
    TooLarge {
        /// Bytes of the record.
        got: usize,
        /// [`super::RECORD_BYTES_MAX`].
        max: usize,
    },
    /// Others would refuse the public key.
    #[error(transparent)]
    PublicKey(#[from] PublicKeyError),
    /// The signature could not be made.
    #[error("the record could not be signed: {0}")]
    Signing(#[from] SigningError),
    /// The document could not be written; a bug.
    #[error("the record could not be encoded: {reason}")]
    Encoding {
        /// What the encoder said.
        reason: String,
    },
}

impl SignError {
    /// The caller's, or ours when signing or encoding fails.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Signing(_) | Self::Encoding { .. } => Fault::Us,
            _ => Fault::Caller,
        }
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Value => "put /ipfs/ before a CID, or /ipns/ before a name",
            Self::Sequence { .. } => "count sequence numbers up from the record that is published now",
            Self::ValidUntil { .. } => "let the record end in 48 hours; the DHT keeps none for longer",
            Self::Ttl { .. } => "use a TTL of minutes to hours",
            Self::TooLarge { .. } => "publish a shorter value, for example a CID",
            Self::PublicKey(error) => error.advice(),
            Self::Signing(_) => "check the key",
            Self::Encoding { .. } => "report it",
        }
    }
}
