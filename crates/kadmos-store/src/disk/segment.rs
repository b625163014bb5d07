//! Files that are being written.

use std::collections::BTreeMap;
use std::io;

use kadmos_core::time::UnixTime;
use kadmos_core::{AddrList, Peer, PeerInfo};

use crate::disk::engine::SEGMENT_BYTES_MAX;
use crate::disk::files::{Files, LogFile};
use crate::disk::format::{ClaimEntry, FileName, Header, PAYLOAD_MAX, push_frame};
use crate::memory::log::ClaimDates;
use crate::memory::providers::hour_of;

/// An open file and how much of it is certain.
#[derive(Debug)]
pub(super) struct Appender {
    pub(super) name: FileName,
    salt: u64,
    file: Box<dyn LogFile>,
    /// Written, whole frames only.
    pub(super) len: u64,
    synced: u64,
    out: Vec<u8>,
}

impl Appender {
    /// Makes the file. Its header is certain when this ends, its name is not yet.
    pub(super) fn create(files: &dyn Files, name: FileName, header: Header) -> io::Result<Self> {
        let mut file = files.create(&name.to_string())?;
        let bytes = header.write(name);
        if let Err(error) = file.append(&bytes).and_then(|()| file.sync()) {
            // Otherwise each try on a full disk would leave one.
            let _ = files.remove(&name.to_string());
            return Err(error);
        }
        let len = bytes.len() as u64;
        Ok(Self { name, salt: header.salt, file, len, synced: len, out: Vec::new() })
    }

    /// Takes a frame, to be written by [`Appender::write`].
    pub(super) fn push(&mut self, sequence: u64, payload: &[u8]) {
        push_frame(&mut self.out, self.salt, sequence, self.synced, payload);
    }

    /// Bytes taken and not written.
    pub(super) fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Writes the frames taken. Errors: those of the file system, and whether the file is as it was before.
    pub(super) fn write(&mut self) -> Result<(), (io::Error, Spoilt)> {
        let out = std::mem::take(&mut self.out);
        if let Err(error) = self.file.append(&out) {
            let spoilt = if self.file.truncate(self.len).is_ok() { Spoilt::No } else { Spoilt::Yes };
            return Err((error, spoilt));
        }
        self.len += out.len() as u64;
        self.out = out;
        self.out.clear();
        Ok(())
    }

    /// Ends when what was written is certain. After an error nobody knows what is: the file must be left alone, as the
    /// operating system may have let go of what it could not write (LWN 752063, "PostgreSQL's fsync surprise").
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.synced < self.len {
            self.file.sync()?;
            self.synced = self.len;
        }
        Ok(())
    }
}

/// Whether a file can be written on after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoilt {
    No,
    Yes,
}

/// A file of provider records that is being written. Providers are numbered within it, so that it needs no other file.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) appender: Appender,
    numbers: BTreeMap<Peer, (u32, AddrList)>,
    payload: Vec<u8>,
    base: UnixTime,
    sequence: u64,
    hour: u32,
    /// Taken since somebody last counted.
    pub(super) records: u64,
    /// See [`crate::disk::engine::Hour::pinned`].
    pub(super) pinned: u64,
}

impl Segment {
    pub(super) fn new(appender: Appender, hour: u32) -> Self {
        Self {
            appender,
            numbers: BTreeMap::new(),
            payload: Vec::new(),
            base: UnixTime::default(),
            sequence: 0,
            hour,
            records: 0,
            pinned: 0,
        }
    }

    /// Takes a record, or a removal. `sequence` orders the frame that begins with it.
    pub(super) fn push(&mut self, key: &[u8], provider: &PeerInfo, dates: Option<ClaimDates>, sequence: u64) {
        // A provider is at most 8.2 KiB, a key is bounded by the caller.
        if self.payload.len() + (10 << 10) + key.len() > PAYLOAD_MAX {
            self.end_frame();
        }
        if self.payload.is_empty() {
            self.sequence = sequence;
            self.base = dates.map(|dates| dates.received).unwrap_or_default();
            kadmos_core::wire::varint::write(&mut self.payload, self.base.as_secs());
        }
        let number = self.number(provider);
        match dates {
            Some(ClaimDates { received, expires, addrs_expire }) => {
                ClaimEntry::Claim { number, received, expires, addrs_expire, key }
                    .write(&mut self.payload, self.base);
                self.records += 1;
                self.pinned += u64::from(hour_of(expires) != self.hour);
            }
            None => {
                ClaimEntry::Removed { number, key }.write(&mut self.payload, self.base);
                self.pinned += 1;
            }
        }
    }

    /// Whether the next record belongs into another file.
    pub(super) fn is_full(&self) -> bool {
        self.appender.len + self.appender.waiting() as u64 + self.payload.len() as u64 >= SEGMENT_BYTES_MAX
    }

    /// Writes everything taken, and ends when it is certain. After an error the segment must not be used again.
    pub(super) fn write_and_sync(&mut self) -> io::Result<()> {
        self.end_frame();
        if self.appender.waiting() > 0 {
            self.appender.write().map_err(|(error, _)| error)?;
        }
        self.appender.sync()
    }

    /// Ends the frame begun, so that the next record is ordered anew.
    pub(super) fn end_frame(&mut self) {
        if !self.payload.is_empty() {
            self.appender.push(self.sequence, &self.payload);
            self.payload.clear();
        }
    }

    /// The provider's number in this file; writes it down when it has none or its addresses have changed.
    fn number(&mut self, provider: &PeerInfo) -> u32 {
        if let Some((number, addrs)) = self.numbers.get(&provider.peer)
            && *addrs == provider.addrs
        {
            return *number;
        }
        // A file ends at 16 MiB, so numbers stay small. One whose addresses have changed keeps its number.
        let next = self.numbers.len() as u32;
        let number = self.numbers.get(&provider.peer).map_or(next, |(number, _)| *number);
        let entry =
            ClaimEntry::Provider { number, id: provider.peer.id.as_bytes(), addrs: provider.addrs.encoded() };
        entry.write(&mut self.payload, self.base);
        self.numbers.insert(provider.peer.clone(), (number, provider.addrs.clone()));
        number
    }
}
