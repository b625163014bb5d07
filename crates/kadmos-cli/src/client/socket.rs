//! Asking a running daemon.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::hung_up;
use crate::exit::{Exit, Failure};
use crate::lines::{LineReader, write_line};
use crate::protocol::{Event, Request, RequestLine, RequestSchema};

/// A connection to the daemon's socket. Dropping it cancels what runs.
#[derive(Debug)]
pub(crate) struct SocketClient {
    lines: LineReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl SocketClient {
    /// Connects to the socket at `path`; `None` when no daemon is there.
    ///
    /// Errors: a daemon is there and cannot be reached.
    pub(crate) async fn connect(path: &Path) -> Result<Option<Self>, Failure> {
        match UnixStream::connect(path).await {
            Ok(stream) => {
                let (read, write) = stream.into_split();
                Ok(Some(Self { lines: LineReader::new(read), write }))
            }
            // No directory, no socket, one that a killed daemon has left, or a path longer than sockets can have,
            // on which no daemon can have listened.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::InvalidInput
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(Failure::new(
                Exit::Unreachable,
                format_args!(
                    "cannot reach the daemon at {}: {error}; run as the user whose daemon it is, or use --no-daemon",
                    path.display()
                ),
            )),
        }
    }

    /// Sends `request`, and gives each event to `on_event`.
    pub(crate) async fn run(
        &mut self,
        request: Request,
        timeout: Option<Duration>,
        on_event: &mut dyn FnMut(Event) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let line = RequestLine {
            schema: RequestSchema::V1,
            timeout_seconds: timeout.map(|limit| limit.as_secs_f64()),
            command: request,
        };
        // A daemon that refuses the connection says why, and hangs up before this is written.
        let sent = write_line(&mut self.write, &line).await;
        loop {
            let line = self.lines.next().await.ok().flatten();
            let Some(line) = line else {
                if let Err(error) = &sent {
                    tracing::debug!(%error, "the request was not sent");
                }
                return Err(hung_up());
            };
            match serde_json::from_slice(&line) {
                Ok(Event::End { .. }) => return Ok(()),
                Ok(Event::Failure(failure)) => return Err(failure),
                Ok(event) => on_event(event)?,
                Err(error) => {
                    return Err(Failure::new(
                        Exit::Failed,
                        format_args!(
                            "the daemon answered with what this program does not know ({error}); run both in the same version"
                        ),
                    ));
                }
            }
        }
    }
}
