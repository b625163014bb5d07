//! The daemon's socket: one request at a time per connection, answered with events, cancelled by hanging up.

use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::exit::{Exit, Failure};
use crate::lines::{LineError, LineReader, write_line};
use crate::protocol::{Event, LINE_BYTES_MAX, RequestLine};

/// Connections served at once. The socket is private to one user; 64 shell pipelines are more than anybody types.
const CONNECTIONS_MAX: usize = 64;
/// Events of one command that wait for its reader; then the command waits.
const EVENTS_WAITING_MAX: usize = 64;
/// A reader that takes nothing for this long has stopped: its connection is closed and its command cancelled.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// At the end, commands under way have this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs requests. Dropping the future cancels the request.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Runs `request`, and sends what it finds to `events`.
    fn handle(
        &self,
        request: RequestLine,
        events: mpsc::Sender<Event>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Binds the socket at `path` for its owner only. The caller holds the directory's lock, so that a socket found
/// there was left by a dead process.
pub(crate) fn bind(path: &Path) -> Result<UnixListener, Failure> {
    let bound = remove_stale(path).and_then(|()| UnixListener::bind(path)).and_then(|listener| {
        // The directory is private, but it may have been made by somebody with other habits.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    });
    bound.map_err(|error| {
        Failure::io(
            "make the socket",
            path,
            &error,
            "make the directory writable, or set KADMOS_HOME to another",
        )
    })
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Accepts connections until `stop` is set; then lets commands under way end, and removes nothing: the path is the
/// caller's.
pub(crate) async fn serve(
    listener: UnixListener,
    handler: Arc<impl Handler>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: others end, so it passes.
                    tracing::warn!(%error, "cannot accept a connection on the socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        if connections.len() >= CONNECTIONS_MAX {
            connections.spawn(refuse(stream));
        } else {
            connections.spawn(connection(stream, Arc::clone(&handler), stop.clone()));
        }
    }
    drop(listener);
    let drained =
        tokio::time::timeout(DRAIN_TIMEOUT, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::info!(cancelled = connections.len(), "commands on the socket did not end in time");
    }
}

/// Ends when the stop is set.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone, which is an end as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn refuse(stream: UnixStream) {
    let (_, mut write) = stream.into_split();
    let failure = Failure::new(
        Exit::Refused,
        format_args!("the daemon serves {CONNECTIONS_MAX} commands at once; wait until some have ended"),
    );
    // One line fits into the socket's buffer, so this waits for nobody.
    let _ = send(&mut write, &Event::Failure(failure)).await;
}

async fn connection(stream: UnixStream, handler: Arc<impl Handler>, mut stop: watch::Receiver<bool>) {
    let (read, mut write) = stream.into_split();
    let mut lines = LineReader::new(read);
    loop {
        let line = tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            line = lines.next() => line,
        };
        let request = match line {
            Ok(Some(line)) => parse(&line),
            Ok(None) | Err(LineError::Io(_)) => return,
            Err(LineError::TooLong) => {
                let failure = Failure::usage(format_args!(
                    "read a request of more than {LINE_BYTES_MAX} bytes; send one JSON object a line"
                ));
                let _ = send(&mut write, &Event::Failure(failure)).await;
                return;
            }
        };
        let ended = match request {
            Ok(request) => answer(&*handler, request, &mut lines, &mut write).await,
            Err(failure) => send(&mut write, &Event::Failure(failure)).await,
        };
        if ended.is_err() {
            return;
        }
    }
}

fn parse(line: &[u8]) -> Result<RequestLine, Failure> {
    serde_json::from_slice(line).map_err(|error| {
        Failure::usage(format_args!(
            "read a line that is no request ({error}); expected one such as {{\"schema\":\"kadmos.request/1\",\"command\":{{\"id\":{{}}}}}}"
        ))
    })
}

/// Runs one request to its end. Errors: the client is gone; the request is cancelled.
async fn answer(
    handler: &impl Handler,
    request: RequestLine,
    lines: &mut LineReader<tokio::net::unix::OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let began = Instant::now();
    let (sender, mut events) = mpsc::channel(EVENTS_WAITING_MAX);
    let mut work = pin!(handler.handle(request, sender));
    let mut result = None;
    loop {
        tokio::select! {
            biased;
            Some(event) = events.recv() => send(write, &event).await?,
            ended = &mut work, if result.is_none() => result = Some(ended),
            () = lines.closed() => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
        if result.is_some() && events.is_closed() && events.is_empty() {
            break;
        }
    }
    let last = match result {
        Some(Err(failure)) => Event::Failure(failure),
        _ => Event::End { elapsed_seconds: began.elapsed().as_secs_f64() },
    };
    send(write, &last).await
}

async fn send(write: &mut OwnedWriteHalf, event: &Event) -> io::Result<()> {
    tokio::time::timeout(WRITE_TIMEOUT, write_line(write, event))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::protocol::{PeerEntry, Request};

    /// Provides two peers for `two`, fails for `none`, and for anything else waits for ever and tells of its end.
    struct Fake {
        cancelled: mpsc::Sender<()>,
    }

    struct TellWhenDropped(mpsc::Sender<()>);

    impl Drop for TellWhenDropped {
        fn drop(&mut self) {
            let _ = self.0.try_send(());
        }
    }

    impl Handler for Fake {
        async fn handle(&self, request: RequestLine, events: mpsc::Sender<Event>) -> Result<(), Failure> {
            let Request::FindProviders { content, .. } = request.command else { return Ok(()) };
            match content.as_str() {
                "two" => {
                    for id in ["a", "b"] {
                        let entry = PeerEntry { id: id.into(), addrs: Vec::new() };
                        events.send(Event::Provider(entry)).await.unwrap();
                    }
                    Ok(())
                }
                "none" => Err(Failure::new(Exit::NotFound, "nobody")),
                _ => {
                    let _tell = TellWhenDropped(self.cancelled.clone());
                    let entry = PeerEntry { id: "first".into(), addrs: Vec::new() };
                    events.send(Event::Provider(entry)).await.unwrap();
                    std::future::pending().await
                }
            }
        }
    }

    struct Daemon {
        home: tempfile::TempDir,
        stop: watch::Sender<bool>,
        cancelled: mpsc::Receiver<()>,
        task: tokio::task::JoinHandle<()>,
    }

    fn daemon() -> Daemon {
        let home = tempfile::tempdir().unwrap();
        let listener = bind(&home.path().join("s")).unwrap();
        let (stop, stopped) = watch::channel(false);
        let (sender, cancelled) = mpsc::channel(1);
        let task = tokio::spawn(serve(listener, Arc::new(Fake { cancelled: sender }), stopped));
        Daemon { home, stop, cancelled, task }
    }

    struct Client {
        lines: LineReader<tokio::net::unix::OwnedReadHalf>,
        write: OwnedWriteHalf,
    }

    impl Daemon {
        async fn client(&self) -> Client {
            let (read, write) = UnixStream::connect(self.home.path().join("s")).await.unwrap().into_split();
            Client { lines: LineReader::new(read), write }
        }
    }

    impl Client {
        async fn ask(&mut self, content: &str) {
            let line = format!(
                "{{\"schema\":\"kadmos.request/1\",\"command\":{{\"find-providers\":{{\"content\":\"{content}\",\"count\":0}}}}}}\n"
            );
            self.write.write_all(line.as_bytes()).await.unwrap();
        }

        async fn event(&mut self) -> Option<Event> {
            self.lines.next().await.unwrap().map(|line| serde_json::from_slice(&line).unwrap())
        }
    }

    #[tokio::test]
    async fn requests_are_answered_one_after_the_other() {
        let daemon = daemon();
        let mode = std::fs::metadata(daemon.home.path().join("s")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let mut client = daemon.client().await;
        client.ask("two").await;
        client.ask("none").await;
        assert!(matches!(client.event().await, Some(Event::Provider(peer)) if peer.id == "a"));
        assert!(matches!(client.event().await, Some(Event::Provider(peer)) if peer.id == "b"));
        assert!(matches!(client.event().await, Some(Event::End { .. })));
        assert!(
            matches!(client.event().await, Some(Event::Failure(failure)) if failure.exit == Exit::NotFound)
        );
        client.write.write_all(b"{\"nonsense\":1}\n").await.unwrap();
        assert!(matches!(client.event().await, Some(Event::Failure(failure)) if failure.exit == Exit::Usage));
        client.ask("two").await;
        assert!(matches!(client.event().await, Some(Event::Provider(_))));
    }

    #[tokio::test]
    async fn hanging_up_cancels() {
        let mut daemon = daemon();
        let mut client = daemon.client().await;
        client.ask("for ever").await;
        assert!(matches!(client.event().await, Some(Event::Provider(peer)) if peer.id == "first"));
        drop(client);
        daemon.cancelled.recv().await.unwrap();
    }

    #[tokio::test]
    async fn long_lines_end_the_connection() {
        let daemon = daemon();
        let mut client = daemon.client().await;
        let mut write = client.write;
        let writing = tokio::spawn(async move {
            let _ = write.write_all(&vec![b'x'; 2 * LINE_BYTES_MAX]).await;
        });
        let line = client.lines.next().await.unwrap().unwrap();
        assert!(
            matches!(serde_json::from_slice(&line).unwrap(), Event::Failure(failure) if failure.exit == Exit::Usage)
        );
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn one_connection_too_many_is_refused() {
        let daemon = daemon();
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let mut client = daemon.client().await;
            client.ask("for ever").await;
            assert!(client.event().await.is_some());
            clients.push(client);
        }
        let mut refused = daemon.client().await;
        assert!(
            matches!(refused.event().await, Some(Event::Failure(failure)) if failure.exit == Exit::Refused)
        );
        drop(clients.pop());
    }

    #[tokio::test]
    async fn a_stop_closes_idle_connections_and_frees_the_path() {
        let daemon = daemon();
        let mut client = daemon.client().await;
        client.ask("two").await;
        for _ in 0..3 {
            client.event().await.unwrap();
        }
        daemon.stop.send(true).unwrap();
        daemon.task.await.unwrap();
        assert!(client.event().await.is_none());
        assert!(UnixStream::connect(daemon.home.path().join("s")).await.is_err());
        drop(bind(&daemon.home.path().join("s")).unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_commands_but_not_for_ever() {
        let mut daemon = daemon();
        let mut client = daemon.client().await;
        client.ask("for ever").await;
        assert!(client.event().await.is_some());
        daemon.stop.send(true).unwrap();
        daemon.task.await.unwrap();
        daemon.cancelled.recv().await.unwrap();
    }
}
