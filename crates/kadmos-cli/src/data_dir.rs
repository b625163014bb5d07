//! The data directory: where it is, its permissions, its lock, and how files in it are replaced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::exit::{Exit, Failure};

/// Longest path of a Unix socket: `sun_path` has 108 bytes on Linux, the last of which is zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The directory that holds identity, socket, lock and what is remembered of networks.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
}

/// Held while a daemon runs or the identity is changed; given back when dropped, and by the kernel on any death.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl DataDir {
    /// The directory: the flag or `KADMOS_HOME`, systemd's, XDG's, or below the home.
    ///
    /// Errors: none of them is set.
    pub(crate) fn locate(
        flag: Option<&Path>,
        variable: impl Fn(&str) -> Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let path = flag
            .map(Path::to_path_buf)
            .or_else(|| variable("KADMOS_HOME"))
            .or_else(|| variable("STATE_DIRECTORY"))
            .or_else(|| variable("XDG_DATA_HOME").map(|base| base.join("kadmos")))
            .or_else(|| variable("HOME").map(|home| home.join(".local/share/kadmos")));
        match path {
            Some(path) => Ok(Self { path }),
            None => Err(Failure::usage(
                "no data directory: neither KADMOS_HOME nor XDG_DATA_HOME nor HOME is set; set KADMOS_HOME to a writable directory",
            )),
        }
    }

    /// Creates the directory, for its owner only, unless it is there.
    pub(crate) fn create(&self) -> Result<(), Failure> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(|error| self.unwritable(&error))
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The private key.
    pub(crate) fn identity(&self) -> PathBuf {
        self.path.join("identity.key")
    }

    /// What a node of the network `protocol` keeps over a restart. Peers of one network are strangers in another.
    pub(crate) fn memory(&self, protocol: &str) -> PathBuf {
        let network: String =
            protocol.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(64).collect();
        self.path.join(format!("memory{network}"))
    }

    /// The daemon's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join("kadmos.sock")
    }

    /// Checks that the socket's path fits the kernel's limit.
    pub(crate) fn check_socket_path(&self) -> Result<(), Failure> {
        let length = self.socket().as_os_str().len();
        if length <= SOCKET_PATH_BYTES_MAX {
            return Ok(());
        }
        Err(Failure::usage(format_args!(
            "the socket's path {} has {length} bytes, expected at most {SOCKET_PATH_BYTES_MAX}; set KADMOS_HOME to a shorter directory",
            self.socket().display()
        )))
    }

    /// Takes the directory for this process.
    ///
    /// Errors: another process has it, or the directory cannot be written.
    pub(crate) fn lock(&self) -> Result<Lock, Failure> {
        self.create()?;
        let path = self.path.join("kadmos.lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| self.unwritable(&error))?;
        // std's own try_lock is younger than the oldest compiler that this program supports.
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // The holder's number is a courtesy; without it the sentence is still true.
                let _ = file.take(16).read_to_string(&mut holder);
                let holder =
                    holder.trim().parse::<u32>().map_or_else(|_| String::new(), |id| format!(" {id}"));
                return Err(Failure::new(
                    Exit::Failed,
                    format_args!(
                        "data directory {} is in use by process{holder}; stop it, or set KADMOS_HOME to another directory",
                        self.path.display()
                    ),
                ));
            }
            Err(errno) => return Err(self.unwritable(&errno.into())),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| self.unwritable(&error))?;
        Ok(Lock { _file: file })
    }

    /// Replaces the file at `path`, which must be in this directory: readers see the old or the new bytes, whole,
    /// also after a crash.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        replace(path, bytes).map_err(|error| self.unwritable(&error))
    }

    fn unwritable(&self, error: &io::Error) -> Failure {
        Failure::io(
            "write to the data directory",
            &self.path,
            error,
            "make it writable for this user, or set KADMOS_HOME to another directory",
        )
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".tmp-{}", std::process::id()));
    let temporary = PathBuf::from(name);
    let written = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Leaves nothing behind; the first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A process of the same number may have died here before.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn home() -> (tempfile::TempDir, DataDir) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        (root, DataDir { path })
    }

    #[test]
    fn the_directory_is_found_in_order() {
        let variables =
            [("KADMOS_HOME", "/h"), ("STATE_DIRECTORY", "/s"), ("XDG_DATA_HOME", "/x"), ("HOME", "/u")];
        for (skipped, path) in ["/h", "/s", "/x/kadmos", "/u/.local/share/kadmos"].iter().enumerate() {
            let lookup = |name: &str| {
                let known = variables[skipped..].iter().find(|(known, _)| *known == name);
                known.map(|(_, value)| PathBuf::from(value))
            };
            assert_eq!(DataDir::locate(None, lookup).unwrap().path(), Path::new(path));
        }
        assert_eq!(DataDir::locate(Some(Path::new("/f")), |_| None).unwrap().path(), Path::new("/f"));
        assert_eq!(DataDir::locate(None, |_| None).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn one_process_at_a_time() {
        let (_root, home) = home();
        let lock = home.lock().unwrap();
        // flock belongs to the open file, so a second open in this process stands for a second process.
        let failure = home.lock().unwrap_err();
        assert!(failure.message.contains(&format!("in use by process {}", std::process::id())), "{failure}");
        drop(lock);
        drop(home.lock().unwrap());
    }

    #[test]
    fn the_directory_and_its_files_are_private() {
        let (_root, home) = home();
        home.create().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(home.path()), 0o700);
        home.replace(&home.identity(), b"one").unwrap();
        home.replace(&home.identity(), b"two").unwrap();
        assert_eq!(fs::read(home.identity()).unwrap(), b"two");
        assert_eq!(mode(&home.identity()), 0o600);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let failure = DataDir { path: file.join("data") }.lock().unwrap_err();
        assert!(failure.message.starts_with("cannot write to the data directory"), "{failure}");
        assert!(failure.message.contains("KADMOS_HOME"), "{failure}");
    }

    #[test]
    fn long_socket_paths_are_refused_by_name() {
        let home = DataDir { path: PathBuf::from(format!("/{}", "x".repeat(120))) };
        assert!(home.check_socket_path().unwrap_err().message.contains("expected at most 107"));
    }
}
