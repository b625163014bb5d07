//! Running the binary: commands that end, and programs that stay.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The network of all tests here, so that none of them can meet a stranger.
pub(crate) const NETWORK: &str = "private:/kadmos/test/1";
/// The CID of the 11 bytes `hello world`.
pub(crate) const CONTENT: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
/// A peer that does not exist.
pub(crate) const NOBODY: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
/// A line that does not come within this time will not come.
const LINE_TIMEOUT: Duration = Duration::from_secs(60);

/// A data directory of its own, which is also where the configuration is looked for.
pub(crate) struct Home {
    root: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root.path().join("data")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::create_dir_all(self.path()).unwrap();
        let path = self.file(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A command on this directory, free of the caller's environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kadmos"));
        let ours = std::env::vars_os().map(|(name, _)| name);
        for name in ours.filter(|name| name.to_string_lossy().starts_with("KADMOS_")) {
            command.env_remove(name);
        }
        command
            .env("KADMOS_HOME", self.path())
            .env("KADMOS_NETWORK", NETWORK)
            .env("KADMOS_MDNS", "off") // no packet leaves the machine
            .args(args)
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&mut self.command(args))
    }

    /// Starts a daemon on any free port and waits until it is ready.
    pub(crate) fn serve(&self, args: &[&str]) -> Daemon {
        let listen = ["serve", "--json", "--listen", "/ip4/127.0.0.1/tcp/0"];
        let mut service = Service::start(&mut self.command(&[&listen, args].concat()));
        let ready: Value = serde_json::from_str(&service.out()).unwrap();
        Daemon { service, ready }
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// It succeeded; its standard output.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// It succeeded; its lines of JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Vec<Value> {
        let out = self.ok();
        let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.iter().all(|line| line["schema"].as_str().unwrap().starts_with("kadmos.")), "{out}");
        lines
    }

    /// It failed with this code, said so in one line on standard error that contains `text`, and printed no data.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, text: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        let lines: Vec<&str> = self.err.lines().collect();
        assert_eq!(lines.len(), 1, "{self:?}");
        assert!(lines[0].starts_with("kadmos: ") && lines[0].contains(text), "{self:?}");
    }
}

/// A program that stays, and what it prints, line by line.
pub(crate) struct Service {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Service {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = lines(child.stdout.take().unwrap());
        let err = lines(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    /// The next line of standard output.
    #[track_caller]
    pub(crate) fn out(&mut self) -> String {
        match self.out.recv_timeout(LINE_TIMEOUT) {
            Ok(line) => line,
            Err(_) => {
                panic!("no line of output; on standard error: {:?}", self.err.try_iter().collect::<Vec<_>>())
            }
        }
    }

    /// The next line of standard error that contains `text`.
    #[track_caller]
    pub(crate) fn err(&mut self, text: &str) -> String {
        let mut others = Vec::new();
        loop {
            match self.err.recv_timeout(LINE_TIMEOUT) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => others.push(line),
                Err(_) => panic!("no line with {text:?} on standard error, but {others:?}"),
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Most have ended; a test that failed leaves none behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads in a thread, so that nobody waits for a reader.
fn lines(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A running daemon.
pub(crate) struct Daemon {
    pub(crate) service: Service,
    pub(crate) ready: Value,
}

impl Daemon {
    pub(crate) fn id(&self) -> String {
        self.ready["id"].as_str().unwrap().into()
    }

    /// Its first address, with `/p2p/<id>`.
    pub(crate) fn addr(&self) -> String {
        self.ready["addrs"][0].as_str().unwrap().into()
    }

    /// Ends it as a service manager does.
    #[track_caller]
    pub(crate) fn stop(self) {
        self.service.signal(Signal::TERM);
        assert_eq!(self.service.wait().code(), Some(0));
    }
}

/// Permission bits.
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
