//! `/ipns/<peer id>`: what a key's owner lets its name point at, signed, numbered and dated.
//!
//! A record is a protobuf envelope around a signed DAG-CBOR document. The envelope may repeat the document's fields
//! for readers older than 2021 (V1); then they must agree. Source: specs.ipfs.tech/ipns/ipns-record; where it leaves
//! a choice, boxo's `ipns` package decides. `docs/records.md` has the rules in order.

mod create;
mod data;
mod entry;
mod error;
mod name;
mod validity;

use std::cmp::Ordering;
use std::time::Duration;

use bytes::Bytes;
use kadmos_core::record::{InvalidRecord, Validator};
use kadmos_core::{PeerId as RawPeerId, UnixTime};
use libp2p_identity::{PeerId, PublicKey};

pub use create::create;
pub use error::{IpnsError, SignError};
pub use name::{NameError, format_name, parse_name};

use crate::public_key;
use data::Document;
use entry::Entry;

/// What keys of this namespace begin with.
pub const PREFIX: &[u8] = b"/ipns/";

/// Largest record, in bytes, as the specification has it.
pub const RECORD_BYTES_MAX: usize = 10 << 10;

/// Usual life of a record: as long as DHT servers keep one.
pub const LIFETIME: Duration = Duration::from_secs(48 * 3_600);

/// Usual time for which readers keep a record before they ask again: 5 minutes, the specification's suggestion.
pub const TTL: Duration = Duration::from_secs(300);

/// What V2 signatures are made over, before the document: no signature for another purpose can pass for one.
const SIGNATURE_DOMAIN: &[u8] = b"ipns-signature:";

/// The record key of `name`. Shape: `/ipns/` and 34 (SHA-256) to 44 (inlined key) bytes.
pub fn key(name: &PeerId) -> Bytes {
    [PREFIX, &name.to_bytes()].concat().into()
}

/// The signed content of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IpnsRecord {
    /// What the name points at, as signed; see [`IpnsRecord::path`].
    pub value: Bytes,
    /// Counts the owner's changes; a record with a higher one replaces others.
    pub sequence: u64,
    /// The second in which the record ends.
    pub valid_until: UnixTime,
    /// The nanosecond of that second at which it ends, `0..1_000_000_000`.
    pub valid_until_nanos: u32,
    /// How long to keep the record before asking again; `None` when a record without V1 fields leaves it out.
    pub ttl: Option<Duration>,
    /// The public key that the record carries; owners whose name contains the key need none.
    pub public_key: Option<PublicKey>,
    /// Whether readers older than 2021 can use the record too.
    pub has_v1: bool,
}

impl IpnsRecord {
    /// The value as a content path: `/ipfs/bafkqaaa` (an empty file) for an empty one, `/ipfs/<cid>` for a binary CID.
    /// `None` when it is neither of these nor a path.
    pub fn path(&self) -> Option<String> {
        create::path(&self.value)
    }

    /// Whether the record is over at `now`.
    ///
    /// `now` has whole seconds and may lag by one, so a record counts as over from the second after the one in which
    /// it ends; or at once when it ends with a second.
    pub fn is_expired(&self, now: UnixTime) -> bool {
        // spec: ipns-record, "Record Verification", 8: the date must be bigger than the current time
        (now, 0) >= (self.valid_until, self.valid_until_nanos)
    }
}

/// Reads a record without verifying it: neither signature, nor copies, nor expiry. To show a record, or after
/// [`validate`].
///
/// Errors: [`IpnsError`] for everything that can be told without the name and the time.
pub fn decode(record: &[u8]) -> Result<IpnsRecord, IpnsError> {
    let entry = Entry::read(record)?;
    interpret(&entry, &document(&entry)?)
}

/// Checks that `record` is signed by the owner of the name in `key` and not over at `now`, and reads it.
///
/// Errors: [`IpnsError`], the first that applies. Cost: one signature at most, and none for a record that is refused
/// for another reason.
/// Source: specs.ipfs.tech/ipns/ipns-record, "Record Verification". The order is ours: what is cheap comes first. A
/// record is valid or not in any order.
pub fn validate(key: &[u8], record: &[u8], now: UnixTime) -> Result<IpnsRecord, IpnsError> {
    let name = key
        .strip_prefix(PREFIX)
        .and_then(|id| RawPeerId::from_bytes(id).ok())
        .ok_or(IpnsError::Key { len: key.len() })?;
    let entry = Entry::read(record)?;
    let document = document(&entry)?;
    if entry.has_v1() {
        entry.check_copies(&document)?;
    }
    let read = interpret(&entry, &document)?;
    if read.is_expired(now) {
        return Err(IpnsError::Expired { valid_until: read.valid_until, now });
    }
    let public_key = match &read.public_key {
        Some(public_key) => public_key.clone(),
        None => public_key::decode(inlined_key(&name).ok_or(IpnsError::NoPublicKey)?)?,
    };
    if public_key.to_peer_id().to_bytes() != name.as_bytes() {
        return Err(IpnsError::WrongKey);
    }
    if !public_key.verify(&signed_bytes(entry.data()), entry.signature_v2()) {
        return Err(IpnsError::Signature);
    }
    Ok(read)
}

/// The entry's document, when the entry is one that can be valid at all.
fn document(entry: &Entry) -> Result<Document<'_>, IpnsError> {
    // spec: ipns-record, "Record Verification", 2
    if entry.signature_v2().is_empty() {
        return Err(IpnsError::NoSignature);
    }
    if entry.data().is_empty() {
        return Err(IpnsError::NoData);
    }
    Document::read(entry.data())
}

fn interpret(entry: &Entry, document: &Document<'_>) -> Result<IpnsRecord, IpnsError> {
    let (valid_until, valid_until_nanos) = document.valid_until()?;
    let ttl = document
        .ttl
        // CBOR's integers end at 2^64 - 1, so only a negative one does not fit.
        .map(|ttl| {
            u64::try_from(ttl).map(Duration::from_nanos).map_err(|_| IpnsError::NegativeTtl { got: ttl })
        })
        .transpose()?;
    let public_key = match entry.public_key() {
        [] => None,
        bytes => Some(public_key::decode(bytes)?),
    };
    Ok(IpnsRecord {
        value: Bytes::copy_from_slice(document.value),
        sequence: document.sequence,
        valid_until,
        valid_until_nanos,
        ttl,
        public_key,
        has_v1: entry.has_v1(),
    })
}

/// The protobuf public key inside a name that is an identity multihash.
fn inlined_key(name: &RawPeerId) -> Option<&[u8]> {
    match name.as_bytes() {
        [0x00, _, key @ ..] => Some(key),
        _ => None,
    }
}

fn signed_bytes(data: &[u8]) -> Vec<u8> {
    [SIGNATURE_DOMAIN, data].concat()
}

/// What decides between two records, in the order of the fields; the greater one is better.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank<'a> {
    has_v2: bool,
    sequence: u64,
    valid_until: (UnixTime, u32),
    bytes: &'a [u8],
}

impl<'a> Rank<'a> {
    /// `None` for bytes that are no record: worse than any that is.
    fn of(record: &'a [u8]) -> Option<Self> {
        let entry = Entry::read(record).ok()?;
        let has_v2 = !entry.signature_v2().is_empty();
        if !has_v2 {
            // Never valid, but the order is defined: by the copies, which are all that V1 has.
            let valid_until = validity::parse(entry.validity())?;
            return Some(Self { has_v2, sequence: entry.sequence(), valid_until, bytes: record });
        }
        let document = Document::read(entry.data()).ok()?;
        let valid_until = document.valid_until().ok()?;
        Some(Self { has_v2, sequence: document.sequence, valid_until, bytes: record })
    }
}

/// Which of two records is better: the one with a V2 signature, the higher sequence number, the later end, the greater
/// bytes. A total order, so the best of many does not depend on the order in which they arrive.
///
/// Neither is verified; compare valid records. Bytes that are no record are worse than those that are.
/// Source: boxo `ipns.Validator.Select`.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    if a == b { Ordering::Equal } else { Rank::of(a).cmp(&Rank::of(b)) }
}

/// The rules of the namespace `ipns`, for core's `Validators`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpnsValidator;

impl Validator for IpnsValidator {
    fn validate(&self, key: &[u8], value: &[u8], now: UnixTime) -> Result<(), InvalidRecord> {
        validate(key, value, now)?;
        Ok(())
    }

    fn compare(&self, _key: &[u8], a: &[u8], b: &[u8]) -> Ordering {
        compare(a, b)
    }
}
