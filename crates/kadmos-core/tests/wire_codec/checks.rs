//! What must hold for any bytes at all, one function per decoder. Tests, corpus and fuzz targets run these.
//!
//! The fuzz crate includes this file as well.

use bytes::Bytes;
use kadmos_core::limits::{ADDRS_PER_PEER_MAX, PEER_RECORD_BYTES_MAX};
use kadmos_core::message::{MessageKind, Request};
use kadmos_core::wire::frame::{FrameError, FrameReader};
use kadmos_core::wire::{
    DecodeError, decode_request, decode_response, encode_request, encode_response, multiaddr, request_len,
    response_len, varint,
};
use kadmos_core::{AddrList, PeerId, addr};
use prost::Message as _;

use super::oracle::{
    Message, Record, WirePeer, expected_request, expected_response, message_of_request, message_of_response,
};

/// Panics when `data` is not treated as it must be.
pub type Check = fn(data: &[u8]);

/// Every check by the name of its directory in `corpus/`.
pub const ALL: [(&str, Check); 5] = [
    ("request", request),
    ("response", response),
    ("frames", frames),
    ("addrs", addrs),
    ("differential", differential),
];

/// Bytes as a request: agree with prost, survive the way out and back.
pub fn request(data: &[u8]) {
    let frame = Bytes::copy_from_slice(data);
    let read = decode_request(&frame);
    if let Ok(message) = Message::decode(data) {
        let expected = expected_request(&message);
        assert!(read == expected || is_deep_group(read.as_ref().err()), "{read:?} is not {expected:?}");
    }
    let Ok(read) = read else { return };
    let request = read.message;
    let mut bytes = Vec::new();
    encode_request(&request, &mut bytes);
    assert_eq!(bytes.len(), request_len(&request));
    assert_eq!(bytes, message_of_request(&request).encode_to_vec());
    assert_eq!(decode_request(&bytes.into()).expect("we wrote it").message, request);
}

/// Bytes as a response to each kind of request: agree with prost, survive the way out and back.
pub fn response(data: &[u8]) {
    let frame = Bytes::copy_from_slice(data);
    let message = Message::decode(data);
    for expected_kind in MessageKind::ALL {
        let read = decode_response(&frame, expected_kind);
        if let Ok(message) = &message {
            let expected = expected_response(message, expected_kind);
            assert!(read == expected || is_deep_group(read.as_ref().err()), "{read:?} is not {expected:?}");
        }
        let Ok(read) = read else { continue };
        let (response, key) = (read.message, &b"key"[..]);
        let mut bytes = Vec::new();
        encode_response(&response, key, &mut bytes);
        assert_eq!(bytes.len(), response_len(&response, key));
        assert_eq!(bytes, message_of_response(&response, key).encode_to_vec());
        assert_eq!(decode_response(&bytes.into(), expected_kind).expect("we wrote it").message, response);
    }
}

/// Bytes as a stream in chunks: the same frames as when all is there at once, and never more memory than a frame.
///
/// The first byte says how long the chunks are.
pub fn frames(data: &[u8]) {
    const BYTES_MAX: usize = 1 << 10;
    let Some((chunk_len, stream)) = data.split_first() else { return };
    let mut reader = FrameReader::new(BYTES_MAX);
    let (mut read, mut error) = (Vec::new(), None);
    'stream: for mut chunk in stream.chunks(usize::from(*chunk_len).max(1)) {
        loop {
            match reader.read(&mut chunk) {
                Ok(Some(frame)) => read.push(frame),
                Ok(None) => break,
                Err(failure) => {
                    error = Some(failure);
                    break 'stream;
                }
            }
        }
        assert!(chunk.is_empty() && reader.buffered() <= BYTES_MAX + 10);
    }

    let (mut expected, mut rest) = (Vec::new(), stream);
    let expected_error = loop {
        match varint::read(rest) {
            Ok((len, _)) if len > BYTES_MAX as u64 => {
                break Some(FrameError::TooLarge { len, max: BYTES_MAX });
            }
            Ok((len, after)) if after.len() as u64 >= len => {
                let (frame, tail) = after.split_at(len as usize); // at most BYTES_MAX
                expected.push(frame);
                rest = tail;
            }
            Ok(_) | Err(varint::VarintError::Truncated) => break None,
            Err(varint::VarintError::Overflow) => break Some(FrameError::Length),
        }
    };
    assert_eq!(read, expected);
    assert_eq!(error, expected_error);
    assert!(error.is_some() || reader.is_between_frames() == rest.is_empty());
}

/// Bytes as addresses, each after a length byte: the list keeps its bounds.
pub fn addrs(data: &[u8]) {
    let id = PeerId::from_digest([7; 32]);
    let (mut parts, mut rest) = (Vec::new(), data);
    while let Some((len, tail)) = rest.split_first() {
        let (part, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        parts.push(part);
        rest = tail;
    }
    parts.push(data);
    let list = AddrList::collect(&id, parts.iter().copied());
    assert!(list.len() <= ADDRS_PER_PEER_MAX);
    assert!(list.encoded().len() + 2 + PeerId::BYTES_MAX <= PEER_RECORD_BYTES_MAX);
    for (index, addr) in list.iter().enumerate() {
        assert_eq!(multiaddr::kept(addr, &id), Some(addr), "what is kept is kept again");
        assert!(parts.iter().any(|part| part.starts_with(addr)));
        assert!(list.iter().skip(index + 1).all(|other| other != addr), "twice in the list");
        assert!(!addr::is_public(addr) || addr::leading_ip(addr).is_some() || addr[0] >= 53);
    }
    assert_eq!(list, AddrList::collect(&id, list.iter()));
    assert_eq!(list, list.merged(&list));
    let (public, private) = (list.filtered(addr::is_public), list.filtered(|addr| !addr::is_public(addr)));
    assert_eq!(public.len() + private.len(), list.len());
    assert_eq!(public.merged(&private).len(), list.len());
}

/// A message built from `data`, written by prost and read by us, written by us and read by prost.
pub fn differential(data: &[u8]) {
    let message = Draw(data).message();
    let bytes = message.encode_to_vec();
    let frame = Bytes::from(bytes.clone());
    let read = decode_request(&frame);
    assert_eq!(read, expected_request(&message));
    if let Ok(read) = read {
        let mut ours = Vec::new();
        encode_request(&read.message, &mut ours);
        assert_eq!(Message::decode(ours.as_slice()), Ok(message_of_request(&read.message)));
        if let Request::FindNode { key } = &read.message {
            assert_eq!(key, &message.key);
        }
    }
    for expected_kind in MessageKind::ALL {
        let read = decode_response(&frame, expected_kind);
        assert_eq!(read, expected_response(&message, expected_kind));
        if let Ok(read) = read {
            let mut ours = Vec::new();
            encode_response(&read.message, &message.key, &mut ours);
            let expected = message_of_response(&read.message, &message.key);
            assert_eq!(Message::decode(ours.as_slice()), Ok(expected));
        }
    }
    // A message cut short is refused or read as if it ended there, as prost does.
    if let Some(cut) = data.first().map(|byte| usize::from(*byte) * bytes.len() / 256) {
        request(&bytes[..cut]);
        response(&bytes[..cut]);
    }
}

/// The one place where prost reads more: it skips unknown groups that are nested deeper.
fn is_deep_group(error: Option<&DecodeError>) -> bool {
    matches!(error, Some(DecodeError::Groups { .. }))
}

/// Draws a message from bytes; zeros when they end.
struct Draw<'a>(&'a [u8]);

impl Draw<'_> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }

    fn message(&mut self) -> Message {
        let kind = i32::from(self.byte() % 7);
        let key = self.key();
        let record = match self.byte() % 4 {
            0 => None,
            1 => Some(self.record(key.clone())),
            _ => {
                let key = self.key();
                Some(self.record(key))
            }
        };
        Message {
            kind,
            key,
            record,
            closer_peers: self.peers(),
            provider_peers: self.peers(),
            cluster_level_raw: i32::from(self.byte()),
        }
    }

    fn key(&mut self) -> Vec<u8> {
        let len = usize::from(self.byte());
        match self.byte() % 8 {
            0 => vec![7; len * 5],
            _ => self.bytes(len),
        }
    }

    fn record(&mut self, key: Vec<u8>) -> Record {
        let value = match self.byte() % 16 {
            0 => vec![1; 65_400 + usize::from(self.byte())],
            _ => self.key(),
        };
        let time_received = String::from_utf8_lossy(&self.bytes(20)).into_owned();
        Record { key, value, time_received }
    }

    fn peers(&mut self) -> Vec<WirePeer> {
        let len = usize::from(self.byte() % 64);
        (0..len).map(|_| self.peer()).collect()
    }

    fn peer(&mut self) -> WirePeer {
        let shape = self.byte();
        let id = match shape % 4 {
            0 => [&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20][..], &[self.byte(); 32]].concat(),
            1 | 2 => [&[0x12, 0x20][..], &[self.byte(); 32]].concat(),
            _ => self.bytes(usize::from(shape / 4)),
        };
        let addrs = (0..self.byte() % 8).map(|_| self.addr(&id)).collect();
        WirePeer { id, addrs, connection: i32::from(shape % 5) }
    }

    fn addr(&mut self, id: &[u8]) -> Vec<u8> {
        let shape = self.byte();
        let mut addr = match shape % 4 {
            0 => self.bytes(usize::from(shape / 4)),
            1 => vec![6; usize::from(self.byte()) * 40],
            _ => [&[4, 1, 2, 3, 4, 6][..], &[self.byte(), 1]].concat(),
        };
        if shape & 0x10 != 0 {
            addr.extend([0xa5, 0x03, id.len() as u8]); // at most 64
            addr.extend(id);
        }
        addr
    }
}
