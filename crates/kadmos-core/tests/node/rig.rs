//! A node on a bench: feed facts, look at effects, move the clock by hand.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kadmos_core::error::RequestFailure;
use kadmos_core::limits::NEIGHBOUR_ASKED_AFTER;
use kadmos_core::message::{Record, Request, Response};
use kadmos_core::operation::{Cost, OperationOptions};
use kadmos_core::record::{InvalidRecord, StoreReply, StoreRequest};
use kadmos_core::{
    AddrList, Config, Event, Input, Key, Node, Now, Operation, OperationId, Outcome, Output, Peer, PeerId,
    PeerInfo, RequestId, StoreId, Timestamp, UnixTime, Update, Validator, Validators,
};

/// Values are a digit and a rest; the larger digit is better, and `x…` is invalid.
pub(crate) struct Digits;

impl Validator for Digits {
    fn validate(&self, _key: &[u8], value: &[u8], _now: UnixTime) -> Result<(), InvalidRecord> {
        match value.first() {
            Some(b'0'..=b'9') => Ok(()),
            _ => Err(InvalidRecord::Refused { code: "digit", reason: "expected a digit".into() }),
        }
    }

    fn compare(&self, _key: &[u8], a: &[u8], b: &[u8]) -> Ordering {
        a.first().cmp(&b.first())
    }
}

pub(crate) fn validators() -> Arc<Validators> {
    Arc::new(Validators::new().with("v", Digits).with("pk", Digits).with("ipns", Digits))
}

/// The `n`th peer of every test; its address is private.
pub(crate) fn peer(n: u32) -> PeerInfo {
    let mut digest = [0xee; 32];
    digest[..4].copy_from_slice(&n.to_be_bytes());
    let id = PeerId::from_digest(digest);
    let [_, _, hi, lo] = n.to_be_bytes();
    PeerInfo::new(Peer::new(id), AddrList::collect(&id, [[4, 10, 0, hi, lo, 6, 0, 80].as_slice()]))
}

/// The first `count` of peers `0..universe`, nearest to `key` first.
pub(crate) fn nearest(universe: u32, key: &[u8], count: usize) -> Vec<PeerInfo> {
    let target = Key::of(key);
    let mut all: Vec<_> = (0..universe).map(peer).collect();
    all.sort_by_key(|info| info.peer.key.distance(&target));
    all.truncate(count);
    all
}

/// The time that an answer takes here: just enough for the rate of strangers that [`private`] sets.
const ROUND_TRIP: Duration = Duration::from_micros(100);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sent {
    pub(crate) id: RequestId,
    pub(crate) to: PeerInfo,
    pub(crate) message: Request,
    pub(crate) timeout: Duration,
}

pub(crate) struct Rig {
    pub(crate) node: Node,
    pub(crate) now: Now,
    pub(crate) sent: VecDeque<Sent>,
    pub(crate) cancelled: Vec<RequestId>,
    pub(crate) stores: VecDeque<(StoreId, StoreRequest)>,
    pub(crate) updates: Vec<(OperationId, Update)>,
    pub(crate) events: Vec<Event>,
    next_operation: u64,
}

impl Rig {
    pub(crate) fn new(config: Config) -> Self {
        let local = peer(u32::MAX);
        let node = Node::new(local.peer.clone(), config, validators()).expect("a valid configuration");
        let now = Now { monotonic: Timestamp::from_millis(1), unix: UnixTime::from_secs(1_800_000_000) };
        let mut rig = Self {
            node,
            now,
            sent: VecDeque::new(),
            cancelled: Vec::new(),
            stores: VecDeque::new(),
            updates: Vec::new(),
            events: Vec::new(),
            next_operation: 0,
        };
        rig.input(Input::SetAddrs(local.addrs));
        rig
    }

    /// A node of a private network whose table holds peers `0..count`, as far as there is room.
    pub(crate) fn with_peers(config: Config, count: u32) -> Self {
        let mut rig = Self::new(config);
        for n in 0..count {
            rig.input(Input::AddPeer(peer(n)));
            while let Some(probe) = rig.sent.pop_front() {
                rig.answer(&probe, Response::FindNode { closer: vec![probe.to.clone()] });
                rig.advance(ROUND_TRIP);
            }
        }
        rig.let_neighbours_tell();
        rig.events.clear();
        rig
    }

    /// Lets the node ask those who are new and near whom they know, and has each name itself only.
    pub(crate) fn let_neighbours_tell(&mut self) {
        self.advance(NEIGHBOUR_ASKED_AFTER);
        while let Some(sent) = self.sent.pop_front() {
            self.answer(&sent, Response::FindNode { closer: vec![sent.to.clone()] });
        }
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.node.handle_input(self.now, input).expect("ids that the node knows");
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Send { request, to, message, timeout } => {
                    self.sent.push_back(Sent { id: request, to, message, timeout });
                }
                Output::CancelRequest(id) => {
                    self.cancelled.push(id);
                    self.sent.retain(|sent| sent.id != id);
                }
                Output::Store { id, request } => self.stores.push_back((id, request)),
                Output::Update { id, update } => self.updates.push((id, update)),
                Output::Event(event) => self.events.push(event),
                Output::TableChanged { .. } => {}
            }
        }
    }

    pub(crate) fn start(&mut self, operation: Operation) -> OperationId {
        self.start_with(operation, OperationOptions::default())
    }

    pub(crate) fn start_with(&mut self, operation: Operation, options: OperationOptions) -> OperationId {
        let id = OperationId(self.next_operation);
        self.next_operation += 1;
        self.input(Input::Start { id, operation, options });
        id
    }

    pub(crate) fn answer(&mut self, sent: &Sent, response: Response) {
        self.input(Input::Answered { request: sent.id, response });
    }

    pub(crate) fn fail(&mut self, sent: &Sent, failure: RequestFailure) {
        self.input(Input::Failed { request: sent.id, failure });
    }

    pub(crate) fn store_reply(&mut self, reply: StoreReply) {
        let (id, _) = self.stores.pop_front().expect("a store operation is waiting");
        self.input(Input::Stored { id, reply });
    }

    /// Moves the clock, giving every time-out that is due on the way.
    pub(crate) fn advance(&mut self, by: Duration) {
        let until = self.now.monotonic + by;
        while let Some(at) = self.node.next_timeout().filter(|at| *at <= until) {
            let passed = at.since(self.now.monotonic);
            self.now.unix = self.now.unix + passed;
            self.now.monotonic = self.now.monotonic.max(at);
            self.input(Input::Timeout);
        }
        self.now.unix = self.now.unix + until.since(self.now.monotonic);
        self.now.monotonic = until;
    }

    /// Answers every request truthfully for a network of peers `0..universe`, until nothing is sent any more.
    /// Returns the requests.
    pub(crate) fn answer_all(&mut self, universe: u32) -> Vec<Sent> {
        let mut seen = Vec::new();
        while let Some(sent) = self.sent.pop_front() {
            let closer = |key: &[u8]| nearest(universe, key, 20);
            match &sent.message {
                Request::FindNode { key } => self.answer(&sent, Response::FindNode { closer: closer(key) }),
                Request::GetProviders { key } => {
                    self.answer(&sent, Response::GetProviders { providers: Vec::new(), closer: closer(key) });
                }
                Request::GetValue { key } => {
                    self.answer(
                        &sent,
                        Response::GetValue { record: None, received: None, closer: closer(key) },
                    );
                }
                Request::PutValue { record } => {
                    self.answer(&sent, Response::PutValue { record: Some(record.clone()) });
                }
                Request::AddProvider { .. } => self.input(Input::Flushed(sent.id)),
                Request::Ping => self.answer(&sent, Response::Ping),
            }
            seen.push(sent);
            self.advance(ROUND_TRIP);
        }
        seen
    }

    /// How the operation ended, if it has.
    pub(crate) fn outcome(&self, id: OperationId) -> Option<(Outcome, Cost)> {
        self.updates.iter().find_map(|(operation, update)| match update {
            Update::Ended { outcome, cost } if *operation == id => Some((outcome.clone(), *cost)),
            _ => None,
        })
    }

    pub(crate) fn ended(&self, id: OperationId) -> Outcome {
        self.outcome(id).expect("the operation has ended").0
    }
}

pub(crate) fn record(key: &'static [u8], value: &'static [u8]) -> Record {
    Record { key: Bytes::from_static(key), value: Bytes::from_static(value) }
}

/// A private network with the public one's numbers, but that new peers are no sooner asked again than others, and
/// strangers at once: so that tests of other things see nothing of it.
pub(crate) fn private() -> Config {
    let mut config = Config::private("/test/1");
    config.table.probe_unproven_after = config.table.probe_after;
    config.table.strangers_per_minute = 1_000_000;
    config
}
