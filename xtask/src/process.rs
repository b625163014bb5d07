//! Child processes: bounded in time, ended as a group, never outliving this one.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::failure::Failure;

/// How often a running child is looked at. Short beside any command, long beside the cost of looking.
const POLL: Duration = Duration::from_millis(20);
/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(10);
/// Output kept of a captured command.
const CAPTURE_BYTES_MAX: u64 = 64 << 20;
/// Lines of a [`Service`] that wait to be read; it is held up when more do.
const LINES_MAX: usize = 1_024;

/// Set by SIGINT and SIGTERM.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes over SIGINT and SIGTERM.
    pub(crate) fn install() -> Result<Self, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, flag.clone())
                .map_err(|error| Failure::wrong(format!("cannot handle signal {signal}: {error}")))?;
        }
        Ok(Self(flag))
    }

    /// `Err` once a signal has come.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.0.load(Ordering::Relaxed) { Err(Failure::Interrupted) } else { Ok(()) }
    }
}

/// When to give up on children.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    /// Set by the user's signals.
    pub(crate) interrupt: Interrupt,
    /// When.
    pub(crate) deadline: Instant,
    /// Why, to finish the sentence "… was ended".
    pub(crate) reason: String,
}

impl Limit {
    fn check(&self, what: &str) -> Result<(), Failure> {
        self.interrupt.check()?;
        if Instant::now() < self.deadline {
            return Ok(());
        }
        Err(Failure::wrong(format!("`{what}` was ended {}", self.reason)))
    }
}

/// Runs a command to its end, output passed through. Errors: it cannot be started, fails, or meets `limit`.
pub(crate) fn run(command: &mut Command, limit: &Limit) -> Result<(), Failure> {
    let what = describe(command);
    eprintln!("$ {what}");
    let mut group = Group::spawn(command.stdin(Stdio::null()), &what)?;
    let status = group.wait(limit, &what)?;
    if status.success() { Ok(()) } else { Err(Failure::wrong(format!("`{what}` failed: {status}"))) }
}

/// A finished command's output.
#[derive(Debug)]
pub(crate) struct Captured {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// What it wrote to stdout.
    pub(crate) stdout: String,
}

/// Runs a command to its end and keeps its stdout; stderr passes through. Says nothing itself.
pub(crate) fn capture(command: &mut Command, limit: &Limit) -> Result<Captured, Failure> {
    let what = describe(command);
    let mut group = Group::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()), &what)?;
    let mut stdout = group.child.stdout.take().map(|pipe| pipe.take(CAPTURE_BYTES_MAX));
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.as_mut().map_or(Ok(0), |pipe| pipe.read_to_end(&mut bytes)).map(|_| bytes)
    });
    let status = group.wait(limit, &what)?;
    let bytes =
        join(reader, &what)?.map_err(|error| Failure::wrong(format!("cannot read `{what}`: {error}")))?;
    let stdout = String::from_utf8(bytes)
        .map_err(|_| Failure::wrong(format!("`{what}` printed something that is not UTF-8")))?;
    Ok(Captured { status, stdout })
}

/// As [`capture`], but a failure of the command is an error, too.
pub(crate) fn stdout_of(command: &mut Command, limit: &Limit) -> Result<String, Failure> {
    let what = describe(command);
    let captured = capture(command, limit)?;
    if captured.status.success() {
        return Ok(captured.stdout);
    }
    print!("{}", captured.stdout);
    Err(Failure::wrong(format!("`{what}` failed: {}", captured.status)))
}

/// A program that keeps running and whose lines are read one at a time. Ended when dropped.
#[derive(Debug)]
pub(crate) struct Service {
    group: Group,
    lines: Receiver<String>,
    what: String,
}

impl Service {
    /// Starts it; stderr passes through.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        let what = describe(command);
        eprintln!("$ {what}");
        let mut group = Group::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()), &what)?;
        let (sender, lines) = sync_channel(LINES_MAX);
        if let Some(stdout) = group.child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines() {
                    let Ok(line) = line else { return };
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { group, lines, what })
    }

    /// The next line it prints.
    pub(crate) fn line(&mut self, limit: &Limit) -> Result<String, Failure> {
        loop {
            match self.lines.recv_timeout(POLL) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Timeout) => limit.check(&self.what)?,
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.group.wait(limit, &self.what)?;
                    return Err(Failure::wrong(format!("`{}` ended: {status}", self.what)));
                }
            }
        }
    }

    /// Lines that are already there; `Err` once it has ended.
    pub(crate) fn pending(&mut self) -> Result<Vec<String>, Failure> {
        let lines: Vec<_> = self.lines.try_iter().collect();
        match self.group.child.try_wait() {
            Ok(None) => Ok(lines),
            Ok(Some(status)) => {
                self.group.done = true;
                Err(Failure::wrong(format!("`{}` ended: {status}", self.what)))
            }
            Err(error) => Err(Failure::wrong(format!("cannot wait for `{}`: {error}", self.what))),
        }
    }

    /// Asks it to end and says how it did.
    pub(crate) fn stop(mut self) -> Result<ExitStatus, Failure> {
        self.group.end().ok_or_else(|| Failure::wrong(format!("`{}` did not end when asked to", self.what)))
    }
}

/// A child and everything it starts: a process group of its own, so that the terminal's Ctrl-C reaches only us.
#[derive(Debug)]
struct Group {
    child: Child,
    done: bool,
}

impl Group {
    fn spawn(command: &mut Command, what: &str) -> Result<Self, Failure> {
        let child = command.process_group(0).spawn().map_err(|error| {
            Failure::wrong(format!("cannot run `{what}`: {error}; is the program installed and on the PATH?"))
        })?;
        Ok(Self { child, done: false })
    }

    fn wait(&mut self, limit: &Limit, what: &str) -> Result<ExitStatus, Failure> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    self.done = true;
                    return Ok(status);
                }
                Ok(None) => {}
                Err(error) => return Err(Failure::wrong(format!("cannot wait for `{what}`: {error}"))),
            }
            limit.check(what)?;
            thread::sleep(POLL);
        }
    }

    /// SIGTERM, then SIGKILL after [`GRACE`]. `None` when it took the latter.
    fn end(&mut self) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                self.done = true;
                return Some(status);
            }
            thread::sleep(POLL);
        }
        self.signal(Signal::KILL);
        self.done = self.child.wait().is_ok();
        None
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // The group may be gone already, which is what we want.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.done {
            self.end();
        }
    }
}

fn join<T>(thread: JoinHandle<T>, what: &str) -> Result<T, Failure> {
    thread.join().map_err(|_| Failure::wrong(format!("the thread that reads `{what}` panicked")))
}

/// The command line as a person would type it, environment left out.
fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(after: Duration) -> Limit {
        Limit {
            interrupt: Interrupt(Arc::default()),
            deadline: Instant::now() + after,
            reason: "by the test".into(),
        }
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_is_captured_and_failure_has_the_command() {
        let soon = limit(Duration::from_secs(60));
        assert_eq!(stdout_of(&mut shell("echo a; echo b"), &soon).unwrap(), "a\nb\n");
        let error = stdout_of(&mut shell("exit 3"), &soon).unwrap_err().to_string();
        assert!(error.contains("sh -c exit 3") && error.contains('3'), "{error}");
        assert_eq!(capture(&mut shell("exit 3"), &soon).unwrap().status.code(), Some(3));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("no-such-program"), &limit(GRACE)).unwrap_err().to_string();
        assert!(error.contains("no-such-program") && error.contains("installed"), "{error}");
    }

    #[test]
    fn a_command_past_its_deadline_is_ended_with_its_children() {
        let mut service = Service::start(&mut shell("sleep 600 & echo started; wait")).unwrap();
        assert_eq!(service.line(&limit(Duration::from_secs(60))).unwrap(), "started");
        let error = service.line(&limit(Duration::ZERO)).unwrap_err().to_string();
        assert!(error.contains("was ended by the test"), "{error}");
        let Service { group, lines, .. } = service;
        drop(group);
        // The grandchild has the pipe's other end, too: the pipe closes when the last of the group is gone.
        assert_eq!(lines.recv_timeout(Duration::from_secs(60)), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn a_signal_ends_the_wait() {
        let interrupted = limit(Duration::from_secs(60));
        interrupted.interrupt.0.store(true, Ordering::Relaxed);
        assert!(matches!(run(&mut shell("sleep 600"), &interrupted), Err(Failure::Interrupted)));
    }

    #[test]
    fn a_service_that_ends_is_noticed() {
        let soon = limit(Duration::from_secs(60));
        let mut service = Service::start(&mut shell("echo ready; exit 4")).unwrap();
        assert_eq!(service.line(&soon).unwrap(), "ready");
        let error = service.line(&soon).unwrap_err().to_string();
        assert!(error.contains('4'), "{error}");
    }
}
