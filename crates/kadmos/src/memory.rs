//! The file in which a node keeps what it knows over a restart.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use kadmos_core::limits::MEMORY_BYTES_MAX;
use kadmos_core::{Memory, MemoryError};

/// A file that holds a [`Memory`]: read whole, replaced whole, never half-written.
///
/// Its calls block on the disk for some milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryFile {
    path: PathBuf,
}

/// Why a memory could not be read. The node starts cold then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryFileError {
    /// The file cannot be read.
    #[error("{path}: {error}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file holds something else.
    #[error("{path}: {error}{}", kept(kept_as), path = path.display())]
    Corrupt {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        error: MemoryError,
        /// Where it was moved to, for whoever wants to look; `None` if an earlier one is there already.
        kept_as: Option<PathBuf>,
    },
}

fn kept(path: &Option<PathBuf>) -> String {
    path.as_ref().map_or_else(String::new, |path| format!("; it is kept as {}", path.display()))
}

impl MemoryFile {
    /// The file at `path`, which need not exist; its directory must.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it. `None` when there is no such file: nothing was kept yet.
    ///
    /// Errors: [`MemoryFileError`]. A file that is no memory is moved aside, the first time with its content; it is
    /// replaced by the next [`MemoryFile::save`].
    pub fn load(&self) -> Result<Option<Memory>, MemoryFileError> {
        let bytes = match self.read() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(MemoryFileError::Io { path: self.path.clone(), error }),
        };
        Memory::decode(&bytes).map(Some).map_err(|error| MemoryFileError::Corrupt {
            path: self.path.clone(),
            error,
            kept_as: self.set_aside(),
        })
    }

    /// Writes it: to a new file beside it, to the disk, and into its place.
    ///
    /// Errors: those of the file system; the old file is then as it was.
    pub fn save(&self, memory: &Memory) -> io::Result<()> {
        let temporary = self.beside(&format!(".tmp-{}", std::process::id()));
        let written =
            write_new(&temporary, &memory.encode()).and_then(|()| fs::rename(&temporary, &self.path));
        if written.is_err() {
            // Leaves nothing behind; the first error is the one to report.
            let _ = fs::remove_file(&temporary);
        }
        written?;
        // Makes the new name last; a file system that cannot do so for a directory has other means.
        if let Some(directory) = self.path.parent().filter(|path| !path.as_os_str().is_empty())
            && let Ok(directory) = File::open(directory)
        {
            directory.sync_all()?;
        }
        Ok(())
    }

    /// One byte more than a memory may have tells that it has too many.
    fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(&self.path)?.take(MEMORY_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn set_aside(&self) -> Option<PathBuf> {
        let aside = self.beside(".corrupt");
        if aside.exists() || fs::rename(&self.path, &aside).is_err() {
            return None;
        }
        Some(aside)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name: OsString = self.path.clone().into();
        name.push(suffix);
        name.into()
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A process of the same number may have died here before.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    // Whom a node knows is nobody else's business.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use kadmos_core::{AddrList, NetworkSize, Peer, PeerId, PeerInfo, RememberedPeer, UnixTime};

    use super::*;

    /// What the fixtures hold, that of version 1 without failures.
    fn memory() -> Memory {
        let peer = |seed: u8| {
            let id = PeerId::from_digest([seed; 32]);
            let addr: &[u8] = &[4, 1, 2, 3, seed, 6, 0x0f, 0xa1];
            RememberedPeer {
                info: PeerInfo::new(Peer::new(id), AddrList::collect(&id, [addr])),
                answered: UnixTime::from_secs(1_800_000_000 + u64::from(seed)),
                rtt: (seed > 1).then(|| std::time::Duration::from_millis(30 * u64::from(seed))),
                failures: u32::from(seed % 2),
            }
        };
        let size = NetworkSize { peers: 9_876, std_error: 512, walks: 0 };
        Memory {
            written: UnixTime::from_secs(1_800_000_500),
            size: Some((UnixTime::from_secs(1_800_000_400), size)),
            peers: (1..=3).map(peer).collect(),
            failed: vec![(PeerId::from_digest([9; 32]), UnixTime::from_secs(1_800_002_000))],
        }
    }

    #[test]
    fn what_is_saved_is_loaded_and_replaced_whole() {
        let home = tempfile::tempdir().unwrap();
        let file = MemoryFile::new(home.path().join("memory"));
        assert_eq!(file.load().unwrap(), None);
        file.save(&Memory::default()).unwrap();
        file.save(&memory()).unwrap();
        assert_eq!(file.load().unwrap(), Some(memory()));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_corrupt_file_is_kept_aside_once() {
        let home = tempfile::tempdir().unwrap();
        let file = MemoryFile::new(home.path().join("memory"));
        file.save(&memory()).unwrap();
        let mut bytes = fs::read(file.path()).unwrap();
        bytes[20] ^= 1;
        fs::write(file.path(), &bytes).unwrap();
        let error = file.load().unwrap_err();
        assert!(error.to_string().contains("it is kept as"), "{error}");
        let aside = home.path().join("memory.corrupt");
        assert_eq!(fs::read(&aside).unwrap(), bytes);
        assert_eq!(file.load().unwrap(), None, "the next start has nothing to complain of");

        fs::write(file.path(), b"something else").unwrap();
        let error = file.load().unwrap_err();
        assert!(matches!(error, MemoryFileError::Corrupt { kept_as: None, .. }), "{error}");
        assert_eq!(fs::read(&aside).unwrap(), bytes, "the first one stays");
        file.save(&memory()).unwrap();
        assert_eq!(file.load().unwrap(), Some(memory()));
    }

    #[test]
    fn what_cannot_be_read_or_written_is_said() {
        let home = tempfile::tempdir().unwrap();
        let directory = MemoryFile::new(home.path());
        assert!(matches!(directory.load(), Err(MemoryFileError::Io { .. })));
        let nowhere = MemoryFile::new(home.path().join("no/such/memory"));
        assert_eq!(nowhere.load().unwrap(), None);
        assert!(nowhere.save(&memory()).is_err());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    /// Files of earlier versions stay readable, and the last one is what is written.
    #[test]
    fn every_version_is_read() {
        let fixture = |version: u8| {
            let path = format!("{}/tests/fixtures/memory-{version}", env!("CARGO_MANIFEST_DIR"));
            fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        assert_eq!(Memory::decode(&fixture(1)), Ok(Memory { failed: Vec::new(), ..memory() }));
        assert_eq!(Memory::decode(&fixture(2)), Ok(memory()));
        assert_eq!(memory().encode(), fixture(2));
    }
}
