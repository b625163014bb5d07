//! Bytes on disk, version 1. `docs/store.md` has the layout; what is written here is read by every later version.

use bytes::Bytes;
use kadmos_core::time::UnixTime;
use kadmos_core::wire::varint;

/// The version that this program writes, and the greatest that it reads.
pub const FORMAT: u16 = 1;

/// A file begins with this.
const MAGIC: [u8; 8] = *b"kadmos\x1as";
/// A frame begins with this, so that the next one is found behind a damaged one.
pub(super) const FRAME_MAGIC: [u8; 4] = *b"\xf7kfr";
/// Bytes before a file's first frame.
pub(super) const HEADER_LEN: usize = 48;
/// Bytes of a frame before its payload.
pub(super) const FRAME_HEADER_LEN: usize = 28;
/// Longest payload: some 20,000 provider records; a value and its key are 65 KiB.
pub(super) const PAYLOAD_MAX: usize = 1 << 20;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FileKind {
    /// Values, and what else is few.
    Journal,
    /// Provider records that expire within one hour since 1970, and are gone with it.
    Claims { hour: u32 },
}

/// A file's name tells what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileName {
    pub(super) kind: FileKind,
    /// Counts on through all files of a store.
    pub(super) id: u64,
}

impl FileName {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".kad")?;
        let parsed = if let Some(id) = stem.strip_prefix("journal-") {
            Self { kind: FileKind::Journal, id: u64::from_str_radix(id, 16).ok()? }
        } else {
            let (hour, id) = stem.strip_prefix("claims-")?.split_once('-')?;
            let hour = hour.parse().ok()?;
            Self { kind: FileKind::Claims { hour }, id: u64::from_str_radix(id, 16).ok()? }
        };
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            FileKind::Journal => write!(f, "journal-{:012x}.kad", self.id),
            FileKind::Claims { hour } => write!(f, "claims-{hour:010}-{:012x}.kad", self.id),
        }
    }
}

/// The beginning of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// In a journal the last version given before: versions do not come back when every value is gone. In a file of
    /// provider records a sequence that no frame of it is below.
    pub(super) first: u64,
    /// Part of every frame's sum. Nobody else knows it, so bytes inside a value never pass for a frame; and blocks of a
    /// file that was in the same place before are not taken for this one's.
    pub(super) salt: u64,
}

impl Header {
    pub(super) fn write(&self, name: FileName) -> [u8; HEADER_LEN] {
        self.write_as(FORMAT, name)
    }

    fn write_as(&self, format: u16, name: FileName) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[..8].copy_from_slice(&MAGIC);
        header[8..10].copy_from_slice(&format.to_le_bytes());
        if let FileKind::Claims { hour } = name.kind {
            header[10] = 1;
            header[12..16].copy_from_slice(&hour.to_le_bytes());
        }
        header[16..24].copy_from_slice(&name.id.to_le_bytes());
        header[24..32].copy_from_slice(&self.first.to_le_bytes());
        header[32..40].copy_from_slice(&self.salt.to_le_bytes());
        let sum = crc32fast::hash(&header[..44]);
        header[44..].copy_from_slice(&sum.to_le_bytes());
        header
    }

    /// Reads the beginning of a file of this name. Errors: why it is none.
    pub(super) fn read(bytes: &[u8], name: FileName) -> Result<Self, NoHeader> {
        let bytes = bytes.first_chunk::<HEADER_LEN>().ok_or(NoHeader::Broken)?;
        let number =
            |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("8 bytes from 24 and 32 on"));
        let header = Self { first: number(24), salt: number(32) };
        if *bytes == header.write(name) {
            return Ok(header);
        }
        // The magic and the version stay where they are in all versions; what follows need not.
        let format = u16::from_le_bytes([bytes[8], bytes[9]]);
        if bytes[..8] == MAGIC && format > FORMAT {
            Err(NoHeader::Newer { format })
        } else {
            Err(NoHeader::Broken)
        }
    }
}

/// Why the beginning of a file says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHeader {
    /// Written by a version that this one cannot read.
    Newer { format: u16 },
    /// Not what was written.
    Broken,
}

/// A frame: what was written at once, whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Orders the frames of all files of provider records.
    pub(super) sequence: u64,
    /// The file was certain up to here when this was written: what is broken before was lost, not torn.
    pub(super) synced: u64,
    pub(super) payload: Vec<u8>,
}

/// Appends a frame of the file with this salt. The payload is no longer than [`PAYLOAD_MAX`].
pub(super) fn push_frame(out: &mut Vec<u8>, salt: u64, sequence: u64, synced: u64, payload: &[u8]) {
    debug_assert!(payload.len() <= PAYLOAD_MAX, "the caller bounds its payload");
    let mut head = [0; FRAME_HEADER_LEN];
    head[..4].copy_from_slice(&FRAME_MAGIC);
    head[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes()); // at most PAYLOAD_MAX
    head[8..16].copy_from_slice(&sequence.to_le_bytes());
    head[16..24].copy_from_slice(&synced.to_le_bytes());
    let sum = frame_sum(salt, &head, payload);
    head[24..].copy_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
}

fn frame_sum(salt: u64, head: &[u8; FRAME_HEADER_LEN], payload: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&salt.to_le_bytes());
    sum.update(&head[..24]);
    sum.update(payload);
    sum.finalize()
}

/// What stands at the beginning of `bytes`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Frame(Frame, usize),
    /// So many bytes are needed to tell.
    More(usize),
    /// No frame.
    Nothing,
}

pub(super) fn find_frame(bytes: &[u8], salt: u64) -> Found {
    let Some(head) = bytes.first_chunk::<FRAME_HEADER_LEN>() else { return Found::More(FRAME_HEADER_LEN) };
    let number = |at: usize| u64::from_le_bytes(*head[at..].first_chunk().expect("8 bytes from 8 and 16 on"));
    let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    if head[..4] != FRAME_MAGIC || len > PAYLOAD_MAX {
        return Found::Nothing;
    }
    let Some(payload) = bytes[FRAME_HEADER_LEN..].get(..len) else {
        return Found::More(FRAME_HEADER_LEN + len);
    };
    let sum = u32::from_le_bytes([head[24], head[25], head[26], head[27]]);
    if sum != frame_sum(salt, head, payload) {
        return Found::Nothing;
    }
    let frame = Frame { sequence: number(8), synced: number(16), payload: payload.to_vec() };
    Found::Frame(frame, FRAME_HEADER_LEN + len)
}

/// An entry of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JournalEntry {
    Value {
        key: Bytes,
        value: Bytes,
        received: UnixTime,
        expires: UnixTime,
        version: u64,
    },
    Removed {
        key: Bytes,
        version: u64,
    },
    /// The clock as it was.
    Clock {
        ahead: i64,
        tended: UnixTime,
    },
    /// Journals with a smaller id hold nothing any more.
    Complete,
}

impl JournalEntry {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Value { key, value, received, expires, version } => {
                out.push(1);
                for number in [*version, received.as_secs(), expires.as_secs()] {
                    varint::write(out, number);
                }
                write_bytes(out, key);
                write_bytes(out, value);
            }
            Self::Removed { key, version } => {
                out.push(2);
                varint::write(out, *version);
                write_bytes(out, key);
            }
            Self::Clock { ahead, tended } => {
                out.push(3);
                out.extend_from_slice(&ahead.to_le_bytes());
                varint::write(out, tended.as_secs());
            }
            Self::Complete => out.push(4),
        }
    }

    /// Reads one entry. `None` for anything that [`JournalEntry::write`] does not write.
    pub(super) fn read(input: &mut &[u8]) -> Option<Self> {
        let (tag, rest) = input.split_first()?;
        *input = rest;
        Some(match tag {
            1 => {
                let version = read_number(input)?;
                let received = UnixTime::from_secs(read_number(input)?);
                let expires = UnixTime::from_secs(read_number(input)?);
                let key = Bytes::copy_from_slice(read_bytes(input)?);
                let value = Bytes::copy_from_slice(read_bytes(input)?);
                Self::Value { key, value, received, expires, version }
            }
            2 => {
                let version = read_number(input)?;
                Self::Removed { key: Bytes::copy_from_slice(read_bytes(input)?), version }
            }
            3 => {
                let (ahead, rest) = input.split_first_chunk()?;
                *input = rest;
                let tended = UnixTime::from_secs(read_number(input)?);
                Self::Clock { ahead: i64::from_le_bytes(*ahead), tended }
            }
            4 => Self::Complete,
            _ => return None,
        })
    }
}

/// An entry of a file of provider records, borrowed from its frame. Providers are numbered within their file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClaimEntry<'a> {
    Provider { number: u32, id: &'a [u8], addrs: &'a [u8] },
    Claim { number: u32, received: UnixTime, expires: UnixTime, addrs_expire: UnixTime, key: &'a [u8] },
    Removed { number: u32, key: &'a [u8] },
}

impl<'a> ClaimEntry<'a> {
    /// Dates are written as differences: a few bytes each.
    pub(super) fn write(&self, out: &mut Vec<u8>, base: UnixTime) {
        match *self {
            Self::Provider { number, id, addrs } => {
                out.push(1);
                varint::write(out, number.into());
                write_bytes(out, id);
                write_bytes(out, addrs);
            }
            Self::Claim { number, received, expires, addrs_expire, key } => {
                out.push(2);
                varint::write(out, number.into());
                for (date, from) in [(received, base), (expires, received), (addrs_expire, received)] {
                    varint::write(out, zigzag(date.as_secs().wrapping_sub(from.as_secs()) as i64));
                }
                write_bytes(out, key);
            }
            Self::Removed { number, key } => {
                out.push(3);
                varint::write(out, number.into());
                write_bytes(out, key);
            }
        }
    }

    /// Reads one entry. `None` for anything that [`ClaimEntry::write`] does not write.
    pub(super) fn read(input: &mut &'a [u8], base: UnixTime) -> Option<Self> {
        let (tag, rest) = input.split_first()?;
        *input = rest;
        let number = u32::try_from(read_number(input)?).ok()?;
        Some(match tag {
            1 => Self::Provider { number, id: read_bytes(input)?, addrs: read_bytes(input)? },
            2 => {
                let received = read_date(input, base)?;
                let expires = read_date(input, received)?;
                let addrs_expire = read_date(input, received)?;
                Self::Claim { number, received, expires, addrs_expire, key: read_bytes(input)? }
            }
            3 => Self::Removed { number, key: read_bytes(input)? },
            _ => return None,
        })
    }
}

fn read_date(input: &mut &[u8], from: UnixTime) -> Option<UnixTime> {
    let difference = unzigzag(read_number(input)?);
    Some(UnixTime::from_secs(from.as_secs().wrapping_add(difference as u64)))
}

fn read_number(input: &mut &[u8]) -> Option<u64> {
    let (number, rest) = varint::read(input).ok()?;
    *input = rest;
    Some(number)
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint::write(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn read_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(read_number(input)?).ok()?;
    let (bytes, rest) = input.split_at_checked(len)?;
    *input = rest;
    Some(bytes)
}

/// The addresses of a provider entry: as in a peer record on the wire, protobuf field 2, repeated.
pub(super) fn addrs(mut encoded: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (_, mut rest) = encoded.split_first()?;
        let addr = read_bytes(&mut rest)?;
        encoded = rest;
        Some(addr)
    })
}

/// Small differences in both directions become small numbers.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(secs: u64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    #[test]
    fn names_tell_what_a_file_holds() {
        for name in [
            FileName { kind: FileKind::Journal, id: 1 },
            FileName { kind: FileKind::Claims { hour: 498_754 }, id: u64::MAX },
            FileName { kind: FileKind::Claims { hour: u32::MAX }, id: 0 },
        ] {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
        for name in [
            "",
            "lock",
            "journal-1.kad",
            "claims-1-2.kad",
            "journal-00000000000g.kad",
            "journal-000000000001.kad2",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn headers_name_their_version() {
        let name = FileName { kind: FileKind::Claims { hour: 77 }, id: 5 };
        let header = Header { first: 9, salt: 8 };
        let sound = header.write(name);
        assert_eq!(Header::read(&sound, name), Ok(header));
        assert_eq!(Header::read(&header.write_as(2, name), name), Err(NoHeader::Newer { format: 2 }));
        assert_eq!(Header::read(&sound, FileName { id: 6, ..name }), Err(NoHeader::Broken));
        for bit in 0..HEADER_LEN * 8 {
            let mut flipped = sound;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::read(&flipped, name).is_err(), "bit {bit}");
        }
        assert_eq!(Header::read(&sound[..HEADER_LEN - 1], name), Err(NoHeader::Broken));
    }

    #[test]
    fn frames_are_whole_or_nothing() {
        let mut bytes = Vec::new();
        push_frame(&mut bytes, 3, 7, 40, b"payload");
        let frame = Frame { sequence: 7, synced: 40, payload: b"payload".to_vec() };
        assert_eq!(find_frame(&bytes, 3), Found::Frame(frame, bytes.len()));
        assert_eq!(find_frame(&bytes, 4), Found::Nothing, "of another file");
        for len in 0..bytes.len() {
            assert!(matches!(find_frame(&bytes[..len], 3), Found::More(more) if more > len));
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(find_frame(&flipped, 3), Found::Frame(..)), "bit {bit}");
        }
    }

    #[test]
    fn entries_are_read_as_written() {
        let key = Bytes::from_static(b"/v/key");
        let entries = [
            JournalEntry::Value {
                key: key.clone(),
                value: Bytes::from_static(b"value"),
                received: date(1_795_515_912),
                expires: date(u64::MAX),
                version: u64::MAX,
            },
            JournalEntry::Value {
                key: Bytes::new(),
                value: Bytes::new(),
                received: date(0),
                expires: date(0),
                version: 0,
            },
            JournalEntry::Removed { key, version: 3 },
            JournalEntry::Clock { ahead: -5, tended: date(1) },
            JournalEntry::Complete,
        ];
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| entry.write(&mut bytes));
        let mut input = &bytes[..];
        for entry in entries {
            assert_eq!(JournalEntry::read(&mut input), Some(entry));
        }
        assert!(input.is_empty());

        let base = date(1_795_515_912);
        let claims = [
            ClaimEntry::Provider { number: 0, id: &[7; 34], addrs: &[1, 2] },
            ClaimEntry::Claim {
                number: u32::MAX,
                received: date(1_795_515_900),
                expires: date(1_795_688_700),
                addrs_expire: date(1_795_602_300),
                key: b"multihash",
            },
            ClaimEntry::Claim {
                number: 1,
                received: date(u64::MAX),
                expires: date(0),
                addrs_expire: date(u64::MAX),
                key: b"",
            },
            ClaimEntry::Removed { number: 3, key: b"k" },
        ];
        let mut bytes = Vec::new();
        claims.iter().for_each(|entry| entry.write(&mut bytes, base));
        let mut input = &bytes[..];
        for entry in claims {
            assert_eq!(ClaimEntry::read(&mut input, base), Some(entry));
        }
        assert!(input.is_empty());
        // Cut off anywhere: no entry, and no panic.
        for len in 0..bytes.len() {
            let mut input = &bytes[..len];
            while ClaimEntry::read(&mut input, base).is_some() {}
            let mut input = &bytes[..len];
            while JournalEntry::read(&mut input).is_some() {}
        }
    }
}
