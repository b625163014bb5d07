//! The server's process: its start, its memory, its processor time.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The kernel counts processor time in hundredths of a second, on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// The server. Ends when dropped.
pub(crate) struct Server {
    child: Child,
    addr: String,
}

impl Server {
    /// Starts this program again as the server, and reads its address.
    pub(crate) fn start() -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut addr = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut addr)?;
        }
        Ok(Self { child, addr: addr.trim().into() })
    }

    /// Where it listens, with `/p2p/<id>`.
    pub(crate) fn addr(&self) -> &str {
        &self.addr
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> io::Result<Usage> {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()));
        Usage::read(&read("stat")?, &read("status")?)
            .ok_or_else(|| io::Error::other("cannot read the server's usage from /proc"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its standard input ends, and with it the server.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) processor: Duration,
    /// Resident memory now.
    pub(crate) memory_kib: u64,
    /// The most there was.
    pub(crate) memory_kib_max: u64,
}

impl Usage {
    /// From `/proc/<pid>/stat` and `status`.
    fn read(stat: &str, status: &str) -> Option<Self> {
        // After the name, which may hold anything but ends with the last bracket: field 3 on.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
        let ticks = fields.next()?.parse::<u32>().ok()? + fields.next()?.parse::<u32>().ok()?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().ok()
        };
        Some(Self { processor: TICK * ticks, memory_kib: kib("VmRSS")?, memory_kib_max: kib("VmHWM")? })
    }

    /// Time used between two readings; memory of the later one.
    pub(crate) fn between(before: &Self, after: &Self) -> Self {
        Self { processor: after.processor.saturating_sub(before.processor), ..*after }
    }
}
