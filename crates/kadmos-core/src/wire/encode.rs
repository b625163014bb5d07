//! Messages to bytes: the exact length first, then one pass.
//!
//! Fields in the order of their numbers, default values left out, as go's and prost's encoders have it. The
//! connection field is never written: its 0 means "not connected or unknown", and go writes nothing for it.

use alloc::vec::Vec;
use core::fmt::Write;

use super::{tag, varint};
use crate::message::{MessageKind, Record, Request, Response};
use crate::peer::PeerInfo;
use crate::time::UnixTime;

/// Bytes of `request`'s encoding.
pub fn request_len(request: &Request) -> usize {
    type_len(request.kind())
        + bytes_len(request.key())
        + match request {
            Request::PutValue { record } => field_len(record_len(record, &TimeText::NONE)),
            Request::AddProvider { providers, .. } => providers.iter().map(peer_len).sum(),
            Request::GetValue { .. }
            | Request::GetProviders { .. }
            | Request::FindNode { .. }
            | Request::Ping => 0,
        }
}

/// Appends `request`. Cost: at most one growth of `out`.
pub fn encode_request(request: &Request, out: &mut Vec<u8>) {
    let len = request_len(request);
    out.reserve(len);
    put_request(request, len, out);
}

/// Appends `request`, whose [`request_len`] is `len`.
pub(super) fn put_request(request: &Request, len: usize, out: &mut Vec<u8>) {
    let end = out.len() + len;
    put_type(out, request.kind());
    put_bytes(out, tag::KEY, request.key());
    match request {
        Request::PutValue { record } => put_record(out, record, &TimeText::NONE),
        Request::AddProvider { providers, .. } => put_peers(out, tag::PROVIDER, providers),
        Request::GetValue { .. }
        | Request::GetProviders { .. }
        | Request::FindNode { .. }
        | Request::Ping => {}
    }
    debug_assert_eq!(out.len(), end, "request_len() and put_request() must agree");
}

/// Bytes of `response`'s encoding with the echoed `key`.
pub fn response_len(response: &Response, key: &[u8]) -> usize {
    let peers = |peers: &[PeerInfo]| peers.iter().map(peer_len).sum::<usize>();
    type_len(response.kind())
        + bytes_len(echoed(response, key))
        + match response {
            Response::PutValue { record } => record_field_len(record.as_ref(), None),
            Response::GetValue { record, received, closer } => {
                record_field_len(record.as_ref(), *received) + peers(closer)
            }
            Response::GetProviders { providers, closer } => peers(closer) + peers(providers),
            Response::FindNode { closer } => peers(closer),
            Response::Ping | Response::AddProvider => 0,
        }
}

/// Appends `response`. `key` is the request's; it is echoed where go echoes it, not in FIND_NODE and PING.
///
/// Whether the whole fits in `protocol.message_bytes_max` is the concern of who builds the response;
/// [`crate::server::Responder`] does. Cost: at most one growth of `out`.
pub fn encode_response(response: &Response, key: &[u8], out: &mut Vec<u8>) {
    let len = response_len(response, key);
    out.reserve(len);
    put_response(response, key, len, out);
}

/// Appends `response`, whose [`response_len`] is `len`.
pub(super) fn put_response(response: &Response, key: &[u8], len: usize, out: &mut Vec<u8>) {
    let end = out.len() + len;
    put_type(out, response.kind());
    put_bytes(out, tag::KEY, echoed(response, key));
    match response {
        Response::PutValue { record: Some(record) } => put_record(out, record, &TimeText::NONE),
        Response::GetValue { record, received, closer } => {
            if let Some(record) = record {
                put_record(out, record, &TimeText::of(*received));
            }
            put_peers(out, tag::CLOSER, closer);
        }
        Response::GetProviders { providers, closer } => {
            put_peers(out, tag::CLOSER, closer);
            put_peers(out, tag::PROVIDER, providers);
        }
        Response::FindNode { closer } => put_peers(out, tag::CLOSER, closer),
        Response::PutValue { record: None } | Response::Ping | Response::AddProvider => {}
    }
    debug_assert_eq!(out.len(), end, "response_len() and put_response() must agree");
}

/// Bytes that one peer adds to a message.
pub fn peer_len(info: &PeerInfo) -> usize {
    field_len(peer_body_len(info))
}

fn echoed<'a>(response: &Response, key: &'a [u8]) -> &'a [u8] {
    match response.kind() {
        MessageKind::FindNode | MessageKind::Ping => &[],
        MessageKind::PutValue
        | MessageKind::GetValue
        | MessageKind::AddProvider
        | MessageKind::GetProviders => key,
    }
}

/// PUT_VALUE is 0, the default, and so left out.
const fn type_len(kind: MessageKind) -> usize {
    if matches!(kind, MessageKind::PutValue) { 0 } else { 2 }
}

fn put_type(out: &mut Vec<u8>, kind: MessageKind) {
    if kind != MessageKind::PutValue {
        out.extend_from_slice(&[tag::TYPE, kind as u8]);
    }
}

/// Bytes of a one-byte tag, a length and `len` bytes.
const fn field_len(len: usize) -> usize {
    1 + varint::len(len as u64) + len
}

/// Bytes of a `bytes` field, which is left out when it is empty.
const fn bytes_len(bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { field_len(bytes.len()) }
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_header(out, tag, bytes.len());
        out.extend_from_slice(bytes);
    }
}

fn put_header(out: &mut Vec<u8>, tag: u8, len: usize) {
    out.push(tag);
    varint::write(out, len as u64);
}

fn record_field_len(record: Option<&Record>, received: Option<UnixTime>) -> usize {
    record.map_or(0, |record| field_len(record_len(record, &TimeText::of(received))))
}

fn record_len(record: &Record, time: &TimeText) -> usize {
    bytes_len(&record.key) + bytes_len(&record.value) + bytes_len(time.as_bytes())
}

fn put_record(out: &mut Vec<u8>, record: &Record, time: &TimeText) {
    put_header(out, tag::RECORD, record_len(record, time));
    put_bytes(out, tag::RECORD_KEY, &record.key);
    put_bytes(out, tag::RECORD_VALUE, &record.value);
    put_bytes(out, tag::RECORD_TIME, time.as_bytes());
}

/// The id's header is two bytes: it has at most 44.
fn peer_body_len(info: &PeerInfo) -> usize {
    2 + info.peer.id.as_bytes().len() + info.addrs.encoded().len()
}

fn put_peers(out: &mut Vec<u8>, tag: u8, peers: &[PeerInfo]) {
    for info in peers {
        put_header(out, tag, peer_body_len(info));
        put_bytes(out, tag::PEER_ID, info.peer.id.as_bytes());
        out.extend_from_slice(info.addrs.encoded());
    }
}

/// `timeReceived` as text, without allocating.
struct TimeText {
    len: usize,
    // The year of the largest `UnixTime` has 12 digits, so its text 28 bytes.
    bytes: [u8; 32],
}

impl TimeText {
    /// No time: the field is left out.
    const NONE: Self = Self { len: 0, bytes: [0; 32] };

    fn of(time: Option<UnixTime>) -> Self {
        let mut text = Self::NONE;
        if let Some(time) = time {
            let written = write!(text, "{time}");
            debug_assert!(written.is_ok(), "28 bytes fit in 32");
        }
        text
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Write for TimeText {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(core::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_fits() {
        for secs in [0, 1_795_515_912, u64::MAX] {
            let time = UnixTime::from_secs(secs);
            let text = TimeText::of(Some(time));
            assert_eq!(text.as_bytes(), alloc::format!("{time}").as_bytes());
        }
        assert!(TimeText::of(None).as_bytes().is_empty());
    }
}
