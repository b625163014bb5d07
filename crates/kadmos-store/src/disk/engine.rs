//! The one who writes: takes what is queued and makes it certain. No threads and no clocks in here.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use kadmos_core::time::UnixTime;

use crate::disk::compaction::{ClaimsCompaction, JournalCompaction};
use crate::disk::files::Files;
use crate::disk::format::{FileKind, FileName, Header, JournalEntry};
use crate::disk::queue::{ClaimChange, ClaimQueue, ClockMark};
use crate::disk::recovery::Closed;
use crate::disk::segment::{Appender, Segment, Spoilt};
use crate::disk::shared::Shared;
use crate::error::StoreError;
use crate::memory::clock::STEP_MIN;
use crate::memory::providers::hour_of;
use crate::memory::state::State;

/// A file of provider records is closed at this size: compaction rewrites one hour's files, and reads no more at once
/// than a burst fills in a minute.
pub(super) const SEGMENT_BYTES_MAX: u64 = 16 << 20;
/// Hours whose files are open at once. All records live equally long, so that one or two are; a clock that is corrected
/// or a change of the lifetime brings more.
const ACTIVE_HOURS_MAX: usize = 4;
/// Files in a row that could not be made certain, until the disk counts as broken and nothing is taken any more.
const SPOILT_FILES_MAX: u32 = 8;
/// The clock is written down this often, in seconds of store time; after a restart it goes on from there.
const CLOCK_INTERVAL: u64 = 600;

/// All files, and the ones being written.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) files: Arc<dyn Files>,
    /// Journals by id, the last may be open.
    pub(super) journals: BTreeMap<u64, u64>,
    pub(super) journal: Option<Appender>,
    /// Files of provider records by hour.
    pub(super) hours: BTreeMap<u32, Hour>,
    pub(super) active: BTreeMap<u32, Segment>,
    /// Bytes that are no frames, of the files that have some.
    pub(super) broken: BTreeMap<FileName, u64>,
    pub(super) next_id: u64,
    pub(super) next_sequence: u64,
    pub(super) salts: Salts,
    pub(super) clock: ClockMark,
    pub(super) compacting: Option<ClaimsCompaction>,
    pub(super) compacting_journal: Option<JournalCompaction>,
    spoilt: u32,
}

/// The files of one hour.
#[derive(Debug, Default)]
pub(super) struct Hour {
    /// Length by id. Ids ascend as the sequences in them do.
    pub(super) files: BTreeMap<u64, u64>,
    pub(super) records: u64,
    /// Removals, and records that expire in another hour. They keep the files until the hour is over: what they undo may
    /// still be in other files.
    pub(super) pinned: u64,
}

/// Where salts come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Salts(pub(super) u64);

impl Salts {
    /// Unknown to others: from the random keys that every hash map of the standard library has.
    pub(super) fn random() -> Self {
        use std::hash::{BuildHasher, Hasher};
        Self(std::hash::RandomState::new().build_hasher().finish())
    }

    fn next(&mut self, id: u64) -> u64 {
        // Multiplication by an odd number, so that the salts of a store differ.
        self.0 ^ id.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Engine {
    pub(super) fn new(shared: Arc<Shared>, files: Arc<dyn Files>, salts: Salts) -> Self {
        Self {
            shared,
            files,
            journals: BTreeMap::new(),
            journal: None,
            hours: BTreeMap::new(),
            active: BTreeMap::new(),
            broken: BTreeMap::new(),
            next_id: 1,
            next_sequence: 1,
            salts,
            clock: ClockMark::default(),
            compacting: None,
            compacting_journal: None,
            spoilt: 0,
        }
    }

    /// Writes what the journal's queue holds and tells those who wait for it.
    pub(super) fn flush_journal(&mut self) -> Result<(), StoreError> {
        let work = std::mem::take(&mut self.shared.queue().journal);
        if work.is_empty() {
            return Ok(());
        }
        let started = std::time::Instant::now();
        match self.write_journal(&work.payloads) {
            Ok(()) => {
                self.shared.count(|report| {
                    report.failing = None;
                    report.commits += 1;
                    report.slowest_commit = report.slowest_commit.max(started.elapsed());
                });
                for waiter in work.waiters {
                    let _ = waiter.send(Ok(())); // who no longer waits has its write all the same
                }
                Ok(())
            }
            Err(error) => {
                let error = unavailable(&error);
                // What came meanwhile stands on what failed, so all of it goes, last first.
                let mut state = self.shared.write();
                let later = std::mem::take(&mut self.shared.queue().journal);
                for (key, before) in work.undo.into_iter().chain(later.undo).rev() {
                    state.restore_value(&key, before);
                }
                drop(state);
                self.clock = ClockMark::default(); // it may have been among what failed
                self.compacting_journal = None; // it may have copied what failed
                self.shared.failed(&error);
                for waiter in work.waiters.into_iter().chain(later.waiters) {
                    let _ = waiter.send(Err(error.clone()));
                }
                Err(error)
            }
        }
    }

    /// Writes the provider records queued; keeps them queued when that fails.
    pub(super) fn flush_claims(&mut self) -> Result<(), StoreError> {
        let work = std::mem::take(&mut self.shared.queue().claims);
        if work.is_empty() {
            return Ok(());
        }
        let before: u64 = self.bytes_written();
        match self.write_claims(&work) {
            Ok(()) => {
                let written = self.bytes_written() - before;
                self.shared.count(|report| {
                    report.failing = None;
                    report.flushes += 1;
                    report.records_written += work.len() as u64;
                    report.bytes_written += written;
                });
                Ok(())
            }
            Err(error) => {
                let error = unavailable(&error);
                self.active.clear(); // numbers may be missing in them
                self.shared.queue().claims.put_back(work);
                self.shared.failed(&error);
                Err(error)
            }
        }
    }

    /// Everything that is queued, then those who wait for that.
    pub(super) fn sync(&mut self) {
        let waiting = std::mem::take(&mut self.shared.queue().syncs);
        let values = self.flush_journal();
        let claims = self.flush_claims(); // also when the former failed
        let result = values.and(claims);
        for waiter in waiting {
            let _ = waiter.send(result.clone());
        }
    }

    /// Queues the clock when it has gone on since it was last written down.
    pub(super) fn note_clock(&mut self) {
        let state = self.shared.read();
        let (ahead, tended) = state.clock.kept();
        let due = tended.as_secs() >= self.clock.tended.as_secs() + CLOCK_INTERVAL;
        if ahead != self.clock.ahead || due {
            self.clock = ClockMark { ahead, tended };
            self.shared.queue().journal.push(&JournalEntry::Clock { ahead, tended });
        }
    }

    /// Lets go of hours that are over, and of those that hold nothing live. Cost: one unlink a file.
    pub(super) fn unlink_dead_hours(&mut self) -> io::Result<()> {
        let mut dead = self.dead_hours();
        if dead.is_empty() {
            return Ok(());
        }
        // What replaced the records of a dead hour may be queued only; and what undoes others may be queued for that hour.
        if self.flush_claims().is_err() {
            return Ok(()); // counted; tried again with the next look at the clocks
        }
        let still = self.dead_hours();
        dead.retain(|hour| still.contains(hour));
        for hour in dead {
            if self.compacting.as_ref().is_some_and(|compaction| compaction.hour == hour) {
                self.compacting = None; // its target is among the files
            }
            self.active.remove(&hour);
            let Some(files) = self.hours.get_mut(&hour) else { continue };
            while let Some((id, _)) = files.files.first_key_value() {
                let id = *id;
                remove(&*self.files, FileName { kind: FileKind::Claims { hour }, id })?;
                files.files.remove(&id);
                self.shared.count(|report| report.files_unlinked += 1);
            }
            self.hours.remove(&hour);
        }
        Ok(())
    }

    fn dead_hours(&self) -> Vec<u32> {
        let state = self.shared.read();
        let (_, tended) = state.clock.kept();
        let is_dead = |hour, files| is_over(hour, tended) || self.holds_nothing(&state, hour, files);
        self.hours.iter().filter(|(hour, files)| is_dead(**hour, files)).map(|(hour, _)| *hour).collect()
    }

    fn holds_nothing(&self, state: &State, hour: u32, files: &Hour) -> bool {
        files.records > 0 && files.pinned == 0 && state.claims_in(hour) == 0
    }

    pub(super) fn new_name(&mut self, kind: FileKind) -> (FileName, u64) {
        let id = self.next_id;
        self.next_id += 1;
        (FileName { kind, id }, self.salts.next(id))
    }

    /// Where values are written now.
    pub(super) fn open_journal(&mut self) -> io::Result<&mut Appender> {
        if self.journal.is_none() {
            if self.spoilt >= SPOILT_FILES_MAX {
                return Err(io::Error::other("the disk failed again and again; nothing is written any more"));
            }
            let (name, salt) = self.new_name(FileKind::Journal);
            let first = self.shared.read().last_version();
            let appender = Appender::create(&*self.files, name, Header { first, salt })?;
            self.files.sync_names()?;
            self.journals.insert(name.id, appender.len);
            self.journal = Some(appender);
        }
        Ok(self.journal.as_mut().expect("it was just made where there was none"))
    }

    pub(super) fn write_journal(&mut self, payloads: &[Vec<u8>]) -> io::Result<()> {
        let journal = self.open_journal()?;
        for payload in payloads {
            journal.push(0, payload);
        }
        if let Err((error, spoilt)) = journal.write() {
            if spoilt == Spoilt::Yes {
                self.spoil_journal();
            }
            return Err(error);
        }
        if let Err(error) = journal.sync() {
            self.spoil_journal();
            return Err(error);
        }
        let (id, len) = (journal.name.id, journal.len);
        self.journals.insert(id, len);
        self.spoilt = 0;
        Ok(())
    }

    fn spoil_journal(&mut self) {
        self.journal = None;
        self.spoilt += 1;
    }

    fn write_claims(&mut self, work: &ClaimQueue) -> io::Result<()> {
        let mut made = false;
        let mut current: Option<u32> = None;
        for (key, provider, change) in work.iter() {
            let last = self.hours.keys().next_back().copied();
            let hour = match (change, last) {
                (ClaimChange::Added(dates), _) | (ClaimChange::AddedShorter(dates), None) => {
                    hour_of(dates.expires)
                }
                // Where they outlive every record before them.
                (ClaimChange::AddedShorter(dates), Some(last)) => hour_of(dates.expires).max(last),
                (ClaimChange::Removed, Some(last)) => last,
                (ClaimChange::Removed, None) => continue, // nothing is on disk that could come back
            };
            if current != Some(hour) {
                if let Some(segment) = current.and_then(|current| self.active.get_mut(&current)) {
                    segment.end_frame();
                }
                current = Some(hour);
            }
            if self.active.get(&hour).is_some_and(Segment::is_full) {
                self.close(hour)?;
            }
            if !self.active.contains_key(&hour) {
                self.make_segment(hour)?;
                made = true;
            }
            let sequence = self.next_sequence;
            self.next_sequence += 1;
            if let Some(segment) = self.active.get_mut(&hour) {
                segment.push(key, provider, change.dates(), sequence);
            }
        }
        if made {
            self.files.sync_names()?;
        }
        for (hour, segment) in &mut self.active {
            segment.write_and_sync()?;
            account(&mut self.hours, *hour, segment);
        }
        Ok(())
    }

    fn make_segment(&mut self, hour: u32) -> io::Result<()> {
        if self.active.len() >= ACTIVE_HOURS_MAX {
            // Any will do: it is opened anew when it is needed.
            if let Some(first) = self.active.keys().next().copied() {
                self.close(first)?;
            }
        }
        let (name, salt) = self.new_name(FileKind::Claims { hour });
        let appender = Appender::create(&*self.files, name, Header { first: self.next_sequence, salt })?;
        self.hours.entry(hour).or_default().files.insert(name.id, appender.len);
        self.active.insert(hour, Segment::new(appender, hour));
        Ok(())
    }

    /// Ends the file that is being written for `hour`.
    pub(super) fn close(&mut self, hour: u32) -> io::Result<()> {
        if let Some(mut segment) = self.active.remove(&hour) {
            segment.write_and_sync()?;
            account(&mut self.hours, hour, &mut segment);
        }
        Ok(())
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        let claims = self.hours.values().flat_map(|hour| hour.files.values());
        self.journals.values().chain(claims).sum()
    }

    /// All files as they are.
    pub(super) fn closed(&self) -> BTreeMap<FileName, Closed> {
        let journals =
            self.journals.iter().map(|(id, len)| (FileName { kind: FileKind::Journal, id: *id }, *len));
        let claims = self.hours.iter().flat_map(|(hour, files)| {
            let kind = FileKind::Claims { hour: *hour };
            files.files.iter().map(move |(id, len)| (FileName { kind, id: *id }, *len))
        });
        let broken = |name| self.broken.get(&name).copied().unwrap_or(0);
        journals.chain(claims).map(|(name, len)| (name, Closed { len, broken: broken(name) })).collect()
    }

    /// Tells the report of the files.
    pub(super) fn tell(&self) {
        let files = self.journals.len() + self.hours.values().map(|hour| hour.files.len()).sum::<usize>();
        let bytes = self.bytes();
        self.shared.count(|report| (report.files, report.bytes) = (files, bytes));
    }

    /// Counts an error of the upkeep, which is tried again.
    pub(super) fn tolerate<T>(&self, result: io::Result<T>) -> Option<T> {
        result.map_err(|error| self.shared.failed(&unavailable(&error))).ok()
    }

    /// Ever appended to files of provider records that are open now; differences of it tell what a flush wrote.
    fn bytes_written(&self) -> u64 {
        self.hours.values().flat_map(|hour| hour.files.values()).sum()
    }
}

/// An hour whose records have expired for good: by the store's clock, with the step it does not notice added.
pub(super) fn is_over(hour: u32, tended: UnixTime) -> bool {
    let end = (u64::from(hour) + 1) * 3_600;
    end + STEP_MIN.as_secs() <= tended.as_secs()
}

fn account(hours: &mut BTreeMap<u32, Hour>, hour: u32, segment: &mut Segment) {
    let files = hours.entry(hour).or_default();
    files.files.insert(segment.appender.name.id, segment.appender.len);
    files.records += std::mem::take(&mut segment.records);
    files.pinned += std::mem::take(&mut segment.pinned);
}

/// Removes a file; one that is gone already is fine.
pub(super) fn remove(files: &dyn Files, name: FileName) -> io::Result<()> {
    match files.remove(&name.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

pub(super) fn unavailable(error: &io::Error) -> StoreError {
    StoreError::Unavailable { reason: error.to_string() }
}
