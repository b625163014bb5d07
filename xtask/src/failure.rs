//! Why a command did not succeed.

use std::fmt;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Ctrl-C or SIGTERM. Whatever was started has been told to end.
    Interrupted,
    /// Something is wrong; the sentence says what was expected and what to do.
    Wrong(String),
    /// The command line makes no sense.
    Usage(String),
}

impl Failure {
    /// [`Failure::Wrong`] with this sentence.
    pub(crate) fn wrong(sentence: impl Into<String>) -> Self {
        Self::Wrong(sentence.into())
    }

    /// Exit code: 1 failed, 2 usage, 130 interrupted.
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Wrong(_) => 1,
            Self::Usage(_) => 2,
            Self::Interrupted => 130,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("interrupted"),
            Self::Wrong(sentence) | Self::Usage(sentence) => f.write_str(sentence),
        }
    }
}
