//! How the program ends: exit codes, and the one sentence that goes with each failure.

use std::fmt;
use std::process::ExitCode;

use kadmos::core::record::InvalidRecord;
use kadmos::{
    BootstrapError, BuildError, ClosestPeersError, ConfigError, ConnectError, Fault, FindPeerError,
    FindProvidersError, GetValueError, OperationError, ProvideError, PutValueError, RequestFailure,
};
use serde::{Deserialize, Serialize};

/// Exit codes other than 0. They are part of the interface: `docs/cli.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Exit {
    /// 1: it was tried and did not work.
    Failed,
    /// 2: the command line or the configuration is wrong.
    Usage,
    /// 3: the network was asked and does not have it.
    NotFound,
    /// 4: the time was up first.
    TimedOut,
    /// 5: no peer or no daemon could be reached.
    Unreachable,
    /// 6: refused by a limit or by a record's rules.
    Refused,
    /// 10: `sim check` saw something wrong.
    SimWrong,
    /// 11: in `sim check`, something never ended.
    SimStuck,
    /// 12: in `sim check`, two runs of one seed differed.
    SimUnrepeatable,
    /// 13: in `sim check`, the code panicked.
    SimCrashed,
    /// 130: stopped by the person, as shells number SIGINT.
    Interrupted,
}

impl Exit {
    /// The number the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::TimedOut => 4,
            Self::Unreachable => 5,
            Self::Refused => 6,
            Self::SimWrong => 10,
            Self::SimStuck => 11,
            Self::SimUnrepeatable => 12,
            Self::SimCrashed => 13,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command failed: its exit code, and one sentence that says what was read, what was expected and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// The sentence, without a full stop and without the program's name.
    pub(crate) message: String,
}

impl Failure {
    /// A failure; line breaks in `message`, which may quote what others sent, become spaces.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        let message = message.to_string();
        Self { exit, message: message.split_whitespace().collect::<Vec<_>>().join(" ") }
    }

    /// A failure of the operating system at a path.
    pub(crate) fn io(
        doing: &str,
        path: &std::path::Path,
        error: &std::io::Error,
        advice: impl fmt::Display,
    ) -> Self {
        Self::new(Exit::Failed, format_args!("cannot {doing} {}: {error}; {advice}", path.display()))
    }

    /// The node has ended while a command needed it.
    pub(crate) fn shutdown(error: OperationError) -> Self {
        Self::new(shared(&error), format_args!("{error}; {}", error.advice()))
    }

    /// Exit code 2.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// For failures without a code of their own: whoever could have avoided it decides.
const fn exit_of(fault: Fault) -> Exit {
    match fault {
        Fault::Caller => Exit::Usage,
        Fault::Network | Fault::Us => Exit::Failed,
        Fault::Peer => Exit::Refused,
    }
}

fn shared(error: &OperationError) -> Exit {
    match error {
        OperationError::NoPeers | OperationError::NoAnswers { .. } => Exit::Unreachable,
        OperationError::TimedOut => Exit::TimedOut,
        OperationError::Cancelled => Exit::Interrupted,
        OperationError::TooMany => Exit::Refused,
        OperationError::Store { .. } | OperationError::Closed => Exit::Failed,
        _ => exit_of(error.fault()),
    }
}

fn nobody_took_it(failed: impl Iterator<Item = RequestFailure>) -> Exit {
    let mut exit = Exit::Unreachable;
    for failure in failed {
        if failure.fault() != Fault::Network {
            exit = Exit::Refused;
        }
    }
    exit
}

macro_rules! from_operation_error {
    ($($error:ident { $($pattern:pat => $exit:expr),* $(,)? })*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let exit = match error.deciding() {
                    $error::Operation(operation) => shared(operation),
                    $($pattern => $exit,)*
                    #[allow(unreachable_patterns, reason = "the enums are open, and some have one variant")]
                    _ => exit_of(error.fault()),
                };
                Self::new(exit, format_args!("{error}; {}", error.advice()))
            }
        })*
    };
}

from_operation_error! {
    BootstrapError {
        BootstrapError::NoSources | BootstrapError::Unreachable { .. } => Exit::Unreachable,
    }
    ClosestPeersError {}
    FindPeerError {
        FindPeerError::NotFound { .. } => Exit::NotFound,
    }
    FindProvidersError {}
    GetValueError {
        GetValueError::NotFound { .. } => Exit::NotFound,
        GetValueError::Key { .. } => Exit::Refused,
    }
    PutValueError {
        PutValueError::Invalid { .. } | PutValueError::Outdated | PutValueError::TooLarge { .. } => Exit::Refused,
        PutValueError::NotStored { failed, .. } => nobody_took_it(failed.iter().map(|(_, failure)| *failure)),
    }
    ProvideError {
        ProvideError::NoAddresses => Exit::Refused,
        ProvideError::NotSent { failed, .. } => nobody_took_it(failed.iter().map(|(_, failure)| *failure)),
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(format_args!("{error}; {}", error.advice()))
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let exit = match &error {
            BuildError::UnsupportedAddress { .. }
            | BuildError::BootstrapAddress { .. }
            | BuildError::SameProtocol { .. }
            | BuildError::Config(_) => Exit::Usage,
            _ => Exit::Failed,
        };
        Self::new(exit, format_args!("{error}; {}", error.advice()))
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let exit = match &error {
            ConnectError::Unreachable { .. }
            | ConnectError::WrongPeer { .. }
            | ConnectError::NoAddresses { .. } => Exit::Unreachable,
            ConnectError::NoAnswer { .. } => Exit::TimedOut,
            ConnectError::IsSelf => Exit::Usage,
            ConnectError::Limited => Exit::Refused,
            _ => Exit::Failed,
        };
        Self::new(exit, format_args!("{error}; {}", error.advice()))
    }
}

impl From<InvalidRecord> for Failure {
    fn from(error: InvalidRecord) -> Self {
        Self::new(Exit::Refused, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_errors_have_the_documented_codes() {
        for (error, code) in [
            (OperationError::NoPeers, 5),
            (OperationError::NoAnswers { asked: 3 }, 5),
            (OperationError::TimedOut, 4),
            (OperationError::Cancelled, 130),
            (OperationError::TooMany, 6),
            (OperationError::KeyLength { got: 0, max: 80 }, 2),
            (OperationError::Store { reason: "disk".into() }, 1),
            (OperationError::Closed, 1),
        ] {
            let failure = Failure::from(ClosestPeersError::from(error.clone()));
            assert_eq!(failure.exit.code(), code, "{error}");
            assert!(failure.message.contains("; "), "no advice in {failure}");
        }
    }

    #[test]
    fn specific_errors_have_the_documented_codes() {
        assert_eq!(Failure::from(FindPeerError::NotFound { answered: 2 }).exit, Exit::NotFound);
        assert_eq!(Failure::from(FindPeerError::IsSelf).exit, Exit::Usage);
        assert_eq!(Failure::from(GetValueError::NotFound { answered: 2 }).exit, Exit::NotFound);
        assert_eq!(Failure::from(PutValueError::Outdated).exit, Exit::Refused);
        assert_eq!(Failure::from(BootstrapError::NoSources).exit, Exit::Unreachable);
        let peer = kadmos_core::Peer::new(kadmos_core::PeerId::from_digest([1; 32]));
        let failed =
            |failure| PutValueError::NotStored { attempted: 1, failed: vec![(peer.clone(), failure)] };
        assert_eq!(Failure::from(failed(RequestFailure::TimedOut)).exit, Exit::Unreachable);
        assert_eq!(Failure::from(failed(RequestFailure::Malformed)).exit, Exit::Refused);
    }

    #[test]
    fn a_failure_is_one_line() {
        assert_eq!(Failure::usage("a\nb\r\n  c").message, "a b c");
    }
}
