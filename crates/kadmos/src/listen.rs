//! Beginning to listen, and why that fails.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, Swarm, TransportError};
use socket2::{Domain, Socket, Type};

use crate::error::BuildError;
use crate::network::Network;

/// Listens on `addr`, unless somebody does so already.
pub(crate) fn begin(swarm: &mut Swarm<Network>, addr: &Multiaddr) -> Result<ListenerId, BuildError> {
    if let Some((socket, kind)) = socket(addr) {
        probe(socket, kind).map_err(|error| failed(addr.clone(), &error))?;
    }
    swarm.listen_on(addr.clone()).map_err(|error| match error {
        TransportError::MultiaddrNotSupported(_) => BuildError::UnsupportedAddress { addr: addr.clone() },
        TransportError::Other(error) => failed(addr.clone(), &error),
    })
}

/// Tells an address in use from other failures.
pub(crate) fn failed(addr: Multiaddr, error: &io::Error) -> BuildError {
    if is_in_use(error) {
        BuildError::AddressInUse { addr }
    } else {
        BuildError::Listen { addr, reason: error.to_string() }
    }
}

/// Binds and lets go again. libp2p's own TCP listeners share their port with any other socket of the same user that
/// shares it too, a second node for example: half of the connections would then go to the wrong one, silently. And
/// its QUIC listeners do not say why they failed in a way that programs can read.
fn probe(addr: SocketAddr, kind: Type) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(addr), kind, None)?;
    if cfg!(unix) && kind == Type::STREAM {
        // Connections of a node that ended a moment ago are no obstacle.
        socket.set_reuse_address(true)?;
    }
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&addr.into())
}

/// The socket address of `/ip4/…/tcp/…` or `/ip4/…/udp/…` with a port that was chosen.
fn socket(addr: &Multiaddr) -> Option<(SocketAddr, Type)> {
    let mut parts = addr.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    let (port, kind) = match parts.next()? {
        Protocol::Tcp(port) => (port, Type::STREAM),
        Protocol::Udp(port) => (port, Type::DGRAM),
        _ => return None,
    };
    (port != 0).then(|| (SocketAddr::new(ip, port), kind))
}

/// Whether the system said so, under however many layers of transports.
fn is_in_use(error: &io::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<io::Error>() {
            Some(io) if io.kind() == io::ErrorKind::AddrInUse => return true,
            Some(io) => cause = io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => cause = error.source(),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_port_is_told_from_a_free_one() {
        let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        #[cfg(unix)]
        taken.set_reuse_port(true).unwrap();
        taken.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        taken.listen(1).unwrap();
        let addr = taken.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(probe(addr, Type::STREAM).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(taken);
        probe(addr, Type::STREAM).unwrap();
    }

    #[test]
    fn only_chosen_ports_are_probed() {
        for (text, expected) in [
            ("/ip4/127.0.0.1/tcp/7", Some(("127.0.0.1:7", Type::STREAM))),
            ("/ip6/::1/udp/7/quic-v1", Some(("[::1]:7", Type::DGRAM))),
            ("/ip4/127.0.0.1/tcp/0", None),
            ("/dns4/localhost/tcp/7", None),
            ("/memory/7", None),
        ] {
            let expected = expected.map(|(socket, kind)| (socket.parse().unwrap(), kind));
            assert_eq!(socket(&text.parse().unwrap()), expected);
        }
    }

    #[test]
    fn the_reason_is_found_under_wrappers() {
        let inner = io::Error::from(io::ErrorKind::AddrInUse);
        assert!(is_in_use(&io::Error::other(io::Error::other(inner))));
        assert!(!is_in_use(&io::Error::other("no")));
    }
}
