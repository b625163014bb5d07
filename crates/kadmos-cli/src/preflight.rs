//! Whether the listen addresses are free, asked before the node starts.
//!
//! libp2p listens with `SO_REUSEPORT`, under which a second process of the same user gets the same port without an
//! error, and each of the two loses half of its connections. Asking without that option finds the first one.

use std::net::{IpAddr, SocketAddr};

use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

use crate::exit::{Exit, Failure};

/// What an address asks the kernel for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Endpoint {
    addr: SocketAddr,
    kind: SocketType,
}

/// Checks each address, and returns those to listen on.
///
/// With `is_default`, addresses of a family that the machine lacks are left out; else they are errors. Errors: one
/// sentence for the first address that cannot be had. Another process may still be faster afterwards.
pub(crate) fn usable(addrs: &[Multiaddr], is_default: bool) -> Result<Vec<Multiaddr>, Failure> {
    let mut usable = Vec::new();
    for addr in addrs {
        match endpoint(addr).map_or(Ok(()), try_bind) {
            Ok(()) => usable.push(addr.clone()),
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if is_default && addrs.len() > 1 => {
                tracing::info!(%addr, "this machine lacks the address family; not listening there");
            }
            Err(errno) => return Err(refused(addr, errno)),
        }
    }
    Ok(usable)
}

fn refused(addr: &Multiaddr, errno: Errno) -> Failure {
    let (reason, advice) = match errno {
        Errno::ADDRINUSE => {
            ("the port is in use", "stop the program that has it, or choose another with --listen")
        }
        Errno::ACCESS => ("this user may not use the port", "choose one above 1023 with --listen"),
        Errno::ADDRNOTAVAIL => {
            ("this machine does not have the address", "choose one of its own with --listen")
        }
        Errno::AFNOSUPPORT => ("this machine lacks the address family", "choose another with --listen"),
        _ => {
            return Failure::new(
                Exit::Failed,
                format_args!("cannot listen on {addr}: {errno}; choose another address with --listen"),
            );
        }
    };
    Failure::new(Exit::Failed, format_args!("cannot listen on {addr}: {reason}; {advice}"))
}

/// The socket behind an address; `None` for port 0, which is always free, and for addresses without an IP.
fn endpoint(addr: &Multiaddr) -> Option<Endpoint> {
    let mut parts = addr.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::from(ip),
        Protocol::Ip6(ip) => IpAddr::from(ip),
        _ => return None,
    };
    let (port, kind) = match parts.next()? {
        Protocol::Tcp(port) => (port, SocketType::STREAM),
        Protocol::Udp(port) => (port, SocketType::DGRAM),
        _ => return None,
    };
    (port != 0).then_some(Endpoint { addr: SocketAddr::new(ip, port), kind })
}

fn try_bind(Endpoint { addr, kind }: Endpoint) -> Result<(), Errno> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, kind, None)?;
    if addr.is_ipv6() {
        // As libp2p does: /ip6/:: and /ip4/0.0.0.0 have their ports apart.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if kind == SocketType::STREAM {
        // Old connections of a daemon that has just ended hold no port.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &addr)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    fn addr(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn ports_in_use_are_found() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let taken = [
            addr(&format!("/ip4/127.0.0.1/tcp/{}", tcp.local_addr().unwrap().port())),
            addr(&format!("/ip4/127.0.0.1/udp/{}/quic-v1", udp.local_addr().unwrap().port())),
        ];
        for addr in &taken {
            let failure = usable(std::slice::from_ref(addr), false).unwrap_err();
            assert!(failure.message.contains("the port is in use; stop the program"), "{failure}");
        }
        drop((tcp, udp));
        assert_eq!(usable(&taken, false).unwrap(), taken);
    }

    #[test]
    fn addresses_of_others_are_found() {
        // 192.0.2.0/24 is for documentation, so no machine has it.
        let failure = usable(&[addr("/ip4/192.0.2.1/tcp/4010")], false).unwrap_err();
        assert!(failure.message.contains("does not have the address"), "{failure}");
        let free = addr("/ip4/127.0.0.1/tcp/0");
        let defaults = [addr("/ip4/192.0.2.1/tcp/4010"), free.clone()];
        assert_eq!(usable(&defaults, true).unwrap(), [free]);
    }
}
