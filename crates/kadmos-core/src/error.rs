//! Why operations fail: one enum each, every variant says whose fault it is and what to do.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::peer::Peer;
use crate::realm::Realm;
use crate::record::InvalidRecord;

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The caller asked for something impossible.
    Caller,
    /// The network did not deliver; trying again may help.
    Network,
    /// A peer broke the protocol or refused.
    Peer,
    /// This node: its bounds, its store, or a bug.
    Us,
}

/// Why a request to one peer failed. Drivers report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RequestFailure {
    /// No connection could be made.
    #[error("the peer could not be reached")]
    Unreachable,
    /// No answer within the time-out.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// The stream or connection broke.
    #[error("the connection broke")]
    Closed,
    /// The peer does not speak the protocol.
    #[error("the peer does not speak the protocol")]
    Unsupported,
    /// The answer was no message, or not one for this request.
    #[error("the peer's answer broke the protocol")]
    Malformed,
    /// Our own queue to this peer is full.
    #[error("too many requests are waiting for this peer")]
    Overloaded,
}

impl RequestFailure {
    /// Whose fault it is.
    pub const fn fault(self) -> Fault {
        match self {
            Self::Unreachable | Self::TimedOut | Self::Closed => Fault::Network,
            Self::Unsupported | Self::Malformed => Fault::Peer,
            Self::Overloaded => Fault::Us,
        }
    }

    /// What to do about it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Unreachable => "check the peer's addresses, or ask another peer",
            Self::TimedOut | Self::Closed => "try again, or ask another peer",
            Self::Unsupported => "ask a peer that serves the DHT",
            Self::Malformed => "ask another peer; report the implementation",
            Self::Overloaded => "send fewer requests to this peer at once",
        }
    }

    /// Whether trying the same peer again can help. Protocol errors are never retried.
    pub const fn is_retryable(self) -> bool {
        matches!(self.fault(), Fault::Network)
    }

    /// Stable label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Closed => "closed",
            Self::Unsupported => "unsupported",
            Self::Malformed => "malformed",
            Self::Overloaded => "overloaded",
        }
    }
}

/// Why an operation failed for reasons that every operation shares.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// Nobody to ask: the table is empty.
    #[error("no peers are known to ask")]
    NoPeers,
    /// Every peer that was asked failed.
    #[error("none of the {asked} peers asked answered")]
    NoAnswers {
        /// Peers asked.
        asked: usize,
    },
    /// The deadline passed first.
    #[error("the deadline passed before the operation ended")]
    TimedOut,
    /// The caller cancelled it.
    #[error("the operation was cancelled")]
    Cancelled,
    /// [`crate::limits::OPERATIONS_MAX`] are running.
    #[error("too many operations are running")]
    TooMany,
    /// The key cannot be used.
    #[error("the key has {got} bytes, expected 1 to {max}")]
    KeyLength {
        /// Bytes of the key.
        got: usize,
        /// Most bytes allowed for this operation.
        max: usize,
    },
    /// The node's own store failed.
    #[error("the local store failed: {reason}")]
    Store {
        /// What the store said.
        reason: alloc::string::String,
    },
    /// The node has shut down.
    #[error("the node has shut down")]
    Closed,
}

impl OperationError {
    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::NoPeers | Self::NoAnswers { .. } | Self::TimedOut => Fault::Network,
            Self::Cancelled | Self::KeyLength { .. } | Self::Closed => Fault::Caller,
            Self::TooMany | Self::Store { .. } => Fault::Us,
        }
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::NoPeers => "add bootstrap peers and bootstrap first",
            Self::NoAnswers { .. } => "check this node's connection, then bootstrap again",
            Self::TimedOut => "try again with a later deadline",
            Self::Cancelled => "nothing: the caller ended it",
            Self::TooMany => "wait until running operations have ended",
            Self::KeyLength { .. } => "use a key of the length the operation allows",
            Self::Store { .. } => "check the store's disk and its log",
            Self::Closed => "start a new node",
        }
    }
}

/// Prints what failed in each network.
struct ByRealm<'a, E>(&'a [(Realm, E)]);

impl<E: fmt::Display> fmt::Display for ByRealm<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (realm, error)) in self.0.iter().enumerate() {
            write!(f, "{}{realm}: {error}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

macro_rules! operation_error {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident $({ $($(#[$fdoc:meta])* $field:ident: $ty:ty),* $(,)? })? => ($message:literal, $fault:expr, $advice:literal)),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum $name {
            /// For a reason that every operation shares.
            #[error(transparent)]
            Operation(#[from] OperationError),
            /// In each of these networks for a reason of its own. Only a program that is in two gives it.
            #[error("{}", ByRealm(failed))]
            Realms {
                /** At least one network, and why it failed there. */
                failed: Vec<(Realm, Self)>,
            },
            $($(#[$vdoc])* #[error($message)] $variant $({ $($(#[$fdoc])* $field: $ty),* })?),*
        }

        impl $name {
            /// The error of two networks in which the same operation failed: both, or one if they are the same.
            pub fn of_realms(wan: Self, lan: Self) -> Self {
                if wan == lan { wan } else { Self::Realms { failed: vec![(Realm::Wan, wan), (Realm::Lan, lan)] } }
            }

            /// Of the errors of two networks the one that says more: an empty table says only that nobody there can be
            /// asked. Any other error is itself.
            pub fn deciding(&self) -> &Self {
                let Self::Realms { failed } = self else { return self };
                let says_more = |error: &&Self| !matches!(error, Self::Operation(OperationError::NoPeers));
                let mut errors = failed.iter().map(|(_, error)| error);
                errors.clone().find(says_more).or_else(|| errors.next()).map_or(self, Self::deciding)
            }

            /// Whose fault it is.
            pub fn fault(&self) -> Fault {
                match self.deciding() {
                    Self::Operation(error) => error.fault(),
                    Self::Realms { .. } => Fault::Network,
                    $(Self::$variant { .. } => $fault),*
                }
            }

            /// What to do about it.
            pub fn advice(&self) -> &'static str {
                match self.deciding() {
                    Self::Operation(error) => error.advice(),
                    Self::Realms { .. } => "check this node's connection and try again",
                    $(Self::$variant { .. } => $advice),*
                }
            }
        }
    };
}

operation_error! {
    /// Why closest peers were not found.
    ClosestPeersError {}
}

operation_error! {
    /// Why a peer was not found.
    FindPeerError {
        /// The walk ended without the peer.
        NotFound { /** Peers that answered. */ answered: usize }
            => ("the peer was not found; {answered} peers answered", Fault::Network, "check the peer id; the peer may be offline or not in this network"),
        /// The id is this node's own.
        IsSelf => ("the peer id is this node's own", Fault::Caller, "ask for another peer"),
    }
}

operation_error! {
    /// Why a provider search failed. A search that ends without providers has not failed.
    FindProvidersError {}
}

operation_error! {
    /// Why a value was not read.
    GetValueError {
        /// No valid value was found.
        NotFound { /** Peers that answered. */ answered: usize }
            => ("no valid value was found; {answered} peers answered", Fault::Network, "check the key; the value may have expired"),
        /// The key's namespace has no rules here.
        Key { /** Why. */ invalid: InvalidRecord }
            => ("the key cannot be read: {invalid}", Fault::Caller, "register a validator for the key's namespace"),
    }
}

operation_error! {
    /// Why a value was not stored.
    PutValueError {
        /// The value is invalid.
        Invalid { /** Why. */ invalid: InvalidRecord }
            => ("the value is invalid: {invalid}", Fault::Caller, "sign and encode the value as its namespace demands"),
        /// This node holds a better value under the key.
        Outdated => ("a better value is already stored under the key", Fault::Caller, "read the current value and publish a newer one"),
        /// Longer than values may be.
        TooLarge { /** Bytes. */ got: usize, /** Bound. */ max: usize }
            => ("the value has {got} bytes, expected at most {max}", Fault::Caller, "store a smaller value"),
        /// No peer stored it.
        NotStored { /** Peers asked. */ attempted: usize, /** The last failure of each. */ failed: Vec<(Peer, RequestFailure)> }
            => ("none of the {attempted} peers asked stored the value", Fault::Network, "check this node's connection and try again"),
    }
}

operation_error! {
    /// Why content was not announced.
    ProvideError {
        /// The node has no address that others could use.
        NoAddresses => ("this node has no address to announce", Fault::Caller, "listen on a reachable address first"),
        /// No peer took it.
        NotSent { /** Peers asked. */ attempted: usize, /** The last failure of each. */ failed: Vec<(Peer, RequestFailure)> }
            => ("none of the {attempted} peers asked took the record", Fault::Network, "check this node's connection and try again"),
    }
}

operation_error! {
    /// Why joining a network failed.
    BootstrapError {
        /// Nobody to start from.
        NoSources => ("no bootstrap peer is configured or remembered", Fault::Caller, "add at least one bootstrap peer"),
        /// No bootstrap peer answered.
        Unreachable { /** Peers tried. */ tried: usize }
            => ("none of the {tried} bootstrap peers answered", Fault::Network, "check this node's connection and the bootstrap peers' addresses"),
    }
}

/// What became of a record at each peer it was sent to.
///
/// For values, `stored` counts peers that echoed the record. ADD_PROVIDER has no answer, so for providers `stored`
/// stays 0 and `sent` counts records that were flushed to a stream that was not reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishReport {
    /// Peers that were to hold the record, closest first.
    pub attempted: usize,
    /// Peers to which the record was sent.
    pub sent: usize,
    /// Peers that proved that they took it.
    pub stored: usize,
    /// The peers counted in `stored` for values, in `sent` for providers.
    pub holders: Vec<Peer>,
    /// The others, with the last failure of each.
    pub failed: Vec<(Peer, RequestFailure)>,
    /// Why this node's own store did not take the record, if it did not. The others were sent it all the same.
    pub local_failure: Option<alloc::string::String>,
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::node::{InputError, RequestId, StoreId};
    use crate::operation::OperationId;
    use crate::peer::PeerIdError;

    /// Message, fault and advice of one variant.
    macro_rules! says {
        ($($error:expr),* $(,)?) => {
            vec![$(($error.to_string(), $error.fault(), $error.advice())),*]
        };
    }

    /// Every variant of every operation's error. A new one must be added to the match that fails to compile below.
    fn all() -> Vec<(alloc::string::String, Fault, &'static str)> {
        use OperationError as Op;
        let mut all = says![
            Op::NoPeers,
            Op::NoAnswers { asked: 3 },
            Op::TimedOut,
            Op::Cancelled,
            Op::TooMany,
            Op::KeyLength { got: 81, max: 80 },
            Op::Store { reason: "disk".into() },
            Op::Closed,
            ClosestPeersError::Operation(Op::NoPeers),
            FindPeerError::Operation(Op::TimedOut),
            FindPeerError::NotFound { answered: 2 },
            FindPeerError::IsSelf,
            FindPeerError::of_realms(Op::NoPeers.into(), FindPeerError::NotFound { answered: 2 }),
            FindProvidersError::Operation(Op::Closed),
            GetValueError::Operation(Op::TooMany),
            GetValueError::NotFound { answered: 2 },
            GetValueError::Key { invalid: InvalidRecord::NoNamespace },
            PutValueError::Operation(Op::NoPeers),
            PutValueError::Invalid { invalid: InvalidRecord::NoNamespace },
            PutValueError::Outdated,
            PutValueError::TooLarge { got: 2, max: 1 },
            PutValueError::NotStored { attempted: 20, failed: vec![] },
            ProvideError::Operation(Op::NoPeers),
            ProvideError::NoAddresses,
            ProvideError::NotSent { attempted: 20, failed: vec![] },
            BootstrapError::Operation(Op::NoPeers),
            BootstrapError::NoSources,
            BootstrapError::Unreachable { tried: 4 },
        ];
        all.extend(says![
            RequestFailure::Unreachable,
            RequestFailure::TimedOut,
            RequestFailure::Closed,
            RequestFailure::Unsupported,
            RequestFailure::Malformed,
            RequestFailure::Overloaded,
        ]);
        all.extend(says![
            InvalidRecord::NoNamespace,
            InvalidRecord::UnknownNamespace { namespace: "x".into() },
            InvalidRecord::Refused { code: "x", reason: "it was refused".into() },
            InputError::DuplicateOperation(OperationId(1)),
            InputError::UnknownRequest(RequestId(1)),
            InputError::UnknownStore(StoreId(1)),
            PeerIdError { len: 3 },
        ]);
        all
    }

    /// Not called: it stops compiling when a variant is added that [`all`] does not know.
    #[allow(dead_code, reason = "compiled, not run")]
    fn complete(find: &FindPeerError, get: &GetValueError, put: &PutValueError, provide: &ProvideError) {
        match find {
            FindPeerError::Operation(_)
            | FindPeerError::Realms { .. }
            | FindPeerError::NotFound { .. }
            | FindPeerError::IsSelf => {}
        }
        match get {
            GetValueError::Operation(_)
            | GetValueError::Realms { .. }
            | GetValueError::NotFound { .. }
            | GetValueError::Key { .. } => {}
        }
        match put {
            PutValueError::Operation(_)
            | PutValueError::Realms { .. }
            | PutValueError::Invalid { .. }
            | PutValueError::Outdated
            | PutValueError::TooLarge { .. }
            | PutValueError::NotStored { .. } => {}
        }
        match provide {
            ProvideError::Operation(_)
            | ProvideError::Realms { .. }
            | ProvideError::NoAddresses
            | ProvideError::NotSent { .. } => {}
        }
    }

    #[test]
    fn every_error_says_what_happened_whose_fault_it_is_and_what_to_do() {
        for (message, _, advice) in all() {
            assert!(message.len() > 10 && !message.ends_with('.'), "{message}");
            assert!(advice.len() > 10, "{message}: {advice}");
            assert_ne!(message, advice);
        }
    }

    #[test]
    fn wrapped_errors_keep_their_fault() {
        assert_eq!(GetValueError::Operation(OperationError::TooMany).fault(), Fault::Us);
        assert_eq!(ProvideError::Operation(OperationError::TimedOut).fault(), Fault::Network);
        assert!(RequestFailure::TimedOut.is_retryable() && !RequestFailure::Malformed.is_retryable());
    }

    #[test]
    fn two_networks_that_failed_are_both_named_and_the_one_that_was_asked_decides() {
        let (nobody, not_found) =
            (GetValueError::from(OperationError::NoPeers), GetValueError::NotFound { answered: 3 });
        for (wan, lan, message) in [
            (
                &nobody,
                &not_found,
                "wan: no peers are known to ask; lan: no valid value was found; 3 peers answered",
            ),
            (
                &not_found,
                &nobody,
                "wan: no valid value was found; 3 peers answered; lan: no peers are known to ask",
            ),
        ] {
            let both = GetValueError::of_realms(wan.clone(), lan.clone());
            assert_eq!(both.to_string(), message);
            assert_eq!(both.deciding(), &not_found);
            assert_eq!((both.fault(), both.advice()), (not_found.fault(), not_found.advice()));
        }
        assert_eq!(GetValueError::of_realms(nobody.clone(), nobody.clone()), nobody);
        let empty = GetValueError::Realms { failed: vec![] };
        assert_eq!((empty.deciding(), empty.fault()), (&empty, Fault::Network));
    }
}
