//! Every setting acts: for each field, a test that changes it and sees another behaviour.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use kadmos_core::config::{HealthConfig, LookupConfig, ProtocolConfig, RecordConfig, TableConfig};
use kadmos_core::error::RequestFailure;
use kadmos_core::event::Event;
use kadmos_core::health::{Facts, Limits, Reachability, Tally, evaluate};
use kadmos_core::message::{Request, Response};
use kadmos_core::operation::SourceKind;
use kadmos_core::record::{StoreReply, StoreRequest};
use kadmos_core::{
    AddressPolicy, Config, ConfigError, Input, Key, Mode, Node, Operation, Outcome, PeerInfo, RetryPolicy,
    Validators,
};

use crate::rig::{Digits, Rig, Sent, nearest, peer, private, validators};

/// A change of one field and what is looked at. `observe` must differ between the default and the changed node.
struct Case {
    field: &'static str,
    change: fn(&mut Config),
    observe: fn(&mut Rig) -> String,
}

fn n(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("tests use positive counts")
}

/// Fails to compile when a field is added to a configuration struct; add a [`Case`] then.
fn fields(config: Config) -> Vec<&'static str> {
    let Config { protocol, lookup, table, records, retry, health, seed: _ } = config;
    let ProtocolConfig { name: _, message_bytes_max: _, addresses: _, mode: _ } = protocol;
    let LookupConfig {
        k: _,
        alpha: _,
        beta: _,
        request_timeout: _,
        follow_up_timeout: _,
        deadline: _,
        quorum: _,
    } = lookup;
    let TableConfig {
        bucket_size: _,
        failures_max: _,
        refresh_interval: _,
        probe_after: _,
        probe_unproven_after: _,
        probes_per_minute: _,
        strangers_per_minute: _,
        peers_min: _,
        neighbours: _,
        top_buckets: _,
        group_per_bucket: _,
        group_per_table: _,
        group_per_reply: _,
        trusted: _,
    } = table;
    let RecordConfig { value_age_max: _, provider_age_max: _, provider_addrs_age_max: _ } = records;
    let HealthConfig {
        interval: _,
        rounds_worse: _,
        rounds_better: _,
        recovery: _,
        recovery_interval: _,
        samples_min: _,
        table: _,
        stale: _,
        one_network: _,
        lookups: _,
        requests: _,
        neighbourhood: _,
        records: _,
    } = health;
    let RetryPolicy { attempts: _, first: _, factor_percent: _, cap: _, jitter_percent: _ } = retry;
    vec![
        "protocol.name",
        "protocol.message_bytes_max",
        "protocol.addresses",
        "protocol.mode",
        "lookup.k",
        "lookup.alpha",
        "lookup.beta",
        "lookup.request_timeout",
        "lookup.follow_up_timeout",
        "lookup.deadline",
        "lookup.quorum",
        "table.bucket_size",
        "table.failures_max",
        "table.refresh_interval",
        "table.probe_after",
        "table.probe_unproven_after",
        "table.probes_per_minute",
        "table.strangers_per_minute",
        "table.peers_min",
        "table.neighbours",
        "table.top_buckets",
        "table.group_per_bucket",
        "table.group_per_table",
        "table.group_per_reply",
        "table.trusted",
        "records.value_age_max",
        "records.provider_age_max",
        "records.provider_addrs_age_max",
        "retry.attempts",
        "retry.first",
        "retry.factor_percent",
        "retry.cap",
        "retry.jitter_percent",
        "health.interval",
        "health.rounds_worse",
        "health.rounds_better",
        "health.recovery",
        "health.recovery_interval",
        "health.samples_min",
        "health.table",
        "health.stale",
        "health.one_network",
        "health.lookups",
        "health.requests",
        "health.neighbourhood",
        "health.records",
        "seed",
    ]
}

/// Fields that this list leaves out, and the test that observes them instead.
const ELSEWHERE: [&str; 2] = [
    // `the_protocol_name_decides_which_rules_hold` below; drivers negotiate it.
    "protocol.name",
    // `server::tests` of the core and the handler's tests: it bounds answers and frames.
    "protocol.message_bytes_max",
];

fn closest(rig: &mut Rig) {
    rig.start(Operation::ClosestPeers { key: Bytes::from_static(b"key") });
}

/// Starts a put and brings it to its first PUT_VALUE requests.
fn spread(rig: &mut Rig) -> Vec<Sent> {
    rig.start(Operation::PutValue { key: Bytes::from_static(b"/v/k"), value: Bytes::from_static(b"1") });
    rig.store_reply(StoreReply::Value(None));
    rig.store_reply(StoreReply::Written);
    loop {
        let sent = rig.sent.pop_front().expect("a request");
        match &sent.message {
            Request::FindNode { key } => {
                let closer = nearest(40, key, 20);
                rig.answer(&sent, Response::FindNode { closer });
            }
            _ => {
                rig.sent.push_front(sent);
                return rig.sent.drain(..).collect();
            }
        }
    }
}

/// Fails every try of one holder with a time-out, and lists after how long each next one came.
fn retries(rig: &mut Rig) -> String {
    let mut sent = spread(rig).remove(0);
    let mut delays = Vec::new();
    for _ in 0..12 {
        let failed_at = rig.now.monotonic;
        rig.fail(&sent, RequestFailure::TimedOut);
        match rig.node.next_timeout().filter(|at| at.since(failed_at) < Duration::from_secs(60)) {
            Some(at) if delays.len() < 11 => rig.advance(at.since(failed_at)),
            _ => break,
        }
        let Some(next) = rig.sent.pop_front() else { break };
        delays.push(rig.now.monotonic.since(failed_at).as_micros());
        sent = next;
    }
    format!("{delays:?}")
}

/// Limits that nothing falls below.
const LAX: Limits = Limits::new(0, 0);
/// Limits that nothing exceeds.
const FULL: Limits = Limits::new(100, 100);

/// The level of a server a minute after it was found to be out of reach.
fn falls_ill(rig: &mut Rig) -> String {
    rig.advance(Duration::from_secs(30));
    rig.input(Input::SetMode(Mode::Server));
    rig.input(Input::SetReachability(Reachability::Unreachable));
    rig.advance(Duration::from_secs(60));
    format!("{:?}", rig.node.health().level())
}

/// Remedies begun within 20 minutes after most of the table was lost; nobody answers.
fn recoveries(rig: &mut Rig) -> usize {
    rig.advance(Duration::from_secs(30));
    for n in 0..30 {
        rig.input(Input::RemovePeer(peer(n).peer.id));
    }
    for _ in 0..40 {
        rig.advance(Duration::from_secs(30));
        while let Some(sent) = rig.sent.pop_front() {
            rig.fail(&sent, RequestFailure::Overloaded); // says nothing about the peer
        }
    }
    rig.events.iter().filter(|event| matches!(event, Event::RecoveryBegan { .. })).count()
}

/// What the node's limits say of a node about which nothing is well.
fn all_bad(rig: &mut Rig) -> String {
    let (none, all) = (Tally { count: 0, of: 100 }, Tally { count: 100, of: 100 });
    let facts = Facts {
        mode: Mode::Client,
        reachability: Reachability::Unknown,
        table: none,
        stale: all,
        one_network: all,
        lookups: none,
        requests: none,
        neighbourhood: none,
        records: none,
    };
    format!("{:?}", evaluate(&facts, &rig.node.config().health).reasons())
}

fn stored_provider(rig: &mut Rig) -> kadmos_core::record::ProviderRecord {
    rig.start(Operation::Provide { key: Bytes::from_static(b"mh") });
    let (_, StoreRequest::AddProvider(record)) = rig.stores.pop_front().expect("a store operation") else {
        panic!("a provide writes a provider record")
    };
    record
}

/// When the given operation is given up although nobody answers.
fn given_up_after(rig: &mut Rig) -> String {
    let start = rig.now.monotonic;
    while rig.updates.is_empty() {
        let next = rig.node.next_timeout().expect("an operation is running");
        rig.advance(next.since(rig.now.monotonic));
    }
    format!("{:?}", rig.now.monotonic.since(start))
}

/// Probes of table peers after some seconds in which nobody answers.
fn silent_probes(rig: &mut Rig, secs: u64) -> usize {
    rig.advance(Duration::from_secs(secs));
    let own = peer(u32::MAX).peer.id;
    let is_probe = |sent: &&Sent| match &sent.message {
        // A neighbour is asked for our own id.
        Request::FindNode { key } => key == sent.to.peer.id.as_bytes() || key == own.as_bytes(),
        _ => false,
    };
    rig.sent.iter().filter(is_probe).count()
}

/// How many peers of one public network get into each bucket, of a hundred that want to.
fn of_one_network(rig: &mut Rig) -> Vec<usize> {
    for n in 500..600 {
        let remote = Some([1, 2, 3, n as u8].into());
        rig.input(Input::Connected { peer: peer(n).peer.id, remote });
        rig.input(Input::AddPeer(peer(n)));
        rig.answer_all(600);
    }
    let wanted = |info: &&PeerInfo| (500..600).any(|n| peer(n).peer == info.peer);
    rig.node.table().view().buckets().map(|(_, bucket)| bucket.iter().filter(wanted).count()).collect()
}

const CASES: &[Case] = &[
    Case {
        field: "protocol.addresses",
        change: |config| config.protocol.addresses = AddressPolicy::Public,
        observe: |rig| {
            rig.input(Input::AddPeer(peer(900)));
            format!("{} probes of a private address", rig.sent.len())
        },
    },
    Case {
        field: "protocol.mode",
        change: |config| config.protocol.mode = Mode::Server,
        observe: |rig| format!("{:?}", rig.node.table().view().mode()),
    },
    Case {
        field: "lookup.k",
        change: |config| config.lookup.k = n(7),
        observe: |rig| {
            closest(rig);
            rig.answer_all(40);
            let Some((_, kadmos_core::Update::Ended { outcome: Outcome::ClosestPeers(Ok(found)), .. })) =
                rig.updates.last()
            else {
                panic!("a lookup among peers that answer succeeds")
            };
            format!("{} peers", found.peers.len())
        },
    },
    Case {
        field: "lookup.alpha",
        change: |config| config.lookup.alpha = n(2),
        observe: |rig| {
            closest(rig);
            format!("{} at once", rig.sent.len())
        },
    },
    Case {
        field: "lookup.beta",
        change: |config| config.lookup.beta = n(8),
        observe: |rig| {
            closest(rig);
            for sent in rig.sent.drain(..3).collect::<Vec<_>>() {
                rig.answer(&sent, Response::FindNode { closer: vec![] });
            }
            format!("{} waiting once the three nearest have answered", rig.sent.len())
        },
    },
    Case {
        field: "lookup.request_timeout",
        change: |config| config.lookup.request_timeout = Duration::from_secs(3),
        observe: |rig| {
            closest(rig);
            format!("{:?}", rig.sent[0].timeout)
        },
    },
    Case {
        field: "lookup.follow_up_timeout",
        change: |config| config.lookup.follow_up_timeout = Duration::from_secs(2),
        observe: |rig| {
            closest(rig);
            for sent in rig.sent.drain(..3).collect::<Vec<_>>() {
                rig.answer(&sent, Response::FindNode { closer: vec![] });
            }
            given_up_after(rig)
        },
    },
    Case {
        field: "lookup.deadline",
        change: |config| config.lookup.deadline = Duration::from_secs(5),
        observe: |rig| {
            closest(rig);
            given_up_after(rig)
        },
    },
    Case {
        field: "lookup.quorum",
        change: |config| config.lookup.quorum = 1,
        observe: |rig| {
            rig.start(Operation::GetValue { key: Bytes::from_static(b"/v/k"), quorum: None });
            rig.store_reply(StoreReply::Value(None));
            let sent = rig.sent.pop_front().expect("a request");
            let record = Some(crate::rig::record(b"/v/k", b"1"));
            rig.answer(&sent, Response::GetValue { record, received: None, closer: vec![] });
            format!("ended after one value: {}", rig.node.running_operations() < 1)
        },
    },
    Case {
        field: "table.bucket_size",
        change: |config| config.table.bucket_size = n(3),
        observe: |rig| {
            format!("{:?}", rig.node.table().view().buckets().map(|(_, bucket)| bucket.len()).max())
        },
    },
    Case {
        field: "table.failures_max",
        change: |config| config.table.failures_max = 1,
        observe: |rig| {
            closest(rig);
            let sent = rig.sent.pop_front().expect("a request");
            rig.fail(&sent, RequestFailure::TimedOut);
            format!("kept after one failure: {}", rig.node.table().contains(&sent.to.peer))
        },
    },
    Case {
        field: "table.refresh_interval",
        change: |config| config.table.refresh_interval = Duration::from_secs(60),
        observe: |rig| {
            rig.advance(Duration::from_secs(60));
            format!("{} requests after a minute", rig.sent.len())
        },
    },
    Case {
        field: "table.probe_after",
        change: |config| config.table.probe_after = Duration::from_secs(60),
        observe: |rig| format!("{} probes of silent peers", silent_probes(rig, 200)),
    },
    Case {
        field: "table.probe_unproven_after",
        change: |config| config.table.probe_unproven_after = Duration::from_secs(90),
        observe: |rig| format!("{} probes of new peers", silent_probes(rig, 200)),
    },
    Case {
        field: "table.probes_per_minute",
        change: |config| config.table.probes_per_minute = 6,
        observe: |rig| format!("{} probes in five seconds", silent_probes(rig, 95)),
    },
    Case {
        field: "table.strangers_per_minute",
        change: |config| config.table.strangers_per_minute = 60,
        observe: |rig| {
            rig.advance(Duration::from_secs(240)); // what the rig itself has asked is forgotten
            for n in 1_000..1_200 {
                rig.input(Input::AddPeer(peer(n)));
            }
            rig.answer_all(0);
            rig.advance(Duration::from_secs(1));
            format!("{} probes after a second", rig.sent.len())
        },
    },
    Case {
        field: "table.peers_min",
        change: |config| config.table.peers_min = 100,
        observe: |rig| {
            rig.input(Input::AddBootstrapPeers { kind: SourceKind::Configured, peers: vec![peer(700)] });
            rig.advance(Duration::from_secs(120));
            format!("joins again: {}", rig.sent.iter().any(|sent| sent.to == peer(700)))
        },
    },
    Case {
        field: "table.neighbours",
        change: |config| config.table.neighbours = 3,
        observe: |rig| {
            let sizes = rig.node.table().view().buckets().map(|(_, bucket)| bucket.len());
            format!("{:?}", sizes.collect::<Vec<_>>())
        },
    },
    Case {
        field: "table.top_buckets",
        change: |config| config.table.top_buckets = vec![40],
        observe: |rig| {
            (100..200).for_each(|n| rig.input(Input::AddPeer(peer(n))));
            rig.answer_all(200);
            format!("{:?}", rig.node.table().view().buckets().map(|(_, bucket)| bucket.len()).max())
        },
    },
    Case {
        field: "table.group_per_bucket",
        change: |config| config.table.group_per_bucket = 1,
        observe: |rig| format!("{:?} of one network", of_one_network(rig)),
    },
    Case {
        field: "table.group_per_table",
        change: |config| config.table.group_per_table = 3,
        observe: |rig| format!("{:?} of one network", of_one_network(rig)),
    },
    Case {
        field: "table.group_per_reply",
        change: |config| config.table.group_per_reply = 1,
        observe: |rig| {
            of_one_network(rig);
            let table = rig.node.table().view();
            let per_group = rig.node.config().table.group_per_reply;
            format!("{} told", table.closest_to_tell(&Key::of(b"key"), 1_000, per_group).len())
        },
    },
    Case {
        field: "table.trusted",
        change: |config| config.table.trusted = (500..600).map(|n| peer(n).peer.id).collect(),
        observe: |rig| format!("{:?} of one network", of_one_network(rig)),
    },
    Case {
        field: "records.value_age_max",
        change: |config| config.records.value_age_max = Duration::from_secs(60),
        observe: |rig| {
            rig.start(Operation::PutValue {
                key: Bytes::from_static(b"/v/k"),
                value: Bytes::from_static(b"1"),
            });
            rig.store_reply(StoreReply::Value(None));
            let (_, StoreRequest::PutValue(write)) = &rig.stores[0] else { panic!("a put writes") };
            format!("{:?}", write.expires.since(write.received))
        },
    },
    Case {
        field: "records.provider_age_max",
        change: |config| config.records.provider_age_max = Duration::from_secs(60),
        observe: |rig| {
            let record = stored_provider(rig);
            format!("{:?}", record.expires.since(record.received))
        },
    },
    Case {
        field: "records.provider_addrs_age_max",
        change: |config| config.records.provider_addrs_age_max = Duration::from_secs(60),
        observe: |rig| {
            let record = stored_provider(rig);
            format!("{:?}", record.addrs_expire.since(record.received))
        },
    },
    Case { field: "retry.attempts", change: |config| config.retry.attempts = 4, observe: retries },
    Case {
        field: "retry.first",
        change: |config| config.retry.first = Duration::from_millis(100),
        observe: retries,
    },
    Case {
        field: "retry.factor_percent",
        change: |config| {
            config.retry.attempts = 4;
            config.retry.factor_percent = 300;
        },
        observe: retries,
    },
    Case {
        field: "retry.cap",
        change: |config| {
            config.retry.attempts = 4;
            config.retry.cap = Duration::from_millis(700);
        },
        observe: retries,
    },
    Case {
        field: "retry.jitter_percent",
        change: |config| config.retry.jitter_percent = 50,
        observe: retries,
    },
    Case {
        field: "health.interval",
        change: |config| config.health.interval = Duration::from_secs(7),
        observe: |rig| format!("{:?}", rig.node.next_timeout()),
    },
    Case {
        field: "health.rounds_worse",
        change: |config| config.health.rounds_worse = 5,
        observe: falls_ill,
    },
    Case {
        field: "health.rounds_better",
        change: |config| config.health.rounds_better = 5,
        observe: |rig| {
            let ill = falls_ill(rig);
            rig.input(Input::SetReachability(Reachability::Reachable));
            rig.advance(Duration::from_secs(90));
            format!("{ill}, then {:?}", rig.node.health().level())
        },
    },
    Case {
        field: "health.recovery",
        change: |config| config.health.recovery = false,
        observe: |rig| format!("{}", recoveries(rig)),
    },
    Case {
        field: "health.recovery_interval",
        change: |config| config.health.recovery_interval = Duration::from_secs(30),
        observe: |rig| format!("{}", recoveries(rig)),
    },
    Case {
        field: "health.samples_min",
        change: |config| config.health.samples_min = 1,
        observe: |rig| {
            closest(rig);
            while let Some(sent) = rig.sent.pop_front() {
                rig.fail(&sent, RequestFailure::TimedOut);
            }
            format!("{:?}", evaluate(&rig.node.health_facts(), &rig.node.config().health).reasons())
        },
    },
    Case { field: "health.table", change: |config| config.health.table = LAX, observe: all_bad },
    Case { field: "health.stale", change: |config| config.health.stale = FULL, observe: all_bad },
    Case { field: "health.one_network", change: |config| config.health.one_network = FULL, observe: all_bad },
    Case { field: "health.lookups", change: |config| config.health.lookups = LAX, observe: all_bad },
    Case { field: "health.requests", change: |config| config.health.requests = LAX, observe: all_bad },
    Case {
        field: "health.neighbourhood",
        change: |config| config.health.neighbourhood = LAX,
        observe: all_bad,
    },
    Case { field: "health.records", change: |config| config.health.records = LAX, observe: all_bad },
    Case { field: "seed", change: |config| config.seed = 1, observe: retries },
];

/// For the fields that only show together with another one, the other one is set on both sides.
fn base(field: &str) -> Config {
    let mut config = private();
    match field {
        "retry.factor_percent" | "retry.cap" => config.retry.attempts = 4,
        "table.neighbours" => config.table.bucket_size = n(3),
        "table.probes_per_minute" => config.table.probe_unproven_after = Duration::from_secs(90),
        "table.probe_after" => config.table.probe_unproven_after = Duration::from_secs(3_600),
        _ => {}
    }
    config
}

#[test]
fn every_field_has_a_case() {
    let mut covered: Vec<_> = CASES.iter().map(|case| case.field).chain(ELSEWHERE).collect();
    let mut all = fields(Config::default());
    covered.sort_unstable();
    all.sort_unstable();
    assert_eq!(covered, all);
}

#[test]
fn every_field_acts() {
    for case in CASES {
        let observe = |config: Config| (case.observe)(&mut Rig::with_peers(config, 40));
        let default = base(case.field);
        let mut changed = default.clone();
        (case.change)(&mut changed);
        assert_ne!(default, changed, "{}", case.field);
        let (before, after) = (observe(default.clone()), observe(changed));
        assert_ne!(before, after, "{} changes nothing", case.field);
        assert_eq!(before, observe(default), "{} is observed reproducibly", case.field);
    }
}

fn refusal(change: fn(&mut Config), validators: Validators) -> String {
    let mut config = Config::default();
    change(&mut config);
    match Node::new(peer(0).peer, config, validators.into()) {
        Ok(_) => "accepted".into(),
        Err(error) => {
            assert_eq!(error.fault(), kadmos_core::error::Fault::Caller);
            error.to_string()
        }
    }
}

fn both() -> Validators {
    Validators::new().with("pk", Digits).with("ipns", Digits)
}

#[test]
fn the_protocol_name_decides_which_rules_hold() {
    for (field, change) in [
        ("lookup.k", (|config| config.lookup.k = n(19)) as fn(&mut Config)),
        ("table.bucket_size", |config| config.table.bucket_size = n(16)),
        ("protocol.message_bytes_max", |config| config.protocol.message_bytes_max = 16 << 10),
    ] {
        let message = refusal(change, both());
        assert!(message.starts_with(field) && message.contains("/ipfs"), "{message}");
        let mut config = private();
        change(&mut config);
        assert_eq!(config.validate(&Validators::new()), Ok(()), "{field} is free on a network of one's own");
    }
    for (missing, present) in [("ipns", "pk"), ("pk", "ipns")] {
        let message = refusal(|_| {}, Validators::new().with(present, Digits));
        assert!(message.contains("validators") && message.contains(missing), "{message}");
    }
    assert_eq!(refusal(|_| {}, both()), "accepted");
    assert_eq!(Config::lan().validate(&validators()), Ok(()));
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    for (field, change) in [
        ("protocol.name", (|config| config.protocol.name = "ipfs".into()) as fn(&mut Config)),
        ("protocol.message_bytes_max", |config| config.protocol.message_bytes_max = (4 << 20) + 1),
        ("protocol.message_bytes_max", |config| config.protocol.message_bytes_max = 1_023),
        ("lookup.beta", |config| config.lookup.beta = n(21)),
        ("lookup.request_timeout", |config| config.lookup.request_timeout = Duration::ZERO),
        ("lookup.deadline", |config| config.lookup.deadline = Duration::ZERO),
        ("table.refresh_interval", |config| config.table.refresh_interval = Duration::ZERO),
        ("table.probe_after", |config| config.table.probe_after = Duration::ZERO),
        ("table.failures_max", |config| config.table.failures_max = 0),
        ("table.probe_unproven_after", |config| config.table.probe_unproven_after = Duration::ZERO),
        ("table.probes_per_minute", |config| config.table.probes_per_minute = 0),
        ("table.strangers_per_minute", |config| config.table.strangers_per_minute = 0),
        ("table.neighbours", |config| config.table.neighbours = 1_025),
        ("table.top_buckets", |config| config.table.top_buckets = vec![1_025]),
        ("table.top_buckets", |config| config.table.top_buckets = vec![1; 21]),
        ("table.trusted", |config| config.table.trusted = vec![peer(1).peer.id; 1_025]),
        ("records.value_age_max", |config| config.records.value_age_max = Duration::ZERO),
        ("records.provider_age_max", |config| config.records.provider_age_max = Duration::ZERO),
        ("retry.attempts", |config| config.retry.attempts = 0),
        ("health.interval", |config| config.health.interval = Duration::ZERO),
        ("health.recovery_interval", |config| config.health.recovery_interval = Duration::ZERO),
        ("health.rounds_worse", |config| config.health.rounds_worse = 0),
        ("health.rounds_better", |config| config.health.rounds_better = 0),
        ("health.samples_min", |config| config.health.samples_min = 0),
        ("health.table", |config| config.health.table = Limits::new(25, 75)),
        ("health.stale", |config| config.health.stale = Limits::new(60, 20)),
        ("health.one_network", |config| config.health.one_network = Limits::new(20, 101)),
        ("health.lookups", |config| config.health.lookups = Limits::new(101, 20)),
    ] {
        let message = refusal(change, both());
        assert!(message.starts_with(field), "{field}: {message}");
    }
    assert!(!ConfigError::Zero { field: "x" }.advice().is_empty());
}
