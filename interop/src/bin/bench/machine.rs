//! What the machine says: load, processor time, file descriptors.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit};

/// The load average of the last minute.
pub(crate) fn load() -> io::Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    text.split(' ').next().and_then(|load| load.parse().ok()).ok_or_else(|| invalid("/proc/loadavg"))
}

/// Processor time that a process and its threads have used so far, to 10 ms.
pub(crate) fn processor_time(process: u32) -> io::Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let ticks = ticks_used(&fs::read_to_string(&path)?).ok_or_else(|| invalid(&path))?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// User and system time in a line of `/proc/PID/stat`.
fn ticks_used(stat: &str) -> Option<u64> {
    // The name, second and in parentheses, may hold anything, also spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    // utime is field 14 and stime 15, of which field 3 comes first here.
    let mut fields = fields.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Raises the limit of open files as far as it goes. Tells the limit.
pub(crate) fn raise_file_limit() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
    // No limit at all is `None`.
    .unwrap_or(u64::MAX)
}

/// Files that this process has open, sockets among them.
pub(crate) fn open_files() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

fn invalid(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{path} is not as the kernel documents it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 250 31 0 0 20 0 1 0 5 6 7";
        assert_eq!(ticks_used(stat), Some(281));
        assert_eq!(ticks_used("42 (a) S 1"), None);
        assert_eq!(ticks_used(""), None);
    }

    #[test]
    fn this_process_can_be_measured() {
        assert!(load().unwrap() >= 0.0);
        processor_time(std::process::id()).unwrap();
        assert!(raise_file_limit() > 0);
        let before = open_files().unwrap();
        let held: Vec<_> = (0..64).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        // Other tests of this process may open and close a few meanwhile.
        assert!(open_files().unwrap() >= before + held.len() / 2);
    }
}
