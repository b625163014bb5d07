//! Files in memory that fail as disks do, the same way each time: power cuts, full disks, flipped bits, `fsync` that lies.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::files::{Files, LogFile};

/// A disk writes sectors whole or, rarely, torn; it never mixes two.
const SECTOR: u64 = 512;

/// A directory in memory. Clones are the same directory.
#[derive(Clone, Debug, Default)]
pub struct FaultyFiles {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    nodes: Vec<Node>,
    /// What a program sees.
    names: BTreeMap<String, usize>,
    /// What is certain.
    names_synced: BTreeMap<String, usize>,
    /// What happened to names since.
    names_changed: Vec<(String, Option<usize>)>,
    /// Operations until the power fails; each write and sync is one.
    power: Option<u64>,
    /// Bytes that fit.
    capacity: Option<u64>,
    lies: bool,
    failing_syncs: u64,
    /// Calls of `remove` that succeed before one that fails.
    failing_remove: Option<u64>,
    operations: u64,
}

#[derive(Clone, Debug, Default)]
struct Node {
    synced: Vec<u8>,
    current: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Cut { len: u64 },
}

/// A small generator, so that a test's seed decides everything. SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which counts as 1 when it is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound.max(1)
    }

    /// True `percent` times in a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

impl FaultyFiles {
    /// Cuts the power after so many more operations; from then on everything fails.
    pub fn cut_power_after(&self, operations: u64) {
        self.lock().power = Some(operations);
    }

    /// Lets so many bytes in, all files together; a write beyond that is done in part and fails.
    pub fn limit_to(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// From now on `sync` does nothing and says that it did.
    pub fn lie_about_sync(&self) {
        self.lock().lies = true;
    }

    /// The next `count` calls of `sync` on files fail, and what they should have made certain stays uncertain.
    pub fn fail_syncs(&self, count: u64) {
        self.lock().failing_syncs = count;
    }

    /// The next call of `remove` but `spared` fails, and the file stays.
    pub fn fail_remove_after(&self, spared: u64) {
        self.lock().failing_remove = Some(spared);
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The names and lengths of the files.
    pub fn lengths(&self) -> BTreeMap<String, u64> {
        let inner = self.lock();
        inner
            .names
            .iter()
            .map(|(name, node)| (name.clone(), inner.nodes[*node].current.len() as u64))
            .collect()
    }

    /// The bytes of a file, if it is there.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let inner = self.lock();
        inner.names.get(name).map(|node| inner.nodes[*node].current.clone())
    }

    /// Puts a file there as if it had always been.
    pub fn place(&self, name: &str, bytes: &[u8]) {
        let mut inner = self.lock();
        let node = inner.nodes.len();
        inner.nodes.push(Node { synced: bytes.to_vec(), current: bytes.to_vec(), changes: Vec::new() });
        inner.names.insert(name.to_string(), node);
        inner.names_synced.insert(name.to_string(), node);
    }

    /// Flips one bit of a file, as if it had always been so.
    pub fn flip(&self, name: &str, bit: u64) {
        let mut inner = self.lock();
        let node = inner.names[name];
        let (byte, bit) = ((bit / 8) as usize, bit % 8);
        inner.nodes[node].current[byte] ^= 1 << bit;
        if let Some(synced) = inner.nodes[node].synced.get_mut(byte) {
            *synced ^= 1 << bit;
        }
    }

    /// Cuts a file off, as if it had always been so.
    pub fn shorten(&self, name: &str, len: u64) {
        let mut inner = self.lock();
        let node = inner.names[name];
        let node = &mut inner.nodes[node];
        node.current.truncate(len as usize);
        node.synced.truncate(len as usize);
        node.changes.clear();
    }

    /// A copy of the files as they are.
    #[must_use]
    pub fn copy(&self) -> Self {
        let inner = self.lock();
        let copied = Inner {
            nodes: inner.nodes.clone(),
            names: inner.names.clone(),
            names_synced: inner.names_synced.clone(),
            names_changed: inner.names_changed.clone(),
            ..Inner::default()
        };
        Self { inner: Arc::new(Mutex::new(copied)) }
    }

    /// What is on the disk when the power comes back: all that was synced, and of the rest whatever `dice` say. Sectors
    /// of one write are kept and lost independently, now and then one is torn; names come and go independently.
    #[must_use]
    pub fn after_power_cut(&self, dice: &mut Dice) -> Self {
        let inner = self.lock();
        // Some disks lose all of it, some nearly nothing; each cut draws which.
        let kept_percent = [0, 5, 50, 90, 100][dice.below(5) as usize];
        let names_percent = [0, 50, 100][dice.below(3) as usize];
        let mut names = inner.names_synced.clone();
        for (name, node) in &inner.names_changed {
            if dice.percent(names_percent) {
                match node {
                    Some(node) => names.insert(name.clone(), *node),
                    None => names.remove(name),
                };
            }
        }
        let nodes = inner
            .nodes
            .iter()
            .map(|node| {
                let mut bytes = node.synced.clone();
                for change in &node.changes {
                    match change {
                        Change::Cut { len } if dice.percent(kept_percent) => bytes.truncate(*len as usize),
                        Change::Cut { .. } => {}
                        Change::Write { offset, bytes: written } => {
                            write_some_sectors(&mut bytes, *offset, written, kept_percent, dice);
                        }
                    }
                }
                Node { synced: bytes.clone(), current: bytes, changes: Vec::new() }
            })
            .collect();
        let inner = Inner { nodes, names: names.clone(), names_synced: names, ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_some_sectors(bytes: &mut Vec<u8>, offset: u64, written: &[u8], kept_percent: u64, dice: &mut Dice) {
    let mut at = offset;
    let end = offset + written.len() as u64;
    while at < end {
        let next = ((at / SECTOR + 1) * SECTOR).min(end);
        if dice.percent(kept_percent) {
            let torn = if dice.percent(3) { at + dice.below(next - at) } else { next };
            if bytes.len() < torn as usize {
                bytes.resize(torn as usize, 0);
            }
            bytes[at as usize..torn as usize]
                .copy_from_slice(&written[(at - offset) as usize..(torn - offset) as usize]);
        }
        at = next;
    }
}

impl Inner {
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        match &mut self.power {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Files for FaultyFiles {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let mut inner = self.lock();
        inner.operate()?;
        if inner.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = inner.nodes.len();
        inner.nodes.push(Node::default());
        inner.names.insert(name.to_string(), node);
        inner.names_changed.push((name.to_string(), Some(node)));
        Ok(Box::new(FaultyFile { files: self.clone(), node }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let node = self.lock().find(name)?;
        Ok(Box::new(FaultyFile { files: self.clone(), node }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.operate()?;
        inner.find(name)?;
        match inner.failing_remove.take() {
            Some(0) => return Err(io::Error::other("the file cannot be removed")),
            left => inner.failing_remove = left.map(|left| left - 1),
        }
        inner.names.remove(name);
        inner.names_changed.push((name.to_string(), None));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.operate()?;
        if !inner.lies {
            inner.names_synced = inner.names.clone();
            inner.names_changed.clear();
        }
        Ok(())
    }
}

#[derive(Debug)]
struct FaultyFile {
    files: FaultyFiles,
    node: usize,
}

impl LogFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.files.lock();
        let power = inner.operate();
        let used: u64 = inner.names.values().map(|node| inner.nodes[*node].current.len() as u64).sum();
        let room = inner.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(used));
        let fits = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let node = &mut inner.nodes[self.node];
        let offset = node.current.len() as u64;
        node.current.extend_from_slice(&bytes[..fits]);
        node.changes.push(Change::Write { offset, bytes: bytes[..fits].to_vec() });
        power?; // what was on its way may have arrived
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let inner = self.files.lock();
        let current = &inner.nodes[self.node].current;
        let rest = current.get(offset as usize..).unwrap_or(&[]);
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn length(&mut self) -> io::Result<u64> {
        Ok(self.files.lock().nodes[self.node].current.len() as u64)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut inner = self.files.lock();
        inner.operate()?;
        let node = &mut inner.nodes[self.node];
        node.current.truncate(len as usize);
        node.changes.push(Change::Cut { len });
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut inner = self.files.lock();
        inner.operate()?;
        if inner.failing_syncs > 0 {
            inner.failing_syncs -= 1;
            return Err(io::Error::other("the disk failed"));
        }
        if !inner.lies {
            let node = &mut inner.nodes[self.node];
            if node.changes.iter().any(|change| matches!(change, Change::Cut { .. })) {
                node.synced.clear();
            }
            let Node { synced, current, .. } = node;
            synced.extend_from_slice(&current[synced.len()..]);
            node.changes.clear();
        }
        Ok(())
    }
}
