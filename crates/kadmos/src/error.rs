//! Why a node did not start, or a connection was not made.

use kadmos_libp2p::error::{BehaviourError, ConfigError, Fault};
use libp2p::{Multiaddr, PeerId};

/// Why no node was started. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A listen address is taken: by another program, or by a node that was started before.
    #[error("cannot listen on {addr}: the address is already in use")]
    AddressInUse {
        /// Which.
        addr: Multiaddr,
    },
    /// A listen address cannot be used.
    #[error("cannot listen on {addr}: {reason}")]
    Listen {
        /// Which.
        addr: Multiaddr,
        /// What the system said.
        reason: String,
    },
    /// A listen address is of no transport that the node has.
    #[error(
        "cannot listen on {addr}: expected a TCP or QUIC address such as /ip4/0.0.0.0/tcp/4001 or /ip4/0.0.0.0/udp/4001/quic-v1"
    )]
    UnsupportedAddress {
        /// Which.
        addr: Multiaddr,
    },
    /// A bootstrap address does not say whom to expect there.
    #[error("read the bootstrap address {addr}, expected it to end in /p2p/<peer id>")]
    BootstrapAddress {
        /// Which.
        addr: Multiaddr,
    },
    /// A setting cannot work, alone or with the validators.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The two networks cannot be told apart.
    #[error("both networks have the protocol id {name}, expected two")]
    SameProtocol {
        /// Which.
        name: String,
    },
    /// Peers of the local network are looked for, and the node is in the wide one only.
    #[error("mDNS finds peers of the local network, and this node keeps public addresses only")]
    NoLocalNetwork,
    /// The keys cannot be used for a transport's handshake.
    #[error("cannot set up {transport}: {reason}")]
    Transport {
        /// Which.
        transport: &'static str,
        /// What it said.
        reason: String,
    },
    /// There is no tokio runtime to run on.
    #[error("no tokio runtime: the node runs on the caller's")]
    NoRuntime,
}

impl BuildError {
    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::AddressInUse { .. }
            | Self::Listen { .. }
            | Self::UnsupportedAddress { .. }
            | Self::BootstrapAddress { .. }
            | Self::Config(_)
            | Self::SameProtocol { .. }
            | Self::NoLocalNetwork
            | Self::NoRuntime => Fault::Caller,
            Self::Transport { .. } => Fault::Us,
        }
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::AddressInUse { .. } => {
                "stop what listens there, or choose another port; port 0 takes a free one"
            }
            Self::Listen { .. } => "listen on an address of this machine, on a port that you may use",
            Self::UnsupportedAddress { .. } => "listen on a TCP or QUIC address",
            Self::BootstrapAddress { .. } => "append /p2p/ and the peer id of the bootstrap node",
            Self::Config(error) => error.advice(),
            Self::SameProtocol { .. } => "give one of them another protocol.name",
            Self::NoLocalNetwork => "join the local network too, or keep all addresses",
            Self::Transport { .. } => "check the key pair and the system's resolver configuration",
            Self::NoRuntime => "call start() inside #[tokio::main], or inside Runtime::block_on",
        }
    }
}

impl From<BehaviourError> for BuildError {
    fn from(error: BehaviourError) -> Self {
        match error {
            BehaviourError::Config(error) => Self::Config(error),
            BehaviourError::SameProtocol { name } => Self::SameProtocol { name },
            other => Self::Transport { transport: "the DHT", reason: other.to_string() },
        }
    }
}

/// Why a peer was not reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nothing answered at the address, or at any of the peer's.
    #[error("the peer could not be reached: {reason}")]
    Unreachable {
        /// What each attempt came to.
        reason: String,
    },
    /// Another peer answered.
    #[error("reached {got}, expected {expected}")]
    WrongPeer {
        /// Who answered.
        got: PeerId,
        /// Who was to answer.
        expected: PeerId,
    },
    /// The address is this node's own.
    #[error("the address is this node's own")]
    IsSelf,
    /// No address of the peer is known.
    #[error("no address of {peer} is known")]
    NoAddresses {
        /// Whose.
        peer: PeerId,
    },
    /// This node's connection limits do not allow another one.
    #[error("this node's connection limits are reached")]
    Limited,
    /// The peer was reached, but did not answer the ping.
    #[error("the peer did not answer the ping: {reason}")]
    NoAnswer {
        /// How.
        reason: String,
    },
    /// The node has shut down.
    #[error("the node has shut down")]
    Closed,
}

impl ConnectError {
    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Unreachable { .. } => Fault::Network,
            Self::WrongPeer { .. } | Self::NoAnswer { .. } => Fault::Peer,
            Self::IsSelf | Self::NoAddresses { .. } | Self::Closed => Fault::Caller,
            Self::Limited => Fault::Us,
        }
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "check the address and that the peer is running",
            Self::WrongPeer { .. } => "ask for the peer's current address",
            Self::IsSelf => "name another peer",
            Self::NoAddresses { .. } => "find the peer in the DHT first, or give its address",
            Self::Limited => "raise the connection limits, or close connections",
            Self::NoAnswer { .. } => "try again; the peer may be busy or not support ping",
            Self::Closed => "start a new node",
        }
    }
}
