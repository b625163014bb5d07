//! What the callers of a store and its writer share.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::disk::queue::Queue;
use crate::error::StoreError;
use crate::memory::MemoryLimits;
use crate::memory::state::State;

/// Locks are taken in this order: state, queue, report.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: MemoryLimits,
    state: RwLock<State>,
    queue: Mutex<Queue>,
    /// The writer waits here for the queue to change.
    pub(super) wake: Condvar,
    gate: Gate,
    report: Mutex<DiskReport>,
}

/// What a store on disk has done since it was opened, and how it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskReport {
    /// Files it has.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What opening read: provider records, also those that others replace.
    pub records_loaded: u64,
    /// What opening read: values.
    pub values_loaded: u64,
    /// What opening took, from reading the first file until everything was served.
    pub load_time: Duration,
    /// Bytes that were being written when the process or the machine stopped. Nobody was told that they are kept.
    pub torn_bytes: u64,
    /// Bytes that had been kept and cannot be read any more: the disk has changed or lost them.
    pub lost_bytes: u64,
    /// Files whose beginning cannot be read; what they hold is among [`DiskReport::lost_bytes`].
    pub broken_files: u64,
    /// Records in sound frames that say nothing this version understands, or of providers lost elsewhere.
    pub unreadable_records: u64,
    /// Records that no longer fitted within the limits when the store was opened.
    pub over_limits: u64,
    /// Files in the directory that are none of the store's.
    pub foreign_files: u64,
    /// Groups of values made certain.
    pub commits: u64,
    /// The longest of these took.
    pub slowest_commit: Duration,
    /// Groups of provider records made certain.
    pub flushes: u64,
    /// Provider records in these.
    pub records_written: u64,
    /// Bytes appended for these.
    pub bytes_written: u64,
    /// Files removed because all in them had expired.
    pub files_unlinked: u64,
    /// Files rewritten without what was dead.
    pub compactions: u64,
    /// Writes to disk that failed.
    pub failures: u64,
    /// What the disk said last, unless something was written since.
    pub failing: Option<String>,
}

impl Shared {
    pub(super) fn new(limits: MemoryLimits) -> Self {
        Self {
            limits,
            state: RwLock::default(),
            queue: Mutex::default(),
            wake: Condvar::new(),
            gate: Gate::default(),
            report: Mutex::default(),
        }
    }

    /// A panic while a lock was held, in a caller's visitor for instance, must not take the store with it: readers change
    /// nothing, and writers keep their bookkeeping in step from one statement to the next.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(&self) -> DiskReport {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut DiskReport)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn failed(&self, error: &StoreError) {
        self.count(|report| {
            report.failures += 1;
            report.failing = Some(error.to_string());
        });
    }

    /// Lets everybody in, or tells them why not. The first call counts.
    pub(super) fn open_gate(&self, result: Result<(), StoreError>) {
        self.gate.open(result);
    }

    /// Whether everything is in memory.
    pub(super) fn is_ready(&self) -> bool {
        self.gate.ready.load(Ordering::Acquire)
    }

    /// Why the store could not be read, once that is known.
    pub(super) fn refusal(&self) -> Option<StoreError> {
        self.gate.lock().result.clone()?.err()
    }

    /// Waits until everything is in memory.
    pub(super) async fn ready(&self) -> Result<(), StoreError> {
        if self.is_ready() {
            return Ok(());
        }
        poll_fn(|context| {
            let mut gate = self.gate.lock();
            match &gate.result {
                Some(result) => Poll::Ready(result.clone()),
                None => {
                    if !gate.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                        gate.wakers.push(context.waker().clone());
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Closed at first, opened once.
#[derive(Debug, Default)]
struct Gate {
    ready: AtomicBool,
    state: Mutex<GateState>,
}

#[derive(Debug, Default)]
struct GateState {
    result: Option<Result<(), StoreError>>,
    /// One for each task that waits; servers bound how many those are.
    wakers: Vec<Waker>,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, result: Result<(), StoreError>) {
        let mut state = self.lock();
        if state.result.is_none() {
            self.ready.store(result.is_ok(), Ordering::Release);
            state.result = Some(result);
        }
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}
