//! A stream of length-prefixed messages, driven by polling.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::{AsyncRead, AsyncWrite};
use kadmos_core::wire::frame::{FrameError, FrameReader};

/// Bytes read from a stream at once. A FIND_NODE answer for 20 peers has 2 to 8 KiB; two reads are cheap.
pub(super) const READ_BYTES: usize = 4 << 10;

/// An output buffer that grew larger than this for one message is not kept for the next.
const OUT_BYTES_KEPT_MAX: usize = 16 << 10;

/// Why no further frame can be read.
#[derive(Debug)]
pub(super) enum ReadEnd {
    /// The peer closed its side; `clean` when it did so between two frames.
    Eof {
        /// No frame was cut.
        clean: bool,
    },
    /// The peer's bytes are no frames.
    Frame(FrameError),
    /// The stream broke. It must not be polled again: a stream whose negotiation failed panics then.
    Io(io::Error),
}

/// One stream and its two buffers.
#[derive(Debug)]
pub(super) struct Framed<S> {
    io: S,
    reader: FrameReader,
    /// Bytes read past the end of the last frame, from `rest_at` on; less than [`READ_BYTES`].
    rest: Vec<u8>,
    rest_at: usize,
    out: Vec<u8>,
    written: usize,
    bytes_read: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Framed<S> {
    /// A stream whose frames have at most `frame_bytes_max` bytes.
    pub(super) fn new(io: S, frame_bytes_max: usize) -> Self {
        Self {
            io,
            reader: FrameReader::new(frame_bytes_max),
            rest: Vec::new(),
            rest_at: 0,
            out: Vec::new(),
            written: 0,
            bytes_read: 0,
        }
    }

    /// The next frame, read through `scratch`.
    ///
    /// Errors: [`ReadEnd`]; then the stream must be dropped.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<Result<Bytes, ReadEnd>> {
        loop {
            if self.rest_at < self.rest.len() {
                let mut input = &self.rest[self.rest_at..];
                let frame = self.reader.read(&mut input).map_err(ReadEnd::Frame)?;
                self.rest_at = self.rest.len() - input.len();
                if let Some(frame) = frame {
                    return Poll::Ready(Ok(frame));
                }
            }
            self.rest = Vec::new();
            self.rest_at = 0;
            let count = ready!(Pin::new(&mut self.io).poll_read(cx, scratch)).map_err(ReadEnd::Io)?;
            if count == 0 {
                return Poll::Ready(Err(ReadEnd::Eof { clean: self.reader.is_between_frames() }));
            }
            self.bytes_read += count as u64;
            let mut input = &scratch[..count];
            if let Some(frame) = self.reader.read(&mut input).map_err(ReadEnd::Frame)? {
                self.rest = input.to_vec();
                return Poll::Ready(Ok(frame));
            }
        }
    }

    /// Where the next message is written to. Only between messages.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.out.is_empty(), "the last message was flushed");
        &mut self.out
    }

    /// Writes and flushes what [`Framed::out`] was given.
    ///
    /// Errors: the stream must then be dropped.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.written = 0;
        if self.out.capacity() > OUT_BYTES_KEPT_MAX {
            self.out = Vec::new();
        } else {
            self.out.clear();
        }
        Poll::Ready(Ok(()))
    }

    /// Closes our side. Errors: the stream must then be dropped.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }

    /// Bytes the peer has sent so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Bytes of the peer's held here.
    pub(super) fn buffered(&self) -> usize {
        self.reader.buffered() + self.rest.len() - self.rest_at
    }
}
