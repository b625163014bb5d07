//! Settings of a node, a struct per subsystem. Every field acts; every default is the public network's.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::num::NonZeroUsize;
use core::time::Duration;

pub use crate::health::HealthConfig;
use crate::limits::{MESSAGE_BYTES_MAX, TOP_BUCKET_SIZE_MAX, TOP_BUCKETS_MAX, TRUSTED_MAX};
use crate::peer::PeerId;
use crate::record::Validators;
use crate::retry::RetryPolicy;

/// Protocol id of the public IPFS DHT ("Amino").
pub const AMINO_PROTOCOL: &str = "/ipfs/kad/1.0.0";
/// Protocol id of Kubo's local-network DHT.
pub const LAN_PROTOCOL: &str = "/ipfs/lan/kad/1.0.0";

/// Whether a node serves others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Asks only: neither answers nor enters other tables.
    Client,
    /// Answers, stores records, enters other tables.
    Server,
}

/// Which addresses of peers a node stores, hands out and dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressPolicy {
    /// Public IP addresses and names only: the public network.
    Public,
    /// All: local networks and tests.
    Any,
}

/// All settings of a [`crate::Node`].
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Names, sizes and realm.
    pub protocol: ProtocolConfig,
    /// How lookups walk.
    pub lookup: LookupConfig,
    /// Who is kept, for how long, and how the table heals.
    pub table: TableConfig,
    /// How long records live.
    pub records: RecordConfig,
    /// How requests of one's own are repeated.
    pub retry: RetryPolicy,
    /// When the node counts as ill, and what it does then.
    pub health: HealthConfig,
    /// Seeds every random choice of the node. Default: 0; drivers on a real network draw one at start.
    pub seed: u64,
}

/// Names, sizes and realm.
#[derive(Clone, Debug, PartialEq)]
pub struct ProtocolConfig {
    /// Protocol id. Default `/ipfs/kad/1.0.0`. Must begin with `/`.
    pub name: String,
    /// Largest message, in bytes. Default and most 4 MiB; at least 1 KiB.
    pub message_bytes_max: usize,
    /// Addresses worth keeping. Default [`AddressPolicy::Public`].
    pub addresses: AddressPolicy,
    /// Whether the node serves at start. Default [`Mode::Client`]; changed later by [`crate::Input::SetMode`].
    pub mode: Mode,
}

/// How lookups walk. Source of the defaults: go-libp2p-kad-dht `amino/defaults.go`.
#[derive(Clone, Debug, PartialEq)]
pub struct LookupConfig {
    /// Peers a lookup ends with, holders of a record, and closer peers in an answer. Default 20.
    pub k: NonZeroUsize,
    /// Requests in flight. Default 10. More cost messages, fewer cost time.
    pub alpha: NonZeroUsize,
    /// The walk ends once this many of the closest peers known have answered; the rest of the k is then asked at
    /// once. Default 3; at most `k`.
    pub beta: NonZeroUsize,
    /// A request without an answer for this long has failed. Default 10 s.
    pub request_timeout: Duration,
    /// After the walk has ended, the rest of the k have this long to answer. Default 10 s.
    pub follow_up_timeout: Duration,
    /// An operation without its own deadline ends after this long. Default 60 s.
    pub deadline: Duration,
    /// Valid answers that end a value lookup; 0 walks to the end. Default 0.
    pub quorum: usize,
}

/// Who is kept, for how long, and how the table heals.
#[derive(Clone, Debug, PartialEq)]
pub struct TableConfig {
    /// Peers per bucket. Default 20.
    pub bucket_size: NonZeroUsize,
    /// Failed requests in a row that evict a peer. Default 2: one lost packet is not death.
    pub failures_max: u32,
    /// How often buckets are refreshed, except those that saw a lookup in the last half of it. Default 10 min.
    pub refresh_interval: Duration,
    /// A peer that answered nothing for this long is probed. Default 43 min 13 s, go's grace period.
    pub probe_after: Duration,
    /// The same for a peer that has not proven itself yet. Default 5 min: most sessions that end soon end by then.
    pub probe_unproven_after: Duration,
    /// Probes of silent table peers a minute, the stalest first. Default 60: a table of 250 is seen through in
    /// some 4 minutes, at one request a second.
    pub probes_per_minute: u32,
    /// Probes of strangers a minute, beyond a burst of [`crate::limits::PROBES_MAX`]. Default 300; more let a new node be
    /// known sooner, and cost more dials under a flood.
    pub strangers_per_minute: u32,
    /// Below this many peers the node joins again through its bootstrap peers. Default 10.
    pub peers_min: usize,
    /// So many of the nearest peers are kept, however full their buckets are. Default 20: records are held by the 20
    /// nearest to a key, and whoever is near us must know them all.
    pub neighbours: usize,
    /// Sizes of the first buckets, where larger than `bucket_size`. Default none. Larger top buckets save hops and cost
    /// upkeep: half of all lookups begin in bucket 0. `study ablation` shows the price.
    pub top_buckets: Vec<usize>,
    /// Peers of one IP group in a bucket; of an IPv6 /48 half of it. 0 for any number. Default 2, as in go.
    pub group_per_bucket: usize,
    /// Peers of one IP group in the table; of an IPv6 /48 half of it. `group_per_bucket` of them are left to the
    /// neighbours. 0 for any number. Default 5: 3 as in go, and 2 neighbours.
    pub group_per_table: usize,
    /// Peers of one IP group in an answer; of an IPv6 /48 half of it. 0 for any number. Default 5, a quarter of an answer: as
    /// much as the table holds. A smaller number hides neighbours: with 2 % of all servers in one network, 3 of 20 are of it
    /// in one answer of a hundred, 6 of 20 in one of half a million.
    pub group_per_reply: usize,
    /// Peers that no limit on IP groups holds for, beside the bootstrap peers. Default none; at most
    /// [`crate::limits::TRUSTED_MAX`].
    pub trusted: Vec<PeerId>,
}

/// How long records live.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordConfig {
    /// Values are served for this long after they were received. Default 48 h.
    pub value_age_max: Duration,
    /// Provider records are served for this long. Default 48 h.
    pub provider_age_max: Duration,
    /// Addresses in provider records are served for this long. Default 24 h.
    pub provider_addrs_age_max: Duration,
}

/// 20, 10 and 3 are not zero.
const fn non_zero(n: usize) -> NonZeroUsize {
    match NonZeroUsize::new(n) {
        Some(n) => n,
        None => NonZeroUsize::MIN,
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            protocol: ProtocolConfig {
                name: AMINO_PROTOCOL.to_string(),
                message_bytes_max: MESSAGE_BYTES_MAX,
                addresses: AddressPolicy::Public,
                mode: Mode::Client,
            },
            lookup: LookupConfig {
                k: non_zero(20),
                alpha: non_zero(10),
                beta: non_zero(3),
                request_timeout: Duration::from_secs(10),
                follow_up_timeout: Duration::from_secs(10),
                deadline: Duration::from_secs(60),
                quorum: 0,
            },
            table: TableConfig {
                bucket_size: non_zero(20),
                failures_max: 2,
                refresh_interval: Duration::from_secs(600),
                // ln(1/20) / ln(1 - 10/20) = 4.3219 refreshes of 600 s
                probe_after: Duration::from_secs(2_593),
                probe_unproven_after: Duration::from_secs(300),
                probes_per_minute: 60,
                strangers_per_minute: 300,
                peers_min: 10,
                neighbours: 20,
                top_buckets: Vec::new(),
                group_per_bucket: 2,
                group_per_table: 5,
                group_per_reply: 5,
                trusted: Vec::new(),
            },
            records: RecordConfig {
                value_age_max: Duration::from_secs(48 * 3_600),
                provider_age_max: Duration::from_secs(48 * 3_600),
                provider_addrs_age_max: Duration::from_secs(24 * 3_600),
            },
            retry: RetryPolicy::default(),
            health: HealthConfig::default(),
            seed: 0,
        }
    }
}

impl Config {
    /// The public network's settings.
    pub fn amino() -> Self {
        Self::default()
    }

    /// Kubo's local network: its protocol id, all addresses.
    pub fn lan() -> Self {
        let mut config = Self::default();
        config.protocol.name = LAN_PROTOCOL.to_string();
        config.protocol.addresses = AddressPolicy::Any;
        config
    }

    /// These settings for a network beside this one that is on the local network only, as [`Config::lan`] is beside
    /// [`Config::amino`]: all addresses, and `/lan` in the protocol id before `/kad/1.0.0`, else at its end.
    ///
    /// Source: go-libp2p-kad-dht `dual.LanExtension`.
    #[must_use]
    pub fn on_lan(&self) -> Self {
        let mut config = self.clone();
        let name = &self.protocol.name;
        config.protocol.name = match name.strip_suffix("/kad/1.0.0") {
            Some(prefix) => [prefix, "/lan/kad/1.0.0"].concat(),
            None => [name, "/lan"].concat(),
        };
        config.protocol.addresses = AddressPolicy::Any;
        config
    }

    /// A network of one's own, free of the public network's rules.
    pub fn private(name: impl Into<String>) -> Self {
        let mut config = Self::default();
        config.protocol.name = name.into();
        config.protocol.addresses = AddressPolicy::Any;
        config
    }

    /// Sets everything that is the network's k: peers in a result, holders of a record, peers in a bucket, neighbours kept.
    /// `beta` is lowered to it if need be.
    #[must_use]
    pub fn replication(mut self, k: NonZeroUsize) -> Self {
        self.lookup.k = k;
        self.lookup.beta = self.lookup.beta.min(k);
        self.table.bucket_size = k;
        self.table.neighbours = k.get();
        self
    }

    /// Whether the protocol id is one of IPFS's, whose rules are then enforced.
    pub fn is_ipfs(&self) -> bool {
        self.protocol.name.starts_with("/ipfs/")
    }

    /// Checks every range, and on `/ipfs` everything that others rely on, unless the host has rules of its own
    /// ([`Validators::none`]).
    ///
    /// Errors: [`ConfigError`] names the field. Source of the `/ipfs` rules: go-libp2p-kad-dht `Config.Validate`.
    pub fn validate(&self, validators: &Validators) -> Result<(), ConfigError> {
        if !self.protocol.name.starts_with('/') {
            return Err(ConfigError::ProtocolName { name: self.protocol.name.clone() });
        }
        if !(1_024..=MESSAGE_BYTES_MAX).contains(&self.protocol.message_bytes_max) {
            return Err(ConfigError::MessageBytesMax { got: self.protocol.message_bytes_max });
        }
        if self.lookup.beta > self.lookup.k {
            return Err(ConfigError::Beta { beta: self.lookup.beta.get(), k: self.lookup.k.get() });
        }
        for (field, duration) in [
            ("lookup.request_timeout", self.lookup.request_timeout),
            ("lookup.deadline", self.lookup.deadline),
            ("table.refresh_interval", self.table.refresh_interval),
            ("table.probe_after", self.table.probe_after),
            ("table.probe_unproven_after", self.table.probe_unproven_after),
            ("records.value_age_max", self.records.value_age_max),
            ("records.provider_age_max", self.records.provider_age_max),
            ("health.interval", self.health.interval),
            ("health.recovery_interval", self.health.recovery_interval),
        ] {
            if duration.is_zero() {
                return Err(ConfigError::Zero { field });
            }
        }
        if self.retry.attempts == 0 {
            return Err(ConfigError::Zero { field: "retry.attempts" });
        }
        for (field, count) in [
            ("table.failures_max", self.table.failures_max),
            ("table.probes_per_minute", self.table.probes_per_minute),
            ("table.strangers_per_minute", self.table.strangers_per_minute),
        ] {
            if count == 0 {
                return Err(ConfigError::Zero { field });
            }
        }
        let largest = self.table.top_buckets.iter().copied().max().unwrap_or(0);
        for (field, got, max) in [
            ("table.neighbours", self.table.neighbours, TOP_BUCKET_SIZE_MAX),
            ("table.top_buckets, number of sizes", self.table.top_buckets.len(), TOP_BUCKETS_MAX),
            ("table.top_buckets, largest size", largest, TOP_BUCKET_SIZE_MAX),
            ("table.trusted, number of peers", self.table.trusted.len(), TRUSTED_MAX),
        ] {
            if got > max {
                return Err(ConfigError::TooLarge { field, got, max });
            }
        }
        self.validate_health()?;
        // Whoever has no rules for values makes their own, and answers for what becomes of the network.
        if self.is_ipfs() && !validators.are_none() { self.validate_ipfs(validators) } else { Ok(()) }
    }

    fn validate_health(&self) -> Result<(), ConfigError> {
        for (field, count) in [
            ("health.rounds_worse", self.health.rounds_worse),
            ("health.rounds_better", self.health.rounds_better),
            ("health.samples_min", self.health.samples_min),
        ] {
            if count == 0 {
                return Err(ConfigError::Zero { field });
            }
        }
        for (field, limits, more_is_worse) in self.health.limits() {
            let (mild, severe) = (limits.degraded, limits.unhealthy);
            let in_order = if more_is_worse { mild <= severe } else { mild >= severe };
            if !in_order || mild.max(severe) > 100 {
                let expected = if more_is_worse { "the first no larger" } else { "the first no smaller" };
                return Err(ConfigError::Limits { field, degraded: mild, unhealthy: severe, expected });
            }
        }
        Ok(())
    }

    fn validate_ipfs(&self, validators: &Validators) -> Result<(), ConfigError> {
        for (field, got) in [("lookup.k", self.lookup.k), ("table.bucket_size", self.table.bucket_size)] {
            if got.get() != 20 {
                return Err(ConfigError::Ipfs { field, expected: "20", got: got.to_string() });
            }
        }
        if self.protocol.message_bytes_max != MESSAGE_BYTES_MAX {
            return Err(ConfigError::Ipfs {
                field: "protocol.message_bytes_max",
                expected: "4194304",
                got: self.protocol.message_bytes_max.to_string(),
            });
        }
        for namespace in ["ipns", "pk"] {
            if !validators.namespaces().any(|name| name == namespace) {
                return Err(ConfigError::MissingValidator { namespace });
            }
        }
        Ok(())
    }
}

/// A setting that cannot work, by name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `protocol.name` is no protocol id.
    #[error("protocol.name: read {name:?}, expected a protocol id such as /ipfs/kad/1.0.0")]
    ProtocolName {
        /// What was read.
        name: String,
    },
    /// `protocol.message_bytes_max` is out of range.
    #[error("protocol.message_bytes_max: read {got}, expected 1024 to 4194304 bytes")]
    MessageBytesMax {
        /// What was read.
        got: usize,
    },
    /// `lookup.beta` exceeds `lookup.k`.
    #[error("lookup.beta: read {beta}, expected at most lookup.k = {k}")]
    Beta {
        /// What was read.
        beta: usize,
        /// Its bound.
        k: usize,
    },
    /// A field that must be positive is zero.
    #[error("{field}: read 0, expected more")]
    Zero {
        /// The field.
        field: &'static str,
    },
    /// A field that is larger than what a node could keep.
    #[error("{field}: read {got}, expected at most {max}")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// What was read.
        got: usize,
        /// Its bound.
        max: usize,
    },
    /// Limits of a health rule that are no percentages, or not in order.
    #[error(
        "{field}: read {degraded} and {unhealthy}, expected two percentages up to 100, {expected} than the second"
    )]
    Limits {
        /// The field.
        field: &'static str,
        /// Where degraded begins.
        degraded: u32,
        /// Where unhealthy begins.
        unhealthy: u32,
        /// How they are to be ordered.
        expected: &'static str,
    },
    /// A setting with which a node cannot take part in an `/ipfs` network.
    #[error(
        "{field}: read {got}, but a protocol under /ipfs needs {expected}; use another protocol.name for another value"
    )]
    Ipfs {
        /// The field.
        field: &'static str,
        /// What the network uses.
        expected: &'static str,
        /// What was read.
        got: String,
    },
    /// An `/ipfs` network needs a validator that is not there.
    #[error(
        "validators: a protocol under /ipfs needs one for the namespace {namespace}; register it or use another protocol.name"
    )]
    MissingValidator {
        /// The namespace.
        namespace: &'static str,
    },
}

impl ConfigError {
    /// Always the caller's.
    pub const fn fault(&self) -> crate::error::Fault {
        crate::error::Fault::Caller
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        "correct the named setting; the node has not started"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_on_the_local_one_is_named_after_the_wide_one() {
        assert_eq!(Config::amino().on_lan(), Config::lan());
        let mut acme = Config::private("/acme/kad/1.0.0");
        acme.lookup.deadline = Duration::from_secs(7);
        let lan = acme.on_lan();
        assert_eq!(lan.protocol.name, "/acme/lan/kad/1.0.0");
        assert_eq!(lan.lookup, acme.lookup);
        assert_eq!(Config::private("/acme").on_lan().protocol.name, "/acme/lan");
    }
}
