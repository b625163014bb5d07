//! Length-prefixed frames: an unsigned varint, then so many bytes.

use alloc::vec::Vec;

use bytes::Bytes;

use super::encode::{put_request, put_response, request_len, response_len};
use super::varint::{self, VarintError};
use crate::error::Fault;
use crate::event::Refusal;
use crate::message::{Request, Response};

/// Longest varint.
const HEADER_BYTES_MAX: usize = 10;

/// Cuts a stream of bytes into frames, as the bytes arrive.
///
/// ```
/// # use kadmos_core::wire::frame::FrameReader;
/// let mut reader = FrameReader::new(1024);
/// // What one read from the stream gave: a frame, and the beginning of another.
/// let mut chunk: &[u8] = &[2, b'h', b'i', 3, b'y'];
/// let mut frames = Vec::new();
/// while let Some(frame) = reader.read(&mut chunk)? {
///     frames.push(frame);
/// }
/// assert_eq!(frames, [&b"hi"[..]]);
/// assert!(!reader.is_between_frames()); // the end of the stream now would cut a frame
/// # Ok::<(), kadmos_core::wire::frame::FrameError>(())
/// ```
///
/// Memory: at most one frame; room is made as bytes arrive, at most twice what has arrived, never ahead of them. A
/// length of 4 MiB alone allocates nothing, and nothing is kept between frames.
#[derive(Clone, Debug)]
pub struct FrameReader {
    bytes_max: usize,
    header: [u8; HEADER_BYTES_MAX],
    header_len: usize,
    /// Bytes of the current frame, once its header is complete.
    body_len: Option<usize>,
    body: Vec<u8>,
}

impl FrameReader {
    /// A reader of frames of at most `bytes_max` bytes: `protocol.message_bytes_max`.
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, header: [0; HEADER_BYTES_MAX], header_len: 0, body_len: None, body: Vec::new() }
    }

    /// Consumes bytes from the front of `input` until a frame is complete, and returns it; `None` when `input` is
    /// used up first. Call it until `None`, then with the next bytes.
    ///
    /// Errors: [`FrameError`]; the stream must then be reset, every further call gives the same error.
    /// Cost: each byte is copied once, and once more each time a frame that arrives in parts doubles.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Bytes>, FrameError> {
        let body_len = match self.body_len {
            Some(body_len) => body_len,
            None => match self.read_header(input)? {
                Some(body_len) => body_len,
                None => return Ok(None),
            },
        };
        let missing = body_len - self.body.len();
        let (taken, rest) = input.split_at(missing.min(input.len()));
        *input = rest;
        if taken.len() == missing {
            self.reserve(missing, body_len);
            self.body.extend_from_slice(taken);
            self.body_len = None;
            return Ok(Some(core::mem::take(&mut self.body).into()));
        }
        self.reserve(taken.len(), body_len);
        self.body.extend_from_slice(taken);
        self.body_len = Some(body_len);
        Ok(None)
    }

    /// Whether all bytes so far were whole frames: the stream may end here.
    pub const fn is_between_frames(&self) -> bool {
        self.header_len == 0 && self.body_len.is_none()
    }

    /// Bytes held for an unfinished frame.
    pub const fn buffered(&self) -> usize {
        self.header_len + self.body.len()
    }

    fn read_header(&mut self, input: &mut &[u8]) -> Result<Option<usize>, FrameError> {
        loop {
            match varint::read(&self.header[..self.header_len]) {
                Ok((len, _)) => {
                    let body_len = usize::try_from(len).ok().filter(|len| *len <= self.bytes_max);
                    let body_len = body_len.ok_or(FrameError::TooLarge { len, max: self.bytes_max })?;
                    self.header_len = 0;
                    return Ok(Some(body_len));
                }
                Err(VarintError::Overflow) => return Err(FrameError::Length),
                Err(VarintError::Truncated) => {}
            }
            let Some((byte, rest)) = input.split_first() else { return Ok(None) };
            *input = rest;
            // After ten bytes a varint has ended or overflowed, so there is room.
            self.header[self.header_len] = *byte;
            self.header_len += 1;
        }
    }

    /// Makes room for `more` bytes: by doubling, but never past the frame's length.
    fn reserve(&mut self, more: usize, body_len: usize) {
        let needed = self.body.len() + more;
        if self.body.capacity() < needed {
            let capacity = needed.max(self.body.capacity() * 2).min(body_len);
            self.body.reserve_exact(capacity - self.body.len());
        }
    }
}

/// Why a stream holds no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame longer than is taken.
    #[error("a frame of {len} bytes, expected at most {max}")]
    TooLarge {
        /// The length read.
        len: u64,
        /// `protocol.message_bytes_max`.
        max: usize,
    },
    /// The length is no varint of at most 64 bits.
    #[error("the frame's length has more than 64 bits")]
    Length,
}

impl FrameError {
    /// Always the peer's: it sent the bytes.
    pub const fn fault(&self) -> Fault {
        Fault::Peer
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => {
                "reset the stream; a network of larger messages needs a larger protocol.message_bytes_max"
            }
            Self::Length => "reset the stream and ask another peer; report the implementation if it repeats",
        }
    }

    /// The code under which the refusal is counted.
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::TooLarge { .. } => Refusal::FrameTooLarge,
            Self::Length => Refusal::Malformed,
        }
    }
}

/// Appends `request` as a frame. Cost: at most one growth of `out`.
pub fn write_request(request: &Request, out: &mut Vec<u8>) {
    let len = request_len(request);
    write_len(len, out);
    put_request(request, len, out);
}

/// Appends `response`, with the request's `key` echoed, as a frame. Cost: at most one growth of `out`.
pub fn write_response(response: &Response, key: &[u8], out: &mut Vec<u8>) {
    let len = response_len(response, key);
    write_len(len, out);
    put_response(response, key, len, out);
}

/// Appends a frame's header and makes room for its body.
fn write_len(len: usize, out: &mut Vec<u8>) {
    out.reserve(varint::len(len as u64) + len);
    varint::write(out, len as u64);
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    fn frames(reader: &mut FrameReader, mut input: &[u8]) -> Result<Vec<Bytes>, FrameError> {
        let mut frames = Vec::new();
        while let Some(frame) = reader.read(&mut input)? {
            frames.push(frame);
        }
        assert!(input.is_empty(), "a reader that wants more has read all");
        Ok(frames)
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        let mut reader = FrameReader::new(4 << 20);
        assert_eq!(frames(&mut reader, &[0x80, 0x80, 0x80, 0x02]), Ok(vec![])); // 4 MiB
        assert_eq!(reader.body.capacity(), 0);
        for total in 1..1_000 {
            assert_eq!(frames(&mut reader, &[7]), Ok(vec![]));
            assert_eq!(reader.buffered(), total);
            assert!(reader.body.capacity() <= total * 2);
        }
    }

    #[test]
    fn wrong_lengths_are_refused_for_good() {
        let large: &[(&[u8], u64)] = &[
            (&[0x81, 0x08], 1_025),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], u64::from(u32::MAX)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], u64::MAX),
        ];
        for (input, len) in large {
            let mut reader = FrameReader::new(1_024);
            let error = FrameError::TooLarge { len: *len, max: 1_024 };
            assert_eq!(frames(&mut reader, input), Err(error));
            assert_eq!(frames(&mut reader, &[0; 64]), Err(error));
            assert_eq!(error.refusal(), Refusal::FrameTooLarge);
        }
        let mut reader = FrameReader::new(1_024);
        assert_eq!(frames(&mut reader, &[0x80; 64]), Err(FrameError::Length));
        assert_eq!(frames(&mut reader, &[0]), Err(FrameError::Length));
    }

    #[test]
    fn empty_frames_are_frames() {
        let mut reader = FrameReader::new(1_024);
        assert_eq!(
            frames(&mut reader, &[0, 0, 1, 9, 0]),
            Ok(vec![Bytes::new(), Bytes::new(), Bytes::from_static(&[9]), Bytes::new()])
        );
        assert!(reader.is_between_frames());
    }

    proptest! {
        #[test]
        fn frames_survive_any_chunking(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            cuts in proptest::collection::vec(1usize..200, 1..64),
        ) {
            let mut stream = Vec::new();
            for body in &bodies {
                varint::write(&mut stream, body.len() as u64);
                stream.extend(body);
            }
            let mut reader = FrameReader::new(300);
            let (mut rest, mut read, mut cuts) = (stream.as_slice(), Vec::new(), cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (chunk, tail) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                read.extend(frames(&mut reader, chunk).unwrap());
                prop_assert!(reader.body.capacity() <= 300);
                rest = tail;
            }
            prop_assert!(reader.is_between_frames());
            prop_assert_eq!(reader.body.capacity(), 0);
            prop_assert_eq!(read, bodies);
        }
    }
}
