//! Whether a node is well, and what it does when it is not.
//!
//! [`evaluate`] is pure: facts in, one finding a rule out. [`Health`] makes a state of the findings of many rounds, so
//! that one bad minute is no alarm. `Recovery` decides which remedies are due. `docs/codes.md` has a paragraph for each
//! code.

mod config;
mod history;
mod recovery;
mod rules;
mod state;

pub use self::config::{HealthConfig, Limits};
pub(crate) use self::history::History;
pub use self::recovery::Action;
pub(crate) use self::recovery::Recovery;
pub use self::rules::{Assessment, Facts, Finding, Reachability, Tally, attainable, evaluate};
pub use self::state::Health;

/// How well a node is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// All rules are content.
    Healthy,
    /// It works, but worse than it should.
    Degraded,
    /// Do not rely on its answers.
    Unhealthy,
}

impl Level {
    /// Every level.
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Degraded, Self::Unhealthy];

    /// Stable label for metrics and programs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// Which rule found something, as a stable code. `docs/codes.md` has a paragraph for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The table holds fewer peers than the network could give it.
    TableSmall,
    /// Too many peers of the table no longer answer.
    TableStale,
    /// Too much of the table is in one network.
    TableOneNetwork,
    /// Lookups end without an answer.
    LookupsFailing,
    /// Requests end without an answer.
    RequestsFailing,
    /// Those nearest to this node have not answered of late.
    NeighbourhoodSilent,
    /// Records of this node reached fewer holders than they should.
    RecordsUnplaced,
    /// A server that nobody can reach.
    Unreachable,
}

impl Code {
    /// Every code, in the order of [`Assessment::findings`].
    pub const ALL: [Self; 8] = [
        Self::TableSmall,
        Self::TableStale,
        Self::TableOneNetwork,
        Self::LookupsFailing,
        Self::RequestsFailing,
        Self::NeighbourhoodSilent,
        Self::RecordsUnplaced,
        Self::Unreachable,
    ];

    /// The stable code, as metrics, logs and `docs/codes.md` show it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TableSmall => "table_small",
            Self::TableStale => "table_stale",
            Self::TableOneNetwork => "table_one_network",
            Self::LookupsFailing => "lookups_failing",
            Self::RequestsFailing => "requests_failing",
            Self::NeighbourhoodSilent => "neighbourhood_silent",
            Self::RecordsUnplaced => "records_unplaced",
            Self::Unreachable => "unreachable",
        }
    }

    /// What the number of a finding counts, to stand after "42 %".
    pub const fn measures(self) -> &'static str {
        match self {
            Self::TableSmall => "of the peers that the table could hold are in it",
            Self::TableStale => "of the peers in the table no longer answer",
            Self::TableOneNetwork => "of the peers in the table are in one network",
            Self::LookupsFailing => "of the last lookups succeeded",
            Self::RequestsFailing => "of the last requests were answered",
            Self::NeighbourhoodSilent => "of the peers nearest to this node answered of late",
            Self::RecordsUnplaced => "of the copies of this node's records were placed",
            Self::Unreachable => "of the tries to reach this server from outside succeeded",
        }
    }

    /// What an operator can do.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::TableSmall => "check the connection and that the bootstrap peers are right and answer",
            Self::TableStale => "nothing, if many peers just left; else check the connection",
            Self::TableOneNetwork => {
                "add bootstrap peers in other networks; somebody may be surrounding this node"
            }
            Self::LookupsFailing | Self::RequestsFailing => {
                "check the connection, the firewall and the limits on open files and connections"
            }
            Self::NeighbourhoodSilent => "check the connection; records near this node may be out of reach",
            Self::RecordsUnplaced => "publish again once the other reasons are gone",
            Self::Unreachable => "open or forward the listening port, or run with mode auto or client",
        }
    }

    /// What the node does about it by itself.
    pub const fn action(self) -> Option<Action> {
        match self {
            Self::TableSmall => Some(Action::Rejoin),
            Self::TableStale | Self::LookupsFailing => Some(Action::Refresh),
            Self::NeighbourhoodSilent | Self::RequestsFailing => Some(Action::ProbeNeighbourhood),
            Self::RecordsUnplaced => Some(Action::AdviseRepublish),
            Self::TableOneNetwork | Self::Unreachable => None,
        }
    }
}
