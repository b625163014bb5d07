//! Lines of bounded length on the daemon's socket.

use std::io;

use bytes::BufMut as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::protocol::LINE_BYTES_MAX;

/// Bytes asked for at once.
const CHUNK: usize = 8 << 10;

/// Splits a byte stream at `\n`. Holds at most [`LINE_BYTES_MAX`] and one chunk.
#[derive(Debug)]
pub(crate) struct LineReader<R> {
    from: R,
    buffer: Vec<u8>,
    ended: bool,
}

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// Longer than [`LINE_BYTES_MAX`]. The rest is not looked for: the connection is of no more use.
    #[error("a line has more than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads from `from`.
    pub(crate) fn new(from: R) -> Self {
        Self { from, buffer: Vec::new(), ended: false }
    }

    /// The next line without its end; `None` after the last. An unfinished last line counts as none.
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        let mut scanned = 0;
        loop {
            if let Some(end) = self.buffer[scanned..].iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(scanned + end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                return if line.len() > LINE_BYTES_MAX { Err(LineError::TooLong) } else { Ok(Some(line)) };
            }
            scanned = self.buffer.len();
            if scanned > LINE_BYTES_MAX {
                return Err(LineError::TooLong);
            }
            if self.ended || !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Ends when the other side has closed the connection, or it broke. Whatever it sends before stays to be read;
    /// past [`LINE_BYTES_MAX`] of that, nothing more is read, and the end is no longer noticed.
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn closed(&mut self) {
        while !self.ended {
            if self.buffer.len() > LINE_BYTES_MAX {
                std::future::pending::<()>().await;
            }
            if !matches!(self.fill().await, Ok(true)) {
                return;
            }
        }
    }

    /// Reads some bytes; `false` at the end.
    async fn fill(&mut self) -> io::Result<bool> {
        // Without the limit a read takes as much as the vector has happened to reserve.
        let read = self.from.read_buf(&mut (&mut self.buffer).limit(CHUNK)).await;
        if !matches!(read, Ok(1..)) {
            self.ended = true;
        }
        read.map(|bytes| bytes > 0)
    }
}

/// Writes one line.
pub(crate) async fn write_line(
    to: &mut (impl AsyncWrite + Unpin),
    value: &impl serde::Serialize,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    to.write_all(&line).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn lines_arrive_whole_and_in_order() {
        let mut lines = LineReader::new(&b"one\n\ntwo\nunfinished"[..]);
        let mut read = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            read.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(read, ["one", "", "two"]);
        assert!(lines.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn long_lines_are_refused_within_bounds() {
        let longest = [vec![b'x'; LINE_BYTES_MAX], b"\n".to_vec()].concat();
        let line = LineReader::new(&longest[..]).next().await.unwrap().unwrap();
        assert_eq!(line.len(), LINE_BYTES_MAX);
        let endless = tokio::io::repeat(b'x');
        let mut lines = LineReader::new(endless);
        assert!(matches!(lines.next().await, Err(LineError::TooLong)));
        assert!(lines.buffer.len() <= LINE_BYTES_MAX + 2 * CHUNK);
        let mut lines = LineReader::new(tokio::io::repeat(b'x'));
        assert!(tokio::time::timeout(Duration::from_millis(50), lines.closed()).await.is_err());
        assert!(lines.buffer.len() <= LINE_BYTES_MAX + 2 * CHUNK);
    }

    #[tokio::test]
    async fn the_end_is_noticed_while_something_else_runs() {
        let (near, far) = tokio::io::duplex(64);
        let mut lines = LineReader::new(near);
        let mut far = far;
        far.write_all(b"early\n").await.unwrap();
        drop(far);
        lines.closed().await;
        assert_eq!(lines.next().await.unwrap().unwrap(), b"early");
    }
}
