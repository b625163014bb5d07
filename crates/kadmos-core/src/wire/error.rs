//! Why bytes are no message.

use crate::error::Fault;
use crate::event::Refusal;
use crate::message::MessageKind;

/// Why bytes of a peer are no message within our bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The message ends inside a field, or a length points past its end.
    #[error("the message ends inside a field")]
    Truncated,
    /// A varint of more than 64 bits.
    #[error("a varint has more than 64 bits")]
    VarintOverflow,
    /// A tag with the reserved field number 0, a number of more than 29 bits, or a wire type that does not exist.
    #[error("{tag:#x} is no tag of a field")]
    Tag {
        /// What was read.
        tag: u64,
    },
    /// Unknown groups that are not closed properly or are nested too deep to skip.
    #[error("groups are nested deeper than {max} or not closed")]
    Groups {
        /// Deepest nesting that is skipped.
        max: usize,
    },
    /// A message type that does not exist.
    #[error("message type {got} does not exist, expected 0 to 5")]
    UnknownType {
        /// What was read.
        got: i32,
    },
    /// A key that is empty or too long.
    #[error("the key has {got} bytes, expected 1 to {max}")]
    KeyLength {
        /// Bytes of the key.
        got: usize,
        /// Most bytes for this kind of message.
        max: usize,
    },
    /// A value that is too long.
    #[error("the value has {got} bytes, expected at most {max}")]
    ValueLength {
        /// Bytes of the value.
        got: usize,
        /// Most bytes.
        max: usize,
    },
    /// PUT_VALUE without a record.
    #[error("PUT_VALUE without a record")]
    NoRecord,
    /// PUT_VALUE whose record has another key than the message.
    #[error("the key of the record is not the key of the message")]
    KeyMismatch,
    /// A response of another kind than the request.
    #[error("the response is {got}, expected {expected}", got = got.label(), expected = expected.label())]
    WrongResponse {
        /// What was read.
        got: MessageKind,
        /// The kind of the request.
        expected: MessageKind,
    },
}

impl DecodeError {
    /// Always the peer's: it sent the bytes.
    pub const fn fault(&self) -> Fault {
        Fault::Peer
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::WrongResponse { .. } => {
                "reset the stream: its answers are out of step; ask on a new stream or another peer"
            }
            _ => "reset the stream and ask another peer; report the implementation if it repeats",
        }
    }

    /// The code under which the refusal is counted.
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::Truncated | Self::VarintOverflow | Self::Tag { .. } | Self::Groups { .. } => {
                Refusal::Malformed
            }
            Self::UnknownType { .. } => Refusal::UnknownType,
            Self::KeyLength { .. } => Refusal::KeyLength,
            Self::ValueLength { .. } => Refusal::ValueLength,
            Self::NoRecord | Self::KeyMismatch => Refusal::KeyMismatch,
            Self::WrongResponse { .. } => Refusal::WrongResponse,
        }
    }
}
