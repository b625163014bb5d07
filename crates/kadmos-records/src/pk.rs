//! `/pk/<peer id>`: the public key behind a peer id that is only a hash of it.
//!
//! Key: `/pk/` and the binary peer id. Value: the protobuf `PublicKey`. There is exactly one valid value per key, so
//! nothing is ever better than what is held. Source: go-libp2p-record `pubkey.go`.

use std::cmp::Ordering;

use bytes::Bytes;
use kadmos_core::error::Fault;
use kadmos_core::record::{InvalidRecord, Validator};
use kadmos_core::{PeerId as RawPeerId, UnixTime};
use libp2p_identity::{PeerId, PublicKey};

use crate::public_key::{self, PublicKeyError};

/// What keys of this namespace begin with.
pub const PREFIX: &[u8] = b"/pk/";

/// The record key of `peer`'s public key. Shape: `/pk/` and 34 (SHA-256) to 44 (inlined key) bytes.
pub fn key(peer: &PeerId) -> Bytes {
    [PREFIX, &peer.to_bytes()].concat().into()
}

/// The value under [`key`]: `public_key` as protobuf.
pub fn value(public_key: &PublicKey) -> Bytes {
    public_key.encode_protobuf().into()
}

/// Reads the public key in `value` and checks that it is the one that `key` names.
///
/// Errors: [`PkError`]. Cost: one hash; no signature is involved.
pub fn validate(key: &[u8], value: &[u8]) -> Result<PublicKey, PkError> {
    let id = key
        .strip_prefix(PREFIX)
        .and_then(|id| RawPeerId::from_bytes(id).ok())
        .ok_or(PkError::Key { len: key.len() })?;
    let public_key = public_key::decode(value)?;
    // `value` is the key's one encoding, so it is what the id is made of: there is no second value under a key.
    if public_key.to_peer_id().to_bytes() != id.as_bytes() {
        return Err(PkError::Mismatch);
    }
    Ok(public_key)
}

/// Why a value under `/pk` was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PkError {
    /// The key is not `/pk/` and a binary peer id.
    #[error("the key of {len} bytes is not /pk/ and a binary peer id")]
    Key {
        /// Bytes of the key.
        len: usize,
    },
    /// The value is no usable public key.
    #[error(transparent)]
    PublicKey(#[from] PublicKeyError),
    /// The value is the public key of another peer.
    #[error("the public key does not belong to the peer id in the key")]
    Mismatch,
}

impl PkError {
    /// Stable code, for metrics and `docs/records.md`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Key { .. } => "pk_key",
            Self::PublicKey(PublicKeyError::RsaSize { .. }) => "pk_rsa_size",
            Self::PublicKey(_) => "pk_public_key",
            Self::Mismatch => "pk_mismatch",
        }
    }

    /// The caller's for the key, else of the peer that gave the value.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Key { .. } => Fault::Caller,
            Self::PublicKey(_) | Self::Mismatch => Fault::Peer,
        }
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Key { .. } => "make the key with pk::key; text forms of a peer id do not belong in it",
            Self::PublicKey(error) => error.advice(),
            Self::Mismatch => "make key and value from one public key, with pk::key and pk::value",
        }
    }
}

impl From<PkError> for InvalidRecord {
    fn from(error: PkError) -> Self {
        Self::Refused { code: error.code(), reason: error.to_string() }
    }
}

/// The rules of the namespace `pk`, for core's `Validators`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PkValidator;

impl Validator for PkValidator {
    fn validate(&self, key: &[u8], value: &[u8], _now: UnixTime) -> Result<(), InvalidRecord> {
        validate(key, value)?;
        Ok(())
    }

    /// Always equal: two valid values under one key are the same bytes.
    fn compare(&self, _key: &[u8], _a: &[u8], _b: &[u8]) -> Ordering {
        Ordering::Equal
    }
}
