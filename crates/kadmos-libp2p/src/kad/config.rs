//! Settings, with libp2p-kad's names and defaults.

use std::num::NonZeroUsize;
use std::time::Duration;

use kadmos_core::config::AMINO_PROTOCOL;
use kadmos_core::limits::{CLOSER_PEERS_MAX, MESSAGE_BYTES_MAX};
use kadmos_core::{RetryPolicy, Validators};
use libp2p_swarm::StreamProtocol;

use super::{ALPHA_VALUE, K_VALUE, PROTOCOL_NAME};

/// A time that never comes: a century. Keeps arithmetic far from its end.
pub(super) const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// When peers enter the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketInserts {
    /// When they have answered or identify has told that they serve, with the address at which this node has reached them.
    /// Other addresses, such as identify tells, are the user's to add; [`Config::amino`] takes them by itself.
    OnConnected,
    /// By [`super::Behaviour::add_address`] only. [`super::Event::RoutablePeer`] tells of others.
    Manual,
}

/// Whether records of peers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreInserts {
    /// All are.
    Unfiltered,
    /// None is: each is in an [`super::Event::InboundRequest`], for the user to judge and store.
    FilterBoth,
}

/// Whether a lookup of a value names peers to which it may be written.
#[derive(Clone, Debug)]
pub enum Caching {
    /// It does not.
    Disabled,
    /// The closest of those that had no value.
    Enabled {
        /// How many, at most.
        max_peers: u16,
    },
}

/// Settings of a [`super::Behaviour`].
#[derive(Clone, Debug)]
pub struct Config {
    pub(super) protocols: Vec<StreamProtocol>,
    pub(super) query_timeout: Duration,
    pub(super) replication_factor: NonZeroUsize,
    pub(super) parallelism: NonZeroUsize,
    pub(super) record_ttl: Option<Duration>,
    pub(super) record_filtering: StoreInserts,
    pub(super) replication_interval: Option<Duration>,
    pub(super) publication_interval: Option<Duration>,
    pub(super) provider_record_ttl: Option<Duration>,
    pub(super) provider_publication_interval: Option<Duration>,
    pub(super) max_packet_size: usize,
    pub(super) substreams_timeout: Duration,
    pub(super) kbucket_inserts: BucketInserts,
    pub(super) kbucket_size: NonZeroUsize,
    pub(super) caching: Caching,
    pub(super) periodic_bootstrap_interval: Option<Duration>,
    /// The core's own settings and rules where libp2p-kad has none.
    native: Option<Box<kadmos_core::Config>>,
}

impl Default for Config {
    fn default() -> Self {
        Self::new(PROTOCOL_NAME)
    }
}

impl Config {
    /// libp2p-kad's settings for a network with this protocol id.
    pub fn new(protocol_name: StreamProtocol) -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        Self {
            protocols: vec![protocol_name],
            query_timeout: Duration::from_secs(60),
            replication_factor: K_VALUE,
            parallelism: ALPHA_VALUE,
            record_ttl: Some(hours(48)),
            record_filtering: StoreInserts::Unfiltered,
            replication_interval: Some(hours(1)),
            publication_interval: Some(hours(22)),
            provider_record_ttl: Some(hours(48)),
            provider_publication_interval: Some(hours(12)),
            max_packet_size: 16 << 10,
            substreams_timeout: Duration::from_secs(10),
            kbucket_inserts: BucketInserts::OnConnected,
            kbucket_size: K_VALUE,
            caching: Caching::Enabled { max_peers: 1 },
            periodic_bootstrap_interval: Some(Duration::from_secs(5 * 60)),
            native: None,
        }
    }

    /// Kadmos' settings for the public IPFS network: 10 requests in flight, messages as long as go's, public addresses
    /// only, peers enter the table once they have answered and by go's limits on IP groups, silent ones are asked and
    /// dropped, buckets are refreshed when they are stale, provider records are announced every 22 hours and values
    /// never by themselves, and those of peers must be valid public keys or IPNS records. The lengths of answers, messages
    /// and buckets are the network's and cannot be changed.
    pub fn amino() -> Self {
        let native = kadmos_core::Config::amino();
        let mut config = Self::new(StreamProtocol::new(AMINO_PROTOCOL));
        config.parallelism = native.lookup.alpha;
        config.max_packet_size = MESSAGE_BYTES_MAX;
        config.replication_interval = None;
        config.publication_interval = None;
        config.provider_publication_interval = Some(Duration::from_secs(22 * 3_600));
        config.periodic_bootstrap_interval = None;
        config.native = Some(Box::new(native));
        config
    }

    /// A query ends after this long. Default 60 s.
    pub fn set_query_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.query_timeout = timeout;
        self
    }

    /// Holders of a record. Default 20; at most 39 are ever found.
    pub fn set_replication_factor(&mut self, replication_factor: NonZeroUsize) -> &mut Self {
        self.replication_factor = replication_factor;
        self
    }

    /// Requests of a query in flight. Default 3.
    pub fn set_parallelism(&mut self, parallelism: NonZeroUsize) -> &mut Self {
        self.parallelism = parallelism;
        self
    }

    /// Does nothing: a lookup here hears every answer, so paths that hear less of each other would find less. See
    /// `docs/kad.md`.
    pub fn disjoint_query_paths(&mut self, _enabled: bool) -> &mut Self {
        self
    }

    /// Values are kept for this long, `None` for ever. Default 48 h. Each peer of the table between this node and a
    /// key, beyond the replication factor, halves it.
    pub fn set_record_ttl(&mut self, record_ttl: Option<Duration>) -> &mut Self {
        self.record_ttl = record_ttl;
        self
    }

    /// Whether records of peers are stored. Default [`StoreInserts::Unfiltered`].
    pub fn set_record_filtering(&mut self, filtering: StoreInserts) -> &mut Self {
        self.record_filtering = filtering;
        self
    }

    /// How often values of others are sent to the closest peers again. Default 1 h; `None` never.
    pub fn set_replication_interval(&mut self, interval: Option<Duration>) -> &mut Self {
        self.replication_interval = interval;
        self
    }

    /// How often values of this node are. Default 22 h; `None` never.
    pub fn set_publication_interval(&mut self, interval: Option<Duration>) -> &mut Self {
        self.publication_interval = interval;
        self
    }

    /// Provider records are kept for this long, `None` for ever. Default 48 h.
    pub fn set_provider_record_ttl(&mut self, ttl: Option<Duration>) -> &mut Self {
        self.provider_record_ttl = ttl;
        self
    }

    /// How often this node announces again what it provides. Default 12 h; `None` never.
    pub fn set_provider_publication_interval(&mut self, interval: Option<Duration>) -> &mut Self {
        self.provider_publication_interval = interval;
        self
    }

    /// The longest message, in bytes; from 1 KiB to 4 MiB, or the nearest of these. Default 16 KiB. Holds for answers of
    /// this node, too.
    pub fn set_max_packet_size(&mut self, size: usize) -> &mut Self {
        self.max_packet_size = size;
        self
    }

    /// A request without an answer for this long has failed, its dial included. Default 10 s.
    pub fn set_substreams_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.substreams_timeout = timeout;
        self
    }

    /// When peers enter the table. Default [`BucketInserts::OnConnected`].
    pub fn set_kbucket_inserts(&mut self, inserts: BucketInserts) -> &mut Self {
        self.kbucket_inserts = inserts;
        self
    }

    /// Whether lookups of values name peers to write them to. Default: 1.
    pub fn set_caching(&mut self, c: Caching) -> &mut Self {
        self.caching = c;
        self
    }

    /// How often [`super::Behaviour::bootstrap`] runs by itself. Default 5 min; `None` never.
    pub fn set_periodic_bootstrap_interval(&mut self, interval: Option<Duration>) -> &mut Self {
        self.periodic_bootstrap_interval = interval;
        self
    }

    /// Peers of a bucket. Default 20.
    pub fn set_kbucket_size(&mut self, size: NonZeroUsize) -> &mut Self {
        self.kbucket_size = size;
        self
    }

    /// Does nothing: a peer that waits for a place has it as soon as one leaves the bucket. See `docs/kad.md`.
    pub fn set_kbucket_pending_timeout(&mut self, _timeout: Duration) -> &mut Self {
        self
    }

    /// Whether the core says who enters the table and when buckets are looked after.
    pub(super) fn is_native(&self) -> bool {
        self.native.is_some()
    }

    /// Whether only this module puts peers into the table.
    pub(super) fn only_inserted(&self) -> bool {
        !self.is_native() || self.kbucket_inserts == BucketInserts::Manual
    }

    /// The core's settings.
    pub(super) fn core(&self) -> kadmos_core::Config {
        let name = self.protocols.first().map_or(AMINO_PROTOCOL, |protocol| protocol.as_ref());
        let mut core = match &self.native {
            Some(native) => (**native).clone(),
            None => {
                let mut core = kadmos_core::Config::private(name);
                core.retry = RetryPolicy::NEVER;
                // libp2p-kad has no limits on IP groups, no neighbourhood of its own, and refreshes by bootstrapping.
                (core.table.group_per_bucket, core.table.group_per_table, core.table.group_per_reply) =
                    (0, 0, 0);
                core.table.neighbours = 0;
                // Its lookups end when all of the closest have answered.
                core.lookup.beta = NonZeroUsize::MAX;
                core.table.refresh_interval = NEVER;
                core
            }
        };
        core.protocol.message_bytes_max = self.max_packet_size.clamp(1_024, MESSAGE_BYTES_MAX);
        // Lookups find K_VALUE peers whatever the replication factor, and answers name no more than others take.
        core.lookup.k = self.replication_factor.clamp(K_VALUE, MOST);
        core.table.bucket_size = self.kbucket_size;
        if self.is_native() {
            // On the public network these are the network's, not the node's.
            let amino = kadmos_core::Config::amino();
            core.protocol.message_bytes_max = amino.protocol.message_bytes_max;
            (core.lookup.k, core.table.bucket_size) = (amino.lookup.k, amino.table.bucket_size);
        }
        core.lookup.beta = core.lookup.beta.min(core.lookup.k);
        core.lookup.alpha = self.parallelism;
        let at_least = |duration: Duration| duration.max(Duration::from_millis(1)).min(NEVER);
        core.lookup.deadline = at_least(self.query_timeout);
        core.lookup.request_timeout = at_least(self.substreams_timeout);
        core.lookup.follow_up_timeout = core.lookup.request_timeout;
        core.records.value_age_max = self.record_ttl.map_or(NEVER, at_least);
        core.records.provider_age_max = self.provider_record_ttl.map_or(NEVER, at_least);
        core.records.provider_addrs_age_max = core.records.provider_age_max;
        core.seed = seed();
        core
    }

    /// The rules for values. libp2p-kad has none, whoever wants some filters; the public network has those of its names.
    pub(super) fn validators(&self) -> Validators {
        if self.is_native() { kadmos_records::amino_validators() } else { Validators::none() }
    }
}

/// One less than what is taken from an answer, to which the target may be added.
const MOST: NonZeroUsize = match NonZeroUsize::new(CLOSER_PEERS_MAX - 1) {
    Some(most) => most,
    None => K_VALUE,
};

/// Different for every node: drawn from what seeds the standard library's hash maps.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_setting_makes_a_valid_configuration() {
        let one = NonZeroUsize::MIN;
        let mut odd = Config::default();
        odd.set_query_timeout(Duration::ZERO)
            .set_replication_factor(one)
            .set_parallelism(one)
            .set_record_ttl(Some(Duration::ZERO))
            .set_provider_record_ttl(None)
            .set_max_packet_size(usize::MAX)
            .set_substreams_timeout(Duration::MAX)
            .set_kbucket_size(one);
        let mut large = Config::default();
        large.set_replication_factor(NonZeroUsize::MAX).set_max_packet_size(0);
        let mut amino = Config::amino();
        amino.set_replication_factor(one).set_kbucket_size(one).set_max_packet_size(0);
        for config in [Config::default(), Config::amino(), odd, large, amino] {
            assert_eq!(config.core().validate(&config.validators()), Ok(()), "{config:?}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_libp2p_kad() {
        let core = Config::default().core();
        assert_eq!(core.protocol.name, "/ipfs/kad/1.0.0");
        assert_eq!(core.protocol.message_bytes_max, 16_384);
        assert_eq!((core.lookup.k.get(), core.lookup.alpha.get()), (20, 3));
        assert_eq!((core.lookup.deadline.as_secs(), core.lookup.request_timeout.as_secs()), (60, 10));
        assert_eq!(core.records.value_age_max.as_secs(), 48 * 3_600);
        let amino = Config::amino();
        assert!(amino.is_native() && !amino.only_inserted() && Config::default().only_inserted());
        let core = amino.core();
        assert_eq!((core.lookup.alpha.get(), core.protocol.message_bytes_max), (10, 4 << 20));
        assert_eq!(core.table, kadmos_core::Config::amino().table);
    }
}
