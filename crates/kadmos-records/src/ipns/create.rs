//! Making IPNS records.

use std::time::Duration;

use bytes::Bytes;
use cid::Cid;
use kadmos_core::UnixTime;
use libp2p_identity::Keypair;
use prost::Message;

use super::data::Document;
use super::entry::Entry;
use super::error::SignError;
use super::{RECORD_BYTES_MAX, signed_bytes, validity};
use crate::public_key;

/// Signs a record: `value` under the name of `keypair`, from `sequence` on, until `valid_until`.
///
/// `value` is empty, a path (`/ipfs/…`, `/ipns/…`) or a binary CID. `sequence` must exceed that of the record it
/// replaces. Readers may keep the record for `ttl` before they ask again. Usual: [`super::LIFETIME`] from now and
/// [`super::TTL`].
///
/// The record carries V2 and, for readers older than 2021, V1; the public key only when the name is a hash of it (RSA
/// and ECDSA). Every record made here is valid under [`super::key`] of the key pair until it ends.
///
/// Errors: [`SignError`]. Source: specs.ipfs.tech/ipns/ipns-record, "Record Creation with Legacy SignatureV1"; boxo
/// `ipns.NewRecord`.
pub fn create(
    keypair: &Keypair,
    value: &[u8],
    sequence: u64,
    valid_until: UnixTime,
    ttl: Duration,
) -> Result<Bytes, SignError> {
    if !is_readable(value) {
        return Err(SignError::Value);
    }
    if i64::try_from(sequence).is_err() {
        return Err(SignError::Sequence { got: sequence });
    }
    if valid_until > validity::UNTIL_MAX {
        return Err(SignError::ValidUntil { got: valid_until });
    }
    let ttl_nanos = i64::try_from(ttl.as_nanos()).map_err(|_| SignError::Ttl { got: ttl })?.unsigned_abs();
    let public_key = keypair.public();
    public_key::check(&public_key)?;

    let validity = validity::format(valid_until);
    let data = Document::write(value, &validity, sequence, ttl_nanos)
        .map_err(|reason| SignError::Encoding { reason })?;
    // A bound on what is signed, so that a huge value costs no signature.
    if data.len() > RECORD_BYTES_MAX {
        return Err(SignError::TooLarge { got: data.len(), max: RECORD_BYTES_MAX });
    }
    // The V1 signature names the kind of validity in letters, where the field has a number.
    let signature_v1 = keypair.sign(&[value, validity.as_bytes(), b"EOL"].concat())?;
    let signature_v2 = keypair.sign(&signed_bytes(&data))?;
    let inlined = public_key.to_peer_id().as_ref().code() == IDENTITY;
    let record = Entry {
        value: Some(value.to_vec()),
        signature_v1: Some(signature_v1),
        validity_type: Some(0),
        validity: Some(validity.into_bytes()),
        sequence: Some(sequence),
        ttl: Some(ttl_nanos),
        public_key: (!inlined).then(|| public_key.encode_protobuf()),
        signature_v2: Some(signature_v2),
        data: Some(data),
    }
    .encode_to_vec();
    if record.len() > RECORD_BYTES_MAX {
        return Err(SignError::TooLarge { got: record.len(), max: RECORD_BYTES_MAX });
    }
    Ok(record.into())
}

/// Multihash code of bytes that stand for themselves.
const IDENTITY: u64 = 0x00;

/// Whether readers can make a path of `value`.
fn is_readable(value: &[u8]) -> bool {
    value.is_empty() || path(value).is_some()
}

/// The path that `value` stands for, as boxo reads it: a path as it is, a binary CID as `/ipfs/…`, nothing as the
/// path of an empty file.
pub(super) fn path(value: &[u8]) -> Option<String> {
    match value {
        [] => Some("/ipfs/bafkqaaa".into()),
        [b'/', rest @ ..] => {
            let text = std::str::from_utf8(value).ok()?;
            (!rest.is_empty()).then(|| text.into())
        }
        _ => {
            let cid = Cid::try_from(value).ok()?;
            // The reader stops after the CID; a CID and something is no CID.
            (cid.to_bytes() == value).then(|| format!("/ipfs/{cid}"))
        }
    }
}
