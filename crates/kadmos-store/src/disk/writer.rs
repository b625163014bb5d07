//! The thread that writes: when, not what.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kadmos_core::time::UnixTime;

use crate::disk::engine::Engine;
use crate::disk::recovery::{Survey, write_clean};
use crate::disk::shared::Shared;
use crate::error::StoreError;

/// Provider records wait no longer than this to be written. Half of the second within which they are certain; the other
/// half is the disk's.
const FLUSH_INTERVAL: Duration = Duration::from_millis(500);
/// So many do not wait: 2 MiB, of which a disk writes some hundred a second.
pub(super) const FLUSH_RECORDS: usize = 32_768;
/// After the disk failed, provider records are tried again at this pace. Values are tried whenever one comes.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Reads everything, then writes until the store is closed.
pub(super) fn run(mut engine: Engine, survey: Survey, now: UnixTime) {
    let _end = End(Arc::clone(&engine.shared));
    let started = Instant::now();
    let loaded = engine.load(survey, now);
    engine.shared.count(|report| report.load_time = started.elapsed());
    let usable = loaded.is_ok();
    engine.tell();
    engine.shared.open_gate(loaded);
    if usable {
        write(&mut engine);
        end(&mut engine);
    }
}

/// Whoever still waits is told by the end of its channel, also when the writer has panicked.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.open_gate(Err(StoreError::Closed)); // the first call counts
        let mut queue = self.0.queue();
        queue.closing = true;
        queue.journal = Default::default();
        queue.syncs.clear();
    }
}

fn write(engine: &mut Engine) {
    let shared = Arc::clone(&engine.shared);
    let mut flush_due: Option<Instant> = None;
    let mut compacting = false;
    loop {
        let work = wait(&shared, &mut flush_due, compacting);
        if work.values {
            let _ = engine.flush_journal(); // told to those who wait, and counted
        }
        if work.syncs {
            engine.sync();
            flush_due = None;
        }
        if work.claims && !work.syncs {
            flush_due = engine.flush_claims().err().map(|_: StoreError| Instant::now() + RETRY_INTERVAL);
        }
        if work.tended {
            compacting = true;
            engine.note_clock();
            let unlinked = engine.unlink_dead_hours();
            engine.tolerate(unlinked);
        }
        if compacting && !work.any() {
            let more = engine.compact();
            compacting = engine.tolerate(more).unwrap_or(false);
        }
        engine.tell();
        if work.closing {
            return;
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Work {
    values: bool,
    claims: bool,
    syncs: bool,
    tended: bool,
    closing: bool,
}

impl Work {
    fn any(&self) -> bool {
        self.values || self.claims || self.syncs || self.tended || self.closing
    }
}

/// Waits for something to do, unless there is a piece of compaction to do meanwhile.
fn wait(shared: &Shared, flush_due: &mut Option<Instant>, compacting: bool) -> Work {
    let mut queue = shared.queue();
    loop {
        let now = Instant::now();
        if queue.claims.is_empty() {
            *flush_due = None;
        } else {
            flush_due.get_or_insert(now + FLUSH_INTERVAL);
        }
        let due = flush_due.is_some_and(|due| due <= now);
        let work = Work {
            values: !queue.journal.is_empty(),
            claims: due || queue.claims.len() >= FLUSH_RECORDS && shared.report().failing.is_none(),
            syncs: !queue.syncs.is_empty(),
            tended: std::mem::take(&mut queue.tended),
            closing: queue.closing,
        };
        if compacting || work.any() {
            return work;
        }
        let timeout = flush_due.map_or(Duration::from_secs(3_600), |due| due.saturating_duration_since(now));
        queue = match shared.wake.wait_timeout(queue, timeout) {
            Ok((queue, _)) => queue,
            Err(poisoned) => poisoned.into_inner().0,
        };
    }
}

fn end(engine: &mut Engine) {
    engine.note_clock();
    engine.sync();
    let written = write_clean(&*engine.files, &engine.closed());
    engine.tolerate(written);
}
