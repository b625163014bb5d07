//! The six messages of the Amino DHT as bounded values. Their bytes are in [`crate::wire`].

use alloc::vec::Vec;

use bytes::Bytes;

use crate::limits::{KEY_BYTES_MAX, PROVIDER_KEY_BYTES_MAX};
use crate::peer::PeerInfo;
use crate::time::UnixTime;

/// Kind of a message. The numbers are the wire's. Source: go-libp2p-kad-dht `pb/dht.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MessageKind {
    /// Store a value.
    PutValue = 0,
    /// Read a value.
    GetValue = 1,
    /// Announce the sender as provider; has no answer.
    AddProvider = 2,
    /// Ask for providers.
    GetProviders = 3,
    /// Ask for the peers closest to a key.
    FindNode = 4,
    /// Deprecated liveness check; servers answer, clients use `/ipfs/ping/1.0.0`.
    Ping = 5,
}

impl MessageKind {
    /// Every kind, in wire order.
    pub const ALL: [Self; 6] =
        [Self::PutValue, Self::GetValue, Self::AddProvider, Self::GetProviders, Self::FindNode, Self::Ping];

    /// The kind with wire number `number`.
    pub const fn from_wire(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::PutValue,
            1 => Self::GetValue,
            2 => Self::AddProvider,
            3 => Self::GetProviders,
            4 => Self::FindNode,
            5 => Self::Ping,
            _ => return None,
        })
    }

    /// Longest key of a message of this kind; the shortest is one byte, but for PING, whose key is ignored.
    pub const fn key_bytes_max(self) -> usize {
        match self {
            Self::AddProvider | Self::GetProviders => PROVIDER_KEY_BYTES_MAX,
            Self::PutValue | Self::GetValue | Self::FindNode | Self::Ping => KEY_BYTES_MAX,
        }
    }

    /// Stable label for metrics and logs: `put_value`, `get_value`, …
    pub const fn label(self) -> &'static str {
        match self {
            Self::PutValue => "put_value",
            Self::GetValue => "get_value",
            Self::AddProvider => "add_provider",
            Self::GetProviders => "get_providers",
            Self::FindNode => "find_node",
            Self::Ping => "ping",
        }
    }
}

/// A value as it travels: the key under which it is stored, and the bytes its namespace's validator understands.
///
/// The wire's `timeReceived` is not here: a sender's is never trusted, and ours is added when a stored value is
/// served ([`Response::GetValue`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Binary key: `/namespace/` and raw bytes, for example `/ipns/<peer id bytes>`.
    pub key: Bytes,
    /// Opaque to the core.
    pub value: Bytes,
}

/// A request, as sent or as received; everything in it is within [`crate::limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// PUT_VALUE. The answer echoes the record.
    PutValue {
        /// What to store; its key is also the message's key.
        record: Record,
    },
    /// GET_VALUE.
    GetValue {
        /// Binary record key.
        key: Bytes,
    },
    /// ADD_PROVIDER. Never answered.
    AddProvider {
        /// Multihash of the content, at most 80 bytes.
        key: Bytes,
        /// Who provides: servers keep only the entry that is the sender itself.
        providers: Vec<PeerInfo>,
    },
    /// GET_PROVIDERS.
    GetProviders {
        /// Multihash of the content, at most 80 bytes.
        key: Bytes,
    },
    /// FIND_NODE.
    FindNode {
        /// Any bytes; hashed into the keyspace by the server.
        key: Bytes,
    },
    /// PING.
    Ping,
}

impl Request {
    /// The request's kind.
    pub const fn kind(&self) -> MessageKind {
        match self {
            Self::PutValue { .. } => MessageKind::PutValue,
            Self::GetValue { .. } => MessageKind::GetValue,
            Self::AddProvider { .. } => MessageKind::AddProvider,
            Self::GetProviders { .. } => MessageKind::GetProviders,
            Self::FindNode { .. } => MessageKind::FindNode,
            Self::Ping => MessageKind::Ping,
        }
    }

    /// The key it is about; empty for PING.
    pub fn key(&self) -> &Bytes {
        static NO_KEY: Bytes = Bytes::new();
        match self {
            Self::PutValue { record } => &record.key,
            Self::GetValue { key }
            | Self::AddProvider { key, .. }
            | Self::GetProviders { key }
            | Self::FindNode { key } => key,
            Self::Ping => &NO_KEY,
        }
    }

    /// Whether the peer will answer: all but ADD_PROVIDER.
    pub const fn has_response(&self) -> bool {
        !matches!(self, Self::AddProvider { .. })
    }
}

/// A response, as sent or as received; everything in it is within [`crate::limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Echo of a PUT_VALUE. Some peers leave the record out, which proves nothing was stored.
    PutValue {
        /// The echoed record.
        record: Option<Record>,
    },
    /// Answer to GET_VALUE.
    GetValue {
        /// The stored record, if there is one; not validated by the sender.
        record: Option<Record>,
        /// When the record was received, by the clock of the node that serves it. Written for others to see, never
        /// trusted: a decoded response has none.
        received: Option<UnixTime>,
        /// Peers closer to the key.
        closer: Vec<PeerInfo>,
    },
    /// Answer to GET_PROVIDERS.
    GetProviders {
        /// Known providers; some may lack addresses.
        providers: Vec<PeerInfo>,
        /// Peers closer to the key.
        closer: Vec<PeerInfo>,
    },
    /// Answer to FIND_NODE.
    FindNode {
        /// Peers closer to the key, the target itself among them if it is known.
        closer: Vec<PeerInfo>,
    },
    /// Answer to PING.
    Ping,
    /// An ADD_PROVIDER that came back: no implementation answers it today, one specification speaks of an echo.
    /// Tolerated and ignored.
    AddProvider,
}

impl Response {
    /// The response's kind.
    pub const fn kind(&self) -> MessageKind {
        match self {
            Self::PutValue { .. } => MessageKind::PutValue,
            Self::GetValue { .. } => MessageKind::GetValue,
            Self::GetProviders { .. } => MessageKind::GetProviders,
            Self::FindNode { .. } => MessageKind::FindNode,
            Self::Ping => MessageKind::Ping,
            Self::AddProvider => MessageKind::AddProvider,
        }
    }

    /// The closer peers it names; empty for kinds that name none.
    pub fn closer(&self) -> &[PeerInfo] {
        match self {
            Self::GetValue { closer, .. } | Self::GetProviders { closer, .. } | Self::FindNode { closer } => {
                closer
            }
            Self::PutValue { .. } | Self::Ping | Self::AddProvider => &[],
        }
    }
}
