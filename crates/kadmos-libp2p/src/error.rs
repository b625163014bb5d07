//! Why operations fail: the core's errors, one enum for each operation, unchanged.

pub use kadmos_core::config::ConfigError;
pub use kadmos_core::error::{
    BootstrapError, ClosestPeersError, Fault, FindPeerError, FindProvidersError, GetValueError,
    OperationError, ProvideError, PutValueError, RequestFailure,
};
use kadmos_core::operation::OperationKind;
use kadmos_core::peer::PeerIdError;

/// Why no [`crate::Behaviour`] could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BehaviourError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The local peer id is not one that a key pair gives.
    #[error("the local peer id is unusable: {0}")]
    LocalPeerId(#[from] PeerIdError),
    /// Two networks cannot be told apart.
    #[error("both networks have the protocol id {name}, expected two")]
    SameProtocol {
        /// Which.
        name: String,
    },
}

impl BehaviourError {
    /// Always the caller's.
    pub const fn fault(&self) -> Fault {
        Fault::Caller
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Config(error) => error.advice(),
            Self::LocalPeerId(_) => "use the peer id of the key pair that the swarm was built with",
            Self::SameProtocol { .. } => "give one of them another protocol.name",
        }
    }
}

/// An outcome of another operation than was asked for: our bug, told as a failure of the node.
pub(crate) fn mismatch(expected: OperationKind) -> OperationError {
    debug_assert!(false, "{expected:?} ended with another operation's outcome");
    OperationError::Closed
}
