//! Rewriting files of which most is dead, a piece at a time, between writes.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use kadmos_core::{AddrList, Peer, PeerId, PeerInfo};

use crate::disk::engine::{Engine, Hour, remove};
use crate::disk::format::{ClaimEntry, FileKind, FileName, Header, JournalEntry, PAYLOAD_MAX, addrs};
use crate::disk::queue::value_entry;
use crate::disk::recovery::{open_scan, read_base};
use crate::disk::scan::Scan;
use crate::disk::segment::{Appender, Segment};
use crate::memory::log::ClaimDates;
use crate::memory::providers::hour_of;

/// Read or written in one step; some milliseconds.
const STEP_BYTES: usize = 256 << 10;
/// An hour with fewer records than this is left alone.
const RECORDS_MIN: u64 = 1_024;
/// An hour with more files than this is rewritten into one: each restart begins a new one.
const FILES_MAX: usize = 8;
/// Journals may have this many bytes beyond twice what they hold.
const JOURNAL_SLACK: u64 = 4 << 20;
/// Journals at once, for the same reason as [`FILES_MAX`].
const JOURNALS_MAX: usize = 8;

/// The files of one hour, being rewritten into one without what is dead.
#[derive(Debug)]
pub(super) struct ClaimsCompaction {
    pub(super) hour: u32,
    /// Still to be read, by id.
    sources: Vec<u64>,
    reading: Option<Source>,
    target: Option<Segment>,
    /// The target's, and the salt for it. The name is taken at the start: within an hour ids must ascend as sequences do,
    /// and what is added meanwhile is written to a file of its own.
    name: (FileName, u64),
    /// All that is replaced.
    replaced: Vec<u64>,
    /// No frame's sequence is below.
    first: u64,
    records_before: u64,
    pinned_before: u64,
}

#[derive(Debug)]
struct Source {
    scan: Scan,
    providers: BTreeMap<u32, PeerInfo>,
}

/// Values being written once more, so that older journals can go.
#[derive(Debug)]
pub(super) struct JournalCompaction {
    after: Option<Bytes>,
}

impl Engine {
    /// Does a piece of what is to be done; tells whether there is more.
    pub(super) fn compact(&mut self) -> io::Result<bool> {
        if self.compacting_journal.is_some() {
            let result = self.copy_values();
            if result.is_err() {
                self.compacting_journal = None;
            }
            return result.map(|()| true);
        }
        if let Some(mut compaction) = self.compacting.take() {
            match self.copy_claims(&mut compaction) {
                Ok(true) => self.compacting = Some(compaction),
                Ok(false) => {}
                Err(error) => {
                    self.abandon(&compaction);
                    return Err(error);
                }
            }
            return Ok(true);
        }
        if self.journal_is_wasteful() {
            self.begin_journal()?;
            return Ok(true);
        }
        if let Some(hour) = self.wasteful_hour() {
            self.begin_claims(hour)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Begins to rewrite something, wasteful or not.
    #[cfg(test)]
    pub(super) fn force_compaction(&mut self) {
        if self.compacting.is_some() || self.compacting_journal.is_some() {
            return;
        }
        if self.next_id.is_multiple_of(2) {
            let _ = self.begin_journal();
        } else if let Some(hour) = self.hours.keys().next().copied() {
            let _ = self.begin_claims(hour);
        }
    }

    fn begin_claims(&mut self, hour: u32) -> io::Result<()> {
        self.close(hour)?;
        let name = self.new_name(FileKind::Claims { hour });
        if let Some(files) = self.hours.get(&hour) {
            self.compacting = Some(ClaimsCompaction {
                hour,
                name,
                replaced: files.files.keys().copied().collect(),
                sources: files.files.keys().rev().copied().collect(),
                reading: None,
                target: None,
                first: u64::MAX,
                records_before: files.records,
                pinned_before: files.pinned,
            });
        }
        Ok(())
    }

    /// Half of it dead, or in many files.
    fn wasteful_hour(&self) -> Option<u32> {
        let state = self.shared.read();
        // What is pinned is kept, and so no reason: the hour would be rewritten for ever.
        let wasteful = |hour: u32, files: &Hour| {
            files.files.len() > FILES_MAX
                || files.records >= RECORDS_MIN && state.claims_in(hour) * 2 + files.pinned < files.records
        };
        self.hours.iter().filter(|(hour, files)| wasteful(**hour, files)).map(|(hour, _)| *hour).next_back()
    }

    fn abandon(&mut self, compaction: &ClaimsCompaction) {
        if let Some(target) = &compaction.target {
            let id = target.appender.name.id;
            // When it cannot be removed it stays: everything in it is true.
            let removed = remove(&*self.files, target.appender.name);
            if let Some(hour) = self.hours.get_mut(&compaction.hour)
                && removed.is_ok()
            {
                hour.files.remove(&id);
            }
        }
    }

    /// Tells whether there is more to do.
    fn copy_claims(&mut self, compaction: &mut ClaimsCompaction) -> io::Result<bool> {
        let mut copied = 0;
        let hour = compaction.hour;
        while copied < STEP_BYTES {
            let Some(source) = &mut compaction.reading else {
                let Some(id) = compaction.sources.pop() else {
                    self.end_claims(compaction)?;
                    return Ok(false);
                };
                let name = FileName { kind: FileKind::Claims { hour: compaction.hour }, id };
                // A header that is broken was counted when the store was opened.
                if let Some((header, scan)) = open_scan(&*self.files, name)? {
                    compaction.first = compaction.first.min(header.first);
                    compaction.reading = Some(Source { scan, providers: BTreeMap::new() });
                }
                continue;
            };
            let Some(frame) = source.scan.next()? else {
                compaction.reading = None;
                continue;
            };
            copied += frame.payload.len();
            let mut input = &frame.payload[..];
            let Some(base) = read_base(&mut input) else { continue };
            let mut kept = Vec::new();
            {
                let state = self.shared.read();
                while let Some(entry) = ClaimEntry::read(&mut input, base) {
                    source.take(entry, &mut kept, |key, peer, dates| {
                        hour_of(dates.expires) != hour || state.has_claim(key, peer, dates)
                    });
                }
            }
            if kept.is_empty() {
                continue;
            }
            if compaction.target.is_none() {
                let (name, salt) = compaction.name;
                let header = Header { first: compaction.first, salt };
                let appender = Appender::create(&*self.files, name, header)?;
                self.files.sync_names()?;
                self.hours.entry(compaction.hour).or_default().files.insert(name.id, appender.len);
                compaction.target = Some(Segment::new(appender, compaction.hour));
            }
            if let Some(target) = &mut compaction.target {
                for (key, provider, dates) in kept {
                    target.push(key, &provider, dates, frame.sequence);
                }
                target.end_frame();
            }
        }
        if let Some(target) = &mut compaction.target {
            target.write_and_sync()?;
        }
        Ok(true)
    }

    fn end_claims(&mut self, compaction: &mut ClaimsCompaction) -> io::Result<()> {
        let mut records = 0;
        let mut pinned = 0;
        if let Some(target) = &mut compaction.target {
            target.write_and_sync()?;
            (records, pinned) = (target.records, target.pinned);
            if let Some(hour) = self.hours.get_mut(&compaction.hour) {
                hour.files.insert(target.appender.name.id, target.appender.len);
            }
        }
        // What replaced the records that were left out may be queued only.
        self.flush_claims().map_err(io::Error::other)?;
        // From here on it may be the only copy: it stays, also when one of the others cannot be removed.
        compaction.target = None;
        for id in &compaction.replaced {
            remove(&*self.files, FileName { kind: FileKind::Claims { hour: compaction.hour }, id: *id })?;
            if let Some(hour) = self.hours.get_mut(&compaction.hour) {
                hour.files.remove(id);
            }
        }
        // What was added meanwhile is in a file of its own.
        let meanwhile = |all: u64, before: u64| all.saturating_sub(before);
        let live = self.shared.read().claims_in(compaction.hour);
        if let Some(hour) = self.hours.get_mut(&compaction.hour) {
            // One that was written twice, after an error, counts once: it is no reason to do this again.
            let records = records.min(live.saturating_add(pinned));
            hour.records = records + meanwhile(hour.records, compaction.records_before);
            hour.pinned = pinned + meanwhile(hour.pinned, compaction.pinned_before);
            if hour.files.is_empty() {
                self.hours.remove(&compaction.hour);
            }
        }
        self.shared.count(|report| report.compactions += 1);
        Ok(())
    }

    fn journal_is_wasteful(&self) -> bool {
        let total: u64 = self.journals.values().sum();
        let held = self.shared.read().stats().value_bytes as u64;
        self.journals.len() > JOURNALS_MAX || total > 2 * held + JOURNAL_SLACK
    }

    /// Begins a journal that will hold everything once [`Engine::copy_values`] has ended.
    fn begin_journal(&mut self) -> io::Result<()> {
        self.journal = None;
        self.open_journal()?;
        let (ahead, tended) = self.shared.read().clock.kept();
        let mut payload = Vec::new();
        JournalEntry::Clock { ahead, tended }.write(&mut payload);
        self.write_journal(&[payload])?;
        self.compacting_journal = Some(JournalCompaction { after: None });
        Ok(())
    }

    fn copy_values(&mut self) -> io::Result<()> {
        let Some(compaction) = &self.compacting_journal else { return Ok(()) };
        let mut payload = Vec::new();
        let mut last = None;
        {
            let state = self.shared.read();
            for (key, held) in state.values_after(compaction.after.as_deref()) {
                if payload.len() >= STEP_BYTES {
                    break;
                }
                value_entry(key, held).write(&mut payload);
                last = Some(key.clone());
            }
        }
        debug_assert!(payload.len() <= PAYLOAD_MAX, "a step and one value fit into a frame");
        if last.is_some() {
            self.write_journal(&[payload])?;
            self.compacting_journal = Some(JournalCompaction { after: last });
            return Ok(());
        }
        JournalEntry::Complete.write(&mut payload);
        self.write_journal(&[payload])?;
        self.compacting_journal = None;
        let current = self.journal.as_ref().map_or(0, |journal| journal.name.id);
        while let Some((id, _)) = self.journals.first_key_value()
            && *id < current
        {
            let id = *id;
            remove(&*self.files, FileName { kind: FileKind::Journal, id })?;
            self.journals.remove(&id);
        }
        // Entries that say what was removed are left out by the next journal: these must be gone by then.
        self.files.sync_names()?;
        self.shared.count(|report| report.compactions += 1);
        Ok(())
    }
}

impl Source {
    /// Takes note of a provider, or adds to `kept` what is to be kept.
    fn take<'a>(
        &mut self,
        entry: ClaimEntry<'a>,
        kept: &mut Vec<(&'a [u8], PeerInfo, Option<ClaimDates>)>,
        is_live: impl Fn(&[u8], &Peer, &ClaimDates) -> bool,
    ) {
        match entry {
            ClaimEntry::Provider { number, id, addrs: encoded } => {
                if let Some(provider) = read_provider(id, encoded) {
                    self.providers.insert(number, provider);
                }
            }
            ClaimEntry::Claim { number, received, expires, addrs_expire, key } => {
                let dates = ClaimDates { received, expires, addrs_expire };
                if let Some(provider) = self.providers.get(&number)
                    && is_live(key, &provider.peer, &dates)
                {
                    kept.push((key, provider.clone(), Some(dates)));
                }
            }
            ClaimEntry::Removed { number, key } => {
                if let Some(provider) = self.providers.get(&number) {
                    kept.push((key, provider.clone(), None));
                }
            }
        }
    }
}

/// The provider that an entry describes. `None` when it cannot have been written.
pub(super) fn read_provider(id: &[u8], encoded: &[u8]) -> Option<PeerInfo> {
    let id = PeerId::from_bytes(id).ok()?;
    Some(PeerInfo::new(Peer::new(id), AddrList::collect(&id, addrs(encoded))))
}
