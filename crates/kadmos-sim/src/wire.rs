//! The real codec between two nodes, for worlds that want it.

use bytes::Bytes;
use kadmos_core::message::{MessageKind, Request, Response};
use kadmos_core::wire::{DecodeError, decode_request, decode_response, encode_request, encode_response};

/// What arrives when `request` is sent.
pub(crate) fn request(request: &Request) -> Result<Request, DecodeError> {
    let mut frame = Vec::new();
    encode_request(request, &mut frame);
    Ok(decode_request(&Bytes::from(frame))?.message)
}

/// What arrives when `response` is sent to a request of `kind` for `key`.
pub(crate) fn response(response: &Response, kind: MessageKind, key: &[u8]) -> Result<Response, DecodeError> {
    let mut frame = Vec::new();
    encode_response(response, key, &mut frame);
    Ok(decode_response(&Bytes::from(frame), kind)?.message)
}
