//! The values that simulated nodes store: versioned, checked, and cheap.
//!
//! A signature check costs a hundred times the rest of a request and decides nothing that a hash does not, so the
//! simulator has a namespace of its own.

use std::cmp::Ordering;

use bytes::Bytes;
use kadmos_core::record::InvalidRecord;
use kadmos_core::{UnixTime, Validator, Validators};
use sha2::{Digest, Sha256};

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

/// The validators of every simulated node: [`NAMESPACE`] only.
pub fn validators() -> Validators {
    Validators::new().with(NAMESPACE, SimValidator)
}

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
}
