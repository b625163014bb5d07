//! Bytes to messages, in two passes: one over the top level, one over the peers that are kept.
//!
//! The first pass reads kind, key and record and counts the peers, so the second knows what the kind needs (the type
//! may come last) and allocates exactly once for them.

use alloc::vec::Vec;

use bytes::Bytes;

use super::fields::{Field, Fields, Value};
use super::{DecodeError, tag};
use crate::addr::AddrList;
use crate::event::Refusal;
use crate::limits::{CLOSER_PEERS_MAX, KEY_BYTES_MAX, PROVIDERS_MAX, VALUE_BYTES_MAX};
use crate::message::{MessageKind, Record, Request, Response};
use crate::peer::{Peer, PeerId, PeerInfo};

/// A slice that stays shared with its frame may hold at most twice its own length and this much in memory.
const SHARED_SLACK: usize = 512;

/// A message and what was left out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded<T> {
    /// The message.
    pub message: T,
    /// What did not fit or could not be read.
    pub dropped: Dropped,
}

/// Peers that were left out of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Closer peers past [`CLOSER_PEERS_MAX`].
    pub closer: usize,
    /// Providers past [`PROVIDERS_MAX`].
    pub providers: usize,
    /// Peers whose id is no peer id.
    pub unreadable: usize,
}

impl Dropped {
    /// The code to count, when the peer sent more than is taken.
    pub const fn refusal(&self) -> Option<Refusal> {
        if self.closer + self.providers > 0 { Some(Refusal::TooManyPeers) } else { None }
    }
}

/// Reads a request.
///
/// Shape: key 1 to 80 bytes for the provider messages, 1 to [`KEY_BYTES_MAX`] for the others; value at most
/// [`VALUE_BYTES_MAX`]; PUT_VALUE with a record of the same key; at most [`PROVIDERS_MAX`] providers, which only
/// ADD_PROVIDER has. Unknown fields, stuffed peers and `timeReceived` are ignored. A repeated field counts with its
/// last value. Errors: [`DecodeError`], always the peer's fault.
/// Cost: O(bytes); two allocations per provider. Key and value share the frame unless that would pin much more
/// memory than they need: what is kept of a message holds at most twice its own size and 512 bytes.
pub fn decode_request(frame: &Bytes) -> Result<Decoded<Request>, DecodeError> {
    let scan = Scan::of(frame)?;
    let kind = scan.kind()?;
    let mut dropped = Dropped::default();
    let key = |scan: &Scan<'_>| key(frame, scan.key, kind);
    let message = match kind {
        MessageKind::PutValue => {
            let key = key(&scan)?;
            let record = scan.record.ok_or(DecodeError::NoRecord)?;
            if record.key != &key[..] {
                return Err(DecodeError::KeyMismatch);
            }
            Request::PutValue { record: Record { key, value: value(frame, record.value)? } }
        }
        MessageKind::GetValue => Request::GetValue { key: key(&scan)? },
        MessageKind::AddProvider => {
            Request::AddProvider { key: key(&scan)?, providers: providers(frame, &scan, &mut dropped)? }
        }
        MessageKind::GetProviders => Request::GetProviders { key: key(&scan)? },
        MessageKind::FindNode => Request::FindNode { key: key(&scan)? },
        MessageKind::Ping => Request::Ping,
    };
    Ok(Decoded { message, dropped })
}

/// Reads the response to a request of kind `expected`.
///
/// An echoed ADD_PROVIDER is [`Response::AddProvider`] whatever was expected: skip it and read the next frame, under
/// the same time-out. The echoed key is not compared (go leaves it out of FIND_NODE), and a record's key may be
/// anything up to [`KEY_BYTES_MAX`]: the caller compares it with what it asked for.
/// Shape: at most [`CLOSER_PEERS_MAX`] closer peers and [`PROVIDERS_MAX`] providers, value at most
/// [`VALUE_BYTES_MAX`]. Errors: [`DecodeError`], always the peer's fault. Cost: as [`decode_request`].
pub fn decode_response(frame: &Bytes, expected: MessageKind) -> Result<Decoded<Response>, DecodeError> {
    let scan = Scan::of(frame)?;
    let kind = scan.kind()?;
    if kind != expected && kind != MessageKind::AddProvider {
        return Err(DecodeError::WrongResponse { got: kind, expected });
    }
    let mut dropped = Dropped::default();
    let message = match kind {
        MessageKind::PutValue => Response::PutValue { record: record(frame, &scan)? },
        MessageKind::GetValue => Response::GetValue {
            record: record(frame, &scan)?,
            received: None,
            closer: closer(frame, &scan, &mut dropped)?,
        },
        MessageKind::AddProvider => Response::AddProvider,
        MessageKind::GetProviders => Response::GetProviders {
            providers: providers(frame, &scan, &mut dropped)?,
            closer: closer(frame, &scan, &mut dropped)?,
        },
        MessageKind::FindNode => Response::FindNode { closer: closer(frame, &scan, &mut dropped)? },
        MessageKind::Ping => Response::Ping,
    };
    Ok(Decoded { message, dropped })
}

/// The top level of a message, borrowed.
#[derive(Default)]
struct Scan<'a> {
    kind: u64,
    key: &'a [u8],
    record: Option<RawRecord<'a>>,
    closer: usize,
    providers: usize,
}

/// Fields of all the records in a message, merged as protobuf merges them.
#[derive(Clone, Copy, Default)]
struct RawRecord<'a> {
    key: &'a [u8],
    value: &'a [u8],
}

impl<'a> Scan<'a> {
    fn of(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut scan = Self::default();
        let mut fields = Fields::new(message);
        while let Some(Field { number, value }) = fields.next()? {
            match (number, value) {
                (field::TYPE, Value::Varint(kind)) => scan.kind = kind,
                (field::KEY, Value::Bytes(key)) => scan.key = key,
                (field::RECORD, Value::Bytes(record)) => {
                    scan.record.get_or_insert_default().merge(record)?;
                }
                (field::CLOSER, Value::Bytes(_)) => scan.closer += 1,
                (field::PROVIDER, Value::Bytes(_)) => scan.providers += 1,
                _ => {}
            }
        }
        Ok(scan)
    }

    /// The kind. Enumerations are 32 bits wide; a longer varint is cut to them, as protobuf parsers do.
    fn kind(&self) -> Result<MessageKind, DecodeError> {
        let got = self.kind as u32; // the low 32 bits
        MessageKind::from_wire(got.into()).ok_or(DecodeError::UnknownType { got: got as i32 }) // same bits, signed
    }
}

impl<'a> RawRecord<'a> {
    fn merge(&mut self, message: &'a [u8]) -> Result<(), DecodeError> {
        let mut fields = Fields::new(message);
        while let Some(Field { number, value }) = fields.next()? {
            match (number, value) {
                (field::RECORD_KEY, Value::Bytes(key)) => self.key = key,
                (field::RECORD_VALUE, Value::Bytes(value)) => self.value = value,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Field numbers of the length-delimited fields and the type: their tags without the wire type.
mod field {
    use super::tag;

    pub(super) const TYPE: u32 = tag::TYPE as u32 >> 3;
    pub(super) const KEY: u32 = tag::KEY as u32 >> 3;
    pub(super) const RECORD: u32 = tag::RECORD as u32 >> 3;
    pub(super) const CLOSER: u32 = tag::CLOSER as u32 >> 3;
    pub(super) const PROVIDER: u32 = tag::PROVIDER as u32 >> 3;
    pub(super) const RECORD_KEY: u32 = tag::RECORD_KEY as u32 >> 3;
    pub(super) const RECORD_VALUE: u32 = tag::RECORD_VALUE as u32 >> 3;
    pub(super) const PEER_ID: u32 = tag::PEER_ID as u32 >> 3;
    pub(super) const ADDRS: u32 = crate::addr::ADDRS_TAG as u32 >> 3;
}

fn key(frame: &Bytes, key: &[u8], kind: MessageKind) -> Result<Bytes, DecodeError> {
    let max = kind.key_bytes_max();
    if key.is_empty() || key.len() > max {
        return Err(DecodeError::KeyLength { got: key.len(), max });
    }
    Ok(share(frame, key))
}

fn value(frame: &Bytes, value: &[u8]) -> Result<Bytes, DecodeError> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(DecodeError::ValueLength { got: value.len(), max: VALUE_BYTES_MAX });
    }
    Ok(share(frame, value))
}

/// The record of a response.
fn record(frame: &Bytes, scan: &Scan<'_>) -> Result<Option<Record>, DecodeError> {
    let Some(record) = scan.record else { return Ok(None) };
    if record.key.len() > KEY_BYTES_MAX {
        return Err(DecodeError::KeyLength { got: record.key.len(), max: KEY_BYTES_MAX });
    }
    Ok(Some(Record { key: share(frame, record.key), value: value(frame, record.value)? }))
}

/// `slice` of `frame` without copying, unless it would keep a much larger frame in memory: a 34-byte key must not
/// pin 4 MiB for as long as a store holds it.
fn share(frame: &Bytes, slice: &[u8]) -> Bytes {
    if frame.len() > slice.len() * 2 + SHARED_SLACK {
        Bytes::copy_from_slice(slice)
    } else {
        frame.slice_ref(slice) // every slice here was cut from `frame`
    }
}

fn closer(frame: &[u8], scan: &Scan<'_>, dropped: &mut Dropped) -> Result<Vec<PeerInfo>, DecodeError> {
    let (peers, unread) =
        peers(frame, field::CLOSER, scan.closer, CLOSER_PEERS_MAX, &mut dropped.unreadable)?;
    dropped.closer += unread;
    Ok(peers)
}

fn providers(frame: &[u8], scan: &Scan<'_>, dropped: &mut Dropped) -> Result<Vec<PeerInfo>, DecodeError> {
    let (peers, unread) =
        peers(frame, field::PROVIDER, scan.providers, PROVIDERS_MAX, &mut dropped.unreadable)?;
    dropped.providers += unread;
    Ok(peers)
}

/// The first `max` readable peers in the `total` fields `number`, and how many fields were left unread.
fn peers(
    frame: &[u8],
    number: u32,
    total: usize,
    max: usize,
    unreadable: &mut usize,
) -> Result<(Vec<PeerInfo>, usize), DecodeError> {
    let mut peers = Vec::with_capacity(total.min(max));
    let mut scratch = Vec::new();
    let mut read = 0;
    let mut fields = Fields::new(frame);
    while read < total && peers.len() < max {
        let Some(field) = fields.next()? else { break };
        let Value::Bytes(message) = field.value else { continue };
        if field.number != number {
            continue;
        }
        read += 1;
        match peer(message, &mut scratch)? {
            Some(peer) => peers.push(peer),
            None => *unreadable += 1,
        }
    }
    Ok((peers, total - read))
}

/// One peer; `None` when its id is no peer id. The connection field is ignored: it tells of somebody else's sockets.
fn peer(message: &[u8], scratch: &mut Vec<u8>) -> Result<Option<PeerInfo>, DecodeError> {
    let mut id: &[u8] = &[];
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next()? {
        if let (field::PEER_ID, Value::Bytes(bytes)) = (field.number, field.value) {
            id = bytes;
        }
    }
    let Ok(id) = PeerId::from_bytes(id) else { return Ok(None) };
    let mut fields = Fields::new(message);
    let addrs = core::iter::from_fn(|| {
        // The first walk has met no error, so this one ends only at the end.
        while let Ok(Some(field)) = fields.next() {
            if let (field::ADDRS, Value::Bytes(addr)) = (field.number, field.value) {
                return Some(addr);
            }
        }
        None
    });
    let addrs = AddrList::collect_with(scratch, &id, addrs);
    Ok(Some(PeerInfo::new(Peer::new(id), addrs)))
}
