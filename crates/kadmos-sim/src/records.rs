//! The values that simulated nodes store: versioned, checked, and cheap; and, over the wire, real ones.
//!
//! A signature check costs a hundred times the rest of a request and decides nothing that a hash does not, so the
//! simulator has a namespace of its own. Worlds whose messages are encoded also have those of the public network, with
//! the real validators, and records that are signed as real ones are.

use std::cmp::Ordering;

use bytes::Bytes;
use kadmos_core::record::InvalidRecord;
use kadmos_core::{UnixTime, Validator, Validators};
use kadmos_records::{ipns, pk};
use libp2p_identity::Keypair;
use sha2::{Digest, Sha256};

use crate::random::child_seed;

/// The namespace of simulated values: keys are `/sim/<any bytes>`.
pub const NAMESPACE: &str = "sim";

/// The version's 8 bytes and a check sum's 8.
const VALUE_BYTES: usize = 16;

/// The key `/sim/<name>`.
pub fn key(name: &[u8]) -> Bytes {
    [b"/sim/", name].concat().into()
}

/// The value of `version` under `key`.
pub fn value(key: &[u8], version: u64) -> Bytes {
    let mut value = version.to_be_bytes().to_vec();
    value.extend(check_sum(key, version));
    value.into()
}

/// The validators of nodes whose messages travel as they are: [`NAMESPACE`] only.
pub fn validators() -> Validators {
    Validators::new().with(NAMESPACE, SimValidator)
}

/// The validators of nodes whose messages are encoded: those of the public network besides.
pub fn wire_validators() -> Validators {
    kadmos_records::amino_validators().with(NAMESPACE, SimValidator)
}

/// A real record, with what its namespace demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// `/pk/…` or `/ipns/…`.
    pub key: Bytes,
    /// What is put first.
    pub first: Bytes,
    /// What is put over it: a newer record of the same name; `None` under `/pk`, where nothing ever changes.
    pub second: Option<Bytes>,
}

/// Real record number `index` of the world seeded with `seed`: a public key under `/pk` for odd numbers, two mutable
/// names under `/ipns` for even ones, valid until a day after `now`. The same arguments make the same bytes: keys are
/// made of the seed, and Ed25519 signs alike each time.
///
/// Errors: [`SignedError`], which no seed has been seen to give.
pub fn signed(seed: u64, index: u32, now: UnixTime) -> Result<Signed, SignedError> {
    let secret = child_seed(seed, "signer", u64::from(index));
    let keypair = Keypair::ed25519_from_bytes(secret).map_err(|error| SignedError(error.to_string()))?;
    let name = keypair.public().to_peer_id();
    if index % 2 == 1 {
        let (key, first) = (pk::key(&name), pk::value(&keypair.public()));
        return Ok(Signed { key, first, second: None });
    }
    let sign = |value: &[u8], sequence| {
        ipns::create(&keypair, value, sequence, now + ipns::LIFETIME, ipns::TTL)
            .map_err(|error| SignedError(error.to_string()))
    };
    let (first, second) = (sign(b"/ipfs/bafkqaaa", 1)?, sign(b"/ipfs/bafkqablimvwgy3y", 2)?);
    Ok(Signed { key: ipns::key(&name), first, second: Some(second) })
}

/// Why a record could not be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record could not be signed: {0}")]
pub struct SignedError(String);

/// Accepts what [`value`] makes; the higher version is better.
#[derive(Clone, Copy, Debug)]
pub struct SimValidator;

impl Validator for SimValidator {
    fn validate(&self, key: &[u8], value: &[u8], _now: UnixTime) -> Result<(), InvalidRecord> {
        match split(value) {
            Some((version, sum)) if sum == check_sum(key, version) => Ok(()),
            Some(_) => Err(InvalidRecord::Refused {
                code: "sim_check_sum",
                reason: "the check sum is not that of key and version".into(),
            }),
            None => Err(InvalidRecord::Refused {
                code: "sim_length",
                reason: format!("the value has {} bytes, expected {VALUE_BYTES}", value.len()),
            }),
        }
    }

    fn compare(&self, _key: &[u8], a: &[u8], b: &[u8]) -> Ordering {
        split(a).map(|(version, _)| version).cmp(&split(b).map(|(version, _)| version))
    }
}

fn split(value: &[u8]) -> Option<(u64, [u8; 8])> {
    let (version, sum) = value.split_at_checked(8)?;
    Some((u64::from_be_bytes(version.try_into().ok()?), sum.try_into().ok()?))
}

fn check_sum(key: &[u8], version: u64) -> [u8; 8] {
    let hash = Sha256::new().chain_update(version.to_be_bytes()).chain_update(key).finalize();
    std::array::from_fn(|i| hash[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_bound_to_their_key_and_ordered_by_version() {
        let validators = validators();
        let (key, other) = (key(b"a"), super::key(b"b"));
        let now = UnixTime::default();
        let [old, new] = [value(&key, 1), value(&key, 2)];
        assert_eq!(validators.validate(&key, &old, now), Ok(()));
        assert!(validators.validate(&other, &old, now).is_err());
        assert!(validators.validate(&key, &old[1..], now).is_err());
        assert_eq!(validators.compare(&key, &old, &new), Ordering::Less);
        assert_eq!(validators.compare(&key, &new, &new), Ordering::Equal);
    }
    #[test]
    fn signed_records_are_valid_the_same_each_time_and_bound_to_their_key() {
        let (now, validators) = (UnixTime::from_secs(1_767_225_600), wire_validators());
        for index in 0..4 {
            let record = signed(1, index, now).expect("Ed25519 takes any 32 bytes");
            assert_eq!(signed(1, index, now).as_ref(), Ok(&record));
            assert_ne!(signed(2, index, now).expect("as above").key, record.key);
            assert_eq!(validators.validate(&record.key, &record.first, now), Ok(()));
            let other = signed(1, index + 2, now).expect("as above");
            assert!(validators.validate(&other.key, &record.first, now).is_err());
            assert_eq!(record.second.is_some(), record.key.starts_with(b"/ipns/"));
            if let Some(second) = &record.second {
                assert_eq!(validators.compare(&record.key, &record.first, second), Ordering::Less);
                let late = now + ipns::LIFETIME + ipns::LIFETIME;
                assert!(validators.validate(&record.key, second, late).is_err(), "it is over");
            }
        }
    }
}
