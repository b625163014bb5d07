//! Reading the frames of a file from its beginning, past whatever is broken.

use std::io;

use crate::disk::files::LogFile;
use crate::disk::format::{FRAME_HEADER_LEN, FRAME_MAGIC, Found, Frame, HEADER_LEN, find_frame};

/// Read at once; a frame that is longer is read alone.
const READ_LEN: usize = 64 << 10;

/// A file that is read frame by frame.
#[derive(Debug)]
pub(super) struct Scan {
    file: Box<dyn LogFile>,
    salt: u64,
    len: u64,
    /// Where `buffer` begins in the file.
    offset: u64,
    buffer: Vec<u8>,
    /// What of `buffer` was read already.
    used: usize,
    broken_from: Option<u64>,
    broken: Vec<(u64, u64)>,
    synced: u64,
}

/// Bytes of a file that are no frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Broken {
    /// Written, but not certain yet when the power went: nobody was told that they are kept.
    pub(super) torn: u64,
    /// Were certain once.
    pub(super) lost: u64,
}

impl Scan {
    /// Begins after the file's header.
    pub(super) fn new(mut file: Box<dyn LogFile>, salt: u64) -> io::Result<Self> {
        let len = file.length()?;
        Ok(Self {
            file,
            salt,
            len,
            offset: HEADER_LEN as u64,
            buffer: Vec::new(),
            used: 0,
            broken_from: None,
            broken: Vec::new(),
            synced: 0,
        })
    }

    /// The next sound frame. Errors: of the file system only.
    pub(super) fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let at = self.at();
            match find_frame(&self.buffer[self.used..], self.salt) {
                Found::Frame(frame, len) => {
                    if let Some(from) = self.broken_from.take() {
                        self.broken.push((from, at));
                    }
                    self.used += len;
                    self.synced = self.synced.max(frame.synced);
                    return Ok(Some(frame));
                }
                Found::More(needed) if at + needed as u64 <= self.len => self.fill(needed)?,
                // Too few bytes are left for any frame.
                Found::More(FRAME_HEADER_LEN) => {
                    let from = self.broken_from.take().unwrap_or(at);
                    if from < self.len {
                        self.broken.push((from, self.len));
                    }
                    (self.offset, self.used) = (self.len, 0);
                    self.buffer.clear();
                    return Ok(None);
                }
                Found::More(_) | Found::Nothing => {
                    self.broken_from.get_or_insert(at);
                    self.skip();
                }
            }
        }
    }

    /// What was broken, once [`Scan::next`] has ended. `certain` is a length that the file is known to have had.
    pub(super) fn broken(&self, certain: u64) -> Broken {
        let certain = certain.max(self.synced);
        let mut broken = Broken { lost: certain.saturating_sub(self.len), torn: 0 };
        for (from, to) in &self.broken {
            let lost = to.min(&certain).saturating_sub(*from);
            broken.lost += lost;
            broken.torn += to - from - lost;
        }
        broken
    }

    /// The file's length.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    fn at(&self) -> u64 {
        self.offset + self.used as u64
    }

    /// Goes to where the next frame may begin.
    fn skip(&mut self) {
        let rest = &self.buffer[self.used..];
        let next = rest.iter().skip(1).position(|byte| *byte == FRAME_MAGIC[0]);
        self.used += next.map_or(rest.len(), |position| position + 1);
    }

    /// Makes at least `needed` bytes available, which the file has.
    fn fill(&mut self, needed: usize) -> io::Result<()> {
        self.offset += self.used as u64;
        self.buffer.drain(..self.used);
        self.used = 0;
        let have = self.buffer.len();
        let wanted = needed.max(READ_LEN);
        self.buffer.resize(wanted.max(have), 0);
        let read = self.file.read_at(self.offset + have as u64, &mut self.buffer[have..])?;
        self.buffer.truncate(have + read);
        if have + read < needed {
            self.len = self.offset + (have + read) as u64; // somebody cut it off meanwhile
        }
        Ok(())
    }
}
