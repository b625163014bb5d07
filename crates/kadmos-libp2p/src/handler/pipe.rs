//! A stream in memory, for tests of both halves of a connection: one end is polled, the other is the test.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures::{AsyncRead, AsyncWrite};

/// The end under test.
#[derive(Debug)]
pub(super) struct Pipe(Arc<Mutex<State>>);

/// The test's end.
#[derive(Clone, Debug)]
pub(super) struct Remote(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    to_pipe: VecDeque<u8>,
    to_remote: Vec<u8>,
    /// Bytes the remote has not taken that make a write wait.
    capacity: usize,
    remote_closed: bool,
    remote_reset: bool,
    closed: bool,
    dropped: bool,
    waker: Option<Waker>,
}

/// A stream whose remote takes up to `capacity` bytes before it has to read.
pub(super) fn pipe(capacity: usize) -> (Pipe, Remote) {
    let state = Arc::new(Mutex::new(State { capacity, ..State::default() }));
    (Pipe(Arc::clone(&state)), Remote(state))
}

impl Remote {
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock().unwrap();
        change(&mut state);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn write(&self, bytes: &[u8]) {
        self.change(|state| state.to_pipe.extend(bytes));
    }

    /// What was written since the last call.
    pub(super) fn read(&self) -> Vec<u8> {
        let mut read = Vec::new();
        self.change(|state| read = std::mem::take(&mut state.to_remote));
        read
    }

    pub(super) fn close(&self) {
        self.change(|state| state.remote_closed = true);
    }

    pub(super) fn reset(&self) {
        self.change(|state| state.remote_reset = true);
    }

    /// Whether the end under test was closed properly.
    pub(super) fn sees_end(&self) -> bool {
        self.0.lock().unwrap().closed
    }

    /// Whether the end under test was let go without being closed.
    pub(super) fn sees_reset(&self) -> bool {
        let state = self.0.lock().unwrap();
        state.dropped && !state.closed
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock().unwrap();
        if state.remote_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if state.to_pipe.is_empty() && !state.remote_closed {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = buffer.len().min(state.to_pipe.len());
        for (to, from) in buffer.iter_mut().zip(state.to_pipe.drain(..count)) {
            *to = from;
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock().unwrap();
        if state.remote_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let count = bytes.len().min(state.capacity - state.to_remote.len());
        if count == 0 {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.to_remote.extend(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().unwrap().closed = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.0.lock().unwrap().dropped = true;
    }
}
