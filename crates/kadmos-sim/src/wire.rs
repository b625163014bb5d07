//! The real codec between two nodes, for worlds that want it.

use bytes::Bytes;
use kadmos_core::message::{MessageKind, Request, Response};
use kadmos_core::wire::{DecodeError, decode_request, decode_response, encode_request, encode_response};

/// How many bytes travel, and what arrives, when `request` is sent.
pub(crate) fn request(request: &Request) -> (usize, Result<Request, DecodeError>) {
    let mut frame = Vec::new();
    encode_request(request, &mut frame);
    let bytes = frame.len();
    (bytes, decode_request(&Bytes::from(frame)).map(|decoded| decoded.message))
}

/// How many bytes travel, and what arrives, when `response` is sent to a request of `kind` for `key`.
pub(crate) fn response(
    response: &Response,
    kind: MessageKind,
    key: &[u8],
) -> (usize, Result<Response, DecodeError>) {
    let mut frame = Vec::new();
    encode_response(response, key, &mut frame);
    let bytes = frame.len();
    (bytes, decode_response(&Bytes::from(frame), kind).map(|decoded| decoded.message))
}
