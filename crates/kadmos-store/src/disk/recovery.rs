//! Reading a store back after a restart, however the last run ended.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;

use bytes::Bytes;
use kadmos_core::time::UnixTime;
use kadmos_core::wire::varint;
use kadmos_core::{AddrList, PeerId, PeerInfo};

use crate::disk::compaction::read_provider;
use crate::disk::engine::{Engine, remove, unavailable};
use crate::disk::files::Files;
use crate::disk::format::{
    ClaimEntry, FileKind, FileName, Frame, HEADER_LEN, Header, JournalEntry, NoHeader,
};
use crate::disk::queue::{ClaimChange, ClockMark};
use crate::disk::scan::Scan;
use crate::error::StoreError;
use crate::memory::clock::Clock;
use crate::memory::log::{ClaimDates, Held};
use crate::memory::providers::hour_of;
use crate::memory::roster::Place;

/// Written when a store is closed, and taken away when it is opened: the lengths of all files. With it, a file that is
/// shorter than it was is told from one that was being written.
pub(super) const CLEAN: &str = "clean";

/// Provider records that are sorted by key before they are taken into the index. Neighbours then meet in its cache lines:
/// it is what makes the difference between two seconds and six for two million. Some 12 MiB while a store is opened.
const CHUNK_RECORDS: usize = 131_072;
/// Taken in under one lock.
const LOCKED_RECORDS: usize = 1_024;
/// No file has as many providers: it ends at 16 MiB, and a provider takes 5 bytes at least.
const PROVIDERS_PER_FILE_MAX: usize = 4 << 20;

/// What a look at the names and the beginnings of the files shows.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) journals: Vec<(FileName, Header)>,
    pub(super) claims: Vec<(FileName, Header)>,
    pub(super) next_id: u64,
    /// The files when the store was closed, if it was.
    pub(super) clean: Option<BTreeMap<String, Closed>>,
    pub(super) lost_bytes: u64,
    /// Beginnings that cannot be read.
    pub(super) broken: Vec<FileName>,
    /// Files that were just being made.
    pub(super) unborn: Vec<FileName>,
    pub(super) foreign: u64,
}

/// A file as it was when the store was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) len: u64,
    /// Bytes of it that were no frames then: torn in an earlier run.
    pub(super) broken: u64,
}

/// Looks at the files without changing anything. Errors: [`StoreError::Newer`]; [`StoreError::Damaged`] when a journal
/// cannot be read at all; [`StoreError::Unavailable`].
pub(super) fn survey(files: &dyn Files) -> Result<Survey, StoreError> {
    let mut survey = Survey { next_id: 1, ..Survey::default() };
    let mut names = files.names().map_err(|error| unavailable(&error))?;
    names.sort();
    for text in names {
        if text == CLEAN {
            survey.clean = Some(read_clean(files).map_err(|error| unavailable(&error))?);
            continue;
        }
        let Some(name) = FileName::parse(&text) else {
            survey.foreign += 1;
            continue;
        };
        survey.next_id = survey.next_id.max(name.id.saturating_add(1));
        let (len, header) = read_header(files, name).map_err(|error| unavailable(&error))?;
        match header {
            Ok(header) if name.kind == FileKind::Journal => survey.journals.push((name, header)),
            Ok(header) => survey.claims.push((name, header)),
            Err(NoHeader::Newer { format }) => return Err(StoreError::Newer { format }),
            // The header is made certain before anything follows it: a file that has no more was just being made.
            Err(NoHeader::Broken) if len <= HEADER_LEN as u64 && survey.closed(name).is_none() => {
                survey.unborn.push(name);
            }
            Err(NoHeader::Broken) if name.kind == FileKind::Journal => {
                return Err(StoreError::Damaged {
                    reason: format!(
                        "the first {HEADER_LEN} bytes of {text} are not what was written, and without them nothing \
                         behind them can be read; take the file away to go on without the values in it"
                    ),
                });
            }
            // Announced again within a day, so that the store does better without than not at all.
            Err(NoHeader::Broken) => {
                survey.lost_bytes += len;
                survey.broken.push(name);
            }
        }
    }
    let known = |text: &str| FileName::parse(text).is_some_and(|name| survey.knows(name));
    let missing: Vec<_> = survey.clean.iter().flatten().filter(|(text, _)| !known(text)).collect();
    if let Some((text, _)) = missing.iter().find(|(text, _)| text.starts_with("journal-")) {
        return Err(StoreError::Damaged {
            reason: format!(
                "{text} is missing, which was there when the store was closed; put it back, or take the file \
                 \"{CLEAN}\" away to go on without the values in it"
            ),
        });
    }
    survey.lost_bytes += missing.iter().map(|(_, closed)| closed.len).sum::<u64>();
    survey.journals.sort_by_key(|(name, _)| name.id);
    Ok(survey)
}

impl Survey {
    fn knows(&self, name: FileName) -> bool {
        self.journals.iter().chain(&self.claims).any(|(known, _)| *known == name)
            || self.broken.contains(&name)
    }

    fn closed(&self, name: FileName) -> Option<Closed> {
        self.clean.as_ref()?.get(&name.to_string()).copied()
    }
}

impl Engine {
    /// Takes everything into memory. `now` is the wall clock.
    pub(super) fn load(&mut self, survey: Survey, now: UnixTime) -> Result<(), StoreError> {
        self.load_all(survey, now).map_err(|error| {
            let error = unavailable(&error);
            self.shared.failed(&error);
            error
        })
    }

    fn load_all(&mut self, survey: Survey, now: UnixTime) -> io::Result<()> {
        self.next_id = survey.next_id;
        // From here on files change, so the lengths say nothing any more.
        if survey.clean.is_some() {
            self.files.remove(CLEAN)?;
            self.files.sync_names()?;
        }
        for name in &survey.unborn {
            remove(&*self.files, *name)?;
        }
        for name in &survey.broken {
            if let FileKind::Claims { hour } = name.kind {
                // Goes with its hour; until then somebody may look at it.
                self.hours.entry(hour).or_default().files.insert(name.id, 0);
            }
        }
        self.shared.count(|report| {
            report.lost_bytes += survey.lost_bytes;
            report.broken_files += survey.broken.len() as u64;
            report.foreign_files += survey.foreign;
        });
        let now = self.load_journals(&survey, now)?;
        self.load_claims(&survey, now)
    }

    /// Returns `now` in store time.
    fn load_journals(&mut self, survey: &Survey, now: UnixTime) -> io::Result<UnixTime> {
        let mut values: BTreeMap<Bytes, Latest> = BTreeMap::new();
        let mut last_version = 0;
        let mut complete = 0;
        for (name, header) in &survey.journals {
            last_version = last_version.max(header.first);
            let Some((_, mut scan)) = open_scan(&*self.files, *name)? else { continue };
            self.journals.insert(name.id, scan.len());
            while let Some(frame) = scan.next()? {
                let mut input = &frame.payload[..];
                while !input.is_empty() {
                    let Some(entry) = JournalEntry::read(&mut input) else {
                        self.shared.count(|report| report.unreadable_records += 1);
                        break;
                    };
                    let (key, version, held) = match entry {
                        JournalEntry::Value { key, value, received, expires, version } => {
                            (key, version, Some(Held { value, received, expires, version }))
                        }
                        JournalEntry::Removed { key, version } => (key, version, None),
                        JournalEntry::Clock { ahead, tended } => {
                            self.clock = ClockMark { ahead, tended };
                            continue;
                        }
                        JournalEntry::Complete => {
                            complete = name.id;
                            values.retain(|_, latest| latest.journal >= complete);
                            continue;
                        }
                    };
                    last_version = last_version.max(version);
                    // Of one version there is one value; its dates may have been corrected, so the later entry counts.
                    if values.get(&key).is_none_or(|latest| latest.version <= version) {
                        values.insert(key, Latest { version, journal: name.id, held });
                    }
                }
            }
            self.note_broken(*name, &scan, survey.closed(*name));
        }
        let mut over_limits = 0;
        let mut loaded = 0;
        let now = {
            let mut state = self.shared.write();
            state.clock = Clock::restored(self.clock.ahead, self.clock.tended);
            let now = state.clock.moment(now).now;
            state.skip_versions(last_version);
            for (key, latest) in values {
                let Some(held) = latest.held.filter(|held| held.expires > now) else { continue };
                match state.load_value(&key, held, &self.shared.limits) {
                    Ok(()) => loaded += 1,
                    Err(_) => over_limits += 1,
                }
            }
            now
        };
        self.shared.count(|report| {
            report.values_loaded += loaded;
            report.over_limits += over_limits;
        });
        while let Some((id, _)) = self.journals.first_key_value()
            && *id < complete
        {
            let id = *id;
            remove(&*self.files, FileName { kind: FileKind::Journal, id })?;
            self.journals.remove(&id);
        }
        Ok(now)
    }

    /// Reads all files in the order in which they were written, record by record.
    fn load_claims(&mut self, survey: &Survey, now: UnixTime) -> io::Result<()> {
        // A file waits here under a sequence that its next frame is not below.
        let mut waiting = BinaryHeap::new();
        let mut readers: Vec<Option<Reader>> = Vec::new();
        for (index, (_, header)) in survey.claims.iter().enumerate() {
            waiting.push(Reverse((header.first, index)));
            readers.push(None);
            self.next_sequence = self.next_sequence.max(header.first);
        }
        let mut loader = Loader {
            engine: self,
            now,
            chunk: Chunk::default(),
            providers: Vec::new(),
            places: Vec::new(),
            known: BTreeMap::new(),
        };
        while let Some(Reverse((_, index))) = waiting.pop() {
            let name = survey.claims[index].0;
            let reader = match &mut readers[index] {
                Some(reader) => reader,
                opened @ None => {
                    let Some((_, scan)) = open_scan(&*loader.engine.files, name)? else { continue };
                    loader.engine.note_file(name, scan.len());
                    opened.insert(Reader { scan, frame: None, providers: Vec::new() })
                }
            };
            if let Some(frame) = reader.frame.take() {
                loader.take(name, reader, &frame)?;
            }
            match reader.scan.next()? {
                Some(frame) => {
                    waiting.push(Reverse((frame.sequence, index)));
                    reader.frame = Some(frame);
                }
                None => {
                    loader.engine.note_broken(name, &reader.scan, survey.closed(name));
                    readers[index] = None;
                }
            }
        }
        loader.apply();
        Ok(())
    }

    fn note_file(&mut self, name: FileName, len: u64) {
        if let FileKind::Claims { hour } = name.kind {
            self.hours.entry(hour).or_default().files.insert(name.id, len);
        }
    }

    fn note_broken(&mut self, name: FileName, scan: &Scan, closed: Option<Closed>) {
        let closed = closed.unwrap_or_default();
        let mut broken = scan.broken(closed.len);
        if broken.torn + broken.lost > 0 {
            self.broken.insert(name, broken.torn + broken.lost);
        }
        // What was broken when the store was closed was counted by whoever opened it before.
        broken.lost = broken.lost.saturating_sub(closed.broken);
        self.shared.count(|report| {
            report.torn_bytes += broken.torn;
            report.lost_bytes += broken.lost;
        });
    }
}

struct Latest {
    version: u64,
    journal: u64,
    held: Option<Held>,
}

/// A file of provider records, its next frame, and the providers it has numbered so far.
struct Reader {
    scan: Scan,
    frame: Option<Frame>,
    /// Places in [`Loader::providers`], by the file's own numbers.
    providers: Vec<Option<u32>>,
}

struct Loader<'a> {
    engine: &'a mut Engine,
    now: UnixTime,
    chunk: Chunk,
    /// Providers seen in any file; once more where their addresses have changed. Most files name the same ones.
    providers: Vec<PeerInfo>,
    /// Where the index had them last.
    places: Vec<Option<Place>>,
    /// The place of each with the addresses seen last.
    known: BTreeMap<PeerId, u32>,
}

/// Records in order, their keys one after the other. Small and without pointers, because they are sorted.
#[derive(Default)]
struct Chunk {
    keys: Vec<u8>,
    records: Vec<Loaded>,
    /// Of each record the beginning of its key, so that sorting seldom looks at keys, and its place.
    order: Vec<(u64, u32)>,
}

struct Loaded {
    key_start: u32,
    key_end: u32,
    /// A place in [`Loader::providers`].
    provider: u32,
    /// `None` for a removal.
    dates: Option<ClaimDates>,
    /// Whether its file is there for as long as any record that it replaces.
    is_pinned: bool,
}

impl Loader<'_> {
    fn take(&mut self, name: FileName, reader: &mut Reader, frame: &Frame) -> io::Result<()> {
        self.engine.next_sequence = self.engine.next_sequence.max(frame.sequence.saturating_add(1));
        let mut input = &frame.payload[..];
        let mut unreadable = 0;
        let (mut records, mut pinned) = (0, 0);
        if let Some(base) = read_base(&mut input) {
            while !input.is_empty() {
                let Some(entry) = ClaimEntry::read(&mut input, base) else {
                    unreadable += 1;
                    break;
                };
                let mut is_pinned = true;
                let (number, key, dates) = match entry {
                    ClaimEntry::Provider { number, id, addrs } => {
                        let slot = number as usize;
                        match self.provider(id, addrs) {
                            Some(provider) if slot < PROVIDERS_PER_FILE_MAX => {
                                if reader.providers.len() <= slot {
                                    reader.providers.resize(slot + 1, None);
                                }
                                reader.providers[slot] = Some(provider);
                            }
                            _ => unreadable += 1,
                        }
                        continue;
                    }
                    ClaimEntry::Claim { number, received, expires, addrs_expire, key } => {
                        records += 1;
                        is_pinned = name.kind != FileKind::Claims { hour: hour_of(expires) };
                        pinned += u64::from(is_pinned);
                        (number, key, Some(ClaimDates { received, expires, addrs_expire }))
                    }
                    ClaimEntry::Removed { number, key } => {
                        pinned += 1;
                        (number, key, None)
                    }
                };
                match reader.providers.get(number as usize) {
                    Some(Some(provider)) => self.chunk.push(key, *provider, dates, is_pinned),
                    _ => unreadable += 1,
                }
            }
        } else {
            unreadable += 1;
        }
        if let FileKind::Claims { hour } = name.kind
            && let Some(hour) = self.engine.hours.get_mut(&hour)
        {
            hour.records += records;
            hour.pinned += pinned;
        }
        self.engine.shared.count(|report| {
            report.records_loaded += records;
            report.unreadable_records += unreadable;
        });
        if self.chunk.records.len() >= CHUNK_RECORDS {
            self.apply();
        }
        Ok(())
    }

    fn provider(&mut self, id: &[u8], encoded: &[u8]) -> Option<u32> {
        let id = PeerId::from_bytes(id).ok()?;
        let provider = match self.known.get(&id).and_then(|place| self.providers.get(*place as usize)) {
            Some(known) if known.addrs.encoded() == encoded => return self.known.get(&id).copied(),
            Some(known) => {
                let addrs = AddrList::collect(&id, crate::disk::format::addrs(encoded));
                PeerInfo::new(known.peer.clone(), addrs)
            }
            None => read_provider(id.as_bytes(), encoded)?,
        };
        let place = u32::try_from(self.providers.len()).ok()?;
        self.providers.push(provider);
        self.places.push(None);
        self.known.insert(id, place);
        Some(place)
    }

    /// Takes the chunk into the index: each key's records in order, keys in theirs.
    fn apply(&mut self) {
        let mut chunk = std::mem::take(&mut self.chunk);
        let Chunk { keys, records, order } = &mut chunk;
        let key = |record: &Loaded| &keys[record.key_start as usize..record.key_end as usize];
        // Records of one key stay in the order of their sequences.
        order.sort_unstable_by(|(prefix_a, a), (prefix_b, b)| {
            let keys = || key(&records[*a as usize]).cmp(key(&records[*b as usize]));
            prefix_a.cmp(prefix_b).then_with(keys).then(a.cmp(b))
        });
        let mut over_limits = 0;
        for part in order.chunks(LOCKED_RECORDS) {
            let mut state = self.engine.shared.write();
            for (_, place) in part {
                let record = &records[*place as usize];
                let (key, provider) = (key(record), &self.providers[record.provider as usize]);
                let limits = &self.engine.shared.limits;
                // What must outlive the record it undoes, and does not: a power cut came between the two halves of a group.
                let unpinned = match record.dates {
                    // It replaced what was there before it, and is gone since.
                    Some(dates) if dates.expires <= self.now => {
                        state.remove_provider(key, &provider.peer).then_some(ClaimChange::Removed)
                    }
                    Some(dates) => {
                        let hint = self.places.get(record.provider as usize).copied().flatten();
                        match state.load_provider(key, provider, dates, self.now, limits, hint) {
                            Ok((place, is_shorter)) => {
                                if let Some(known) = self.places.get_mut(record.provider as usize) {
                                    *known = Some(place);
                                }
                                is_shorter.then_some(ClaimChange::AddedShorter(dates))
                            }
                            Err(_) => {
                                over_limits += 1;
                                None
                            }
                        }
                    }
                    None => {
                        state.remove_provider(key, &provider.peer);
                        None
                    }
                };
                if let Some(change) = unpinned.filter(|_| !record.is_pinned) {
                    self.engine.shared.queue().claims.push(key, provider, change);
                }
            }
        }
        self.engine.shared.count(|report| report.over_limits += over_limits);
        keys.clear();
        records.clear();
        order.clear();
        self.chunk = chunk;
    }
}

impl Chunk {
    fn push(&mut self, key: &[u8], provider: u32, dates: Option<ClaimDates>, is_pinned: bool) {
        // A chunk's keys are some MiB: frames end at 1 MiB, and a chunk at a number of records.
        let key_start = self.keys.len() as u32;
        self.keys.extend_from_slice(key);
        let key_end = self.keys.len() as u32;
        // Multihashes of SHA-256 begin alike. All others are few, and are sorted by their keys.
        let prefix = match key {
            [0x12, 0x20, a, b, c, d, e, f, g, h, ..] => u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]),
            _ => 0,
        };
        self.order.push((prefix, self.records.len() as u32));
        self.records.push(Loaded { key_start, key_end, provider, dates, is_pinned });
    }
}

/// Opens a file behind its header. `None` when that is broken.
pub(super) fn open_scan(files: &dyn Files, name: FileName) -> io::Result<Option<(Header, Scan)>> {
    let mut file = files.open(&name.to_string())?;
    let mut header = [0; HEADER_LEN];
    let read = file.read_at(0, &mut header)?;
    match Header::read(&header[..read], name) {
        Ok(header) => Ok(Some((header, Scan::new(file, header.salt)?))),
        Err(_) => Ok(None),
    }
}

fn read_header(files: &dyn Files, name: FileName) -> io::Result<(u64, Result<Header, NoHeader>)> {
    let mut file = files.open(&name.to_string())?;
    let mut header = [0; HEADER_LEN];
    let read = file.read_at(0, &mut header)?;
    Ok((file.length()?, Header::read(&header[..read], name)))
}

/// The date that a frame's dates are written as differences to.
pub(super) fn read_base(input: &mut &[u8]) -> Option<UnixTime> {
    let (base, rest) = varint::read(input).ok()?;
    *input = rest;
    Some(UnixTime::from_secs(base))
}

/// Writes down what the files are.
pub(super) fn write_clean(files: &dyn Files, closed: &BTreeMap<FileName, Closed>) -> io::Result<()> {
    let lines = closed.iter().map(|(name, Closed { len, broken })| format!("{name} {len} {broken}\n"));
    let mut text: String = lines.collect();
    text.push_str(&format!("sum {:08x}\n", crc32fast::hash(text.as_bytes())));
    let mut file = files.create(CLEAN)?;
    file.append(text.as_bytes())?;
    file.sync()?;
    files.sync_names()
}

/// What was written down; nothing when it is not whole.
fn read_clean(files: &dyn Files) -> io::Result<BTreeMap<String, Closed>> {
    let mut file = files.open(CLEAN)?;
    // A line of some 40 bytes for each file; more than a few hundred files are not kept.
    let len = usize::try_from(file.length()?).unwrap_or(usize::MAX).min(1 << 20);
    let mut bytes = vec![0; len];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(parse_clean(&bytes).unwrap_or_default())
}

fn parse_clean(bytes: &[u8]) -> Option<BTreeMap<String, Closed>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (lines, sum) = text.strip_suffix('\n')?.rsplit_once("sum ")?;
    if u32::from_str_radix(sum, 16).ok()? != crc32fast::hash(lines.as_bytes()) {
        return None;
    }
    lines
        .lines()
        .map(|line| {
            let (name, numbers) = line.split_once(' ')?;
            let (len, broken) = numbers.split_once(' ')?;
            Some((name.to_string(), Closed { len: len.parse().ok()?, broken: broken.parse().ok()? }))
        })
        .collect()
}
