//! Metrics for Prometheus: what happens at a node, counted.
//!
//! One source each: the node's events ([`Metrics::record`]), the counters that connections keep
//! ([`crate::Counters`]), and the table and store as they are when somebody looks. Every metric has a line in
//! `docs/metrics.md`. Names, units and labels are stable; labels come from closed sets, never from peers.
//!
//! ```no_run
//! # async fn example(dht: kadmos_libp2p::Dht) {
//! use kadmos_libp2p::metrics::Metrics;
//!
//! let metrics = Metrics::new(dht.counters().clone());
//! let follower = metrics.clone();
//! let events = dht.events();
//! let following = async move { follower.follow(events).await }; // spawn it on your runtime
//! // When Prometheus asks:
//! metrics.observe_table(&dht.table_now());
//! let page = metrics.encode();
//! # following.await; let _ = page;
//! # }
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use kadmos_core::error::{Fault, RequestFailure};
use kadmos_core::event::{Event, Eviction, Refusal, Rejection};
use kadmos_core::health::{Action, Code, Health, Level};
use kadmos_core::message::MessageKind;
use kadmos_core::operation::{OperationKind, Phase, PhaseOutcome};
use kadmos_core::routing::TableSnapshot;
use kadmos_core::{Mode, Realm, UnixTime};
use kadmos_store::StoreStats;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::registry::Registry;

use crate::clock::{Clock, SystemClock};
use crate::events::Events;
use crate::shared::Counters;

mod exposition;
pub(crate) mod serving;
mod sessions;

#[cfg(test)]
mod tests;

/// Content type of [`Metrics::encode`].
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Content type of [`Metrics::encode_plain`].
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Buckets with a name of their own in `kadmos_routing_table_peers`; deeper ones are counted together. A network of
/// 2^20 servers fills about 16.
const BUCKET_GROUPS: u16 = 16;

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// A registry and the metrics in it.
///
/// Cost: cloning bumps a counter and shares the metrics; recording takes no lock that scraping holds for long.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    clock: Arc<dyn Clock>,
    bootstrap_phases: Family<Labels<2>, Counter>,
    bootstrap_success: Gauge,
    buckets_refreshed: Counter,
    events_lost: Counter,
    health: Family<Labels<1>, Gauge>,
    health_reasons: Family<Labels<1>, Gauge>,
    health_recoveries: Family<Labels<1>, Counter>,
    lookup_hops: Family<Labels<1>, Histogram>,
    lookup_requests: Family<Labels<1>, Histogram>,
    lookup_seconds: Family<Labels<1>, Histogram>,
    lookups: Family<Labels<2>, Counter>,
    lookups_started: Family<Labels<1>, Counter>,
    mode: Family<Labels<1>, Gauge>,
    network_size: Gauge,
    network_size_error: Gauge,
    outages_over: Counter,
    outages_suspected: Counter,
    rejected: Family<Labels<1>, Counter>,
    requests: Family<Labels<2>, Counter>,
    requests_seconds: Family<Labels<1>, Histogram>,
    requests_sent: Family<Labels<1>, Counter>,
    store_bytes: Family<Labels<1>, Gauge>,
    store_keys: Gauge,
    store_providers: Gauge,
    store_records: Gauge,
    store_values: Gauge,
    table_admitted: Counter,
    table_evicted: Family<Labels<1>, Counter>,
    table_peers: Family<Labels<1>, Gauge>,
    table_rejected: Family<Labels<1>, Counter>,
}

impl Metrics {
    /// A registry of a node with these counters; [`crate::Dht::counters`] has them.
    pub fn new(counters: Arc<Counters>) -> Self {
        Self::with_clock(counters, Arc::new(SystemClock::new()))
    }

    /// As [`Metrics::new`], on a clock of one's own.
    pub fn with_clock(counters: Arc<Counters>, clock: Arc<dyn Clock>) -> Self {
        let mut registry = Registry::with_prefix("kadmos");
        let inner = Inner::register(&mut registry, clock);
        registry.register_collector(Box::new(sessions::Sessions(counters)));
        let inner = Inner { registry, ..inner };
        inner.begin();
        Self { inner: Arc::new(inner) }
    }

    /// Counts an event.
    pub fn record(&self, event: &Event) {
        self.inner.apply(event);
    }

    /// Records every event until the node has shut down, and counts those that came too fast. Of two realms the mode is
    /// that of the wide one, as the table is.
    pub async fn follow(&self, mut events: Events) {
        let mut lost = 0;
        while let Some((realm, event)) = events.next_in().await {
            let of_second = events.is_of_both() && realm == Realm::Lan;
            if !(of_second && matches!(event, Event::ModeChanged { .. })) {
                self.record(&event);
            }
            self.inner.events_lost.inc_by(events.lost() - lost);
            lost = events.lost();
        }
    }

    /// Takes the table's sizes, and whether the node serves. Call it before encoding.
    pub fn observe_table(&self, table: &TableSnapshot) {
        let mut sizes: BTreeMap<&'static str, usize> = BTreeMap::new();
        for (prefix_len, bucket) in table.buckets() {
            *sizes.entry(bucket_group(prefix_len)).or_default() += bucket.len();
        }
        for prefix_len in 0..=BUCKET_GROUPS {
            let group = bucket_group(prefix_len);
            let size = sizes.get(group).copied().unwrap_or(0);
            set(&self.inner.table_peers.get_or_create(&[("bucket_group", group)]), size);
        }
        self.inner.set_mode(table.mode());
    }

    /// Takes what the last health round found. Call it before encoding.
    pub fn observe_health(&self, health: &Health) {
        self.inner.set_health(health.level());
        for finding in health.assessment().into_iter().flat_map(|assessment| assessment.findings()) {
            let gauge = self.inner.health_reasons.get_or_create(&[("reason", finding.code.code())]);
            gauge.set(match finding.level {
                Level::Healthy => 0,
                Level::Degraded => 1,
                Level::Unhealthy => 2,
            });
        }
    }

    /// Takes what the store holds. Call it before encoding.
    pub fn observe_store(&self, stats: &StoreStats) {
        set(&self.inner.store_values, stats.values);
        set(&self.inner.store_keys, stats.provider_keys);
        set(&self.inner.store_records, stats.provider_records);
        set(&self.inner.store_providers, stats.providers);
        let bytes = &self.inner.store_bytes;
        set(&bytes.get_or_create(&[("kind", "provider")]), stats.provider_bytes);
        set(&bytes.get_or_create(&[("kind", "value")]), stats.value_bytes);
    }

    /// All metrics as OpenMetrics 1.0 text, for who accepts [`OPENMETRICS`].
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string never fails, and no metric of ours does.
        if let Err(error) = encode(&mut text, &self.inner.registry) {
            tracing::error!(%error, "metrics not encoded");
        }
        text
    }

    /// All metrics as the older text format, [`PLAIN`], for everybody else.
    pub fn encode_plain(&self) -> String {
        exposition::to_plain(&self.encode())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Inner {
    fn register(registry: &mut Registry, clock: Arc<dyn Clock>) -> Self {
        let rpc_buckets = || Histogram::new(exponential_buckets(0.005, 2.0, 12)); // 5 ms to 10 s
        let lookup_buckets = || Histogram::new(exponential_buckets(0.005, 2.0, 15)); // to 82 s: past the deadline
        let request_buckets = || Histogram::new(exponential_buckets(1.0, 2.0, 10)); // to 512
        let hop_buckets = || Histogram::new(linear_buckets(1.0, 1.0, 10));
        let inner = Self {
            registry: Registry::default(),
            clock,
            bootstrap_phases: Family::default(),
            bootstrap_success: Gauge::default(),
            buckets_refreshed: Counter::default(),
            events_lost: Counter::default(),
            health: Family::default(),
            health_reasons: Family::default(),
            health_recoveries: Family::default(),
            lookup_hops: Family::new_with_constructor(hop_buckets),
            lookup_requests: Family::new_with_constructor(request_buckets),
            lookup_seconds: Family::new_with_constructor(lookup_buckets),
            lookups: Family::default(),
            lookups_started: Family::default(),
            mode: Family::default(),
            network_size: Gauge::default(),
            network_size_error: Gauge::default(),
            outages_over: Counter::default(),
            outages_suspected: Counter::default(),
            rejected: Family::default(),
            requests: Family::default(),
            requests_seconds: Family::new_with_constructor(rpc_buckets),
            requests_sent: Family::default(),
            store_bytes: Family::default(),
            store_keys: Gauge::default(),
            store_providers: Gauge::default(),
            store_records: Gauge::default(),
            store_values: Gauge::default(),
            table_admitted: Counter::default(),
            table_evicted: Family::default(),
            table_peers: Family::default(),
            table_rejected: Family::default(),
        };
        let build: Family<Labels<1>, Gauge> = Family::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);

        // A gauge: Prometheus' own checker does not know OpenMetrics' type `info`.
        registry.register("build_info", "Always 1; the version is a label", build);
        macro_rules! register {
            ($($field:ident: $name:literal, $help:literal;)*) => {
                $(registry.register($name, $help, inner.$field.clone());)*
            };
        }
        register! {
            mode: "mode", "1 for the mode the node is in";
            health: "health", "1 for the state of health the node is in";
            health_reasons: "health_reason", "Whether a health rule finds something: 1 degraded, 2 unhealthy";
            health_recoveries: "health_recoveries", "Remedies that the node began by itself";
            bootstrap_success: "bootstrap_last_success_timestamp_seconds", "When joining the network last succeeded";
            bootstrap_phases: "bootstrap_phases", "Phases of joining the network that ended";
            table_peers: "routing_table_peers", "Peers in the routing table";
            table_admitted: "routing_table_admitted", "Peers that the routing table took";
            table_evicted: "routing_table_evicted", "Peers that the routing table dropped";
            table_rejected: "routing_table_rejected", "Peers that the routing table did not take";
            buckets_refreshed: "routing_table_refreshes", "Refreshes of buckets";
            network_size: "network_size_peers", "Servers that the network is estimated to have";
            network_size_error: "network_size_error_peers", "Standard error of that estimate";
            outages_suspected: "outages_suspected", "Times that nobody answered any more";
            outages_over: "outages_over", "Times that somebody answered again after that";
            lookups_started: "lookups_started", "Operations begun";
            lookups: "lookups", "Operations ended";
            lookup_seconds: "lookup_duration_seconds", "Time from start to end of an operation";
            lookup_requests: "lookup_rpcs", "Requests sent by an operation";
            lookup_hops: "lookup_hops", "Longest chain of peers that named each other";
            requests_sent: "rpc_sent", "Requests sent";
            requests: "rpc_requests", "Requests answered or failed";
            requests_seconds: "rpc_duration_seconds", "Time from a request to its answer";
            rejected: "rejected", "Answers and claims of peers that were refused";
            store_values: "values", "Values in the store";
            store_keys: "provider_keys", "Multihashes with providers in the store";
            store_records: "provider_records", "Provider records in the store";
            store_providers: "providers", "Distinct providers in the store";
            store_bytes: "store_size_bytes", "What the records in the store cost";
            events_lost: "events_lost", "Events that were not counted because they came too fast";
        }
        inner
    }

    /// Creates every series, so that each begins at zero: a rate needs a first value.
    fn begin(&self) {
        for mode in [Mode::Client, Mode::Server] {
            let _ = self.mode.get_or_create(&[("mode", mode_label(mode))]);
        }
        self.set_health(Level::Unhealthy); // it knows nobody yet
        for code in Code::ALL {
            let _ = self.health_reasons.get_or_create(&[("reason", code.code())]);
        }
        for action in Action::ALL {
            let _ = self.health_recoveries.get_or_create(&[("action", action.label())]);
        }
        for prefix_len in 0..=BUCKET_GROUPS {
            let _ = self.table_peers.get_or_create(&[("bucket_group", bucket_group(prefix_len))]);
        }
        for phase in Phase::ALL {
            for outcome in PhaseOutcome::ALL.into_iter().filter(|outcome| *outcome != PhaseOutcome::Skipped) {
                let labels = [("phase", phase.label()), ("outcome", outcome.label())];
                let _ = self.bootstrap_phases.get_or_create(&labels);
            }
        }
        for reason in Eviction::ALL {
            let _ = self.table_evicted.get_or_create(&[("reason", reason.label())]);
        }
        for reason in Rejection::ALL {
            let _ = self.table_rejected.get_or_create(&[("reason", reason.label())]);
        }
        for kind in OperationKind::ALL {
            let kind = [("kind", kind.label())];
            let _ = self.lookups_started.get_or_create(&kind);
            let _ = self.lookup_seconds.get_or_create(&kind);
            let _ = self.lookup_requests.get_or_create(&kind);
            let _ = self.lookup_hops.get_or_create(&kind);
            for outcome in OUTCOMES {
                let _ = self.lookups.get_or_create(&[kind[0], ("outcome", outcome_label(outcome))]);
            }
        }
        for kind in MessageKind::ALL {
            let kind = [("type", kind.label())];
            let _ = self.requests_sent.get_or_create(&kind);
            let _ = self.requests_seconds.get_or_create(&kind);
            let _ = self.requests.get_or_create(&[kind[0], ("outcome", ANSWERED)]);
            for failure in FAILURES {
                let _ = self.requests.get_or_create(&[kind[0], ("outcome", failure.label())]);
            }
        }
        for code in Refusal::ALL {
            let _ = self.rejected.get_or_create(&[("reason", code.code())]);
        }
        for kind in ["provider", "value"] {
            let _ = self.store_bytes.get_or_create(&[("kind", kind)]);
        }
    }

    /// Counts `event`; tells whether it is one that is known here.
    fn apply(&self, event: &Event) -> bool {
        match event {
            Event::PeerAdmitted { .. } => _ = self.table_admitted.inc(),
            Event::PeerEvicted { reason, .. } => {
                self.table_evicted.get_or_create(&[("reason", reason.label())]).inc();
            }
            Event::PeerRejected { reason, .. } => {
                self.table_rejected.get_or_create(&[("reason", reason.label())]).inc();
            }
            Event::RequestSent { kind, .. } => {
                self.requests_sent.get_or_create(&[("type", kind.label())]).inc();
            }
            Event::RequestAnswered { kind, elapsed, .. } => {
                let kind = ("type", kind.label());
                self.requests.get_or_create(&[kind, ("outcome", ANSWERED)]).inc();
                self.requests_seconds.get_or_create(&[kind]).observe(elapsed.as_secs_f64());
            }
            Event::RequestFailed { kind, failure, .. } => {
                let labels = [("type", kind.label()), ("outcome", failure.label())];
                self.requests.get_or_create(&labels).inc();
            }
            Event::OperationStarted { kind, .. } => {
                self.lookups_started.get_or_create(&[("kind", kind.label())]).inc();
            }
            Event::OperationEnded { kind, fault, requests, hops, elapsed, .. } => {
                let label = ("kind", kind.label());
                self.lookups.get_or_create(&[label, ("outcome", outcome_label(*fault))]).inc();
                self.lookup_seconds.get_or_create(&[label]).observe(elapsed.as_secs_f64());
                self.lookup_requests.get_or_create(&[label]).observe(*requests as f64);
                self.lookup_hops.get_or_create(&[label]).observe(*hops as f64);
                if *kind == OperationKind::Bootstrap && fault.is_none() {
                    let now: UnixTime = self.clock.now().unix;
                    self.bootstrap_success.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
                }
            }
            Event::BucketRefreshed { .. } => _ = self.buckets_refreshed.inc(),
            Event::BootstrapPhaseEnded { report } => {
                let labels = [("phase", report.phase.label()), ("outcome", report.outcome.label())];
                self.bootstrap_phases.get_or_create(&labels).inc();
            }
            Event::NetworkSizeEstimated { size } => {
                self.network_size.set(i64::try_from(size.peers).unwrap_or(i64::MAX));
                self.network_size_error.set(i64::try_from(size.std_error).unwrap_or(i64::MAX));
            }
            Event::OutageSuspected { .. } => _ = self.outages_suspected.inc(),
            Event::OutageOver { .. } => _ = self.outages_over.inc(),
            Event::ModeChanged { mode } => self.set_mode(*mode),
            Event::HealthChanged { level, .. } => self.set_health(*level),
            Event::RecoveryBegan { action, .. } => {
                self.health_recoveries.get_or_create(&[("action", action.label())]).inc();
            }
            Event::Refused { code, .. } => {
                self.rejected.get_or_create(&[("reason", code.code())]).inc();
            }
            _ => return false,
        }
        true
    }

    fn set_health(&self, level: Level) {
        for other in Level::ALL {
            self.health.get_or_create(&[("state", other.label())]).set(i64::from(other == level));
        }
    }

    fn set_mode(&self, mode: Mode) {
        for other in [Mode::Client, Mode::Server] {
            self.mode.get_or_create(&[("mode", mode_label(other))]).set(i64::from(other == mode));
        }
    }
}

/// Outcome of a request that was answered, or for ADD_PROVIDER sent to the end; failures have their own labels.
const ANSWERED: &str = "answered";

const FAILURES: [RequestFailure; 6] = [
    RequestFailure::Unreachable,
    RequestFailure::TimedOut,
    RequestFailure::Closed,
    RequestFailure::Unsupported,
    RequestFailure::Malformed,
    RequestFailure::Overloaded,
];

const OUTCOMES: [Option<Fault>; 5] =
    [None, Some(Fault::Caller), Some(Fault::Network), Some(Fault::Peer), Some(Fault::Us)];

/// `ok`, or whose fault the failure was.
const fn outcome_label(fault: Option<Fault>) -> &'static str {
    match fault {
        None => "ok",
        Some(Fault::Caller) => "caller",
        Some(Fault::Network) => "network",
        Some(Fault::Peer) => "peer",
        Some(Fault::Us) => "us",
    }
}

const fn mode_label(mode: Mode) -> &'static str {
    match mode {
        Mode::Client => "client",
        Mode::Server => "server",
    }
}

/// The bucket's common prefix length, or one group for the deep ones.
const fn bucket_group(prefix_len: u16) -> &'static str {
    const NAMES: [&str; BUCKET_GROUPS as usize + 1] =
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16_up"];
    if prefix_len < BUCKET_GROUPS { NAMES[prefix_len as usize] } else { NAMES[BUCKET_GROUPS as usize] }
}

fn set(gauge: &Gauge, value: usize) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
