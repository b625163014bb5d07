//! The little that a store needs of a file system, so that tests can put a failing one in its place.

use std::fmt::Debug;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A directory of append-only files with flat names.
///
/// After a power cut a file's bytes are certain only up to its last [`LogFile::sync`], and a name's coming or going only
/// since the last [`Files::sync_names`]. The store assumes no more than that, in no order.
pub trait Files: Debug + Send + Sync + 'static {
    /// Every name. Cost: reads the directory.
    fn names(&self) -> io::Result<Vec<String>>;
    /// A new, empty file. Errors: also when there is one of this name.
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>>;
    /// A file that is there.
    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>>;
    /// Takes a name away; what it named is gone with the last open handle.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Ends when names that came or went before are certain.
    fn sync_names(&self) -> io::Result<()>;
}

/// An open file.
pub trait LogFile: Debug + Send {
    /// Writes at the end. After an error any part of it may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Reads from `offset` as much as there is room and file for.
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Its length.
    fn length(&mut self) -> io::Result<u64>;
    /// Cuts it off at `len`.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    /// Ends when everything appended before is certain.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory of the operating system, held by one process at a time.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Locked as long as it is open; the operating system lets go when the process ends, however it does.
    _lock: fs::File,
}

/// The name of the file whose lock stands for the directory's.
pub(super) const LOCK: &str = "lock";

impl Directory {
    /// Opens `path`, which is made if it is not there, and locks it.
    ///
    /// Errors: of the file system; `WouldBlock` when another process, or another store of this one, holds it.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        make(&path)?;
        let lock = lock(&path.join(LOCK))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a directory and those above it; their names are certain when this ends.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    make(above)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_directory(above),
    }
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// NTFS journals names itself, and a directory cannot be opened for this.
#[cfg(windows)]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn lock(path: &Path) -> io::Result<fs::File> {
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

#[cfg(windows)]
fn lock(path: &Path) -> io::Result<fs::File> {
    use std::os::windows::fs::OpenOptionsExt;
    fs::OpenOptions::new().create(true).truncate(false).write(true).share_mode(0).open(path)
}

impl Files for Directory {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is no text is none of ours.
            if let Ok(name) = entry?.file_name().into_string()
                && name != LOCK
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let file =
            fs::OpenOptions::new().read(true).append(true).create_new(true).open(self.path.join(name))?;
        Ok(Box::new(OsFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let file = fs::OpenOptions::new().read(true).append(true).open(self.path.join(name))?;
        Ok(Box::new(OsFile(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        sync_directory(&self.path)
    }
}

#[derive(Debug)]
struct OsFile(fs::File);

impl LogFile for OsFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.seek(SeekFrom::Start(offset))?; // appending moves to the end by itself
        let mut read = 0;
        while read < into.len() {
            match self.0.read(&mut into[read..]) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn length(&mut self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}
