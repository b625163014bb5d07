//! A network of its own for each measured process, in which the kernel counts for it alone what it dials and sends:
//! the same way for every implementation, and without its help.
//!
//! All of them hang on one network that is cut off from the machine's: 10.77.0.1 is where this process serves,
//! 10.77.N.2 where the measured process number N does.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;

/// Where this process serves.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Set in the process that is cut off already.
const INSIDE: &str = "KADMOS_BENCH_INSIDE";

/// What to install, and what to allow, if there is no network of one's own to be had.
const NEEDED: &str =
    "needs unshare and nsenter (util-linux), ip (iproute2), and a kernel that lets users make namespaces";

/// Whether this process is cut off from the machine's network.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs this program again with the same arguments, cut off from the machine's network. Returns only if that fails.
pub(crate) fn enter() -> Failure {
    let error = match std::env::current_exe() {
        Ok(program) => Command::new("unshare")
            .args(["--map-root-user", "--net", "--"])
            .arg(program)
            .args(std::env::args_os().skip(1))
            .env(INSIDE, "1")
            .exec(),
        Err(error) => error,
    };
    format!("{NEEDED}: {error}").into()
}

/// Prepares the network that this process is cut off into.
pub(crate) fn prepare() -> Result<(), Failure> {
    ip("link set lo up")?;
    ip(&format!("address add {HOST}/32 dev lo"))?;
    // The measured processes reach each other.
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").map_err(|error| format!("{NEEDED}: {error}"))?;
    Ok(())
}

/// One network. It ends with this, and with whoever runs in it.
#[derive(Debug)]
pub(crate) struct Namespace {
    /// Holds it open, and waits for the end of its input.
    holder: Child,
    host: Ipv4Addr,
}

/// What the kernel has counted in a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// TCP connections that were dialled from within.
    pub(crate) dials: u64,
    /// TCP connections that were taken.
    pub(crate) taken: u64,
    /// Bytes of frames sent, all headers included.
    pub(crate) bytes_sent: u64,
    /// Bytes of frames received.
    pub(crate) bytes_received: u64,
}

impl Namespace {
    /// Network `number`, 1 to 254.
    pub(crate) fn new(number: u8) -> Result<Self, Failure> {
        let holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("{NEEDED}: {error}"))?;
        let namespace = Self { holder, host: Ipv4Addr::new(10, 77, number, 2) };
        let process = namespace.process();
        await_unshared(process)?;
        let gate = Ipv4Addr::new(10, 77, number, 1);
        ip(&format!("link add gate{number} type veth peer name subject netns {process}"))?;
        ip(&format!("address add {gate}/30 dev gate{number}"))?;
        ip(&format!("link set gate{number} up"))?;
        let inside = |arguments: &str| {
            let target = process.to_string();
            let enter = ["--net", "--target", &target, "ip"].map(OsString::from);
            run("nsenter", enter.into_iter().chain(arguments.split(' ').map(OsString::from)))
        };
        inside("link set lo up")?;
        inside(&format!("address add {}/30 dev subject", namespace.host))?;
        inside("link set subject up")?;
        inside(&format!("route add default via {gate}"))?;
        Ok(namespace)
    }

    /// Its only address.
    pub(crate) fn host(&self) -> Ipv4Addr {
        self.host
    }

    /// A process in it.
    pub(crate) fn process(&self) -> u32 {
        self.holder.id()
    }

    /// What was counted so far.
    pub(crate) fn traffic(&self) -> io::Result<Traffic> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{}/net/{file}", self.process()));
        parse(&read("dev")?, &read("snmp")?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not as the kernel documents it"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        // `cat` has ended with its input; so this does not wait long. An error leaves a zombie until our own end.
        let _ = self.holder.wait();
    }
}

/// From `/proc/PID/net/dev` and `/proc/PID/net/snmp`.
fn parse(dev: &str, snmp: &str) -> Option<Traffic> {
    let interface = dev.lines().find_map(|line| line.trim_start().strip_prefix("subject:"))?;
    let interface: Vec<u64> = interface.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
    let mut tcp = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (tcp.next()?, tcp.next()?);
    let of = |wanted| {
        let mut pairs = names.split(' ').zip(values.split(' '));
        pairs.find_map(|(name, value)| (name == wanted).then(|| value.parse().ok())?)
    };
    Some(Traffic {
        dials: of("ActiveOpens")?,
        taken: of("PassiveOpens")?,
        bytes_sent: *interface.get(8)?,
        bytes_received: *interface.first()?,
    })
}

/// Waits until a process has left our network.
fn await_unshared(process: u32) -> Result<(), Failure> {
    let ours = fs::read_link("/proc/self/ns/net")?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if fs::read_link(format!("/proc/{process}/ns/net"))? != ours {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err("unshare has made no network".into())
}

fn ip(arguments: &str) -> Result<(), Failure> {
    run("ip", arguments.split(' ').map(OsString::from))
}

fn run(program: &str, arguments: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let mut command = Command::new(program);
    let output = command.args(arguments).output().map_err(|error| format!("{NEEDED}: {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counts_are_read() {
        let dev = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       7       1    0    0    0     0          0         0        7       1    0    0    0     0       0          0
subject: 1234567 901    0    0    0     0          0         0     7654    32    0    0    0     0       0          0
";
        let snmp = "\
Ip: Forwarding
Ip: 1
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails
Tcp: 1 200 120000 -1 12 34 5
";
        let traffic = Traffic { dials: 12, taken: 34, bytes_sent: 7_654, bytes_received: 1_234_567 };
        assert_eq!(parse(dev, snmp), Some(traffic));
        assert_eq!(parse("", snmp), None);
        assert_eq!(parse(dev, "Tcp: ActiveOpens\n"), None);
    }
}
