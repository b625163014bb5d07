//! What a node keeps over a restart, as bytes: whom it knew, how they answered, and how large the network was.
//!
//! The format, version 2; numbers are unsigned varints of at most 64 bits unless said otherwise:
//!
//! | Bytes | Meaning |
//! | --- | --- |
//! | `kadmosmem` | what this is |
//! | 1 | version: 2 |
//! | varint | Unix time at which it was written |
//! | varint, varint | network size and its standard error; 0 and 0 if unknown |
//! | varint | Unix time at which that was estimated |
//! | varint | number of peers, then each: |
//! | - 1, bytes | length of the id, and the id |
//! | - varint | Unix time of its last answer |
//! | - varint | round trip in milliseconds; 0 for unknown |
//! | - varint | requests in a row that failed |
//! | - varint | number of addresses, then each: length and bytes of a binary multiaddr |
//! | varint | number of peers that failed, then each: |
//! | - 1, bytes | length of the id, and the id |
//! | - varint | Unix time until which it is not probed again |
//! | 8 | first 8 bytes of the SHA-256 of everything before |
//!
//! Version 1 ends with the peers, and is read too. Source of the form: none; it is ours. A reader of an older program starts
//! cold, which costs seconds.

use alloc::vec::Vec;
use core::time::Duration;

use sha2::{Digest, Sha256};

use crate::addr::AddrList;
use crate::error::Fault;
use crate::limits::{
    ADDRS_PER_PEER_MAX, MEMORY_BYTES_MAX, MEMORY_FAILED_MAX, MEMORY_PEERS_MAX, PEER_RECORD_BYTES_MAX,
};
use crate::netsize::NetworkSize;
use crate::peer::{Peer, PeerId, PeerInfo};
use crate::time::UnixTime;
use crate::wire::varint;

const MAGIC: &[u8] = b"kadmosmem";
const VERSION: u8 = 2;
/// The oldest that is read.
const VERSION_MIN: u8 = 1;
const CHECKSUM_BYTES: usize = 8;

/// What a node knows that is worth keeping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// When it was taken.
    pub written: UnixTime,
    /// How large the network was, and when that was found out.
    pub size: Option<(UnixTime, NetworkSize)>,
    /// The table's peers.
    pub peers: Vec<RememberedPeer>,
    /// Peers that failed of late, and until when they are not probed again.
    pub failed: Vec<(PeerId, UnixTime)>,
}

/// A peer of an earlier run's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RememberedPeer {
    /// Who and where.
    pub info: PeerInfo,
    /// When it last answered.
    pub answered: UnixTime,
    /// How long its answers took, to the millisecond.
    pub rtt: Option<Duration>,
    /// Requests in a row that it failed last.
    pub failures: u32,
}

impl Memory {
    /// As bytes, at most [`MEMORY_BYTES_MAX`]; peers beyond [`MEMORY_PEERS_MAX`] and
    /// [`MEMORY_FAILED_MAX`], and those that no longer fit, are left out.
    pub fn encode(&self) -> Vec<u8> {
        let mut peers = Vec::new();
        let mut count = 0u64;
        for peer in self.peers.iter().take(MEMORY_PEERS_MAX) {
            let start = peers.len();
            encode_peer(&mut peers, peer);
            if peers.len() > MEMORY_BYTES_MAX - OTHER_BYTES_MAX {
                peers.truncate(start);
                break;
            }
            count += 1;
        }
        let mut out = Vec::with_capacity(peers.len() + OTHER_BYTES_MAX);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        let (at, size) = self.size.map_or((0, None), |(at, size)| (at.as_secs(), Some(size)));
        let numbers = [
            self.written.as_secs(),
            size.map_or(0, |size| size.peers),
            size.map_or(0, |size| size.std_error),
            at,
            count,
        ];
        for number in numbers {
            varint::write(&mut out, number);
        }
        out.extend_from_slice(&peers);
        let failed = &self.failed[..self.failed.len().min(MEMORY_FAILED_MAX)];
        varint::write(&mut out, failed.len() as u64);
        for (id, until) in failed {
            encode_id(&mut out, id);
            varint::write(&mut out, until.as_secs());
        }
        let checksum = checksum(&out);
        out.extend_from_slice(&checksum);
        out
    }

    /// Reads what [`Memory::encode`] wrote. Any bytes give a value or an error, within bounded memory.
    ///
    /// Peers whose addresses cannot be kept have none; whoever is told twice counts once.
    /// Errors: [`MemoryError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, MemoryError> {
        if bytes.len() > MEMORY_BYTES_MAX {
            return Err(MemoryError::TooLarge { bytes: bytes.len() });
        }
        let Some((version, _)) = bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_first()) else {
            return Err(MemoryError::NotMemory);
        };
        if !(VERSION_MIN..=VERSION).contains(version) {
            return Err(MemoryError::Version { found: *version });
        }
        let (body, sum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .filter(|(body, _)| body.len() > MAGIC.len())
            .ok_or(TORN)?;
        if checksum(body) != *sum {
            return Err(MemoryError::Checksum);
        }
        let mut reader = Reader(&body[MAGIC.len() + 1..]);
        let written = UnixTime::from_secs(reader.number()?);
        let (peers, std_error) = (reader.number()?, reader.number()?);
        let estimated = UnixTime::from_secs(reader.number()?);
        let size = (peers > 0).then_some((estimated, NetworkSize { peers, std_error, walks: 0 }));
        let count = reader.number()?;
        if count > MEMORY_PEERS_MAX as u64 {
            return Err(TORN);
        }
        let mut memory = Self { written, size, ..Self::default() };
        for _ in 0..count {
            memory.peers.push(decode_peer(&mut reader)?);
        }
        let failed = if *version >= 2 { reader.number()? } else { 0 };
        if failed > MEMORY_FAILED_MAX as u64 {
            return Err(TORN);
        }
        for _ in 0..failed {
            let id = decode_id(&mut reader)?;
            memory.failed.push((id, UnixTime::from_secs(reader.number()?)));
        }
        if reader.0.is_empty() { Ok(memory) } else { Err(TORN) }
    }
}

/// Of everything but the peers: magic, version, six numbers, those that failed at 1 + 44 + 10 bytes, checksum.
const OTHER_BYTES_MAX: usize = MAGIC.len() + 1 + 6 * 10 + MEMORY_FAILED_MAX * 55 + CHECKSUM_BYTES;

/// The right checksum over something else than our own form.
const TORN: MemoryError = MemoryError::Malformed;

fn encode_id(out: &mut Vec<u8>, id: &PeerId) {
    let id = id.as_bytes();
    out.push(id.len() as u8); // at most 44
    out.extend_from_slice(id);
}

fn decode_id(reader: &mut Reader<'_>) -> Result<PeerId, MemoryError> {
    let len = usize::from(reader.bytes(1)?[0]); // one was asked for
    PeerId::from_bytes(reader.bytes(len)?).map_err(|_| TORN)
}

fn encode_peer(out: &mut Vec<u8>, peer: &RememberedPeer) {
    encode_id(out, &peer.info.peer.id);
    varint::write(out, peer.answered.as_secs());
    varint::write(out, peer.rtt.map_or(0, millis));
    varint::write(out, u64::from(peer.failures));
    varint::write(out, peer.info.addrs.len() as u64);
    for addr in peer.info.addrs.iter() {
        varint::write(out, addr.len() as u64);
        out.extend_from_slice(addr);
    }
}

/// At least 1, since 0 means unknown.
fn millis(rtt: Duration) -> u64 {
    u64::try_from(rtt.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn decode_peer(reader: &mut Reader<'_>) -> Result<RememberedPeer, MemoryError> {
    let id = decode_id(reader)?;
    let answered = UnixTime::from_secs(reader.number()?);
    let rtt = Some(reader.number()?).filter(|millis| *millis > 0).map(Duration::from_millis);
    let failures = u32::try_from(reader.number()?).unwrap_or(u32::MAX);
    let count = reader.number()?;
    if count > ADDRS_PER_PEER_MAX as u64 {
        return Err(TORN);
    }
    let mut addrs = Vec::with_capacity(count as usize); // at most 64
    for _ in 0..count {
        let len =
            usize::try_from(reader.number()?).ok().filter(|len| *len <= PEER_RECORD_BYTES_MAX).ok_or(TORN)?;
        addrs.push(reader.bytes(len)?);
    }
    let info = PeerInfo::new(Peer::new(id), AddrList::collect(&id, addrs));
    Ok(RememberedPeer { info, answered, rtt, failures })
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&digest[..CHECKSUM_BYTES]);
    sum
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], MemoryError> {
        let (read, rest) = self.0.split_at_checked(len).ok_or(TORN)?;
        self.0 = rest;
        Ok(read)
    }

    fn number(&mut self) -> Result<u64, MemoryError> {
        let (number, rest) = varint::read(self.0).map_err(|_| TORN)?;
        self.0 = rest;
        Ok(number)
    }
}

/// Why bytes are no memory. All of them mean a cold start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// More than [`MEMORY_BYTES_MAX`].
    #[error("it has {bytes} bytes, expected at most {MEMORY_BYTES_MAX}")]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// They begin otherwise.
    #[error("it is no memory of a node")]
    NotMemory,
    /// A later version, or one that never was.
    #[error("it is of version {found}, expected {VERSION_MIN} to {VERSION}")]
    Version {
        /// Which.
        found: u8,
    },
    /// They were changed, or cut short.
    #[error("its checksum is wrong: it was changed or cut short")]
    Checksum,
    /// The checksum is right and the content is not.
    #[error("it does not follow its own format")]
    Malformed,
}

impl MemoryError {
    /// Whoever keeps the bytes.
    pub const fn fault(&self) -> Fault {
        Fault::Caller
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Version { .. } => {
                "nothing: the node joins through its other sources; or run the version that wrote it"
            }
            Self::TooLarge { .. } | Self::NotMemory => "check that the path is that of a node's memory",
            Self::Checksum | Self::Malformed => "nothing: the node joins through its other sources",
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    fn peer(seed: u32) -> RememberedPeer {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&seed.to_be_bytes());
        let id = PeerId::from_digest(digest);
        let [_, _, hi, lo] = seed.to_be_bytes();
        let addrs =
            AddrList::collect(&id, [[4, 1, 2, hi, lo, 6, 15, 161].as_slice(), &[4, 10, 0, 0, 1, 6, 0, 80]]);
        RememberedPeer {
            info: PeerInfo::new(Peer::new(id), addrs),
            answered: UnixTime::from_secs(1_800_000_000 + u64::from(seed)),
            rtt: (!seed.is_multiple_of(3)).then(|| Duration::from_millis(u64::from(seed) + 1)),
            failures: seed % 2,
        }
    }

    fn memory(peers: u32) -> Memory {
        Memory {
            written: UnixTime::from_secs(1_800_000_500),
            size: Some((
                UnixTime::from_secs(1_800_000_000),
                NetworkSize { peers: 10_000, std_error: 560, walks: 0 },
            )),
            peers: (0..peers).map(peer).collect(),
            failed: (0..peers.min(9))
                .map(|n| (peer(n + 7).info.peer.id, UnixTime::from_secs(1_800_000_900)))
                .collect(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for memory in [Memory::default(), memory(1), memory(300)] {
            let bytes = memory.encode();
            assert_eq!(Memory::decode(&bytes), Ok(memory));
        }
        assert!(memory(300).encode().len() < 300 * 80, "about 70 bytes a peer");
    }

    #[test]
    fn every_kind_of_damage_has_its_name() {
        let good = memory(5).encode();
        assert_eq!(Memory::decode(&[]), Err(MemoryError::NotMemory));
        assert_eq!(Memory::decode(b"{\"schema\":\"kadmos.peers/1\"}"), Err(MemoryError::NotMemory));
        let mut newer = good.clone();
        for other in [0, 3] {
            newer[MAGIC.len()] = other;
            assert_eq!(Memory::decode(&newer), Err(MemoryError::Version { found: other }));
        }
        for len in MAGIC.len() + 1..good.len() {
            assert!(Memory::decode(&good[..len]).is_err(), "cut to {len}");
        }
        for at in MAGIC.len() + 1..good.len() {
            let mut flipped = good.clone();
            flipped[at] ^= 0x40;
            assert_eq!(Memory::decode(&flipped), Err(MemoryError::Checksum), "byte {at}");
        }
        let mut longer = good[..good.len() - CHECKSUM_BYTES].to_vec();
        longer.push(0);
        let sum = checksum(&longer);
        longer.extend(sum);
        assert_eq!(Memory::decode(&longer), Err(MemoryError::Malformed));
        let huge = alloc::vec![0; MEMORY_BYTES_MAX + 1];
        assert_eq!(Memory::decode(&huge), Err(MemoryError::TooLarge { bytes: MEMORY_BYTES_MAX + 1 }));
        for error in [MemoryError::NotMemory, MemoryError::Checksum, MemoryError::Malformed] {
            assert!(!error.advice().is_empty() && !error.to_string().is_empty());
        }
    }

    #[test]
    fn size_is_bounded() {
        let mut many = memory(0);
        many.peers = (0..MEMORY_PEERS_MAX as u32 + 50).map(peer).collect();
        let failed =
            (0..MEMORY_FAILED_MAX as u32 + 9).map(|n| (peer(n).info.peer.id, UnixTime::from_secs(u64::MAX)));
        many.failed = failed.collect();
        let bytes = many.encode();
        assert!(bytes.len() <= MEMORY_BYTES_MAX);
        let kept = Memory::decode(&bytes).expect("written by us");
        assert_eq!((kept.peers.len(), kept.failed.len()), (MEMORY_PEERS_MAX, MEMORY_FAILED_MAX));

        // Peers with as many addresses as fit.
        let long: Vec<_> = (0..40u8).map(|i| [&[54, 190, 1][..], &[i; 190]].concat()).collect();
        for remembered in &mut many.peers {
            let id = remembered.info.peer.id;
            remembered.info.addrs = AddrList::collect(&id, long.iter().map(Vec::as_slice));
        }
        let bytes = many.encode();
        assert!(bytes.len() <= MEMORY_BYTES_MAX);
        let kept = Memory::decode(&bytes).expect("written by us").peers.len();
        assert!(kept > 100, "{kept}");
    }

    proptest! {
        /// Any bytes give a value or an error. With the frame made right, so that the inside is reached.
        #[test]
        fn any_bytes_are_read_or_refused(body: Vec<u8>, frame: bool) {
            let mut bytes = body;
            if frame {
                let mut framed = MAGIC.to_vec();
                framed.push(VERSION);
                framed.append(&mut bytes);
                let sum = checksum(&framed);
                framed.extend(sum);
                bytes = framed;
            }
            if let Ok(memory) = Memory::decode(&bytes) {
                prop_assert!(memory.peers.len() <= MEMORY_PEERS_MAX);
                prop_assert_eq!(Memory::decode(&memory.encode()), Ok(memory));
            }
        }

        /// A well-formed body with some bytes changed, under a right checksum.
        #[test]
        fn changed_bodies_are_read_or_refused(peers in 0u32..20, changes: Vec<(u16, u8)>) {
            let mut bytes = memory(peers).encode();
            bytes.truncate(bytes.len() - CHECKSUM_BYTES);
            for (at, byte) in changes {
                let inside = MAGIC.len() + 1..bytes.len();
                let at = inside.start + usize::from(at) % inside.len();
                bytes[at] = byte;
            }
            let sum = checksum(&bytes);
            bytes.extend(sum);
            if let Ok(memory) = Memory::decode(&bytes) {
                prop_assert_eq!(Memory::decode(&memory.encode()), Ok(memory));
            }
        }
    }
}
