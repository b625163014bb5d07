//! Names for the networks that one program may be in at the same time, with one [`crate::Node`] in each.

use core::fmt;

/// One of the networks that a program is in. A program with one network calls it `Wan`, unless it is Kubo's local one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Realm {
    /// The wide network: `/ipfs/kad/1.0.0`, or one's own.
    Wan,
    /// The local network: `/ipfs/lan/kad/1.0.0`, or one's own beside a wide one.
    Lan,
}

impl Realm {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Wan, Self::Lan];

    /// Stable label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Wan => "wan",
            Self::Lan => "lan",
        }
    }

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Wan => Self::Lan,
            Self::Lan => Self::Wan,
        }
    }

    /// The place in [`Realm::ALL`], for what is kept once for each.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
