//! The modelled clients against a small network that answers truly, in virtual time.

mod upkeep;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kadmos_core::config::{Config, Mode};
use kadmos_core::error::RequestFailure;
use kadmos_core::message::{Record, Request, Response};
use kadmos_core::operation::{Cost, Outcome, SourceKind};
use kadmos_core::record::{StoreReply, StoreRequest, StoredValue};
use kadmos_core::{
    Input, Key, Now, Operation, OperationId, OperationOptions, Output, Peer, PeerId, PeerInfo, RequestId,
    Timestamp, UnixTime, Update,
};

use super::job::{Goal, Job};
use super::{Baseline, Client};
use crate::random::child_seed;

const CONNECT: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_millis(50);

/// How a server of the test takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temper {
    Answers,
    /// Takes the connection and never answers.
    Mute,
    /// Its dial fails after this many seconds.
    Dead(u64),
}

/// One client, and servers that know each other.
struct Bench {
    client: Client,
    now: Timestamp,
    servers: Vec<PeerInfo>,
    tempers: BTreeMap<PeerId, Temper>,
    queue: BTreeMap<(Timestamp, u64), Input>,
    pushed: u64,
    connected: BTreeSet<PeerId>,
    cancelled: BTreeSet<RequestId>,
    /// Servers that took an ADD_PROVIDER, in order.
    holders: Vec<PeerInfo>,
    providers: Vec<PeerInfo>,
    /// What servers hold, by server.
    values: BTreeMap<PeerId, Bytes>,
    /// What the node's own store holds.
    own: Option<StoredValue>,
    sends: Vec<(Timestamp, PeerId)>,
    updates: Vec<(Timestamp, Update)>,
}

fn info(index: u64) -> PeerInfo {
    let id = PeerId::from_digest(child_seed(1, "bench", index));
    PeerInfo::new(Peer::new(id), crate::network::addrs(&id, index as u32, 1))
}

impl Bench {
    /// `count` servers, of which the client knows `known`.
    fn new(baseline: Baseline, count: u64, known: usize) -> Self {
        let mut client =
            Client::new(baseline, info(u64::MAX).peer, Mode::Client, Config::default().table.bucket_size, 1);
        let servers: Vec<_> = (0..count).map(info).collect();
        for server in &servers[..known] {
            client.remember(server.clone(), Timestamp::ZERO);
        }
        let mut bench = Self {
            client,
            now: Timestamp::ZERO,
            servers,
            tempers: BTreeMap::new(),
            queue: BTreeMap::new(),
            pushed: 0,
            connected: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            holders: Vec::new(),
            providers: Vec::new(),
            values: BTreeMap::new(),
            own: None,
            sends: Vec::new(),
            updates: Vec::new(),
        };
        bench.feed(Input::SetAddrs(info(u64::MAX).addrs));
        bench
    }

    fn temper(&mut self, info: &PeerInfo, temper: Temper) {
        self.tempers.insert(info.peer.id, temper);
    }

    fn closest(&self, key: &[u8], count: usize) -> Vec<PeerInfo> {
        let target = Key::of(key);
        let mut closest = self.servers.clone();
        closest.sort_by_key(|info| info.peer.key.distance(&target));
        closest.truncate(count);
        closest
    }

    fn push(&mut self, after: Duration, input: Input) {
        self.pushed += 1;
        self.queue.insert((self.now + after, self.pushed), input);
    }

    fn feed(&mut self, input: Input) {
        let now = Now { monotonic: self.now, unix: UnixTime::from_secs(0) };
        self.client.handle_input(now, input).expect("the bench knows what is in flight");
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Send { request, to, message, timeout } => self.send(request, to, &message, timeout),
                Output::CancelRequest(request) => {
                    self.cancelled.insert(request);
                }
                Output::Update { update, .. } => self.updates.push((self.now, update)),
                Output::Store { id, request } => {
                    let reply = match request {
                        StoreRequest::Value { .. } => StoreReply::Value(self.own.clone()),
                        _ => StoreReply::Written,
                    };
                    self.push(Duration::ZERO, Input::Stored { id, reply });
                }
                Output::TableChanged { .. } | Output::Event(_) => {}
            }
        }
    }

    fn send(&mut self, request: RequestId, to: PeerInfo, message: &Request, timeout: Duration) {
        self.sends.push((self.now, to.peer.id));
        let temper = self.tempers.get(&to.peer.id).copied().unwrap_or(Temper::Answers);
        if let Temper::Dead(secs) = temper {
            let wait = Duration::from_secs(secs).min(timeout);
            let failure = if wait < timeout { RequestFailure::Unreachable } else { RequestFailure::TimedOut };
            return self.push(wait, Input::Failed { request, failure });
        }
        let connect = if self.connected.insert(to.peer.id) { CONNECT } else { Duration::ZERO };
        if !connect.is_zero() {
            self.push(connect, Input::Connected { peer: to.peer.id, remote: None });
        }
        if temper == Temper::Mute && message.has_response() {
            return self.push(timeout, Input::Failed { request, failure: RequestFailure::TimedOut });
        }
        let closer = self.closest(message.key(), 20);
        let response = match message {
            Request::FindNode { .. } => Response::FindNode { closer },
            Request::GetProviders { .. } => {
                Response::GetProviders { providers: self.providers.clone(), closer }
            }
            Request::AddProvider { .. } => {
                self.holders.push(to);
                return self.push(connect, Input::Flushed(request));
            }
            Request::GetValue { key } => {
                let record = self
                    .values
                    .get(&to.peer.id)
                    .map(|value| Record { key: key.clone(), value: value.clone() });
                Response::GetValue { record, received: None, closer }
            }
            Request::PutValue { record } => {
                self.values.insert(to.peer.id, record.value.clone());
                Response::PutValue { record: Some(record.clone()) }
            }
            Request::Ping => panic!("a modelled node does not send PING"),
        };
        self.push(connect + ANSWER, Input::Answered { request, response });
    }

    /// Runs until `until`, or until nothing is left.
    fn run(&mut self, until: Timestamp) {
        for _ in 0..100_000 {
            let next = self.queue.first_key_value().map(|(at, _)| *at);
            let timeout = self.client.next_timeout();
            let at = match (next, timeout) {
                (Some((at, _)), Some(timeout)) => at.min(timeout),
                (Some((at, _)), None) => at,
                (None, Some(timeout)) => timeout,
                (None, None) => return,
            };
            if at > until {
                self.now = until;
                return;
            }
            self.now = at;
            match next.filter(|(due, _)| *due <= at).and_then(|key| self.queue.remove(&key)) {
                Some(
                    Input::Answered { request, .. } | Input::Flushed(request) | Input::Failed { request, .. },
                ) if self.cancelled.contains(&request) => {}
                Some(input) => self.feed(input),
                None => self.feed(Input::Timeout),
            }
        }
        panic!("the client never comes to rest");
    }

    /// Performs an operation; returns its outcome, its cost, and when it ended.
    fn perform(&mut self, operation: Operation) -> (Outcome, Cost, Timestamp) {
        let id = OperationId(self.pushed + 1_000_000);
        self.updates.clear();
        self.feed(Input::Start { id, operation, options: OperationOptions::default() });
        let until = self.now + Duration::from_secs(400);
        for _ in 0..100_000 {
            if let Some((at, Update::Ended { outcome, cost })) = self.updates.last() {
                return (outcome.clone(), *cost, *at);
            }
            let before = self.now;
            let due = self.queue.first_key_value().map_or(until, |((at, _), _)| *at);
            let due = self.client.next_timeout().map_or(due, |at| due.min(at));
            assert!(due <= until, "the operation never ends");
            self.run(due.max(before));
        }
        panic!("the operation never ends");
    }
}

fn key(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

fn ids(infos: &[PeerInfo]) -> Vec<PeerId> {
    infos.iter().map(|info| info.peer.id).collect()
}

#[test]
fn lookups_of_go_and_rust_find_the_closest_and_the_originals_do_not() {
    for baseline in Baseline::ALL {
        let mut bench = Bench::new(baseline, 300, 40);
        let (outcome, cost, _) = bench.perform(Operation::ClosestPeers { key: key("content") });
        let Outcome::ClosestPeers(Ok(found)) = outcome else { panic!("{baseline}: {outcome:?}") };
        let truth = bench.closest(b"content", 20);
        if baseline == Baseline::Original {
            assert_ne!(ids(&found.peers), ids(&truth));
            assert_eq!(cost.requests, 10, "one round");
        } else {
            assert_eq!(ids(&found.peers), ids(&truth), "{baseline}");
            assert!(cost.requests >= 20 && cost.hops == 2, "{baseline}: {cost:?}");
        }
        assert_eq!(bench.client.running_requests(), 0, "{baseline}");
        assert_eq!(bench.client.running_operations(), 0, "{baseline}");
    }
}

#[test]
fn providers_are_told_once_each_and_enough_end_the_search() {
    for baseline in [Baseline::Go, Baseline::RustLibp2p] {
        let mut bench = Bench::new(baseline, 100, 40);
        bench.providers = vec![info(1_000), info(1_001)];
        let (outcome, ..) = bench.perform(Operation::FindProviders { key: key("content"), count: 0 });
        assert_eq!(outcome, Outcome::FindProviders(Ok(2)), "{baseline}");
        let told = bench.updates.iter().filter(|(_, update)| matches!(update, Update::Provider(_))).count();
        assert_eq!(told, 2, "{baseline}");
        let all = bench.sends.len();
        bench.sends.clear();
        let (outcome, ..) = bench.perform(Operation::FindProviders { key: key("content"), count: 1 });
        assert_eq!(outcome, Outcome::FindProviders(Ok(1)), "{baseline}");
        assert!(bench.sends.len() < all, "{baseline}");
    }
}

#[test]
fn provides_reach_twenty_holders_and_the_originals_three() {
    for baseline in Baseline::ALL {
        let mut bench = Bench::new(baseline, 300, 40);
        let (outcome, ..) = bench.perform(Operation::Provide { key: key("content") });
        let Outcome::Provide(Ok(report)) = outcome else { panic!("{baseline}: {outcome:?}") };
        if baseline == Baseline::Original {
            assert_eq!(report.attempted, 3);
        } else {
            assert_eq!(
                ids(&bench.holders).into_iter().collect::<BTreeSet<_>>(),
                ids(&bench.closest(b"content", 20)).into_iter().collect()
            );
            assert_eq!((report.attempted, report.sent), (20, 20), "{baseline}");
        }
    }
}

/// A dead peer among the 20 costs go its dial twice, in the follow-up and in the send, unless the swarm still
/// remembers the first; an optimistic provide does not wait for it.
#[test]
fn dead_holders_cost_go_their_dials_twice() {
    let perform = |baseline, secs: &[u64]| {
        let mut bench = Bench::new(baseline, 300, 300);
        // Five lookups tell the size of the network.
        for lookup in 0..5 {
            bench.perform(Operation::ClosestPeers { key: key(&format!("other {lookup}")) });
        }
        let closest = bench.closest(b"content", 20);
        for (server, secs) in closest[12..].iter().zip(secs) {
            bench.temper(server, Temper::Dead(*secs));
            bench.connected.remove(&server.peer.id);
            bench.feed(Input::Disconnected(server.peer.id));
        }
        let started = bench.now;
        let (outcome, _, ended) = bench.perform(Operation::Provide { key: key("content") });
        let Outcome::Provide(Ok(report)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(report.failed.len().min(1), usize::from(baseline == Baseline::Go));
        ended.since(started).as_secs()
    };
    assert_eq!(perform(Baseline::Go, &[5]), 5, "the second dial is refused by the swarm's backoff");
    assert_eq!(perform(Baseline::Go, &[15]), 30);
    // The follow-up ends with the slower; by then the faster may be dialled again.
    assert_eq!(perform(Baseline::Go, &[5, 15]), 30);
    assert_eq!(perform(Baseline::Go, &[15, 60]), 120);
    assert_eq!(perform(Baseline::GoOptimistic, &[15, 60]), 0);
}

#[test]
fn a_mute_peer_costs_go_ten_seconds_from_its_connection() {
    let mut bench = Bench::new(Baseline::Go, 60, 60);
    let mute = bench.closest(b"content", 20)[10].clone();
    bench.temper(&mute, Temper::Mute);
    let (outcome, cost, ended) = bench.perform(Operation::ClosestPeers { key: key("content") });
    assert!(matches!(outcome, Outcome::ClosestPeers(Ok(_))));
    assert_eq!(cost.failures, 1);
    let waited = ended.since(Timestamp::ZERO);
    assert!(waited > Duration::from_secs(10) && waited < Duration::from_secs(12), "{waited:?}");
    assert!(bench.client.view().get(&mute.peer.id).is_none(), "one failure evicts");
}

#[test]
fn a_mute_peer_costs_rust_ten_seconds_and_stays_in_the_table() {
    let mut bench = Bench::new(Baseline::RustLibp2p, 60, 60);
    let mute = bench.closest(b"content", 20)[10].clone();
    bench.temper(&mute, Temper::Mute);
    let known = bench.client.view().get(&mute.peer.id).is_some();
    let (outcome, _, ended) = bench.perform(Operation::ClosestPeers { key: key("content") });
    let Outcome::ClosestPeers(Ok(found)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(found.peers.len(), 20);
    assert!(found.peers.iter().all(|info| info.peer != mute.peer));
    assert!(ended.since(Timestamp::ZERO) >= Duration::from_secs(10));
    assert_eq!(bench.client.view().get(&mute.peer.id).is_some(), known);
}

#[test]
fn the_original_tries_a_dead_peer_three_times_and_its_round_waits() {
    let mut bench = Bench::new(Baseline::Original, 30, 30);
    let mut nearest = bench.servers.clone();
    nearest.sort_by_key(|info| {
        let id = info.peer.id.as_bytes();
        id.iter().zip(b"content".iter().chain(&[0; 64])).map(|(a, b)| a ^ b).collect::<Vec<_>>()
    });
    let known = nearest
        .iter()
        .find(|info| bench.client.view().get(&info.peer.id).is_some())
        .expect("a table")
        .clone();
    bench.temper(&known, Temper::Dead(5));
    let (_, cost, ended) = bench.perform(Operation::ClosestPeers { key: key("content") });
    // 3 dials of 5 s, 0.5 s and 0.75 s between them.
    assert_eq!(ended.since(Timestamp::ZERO), Duration::from_millis(16_250));
    assert_eq!((cost.requests, cost.failures), (12, 3));
}

#[test]
fn joining_fills_tables_and_nobody_to_join_through_is_an_error() {
    for baseline in Baseline::ALL {
        let mut bench = Bench::new(baseline, 200, 0);
        let (outcome, ..) = bench.perform(Operation::Bootstrap);
        assert!(outcome.fault().is_some(), "{baseline}: {outcome:?}");
        bench.feed(Input::AddBootstrapPeers { kind: SourceKind::Configured, peers: vec![info(0), info(1)] });
        let (outcome, ..) = bench.perform(Operation::Bootstrap);
        let Outcome::Bootstrap(Ok(joined)) = outcome else { panic!("{baseline}: {outcome:?}") };
        assert_eq!((joined.tried, joined.answered), (2, 2), "{baseline}");
        assert!(joined.peers >= 20, "{baseline}: {joined:?}");
    }
}

#[test]
fn go_and_rust_refresh_their_tables_unasked() {
    for (baseline, every) in [(Baseline::Go, 600), (Baseline::RustLibp2p, 300)] {
        let mut bench = Bench::new(baseline, 200, 30);
        bench.run(Timestamp::from_millis(every * 1_000 - 1));
        assert!(bench.sends.is_empty(), "{baseline}");
        bench.run(Timestamp::from_millis(every * 1_000 + 60_000));
        assert!(bench.sends.len() > 60, "{baseline}");
        assert!(bench.client.view().len() > 60, "{baseline}");
        assert_eq!(bench.client.running_operations(), 0, "{baseline}");
    }
}

#[test]
fn cancelled_operations_say_nothing_more() {
    for baseline in Baseline::ALL {
        let mut bench = Bench::new(baseline, 100, 40);
        let id = OperationId(7);
        let operation = Operation::ClosestPeers { key: key("content") };
        bench.feed(Input::Start { id, operation, options: OperationOptions::default() });
        bench.feed(Input::Cancel(id));
        assert_eq!((bench.client.running_requests(), bench.client.running_operations()), (0, 0));
        bench.run(Timestamp::from_millis(100_000));
        assert!(bench.updates.is_empty(), "{baseline}");
    }
}

#[test]
fn every_operation_ends_whatever_the_servers_do() {
    for baseline in Baseline::ALL {
        for seed in 0..20u64 {
            let mut bench = Bench::new(baseline, 120, 60);
            for (index, server) in bench.servers.clone().iter().enumerate() {
                let temper = match child_seed(seed, "temper", index as u64)[0] % 8 {
                    0 => Temper::Mute,
                    1 => Temper::Dead(0),
                    2 => Temper::Dead(5),
                    3 => Temper::Dead(60),
                    _ => Temper::Answers,
                };
                bench.temper(server, temper);
            }
            for operation in [
                Operation::ClosestPeers { key: key("a") },
                Operation::FindProviders { key: key("b"), count: 0 },
                Operation::Provide { key: key("c") },
                Operation::FindPeer { id: info(77).peer.id },
                Operation::FindPeer { id: info(5_000).peer.id },
            ] {
                bench.perform(operation);
            }
            bench.run(bench.now + Duration::from_secs(200));
            let is_upkeep = |job: &Job| job.user.is_none() && matches!(job.goal, Goal::Bootstrap(_));
            assert!(bench.client.jobs.values().all(is_upkeep), "{baseline}, seed {seed}");
        }
    }
}
