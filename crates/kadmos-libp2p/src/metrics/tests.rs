use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use kadmos_core::operation::{OperationId, PhaseReport};
use kadmos_core::{AddrList, Event, NetworkSize, Now, Peer, PeerId, PeerInfo, Timestamp};

use super::*;

/// Fifteen minutes past a known second.
#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Now {
        Now { monotonic: Timestamp::ZERO, unix: UnixTime::from_secs(1_795_515_912) }
    }
}

fn metrics() -> Metrics {
    Metrics::with_clock(Arc::default(), Arc::new(FixedClock))
}

/// One event of each variant and, where it has a closed set of labels, of each label.
fn every_event() -> Vec<Event> {
    let peer = Peer::new(PeerId::from_digest([1; 32]));
    let operation = OperationId(1);
    let mut events = vec![
        Event::PeerAdmitted { peer: peer.clone(), prefix_len: 3 },
        Event::BucketRefreshed { prefix_len: 3, peers: 20 },
        Event::NetworkSizeEstimated { size: NetworkSize { peers: 9_000, std_error: 500, walks: 16 } },
        Event::OutageSuspected { failed: 5 },
        Event::OutageOver { elapsed: Duration::from_secs(60) },
    ];
    for phase in Phase::ALL {
        for outcome in PhaseOutcome::ALL.into_iter().filter(|outcome| *outcome != PhaseOutcome::Skipped) {
            let report = PhaseReport { outcome, ..PhaseReport::skipped(phase) };
            events.push(Event::BootstrapPhaseEnded { report });
        }
    }
    for reason in Eviction::ALL {
        events.push(Event::PeerEvicted { peer: peer.clone(), reason });
    }
    for reason in Rejection::ALL {
        events.push(Event::PeerRejected { peer: peer.clone(), reason });
    }
    for kind in MessageKind::ALL {
        let elapsed = Duration::from_millis(30);
        events.push(Event::RequestSent { kind, peer: peer.clone() });
        events.push(Event::RequestAnswered { kind, peer: peer.clone(), elapsed });
        for failure in FAILURES {
            events.push(Event::RequestFailed { kind, peer: peer.clone(), failure });
        }
    }
    for kind in OperationKind::ALL {
        events.push(Event::OperationStarted { operation, kind });
        for fault in OUTCOMES {
            events.push(Event::OperationEnded {
                operation,
                kind,
                fault,
                requests: 28,
                failures: 2,
                hops: 3,
                elapsed: Duration::from_millis(700),
            });
        }
    }
    for mode in [Mode::Client, Mode::Server] {
        events.push(Event::ModeChanged { mode });
    }
    for level in [Level::Degraded, Level::Healthy] {
        events.push(Event::HealthChanged { level, reasons: Vec::new() });
    }
    for action in Action::ALL {
        events.push(Event::RecoveryBegan { action, code: Code::TableSmall });
    }
    for code in Refusal::ALL {
        events.push(Event::Refused { peer: peer.clone(), code });
    }
    events
}

/// A metric as a page or the documentation has it: its type and its labels.
type Described = BTreeMap<String, (String, BTreeSet<String>)>;

/// What an OpenMetrics page tells of its metrics; counters with the name of their samples.
fn described(page: &str) -> Described {
    let mut found = Described::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let suffix = if kind == "counter" { "_total" } else { "" };
            found.insert(format!("{name}{suffix}"), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .find(|name| found.contains_key(*name))
                .unwrap_or(name);
            let labels = &mut found.get_mut(name).unwrap_or_else(|| panic!("{line} is not described")).1;
            if let Some((_, rest)) = line.split_once('{') {
                let (all, _) = rest.split_once('}').unwrap();
                labels.extend(all.split(',').map(|label| label.split('=').next().unwrap().to_owned()));
                labels.remove("le");
            }
        }
    }
    found
}

/// The rows of `docs/metrics.md`: name, type, labels, meaning.
fn documented() -> Described {
    let mut found = Described::new();
    for line in doc("metrics.md").lines().filter(|line| line.starts_with("| `kadmos_")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { panic!("four cells are expected: {line}") };
        assert!(meaning.len() > 10, "a meaning is expected: {line}");
        let labels = labels.split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        let earlier = found.insert(name.trim_matches('`').to_owned(), (kind.to_owned(), labels));
        assert_eq!(earlier, None, "{name} has two lines");
    }
    found
}

fn doc(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sample(page: &str, name: &str) -> f64 {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{name} not in\n{page}")).parse().unwrap()
}

#[test]
fn every_metric_has_its_line_in_the_documentation() {
    let metrics = metrics();
    for event in every_event() {
        metrics.record(&event);
    }
    let (metrics, documented) = (described(&metrics.encode()), documented());
    for (name, description) in &metrics {
        assert_eq!(
            Some(description),
            documented.get(name),
            "{name}: measured and documented (docs/metrics.md)"
        );
    }
    for name in documented.keys() {
        assert!(metrics.contains_key(name), "docs/metrics.md has {name}, which does not exist");
    }
}

/// The variants are read from the core's source, because an enum that may grow cannot be matched without a rest.
#[test]
fn every_event_is_counted() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kadmos-core/src/event.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let (_, body) = source.split_once("pub enum Event {").unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let variants: BTreeSet<&str> = body
        .lines()
        .filter_map(|line| line.strip_prefix("    ").filter(|line| line.starts_with(char::is_uppercase)))
        .map(|line| line.split([' ', ',', '(']).next().unwrap())
        .collect();

    let mut seen = BTreeSet::new();
    for event in every_event() {
        let metrics = metrics();
        let before = metrics.encode();
        assert!(metrics.inner.apply(&event), "{event:?} is not known to the metrics");
        assert_ne!(metrics.encode(), before, "{event:?} changes nothing");
        seen.insert(format!("{event:?}").split(' ').next().unwrap().to_owned());
    }
    assert_eq!(seen.iter().map(String::as_str).collect::<BTreeSet<_>>(), variants);
}

#[test]
fn series_begin_at_zero_and_stay_closed() {
    let metrics = metrics();
    let before = metrics.encode();
    for event in every_event() {
        metrics.record(&event);
    }
    let series = |page: &str| -> BTreeSet<String> {
        page.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect()
    };
    assert_eq!(series(&before), series(&metrics.encode()), "an event made a series that was not there");
    for name in series(&before).iter().filter(|name| name.contains("_total")) {
        assert_eq!(sample(&before, name), 0.0, "{name}");
    }
}

#[test]
fn events_are_counted_under_their_labels() {
    let metrics = metrics();
    for event in every_event() {
        metrics.record(&event);
    }
    let page = metrics.encode();
    for (name, value) in [
        ("kadmos_routing_table_admitted_total", 1.0),
        (r#"kadmos_routing_table_evicted_total{reason="failed"}"#, 1.0),
        (r#"kadmos_routing_table_rejected_total{reason="bucket_full"}"#, 1.0),
        (r#"kadmos_rpc_sent_total{type="find_node"}"#, 1.0),
        (r#"kadmos_rpc_requests_total{type="find_node",outcome="answered"}"#, 1.0),
        (r#"kadmos_rpc_requests_total{type="ping",outcome="timed_out"}"#, 1.0),
        (r#"kadmos_rpc_duration_seconds_sum{type="get_value"}"#, 0.03),
        (r#"kadmos_rpc_duration_seconds_bucket{le="0.02",type="get_value"}"#, 0.0),
        (r#"kadmos_rpc_duration_seconds_bucket{le="0.04",type="get_value"}"#, 1.0),
        (r#"kadmos_lookups_started_total{kind="provide"}"#, 1.0),
        (r#"kadmos_lookups_total{kind="provide",outcome="ok"}"#, 1.0),
        (r#"kadmos_lookups_total{kind="provide",outcome="network"}"#, 1.0),
        (r#"kadmos_lookup_rpcs_sum{kind="find_peer"}"#, 5.0 * 28.0),
        (r#"kadmos_lookup_hops_bucket{le="2.0",kind="find_peer"}"#, 0.0),
        (r#"kadmos_lookup_hops_bucket{le="3.0",kind="find_peer"}"#, 5.0),
        ("kadmos_bootstrap_last_success_timestamp_seconds", 1_795_515_912.0),
        (r#"kadmos_mode{mode="client"}"#, 0.0),
        (r#"kadmos_mode{mode="server"}"#, 1.0),
        (r#"kadmos_rejected_total{reason="invalid_record"}"#, 1.0),
        ("kadmos_routing_table_refreshes_total", 1.0),
        (r#"kadmos_health{state="healthy"}"#, 1.0),
        (r#"kadmos_health{state="unhealthy"}"#, 0.0),
        (r#"kadmos_health_recoveries_total{action="rejoin"}"#, 1.0),
    ] {
        assert_eq!(sample(&page, name), value, "{name}");
    }
}

#[test]
fn failed_bootstrap_is_no_success() {
    let metrics = metrics();
    metrics.record(&Event::OperationEnded {
        operation: OperationId(1),
        kind: OperationKind::Bootstrap,
        fault: Some(Fault::Network),
        requests: 3,
        failures: 3,
        hops: 0,
        elapsed: Duration::from_secs(60),
    });
    assert_eq!(sample(&metrics.encode(), "kadmos_bootstrap_last_success_timestamp_seconds"), 0.0);
}

#[test]
fn connections_are_counted_where_they_serve() {
    let counters = Arc::new(Counters::default());
    let metrics = Metrics::new(Arc::clone(&counters));
    let session = counters.handler();
    let stream = counters.inbound_stream();
    counters.refused(Refusal::RateLimited);
    counters.serving().request_served(MessageKind::FindNode, Duration::from_millis(1));
    counters.serving().bytes_read(40);
    counters.serving().bytes_written(1_100);
    counters.stream_opened();
    counters.stream_reused();
    counters.reuse_broken();
    let page = metrics.encode();
    for (name, value) in [
        (r#"kadmos_session_rejected_total{reason="rate_limited"}"#, 1.0),
        (r#"kadmos_session_rejected_total{reason="malformed"}"#, 0.0),
        (r#"kadmos_rpc_served_duration_seconds_count{type="find_node"}"#, 1.0),
        (r#"kadmos_rpc_served_duration_seconds_sum{type="find_node"}"#, 0.001),
        (r#"kadmos_rpc_served_bytes_total{direction="in"}"#, 40.0),
        (r#"kadmos_rpc_served_bytes_total{direction="out"}"#, 1_100.0),
        ("kadmos_sessions", 1.0),
        ("kadmos_rpc_inbound_streams", 1.0),
        ("kadmos_rpc_streams_opened_total", 1.0),
        ("kadmos_rpc_streams_reused_total", 1.0),
        ("kadmos_rpc_streams_broken_total", 1.0),
    ] {
        assert_eq!(sample(&page, name), value, "{name}");
    }
    drop((session, stream));
    let page = metrics.encode();
    assert_eq!(sample(&page, "kadmos_sessions") + sample(&page, "kadmos_rpc_inbound_streams"), 0.0);
}

#[test]
fn table_and_store_are_taken_as_they_are() {
    let metrics = metrics();
    let local = Peer::new(PeerId::from_digest([9; 32]));
    let table = TableSnapshot::new(PeerInfo::new(local, AddrList::EMPTY), Mode::Server);
    metrics.observe_table(&table);
    let stats = StoreStats {
        values: 1,
        value_bytes: 2,
        provider_keys: 3,
        provider_records: 4,
        providers: 5,
        provider_bytes: 6,
    };
    metrics.observe_store(&stats);
    let page = metrics.encode();
    for (name, value) in [
        (r#"kadmos_mode{mode="server"}"#, 1.0),
        (r#"kadmos_routing_table_peers{bucket_group="0"}"#, 0.0),
        (r#"kadmos_routing_table_peers{bucket_group="16_up"}"#, 0.0),
        ("kadmos_values", 1.0),
        (r#"kadmos_store_size_bytes{kind="value"}"#, 2.0),
        ("kadmos_provider_keys", 3.0),
        ("kadmos_provider_records", 4.0),
        ("kadmos_providers", 5.0),
        (r#"kadmos_store_size_bytes{kind="provider"}"#, 6.0),
    ] {
        assert_eq!(sample(&page, name), value, "{name}");
    }
}

#[test]
fn both_text_formats_have_the_same_samples() {
    let metrics = metrics();
    for event in every_event() {
        metrics.record(&event);
    }
    let (open, plain) = (metrics.encode(), metrics.encode_plain());
    let samples = |page: &str| -> Vec<String> {
        page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    assert_eq!(samples(&open), samples(&plain));
    assert!(open.ends_with("# EOF\n") && !plain.contains("# EOF"));
    assert!(plain.contains("# TYPE kadmos_lookups_total counter\n"));
    // Prometheus' checker wants every metric helped, every counter named for its samples, and no unknown type.
    for line in plain.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        assert!(plain.contains(&format!("# HELP {name} ")), "{line}");
    }
}

/// The paragraphs of `docs/codes.md` under the heading `part`, by code.
fn paragraphs(part: &str) -> BTreeMap<String, String> {
    let doc = doc("codes.md");
    let (_, doc) = doc.split_once(&format!("\n## {part}\n")).unwrap_or_else(|| panic!("{part} is missing"));
    let doc = doc.split("\n## ").next().unwrap();
    let mut found = BTreeMap::new();
    for section in doc.split("\n### ").skip(1) {
        let (code, text) = section.split_once('\n').unwrap();
        let earlier = found.insert(code.trim_matches('`').to_owned(), text.trim().to_owned());
        assert_eq!(earlier, None, "{code} has two paragraphs");
    }
    found
}

/// A heading `### code` for each, and in each text all of `parts`; and none for a code that does not exist.
fn check_paragraphs(part: &str, codes: impl IntoIterator<Item = &'static str>, parts: [&str; 3]) {
    let mut paragraphs = paragraphs(part);
    for code in codes {
        let text = paragraphs.remove(code).unwrap_or_else(|| panic!("docs/codes.md lacks {code}"));
        for part in parts {
            let (_, rest) = text.split_once(part).unwrap_or_else(|| panic!("{code}: {part} is missing"));
            let rest = rest.split("**").next().unwrap_or_default();
            assert!(rest.trim().len() > 7, "{code}: {part} says nothing");
        }
    }
    assert!(paragraphs.is_empty(), "docs/codes.md has codes that do not exist: {:?}", paragraphs.keys());
}

#[test]
fn the_mode_of_two_realms_is_that_of_the_wide_one() {
    for (only, server) in [(None, 1.0), (Some(Realm::Lan), 0.0)] {
        let metrics = metrics();
        let (sender, receiver) = tokio::sync::broadcast::channel(4);
        for (realm, mode) in [(Realm::Wan, Mode::Server), (Realm::Lan, Mode::Client)] {
            sender.send((realm, Event::ModeChanged { mode })).unwrap();
        }
        drop(sender);
        futures::executor::block_on(metrics.follow(Events::new(Some(receiver), only)));
        assert_eq!(sample(&metrics.encode(), r#"kadmos_mode{mode="server"}"#), server, "{only:?}");
    }
}

#[test]
fn every_refusal_has_its_paragraph() {
    let parts = ["**What happened.**", "**Whose fault.**", "**What to do.**"];
    check_paragraphs("Refusals", Refusal::ALL.map(Refusal::code), parts);
    check_paragraphs("Rejections", Rejection::ALL.map(Rejection::label), parts);
}

#[test]
fn every_reason_of_ill_health_has_its_paragraph() {
    let parts = ["**What it means.**", "**What the node does.**", "**What to do.**"];
    check_paragraphs("Health", Code::ALL.map(Code::code), parts);
}

/// The number of each finding is told by the gauge until the next look.
#[test]
fn reasons_are_those_of_the_last_round() {
    let metrics = metrics();
    let mut node = kadmos_core::Node::new(
        Peer::new(PeerId::from_digest([9; 32])),
        kadmos_core::Config::private("/test/1"),
        Arc::default(),
    )
    .unwrap();
    let at = |secs| Now { monotonic: Timestamp::from_millis(secs * 1_000), unix: UnixTime::from_secs(secs) };
    for secs in [0, 60] {
        node.handle_input(at(secs), kadmos_core::Input::Timeout).unwrap();
        while node.poll_output().is_some() {}
    }
    metrics.observe_health(node.health());
    let page = metrics.encode();
    assert_eq!(sample(&page, r#"kadmos_health_reason{reason="table_small"}"#), 2.0);
    assert_eq!(sample(&page, r#"kadmos_health_reason{reason="table_stale"}"#), 0.0);
    assert_eq!(sample(&page, r#"kadmos_health{state="unhealthy"}"#), 1.0);
}
