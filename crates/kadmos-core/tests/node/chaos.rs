//! Any order of facts: a node never panics, never holds more than its bounds, and ends everything it began.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kadmos_core::error::RequestFailure;
use kadmos_core::message::{Record, Request, Response};
use kadmos_core::operation::SourceKind;
use kadmos_core::record::{StoreReply, StoreRequest, StoredValue};
use kadmos_core::{AddrList, Config, Input, Mode, Operation, OperationId, PeerInfo, RetryPolicy, Update};
use proptest::prelude::*;

use crate::rig::{Rig, peer, private};

/// One fact. Numbers select among whatever there is at that moment.
#[derive(Clone, Debug)]
enum Step {
    Start(u8, u8),
    Cancel(u8),
    Answer { which: u8, kind: u8, peers: Vec<u16>, value: u8 },
    Fail { which: u8, failure: u8 },
    Store { ok: u8, value: u8 },
    Identified { peer: u16, serves: bool, addressed: bool },
    Disconnected(u16),
    AddPeer(u16),
    RemovePeer(u16),
    Mode(bool),
    Advance(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (any::<u8>(), any::<u8>()).prop_map(|(kind, key)| Step::Start(kind, key)),
        1 => any::<u8>().prop_map(Step::Cancel),
        12 => (any::<u8>(), any::<u8>(), prop::collection::vec(0u16..300, 0..25), any::<u8>())
            .prop_map(|(which, kind, peers, value)| Step::Answer { which, kind, peers, value }),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(which, failure)| Step::Fail { which, failure }),
        3 => (any::<u8>(), any::<u8>()).prop_map(|(ok, value)| Step::Store { ok, value }),
        3 => (0u16..300, any::<bool>(), any::<bool>())
            .prop_map(|(peer, serves, addressed)| Step::Identified { peer, serves, addressed }),
        1 => (0u16..300).prop_map(Step::Disconnected),
        2 => (0u16..300).prop_map(Step::AddPeer),
        1 => (0u16..300).prop_map(Step::RemovePeer),
        1 => any::<bool>().prop_map(Step::Mode),
        2 => (0u32..40_000).prop_map(Step::Advance),
    ];
    prop::collection::vec(step, 0..250)
}

const FAILURES: [RequestFailure; 6] = [
    RequestFailure::Unreachable,
    RequestFailure::TimedOut,
    RequestFailure::Closed,
    RequestFailure::Unsupported,
    RequestFailure::Malformed,
    RequestFailure::Overloaded,
];

fn operation(kind: u8, key: u8) -> Operation {
    let mh = Bytes::from(vec![key % 4; usize::from(key % 90)]);
    let value_key = Bytes::from(vec![b'/', b'v', b'/', key % 4]);
    match kind % 7 {
        0 => Operation::Bootstrap,
        1 => Operation::ClosestPeers { key: mh },
        2 => Operation::FindPeer { id: peer(key.into()).peer.id },
        3 => Operation::FindProviders { key: mh, count: usize::from(key % 3) },
        4 => Operation::GetValue { key: value_key, quorum: Some(usize::from(key % 5)) },
        5 => Operation::Provide { key: mh },
        _ => Operation::PutValue { key: value_key, value: Bytes::from(vec![key; 2]) },
    }
}

fn response(request: &Request, kind: u8, closer: Vec<PeerInfo>, value: u8) -> Option<Response> {
    let record = |key: &Bytes| Record { key: key.clone(), value: Bytes::from(vec![b'0' + value % 11; 2]) };
    Some(match (request, kind % 16) {
        (Request::AddProvider { .. }, _) => return None,
        (_, 0) => Response::Ping,
        (_, 1) => Response::AddProvider,
        (_, 2) => Response::PutValue { record: None },
        (Request::FindNode { .. }, _) => Response::FindNode { closer },
        (Request::GetProviders { .. }, _) => {
            Response::GetProviders { providers: closer.iter().take(3).cloned().collect(), closer }
        }
        (Request::GetValue { key }, _) => Response::GetValue {
            record: (!value.is_multiple_of(3)).then(|| record(key)),
            received: None,
            closer,
        },
        (Request::PutValue { record }, _) => Response::PutValue { record: Some(record.clone()) },
        (Request::Ping, _) => Response::Ping,
    })
}

fn take<T>(items: &mut std::collections::VecDeque<T>, which: u8) -> Option<T> {
    let len = items.len();
    (len > 0).then(|| items.remove(usize::from(which) % len)).flatten()
}

fn apply(rig: &mut Rig, step: Step, started: &mut Vec<OperationId>, cancelled: &mut BTreeSet<OperationId>) {
    match step {
        Step::Start(kind, key) => started.push(rig.start(operation(kind, key))),
        Step::Cancel(which) if !started.is_empty() => {
            let id = started[usize::from(which) % started.len()];
            if rig.outcome(id).is_none() {
                cancelled.insert(id);
            }
            rig.input(Input::Cancel(id));
        }
        Step::Cancel(_) => {}
        Step::Answer { which, kind, peers, value } => {
            let Some(sent) = take(&mut rig.sent, which) else { return };
            let closer = peers.into_iter().map(|n| peer(n.into())).collect();
            match response(&sent.message, kind, closer, value) {
                Some(response) => rig.answer(&sent, response),
                None => rig.input(Input::Flushed(sent.id)),
            }
        }
        Step::Fail { which, failure } => {
            if let Some(sent) = take(&mut rig.sent, which) {
                rig.fail(&sent, FAILURES[usize::from(failure) % FAILURES.len()]);
            }
        }
        Step::Store { ok, value } => {
            let Some((_, request)) = rig.stores.front().cloned() else { return };
            let reply = match (request, ok % 5) {
                (_, 0) => StoreReply::Failed { reason: "disk".into() },
                (StoreRequest::PutValue(_), 1) => StoreReply::Conflict,
                (StoreRequest::Value { key }, 2..) => {
                    let record = Record { key, value: Bytes::from(vec![b'0' + value % 11; 2]) };
                    let received = rig.now.unix;
                    let expires = received + Duration::from_secs(60);
                    StoreReply::Value(Some(StoredValue { record, received, expires, version: 1 }))
                }
                (StoreRequest::Value { .. }, _) => StoreReply::Value(None),
                (StoreRequest::Providers { .. }, _) => StoreReply::Providers(vec![peer(value.into())]),
                (StoreRequest::PutValue(_) | StoreRequest::AddProvider(_), _) => StoreReply::Written,
            };
            rig.store_reply(reply);
        }
        Step::Identified { peer: n, serves, addressed } => {
            let info = peer(n.into());
            let addrs = if addressed { info.addrs } else { AddrList::EMPTY };
            rig.input(Input::Identified { peer: info.peer.id, serves, addrs });
        }
        Step::Disconnected(n) => rig.input(Input::Disconnected(peer(n.into()).peer.id)),
        Step::AddPeer(n) => rig.input(Input::AddPeer(peer(n.into()))),
        Step::RemovePeer(n) => rig.input(Input::RemovePeer(peer(n.into()).peer.id)),
        Step::Mode(server) => {
            rig.input(Input::SetMode(if server { Mode::Server } else { Mode::Client }));
        }
        Step::Advance(millis) => rig.advance(Duration::from_millis(millis.into())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn whatever_happens_everything_ends_once(steps in steps(), retry in any::<bool>()) {
        let retry = if retry { RetryPolicy::default() } else { RetryPolicy::NEVER };
        let mut rig = Rig::new(Config { retry, ..private() });
        rig.input(Input::AddBootstrapPeers { kind: SourceKind::Configured, peers: vec![peer(0), peer(1)] });
        let (mut started, mut cancelled) = (Vec::new(), BTreeSet::new());
        for step in steps {
            apply(&mut rig, step, &mut started, &mut cancelled);
            prop_assert!(rig.node.running_requests() >= rig.sent.len());
            for (_, bucket) in rig.node.table().view().buckets() {
                prop_assert!(bucket.len() <= 20 + 40, "a full bucket, neighbours, and who was one");
            }
        }
        // The store answers and the deadline passes: nothing of the user's is left.
        while !rig.stores.is_empty() {
            rig.store_reply(StoreReply::Failed { reason: "the end".into() });
        }
        rig.advance(Duration::from_secs(61));
        let mut ends = BTreeMap::new();
        for (id, update) in &rig.updates {
            if matches!(update, Update::Ended { .. }) {
                *ends.entry(*id).or_insert(0) += 1;
            } else {
                prop_assert!(!ends.contains_key(id), "nothing comes after the end");
            }
        }
        for id in &started {
            prop_assert_eq!(ends.get(id).copied().unwrap_or(0), usize::from(!cancelled.contains(id)));
        }
        // Upkeep runs on; but whoever is never answered is reported by the driver, and then nothing is left of it.
        rig.advance(Duration::from_secs(600));
        while let Some(sent) = rig.sent.pop_front() {
            rig.fail(&sent, RequestFailure::TimedOut);
        }
        prop_assert_eq!(rig.node.running_requests(), 0);
        prop_assert_eq!(rig.node.running_operations(), 0);
    }
}
