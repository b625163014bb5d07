//! The node: facts in, effects out.

mod checkup;
mod failures;
mod groups;
mod io;
mod joining;
mod links;
mod lost;
mod neighbours;
mod outage;
mod pace;
mod probes;
mod remembering;
mod requests;
mod upkeep;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use self::checkup::Checkup;
use self::failures::Failures;
pub use self::groups::PeerFilter;
pub use self::io::{Input, InputError, Output, RequestId, StoreId};
use self::links::Links;
use self::lost::Lost;
use self::neighbours::Neighbours;
use self::outage::Outage;
use self::probes::Probes;
use self::requests::InFlight;
pub use self::requests::Purpose;
use self::upkeep::Upkeep;
use crate::addr::{self, AddrList};
use crate::bootstrap::{Bootstrap, Preimages};
use crate::config::{AddressPolicy, Config, ConfigError, Mode};
use crate::error::{Fault, OperationError};
use crate::event::{Event, Eviction, Rejection};
use crate::health::Health;
use crate::limits::{KEY_BYTES_MAX, OPERATIONS_MAX, PROVIDER_KEY_BYTES_MAX};
use crate::lookup::Query;
use crate::machine::{Context, Effect, Machine};
use crate::message::{Record, Request};
use crate::netsize::{Estimator, NetworkSize};
use crate::operation::{
    Cost, Delivery, Operation, OperationId, OperationKind, OperationOptions, Outcome, Question, SourceKind,
    Update,
};
use crate::peer::{Peer, PeerId, PeerInfo};
use crate::publish::{Publish, Spread};
use crate::record::{StoreReply, Validators};
use crate::retry::RetryPolicy;
use crate::routing::{Admission, Admitted, AsnMap, Newcomer, Table};
use crate::time::{Now, Timestamp, UnixTime};

/// One DHT node of one realm.
///
/// A driver's loop is: give one [`Input`], take every [`Output`], wait for the earliest of [`Node::next_timeout`], a
/// command, a message. `Node` routes; what an operation does is in its own machine.
///
/// A clone goes on from the same state, and does the same when it is told the same.
#[derive(Clone, Debug)]
pub struct Node {
    config: Arc<Config>,
    validators: Arc<Validators>,
    rng: ChaCha8Rng,
    now: Now,
    table: Table,
    bootstrap_peers: Vec<PeerInfo>,
    /// Of each of these, from where it is known.
    source_kinds: Vec<SourceKind>,
    pending_sources: BTreeMap<SourceKind, u32>,
    /// Operations of users and our own, by the order in which they began.
    running: BTreeMap<Serial, Box<Running>>,
    users: BTreeMap<OperationId, Serial>,
    next_serial: u64,
    timers: BTreeSet<(Timestamp, Serial)>,
    requests: BTreeMap<RequestId, InFlight>,
    next_request: u64,
    stores: BTreeMap<StoreId, Serial>,
    next_store: u64,
    probes: Probes,
    failures: Failures,
    outage: Outage,
    upkeep: Upkeep,
    neighbours: Neighbours,
    lost: Lost,
    /// From where those are connected that are.
    links: Links,
    asns: Option<Arc<AsnMap>>,
    filter: Option<Arc<dyn PeerFilter>>,
    /// Peers enter the table by [`Input::InsertPeer`] only.
    only_inserted: bool,
    checkup: Checkup,
    preimages: Option<Arc<Preimages>>,
    netsize: Estimator,
    /// When what was remembered at the start was written.
    remembered_at: UnixTime,
    outputs: VecDeque<Output>,
    /// Empty between inputs; kept for its allocation.
    effects: Vec<Effect>,
}

/// Names a running operation inside the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Serial(u64);

#[derive(Clone, Debug)]
struct Running {
    machine: Machine,
    kind: OperationKind,
    /// `None` for the node's own operations.
    user: Option<OperationId>,
    options: OperationOptions,
    started: Timestamp,
    deadline: Timestamp,
    timer: Timestamp,
    in_flight: Vec<RequestId>,
    requests: usize,
    failures: usize,
}

impl Node {
    /// A node named `local`, with an empty table.
    ///
    /// Errors: [`ConfigError`] when `config` cannot work, alone or with `validators`.
    pub fn new(local: Peer, config: Config, validators: Arc<Validators>) -> Result<Self, ConfigError> {
        let (mode, seed) = (config.protocol.mode, config.seed);
        Self::sharing(local, Arc::new(config), mode, seed, validators)
    }

    /// As [`Node::new`], with settings that many nodes of one process share; `mode` and `seed` take the places of theirs.
    ///
    /// Errors: as [`Node::new`].
    pub fn sharing(
        local: Peer,
        config: Arc<Config>,
        mode: Mode,
        seed: u64,
        validators: Arc<Validators>,
    ) -> Result<Self, ConfigError> {
        config.validate(&validators)?;
        let mut node = Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            table: Table::new(local, mode, config.table.clone()),
            config,
            validators,
            now: Now::default(),
            bootstrap_peers: Vec::new(),
            source_kinds: Vec::new(),
            pending_sources: BTreeMap::new(),
            running: BTreeMap::new(),
            users: BTreeMap::new(),
            next_serial: 0,
            timers: BTreeSet::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            stores: BTreeMap::new(),
            next_store: 0,
            probes: Probes::default(),
            failures: Failures::default(),
            outage: Outage::default(),
            neighbours: Neighbours::default(),
            lost: Lost::default(),
            upkeep: Upkeep::default(),
            links: Links::default(),
            asns: None,
            filter: None,
            only_inserted: false,
            checkup: Checkup::default(),
            preimages: None,
            netsize: Estimator::default(),
            remembered_at: UnixTime::default(),
            outputs: VecDeque::new(),
            effects: Vec::new(),
        };
        node.checkup.health = Health::newborn(&node.health_facts(), &node.config.health);
        Ok(node)
    }

    /// Feeds one fact. Time never runs backwards: an older `now` counts as the latest one seen.
    ///
    /// Errors: [`InputError`] for ids the node does not know; drivers may ignore it, since answers to requests that
    /// were cancelled meanwhile are told so.
    pub fn handle_input(&mut self, now: Now, input: Input) -> Result<(), InputError> {
        self.now.monotonic = self.now.monotonic.max(now.monotonic);
        self.now.unix = now.unix;
        self.start_upkeep_clock();
        self.start_probe_clock();
        match input {
            Input::Timeout => self.handle_timeout(),
            Input::Start { id, operation, options } => self.start(id, operation, options)?,
            Input::Cancel(id) => self.cancel(id),
            Input::AddBootstrapPeers { kind, peers } => self.add_bootstrap_peers(kind, peers),
            Input::SourceLookupBegan(kind) => self.source_lookup_began(kind),
            Input::SourceLookupEnded(kind) => self.source_lookup_ended(kind),
            Input::Remember(memory) => self.remember(*memory),
            Input::AddPeer(info) => {
                self.failures.forget(&info.peer.id); // the caller may know better, or another address
                self.consider(info);
            }
            Input::InsertPeer(info) => self.insert_peer(info),
            Input::RemovePeer(id) => self.evict(&Peer::new(id), Eviction::Removed),
            Input::SetMode(mode) => self.set_mode(mode),
            Input::SetAddrs(addrs) => self.set_addrs(addrs),
            Input::SetReachability(reachability) => self.checkup.reachability = reachability,
            Input::Connected { peer, remote } => self.connected(peer, remote),
            Input::Disconnected(id) => self.disconnected(&id),
            Input::NetworkChanged => {
                self.failures.clear();
                self.network_changed();
            }
            Input::Identified { peer, serves, addrs } => self.identified(peer, serves, addrs),
            Input::Answered { request, response } => self.request_answered(request, response)?,
            Input::Flushed(request) => self.request_flushed(request)?,
            Input::Failed { request, failure } => self.request_failed(request, failure)?,
            Input::Stored { id, reply } => self.stored(id, reply)?,
        }
        Ok(())
    }

    /// Takes the next effect; call until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            self.outputs.clear(); // begins again at the front, which is in a cache, instead of going around
        }
        output
    }

    /// When the node next wants [`Input::Timeout`]; `None` before its first input.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let operation = self.timers.first().map(|(at, _)| *at);
        let own = [
            self.upkeep.next_timeout(),
            self.checkup.next_timeout(),
            self.next_probe(),
            self.next_outage_probe(),
            self.neighbours.next_timeout(),
            self.lost.next_timeout(),
        ];
        own.into_iter().chain([operation]).flatten().min()
    }

    /// Lets the node take the ids that it asks for when it refreshes buckets from a table that others use, too.
    pub fn share_preimages(&mut self, preimages: Arc<Preimages>) {
        self.preimages = Some(preimages);
    }

    /// Puts peers into the table unasked, as far as there is room: those of a table that was kept, or that somebody
    /// knows to be right. Whoever has died meanwhile is found out as any peer is.
    pub fn restore_table(&mut self, peers: impl IntoIterator<Item = PeerInfo>) {
        for info in peers {
            if !info.addrs.is_empty() {
                self.table.insert(info, self.now.monotonic);
            }
        }
    }

    /// The table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The settings.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The rules for values.
    pub fn validators(&self) -> &Arc<Validators> {
        &self.validators
    }

    /// How many servers the network has; `None` before the first refresh has told, and when that was too long ago.
    pub fn network_size(&self) -> Option<NetworkSize> {
        self.netsize.estimate(self.now)
    }

    /// The peers given by [`Input::AddBootstrapPeers`], whatever their source.
    pub fn bootstrap_peers(&self) -> &[PeerInfo] {
        &self.bootstrap_peers
    }

    /// Operations under way, the node's own included.
    pub fn running_operations(&self) -> usize {
        self.running.len()
    }

    /// What a user's operation has cost so far; `None` once it has ended.
    pub fn cost_so_far(&self, id: OperationId) -> Option<Cost> {
        self.running.get(self.users.get(&id)?).map(|running| self.cost(running))
    }

    /// Lets nobody enter the table but by [`Input::InsertPeer`].
    pub fn admit_only_inserted(&mut self) {
        self.only_inserted = true;
    }

    /// Requests under way.
    pub fn running_requests(&self) -> usize {
        self.requests.len()
    }

    fn handle_timeout(&mut self) {
        let now = self.now.monotonic;
        while let Some((at, serial)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, serial));
            let expired = self.running.get(&serial).is_some_and(|running| running.deadline <= now);
            self.drive(serial, |machine, cx| {
                if expired {
                    let outcome = machine.expired(cx);
                    cx.emit(Effect::Ended(outcome));
                } else {
                    machine.handle_timeout(cx);
                }
            });
        }
        self.run_outage();
        self.run_neighbours();
        self.run_lost();
        self.run_probes();
        self.run_upkeep();
        self.run_checkup();
    }

    fn start(
        &mut self,
        id: OperationId,
        operation: Operation,
        options: OperationOptions,
    ) -> Result<(), InputError> {
        if self.users.contains_key(&id) {
            return Err(InputError::DuplicateOperation(id));
        }
        let kind = operation.kind();
        if let Err(error) = self.check(&operation) {
            self.emit(Event::OperationStarted { operation: id, kind });
            let outcome = Outcome::failed(kind, error);
            self.report(id, kind, outcome, Cost::default());
            return Ok(());
        }
        let machine = match operation {
            Operation::Bootstrap => Machine::Bootstrap(Bootstrap::new()),
            Operation::ClosestPeers { key } => Machine::Query(Query::closest_peers(key)),
            Operation::FindPeer { id } => Machine::Query(Query::peer(id)),
            Operation::FindProviders { key, count } => Machine::Query(Query::providers(key, count)),
            Operation::GetValue { key, quorum } => {
                Machine::Query(Query::value(key, quorum.unwrap_or(self.config.lookup.quorum)))
            }
            Operation::Survey { key, question } => Machine::Query(Query::survey(key, question)),
            Operation::Deliver { delivery, holders } => Machine::Publish(Publish::foreign(delivery, holders)),
            Operation::Provide { key } => Machine::Publish(Publish::provider(key)),
            Operation::PutValue { key, value } => Machine::Publish(Publish::value(Record { key, value })),
        };
        self.emit(Event::OperationStarted { operation: id, kind });
        let deadline = options.deadline.unwrap_or(self.config.lookup.deadline);
        self.launch(machine, kind, Some(id), options, deadline);
        Ok(())
    }

    fn check(&self, operation: &Operation) -> Result<(), OperationError> {
        if self.users.len() >= OPERATIONS_MAX {
            return Err(OperationError::TooMany);
        }
        let (key, max) = match operation {
            Operation::Bootstrap | Operation::FindPeer { .. } => return Ok(()),
            Operation::FindProviders { key, .. }
            | Operation::Provide { key }
            | Operation::Survey { key, question: Question::Providers }
            | Operation::Deliver { delivery: Delivery::Provider { key, .. }, .. } => {
                (key, PROVIDER_KEY_BYTES_MAX)
            }
            Operation::Deliver { delivery: Delivery::Value(record), .. } => (&record.key, KEY_BYTES_MAX),
            Operation::ClosestPeers { key }
            | Operation::Survey { key, .. }
            | Operation::GetValue { key, .. }
            | Operation::PutValue { key, .. } => (key, KEY_BYTES_MAX),
        };
        if key.is_empty() || key.len() > max {
            return Err(OperationError::KeyLength { got: key.len(), max });
        }
        Ok(())
    }

    /// Begins an operation.
    fn launch(
        &mut self,
        machine: Machine,
        kind: OperationKind,
        user: Option<OperationId>,
        options: OperationOptions,
        deadline: Duration,
    ) -> Serial {
        let serial = Serial(self.next_serial);
        self.next_serial += 1;
        if let Some(id) = user {
            self.users.insert(id, serial);
        }
        let started = self.now.monotonic;
        let deadline = started + deadline;
        let running = Running {
            machine,
            kind,
            user,
            options,
            started,
            deadline,
            timer: deadline,
            in_flight: Vec::new(),
            requests: 0,
            failures: 0,
        };
        self.running.insert(serial, Box::new(running));
        self.timers.insert((deadline, serial));
        self.drive(serial, |machine, cx| machine.start(cx));
        serial
    }

    fn cancel(&mut self, id: OperationId) {
        let Some(serial) = self.users.remove(&id) else { return };
        if let Some(running) = self.running.remove(&serial) {
            self.release(serial, &running);
            let cost = self.cost(&running);
            self.emit_ended(id, running.kind, Some(Fault::Caller), cost);
        }
    }

    /// Lets an operation's machine act, and carries out what it wants.
    fn drive(&mut self, serial: Serial, act: impl FnOnce(&mut Machine, &mut Context<'_>)) {
        let Some(mut running) = self.running.remove(&serial) else { return };
        let mut cx = Context {
            now: self.now,
            config: &self.config,
            options: running.options,
            validators: &self.validators,
            table: &self.table,
            bootstrap_peers: &self.bootstrap_peers,
            source_kinds: &self.source_kinds,
            pending_sources: &self.pending_sources,
            rng: &mut self.rng,
            preimages: self.preimages.as_deref(),
            neighbours_settle_at: self.neighbours.settle_at(),
            effects: core::mem::take(&mut self.effects),
        };
        act(&mut running.machine, &mut cx);
        let mut effects = cx.effects;
        let mut ended = None;
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { to, message, tag, timeout } => {
                    running.requests += 1;
                    running.in_flight.push(self.send_for(serial, tag, to, message, timeout));
                }
                Effect::Store(request) => {
                    let id = StoreId(self.next_store);
                    self.next_store += 1;
                    self.stores.insert(id, serial);
                    self.outputs.push_back(Output::Store { id, request });
                }
                Effect::Update(update) => {
                    if let Some(id) = running.user {
                        self.outputs.push_back(Output::Update { id, update });
                    }
                }
                Effect::Refused { peer, code } => self.emit(Event::Refused { peer, code }),
                Effect::PhaseEnded(report) => self.emit(Event::BootstrapPhaseEnded { report }),
                Effect::Measured(sample) => self.netsize.add(self.now.monotonic, sample),
                Effect::Refreshed { prefix_len, answered } => {
                    // A user's lookup counts when it ends, with its outcome.
                    if running.user.is_none() || running.kind == OperationKind::Bootstrap {
                        self.checkup.history.lookup_ended(answered, self.now.monotonic);
                    }
                    self.bucket_refreshed(prefix_len);
                }
                Effect::Correct { record, holders } => self.correct(record, holders),
                Effect::Ended(outcome) => ended = Some(outcome),
            }
        }
        self.effects = effects;
        match ended {
            Some(outcome) => self.finish(serial, &running, outcome),
            None => {
                let timer =
                    running.machine.next_timeout().map_or(running.deadline, |at| at.min(running.deadline));
                if timer != running.timer || !self.timers.contains(&(timer, serial)) {
                    self.timers.remove(&(running.timer, serial));
                    self.timers.insert((timer, serial));
                    running.timer = timer;
                }
                self.running.insert(serial, running);
            }
        }
    }

    fn finish(&mut self, serial: Serial, running: &Running, mut outcome: Outcome) {
        self.release(serial, running);
        self.note_outcome(running, &outcome);
        self.joined(&outcome);
        let cost = self.cost(running);
        if matches!(running.machine, Machine::Bootstrap(_) | Machine::Refresh(_))
            && let Some(size) = self.network_size()
        {
            self.emit(Event::NetworkSizeEstimated { size });
        }
        if let (Machine::Bootstrap(_), Outcome::Bootstrap(Ok(report))) = (&running.machine, &mut outcome) {
            self.judge_join(report, running.started);
        }
        match running.user {
            Some(id) => {
                self.users.remove(&id);
                self.report(id, running.kind, outcome, cost);
            }
            None => self.upkeep_ended(serial),
        }
    }

    /// Gives back what a finished operation holds.
    fn release(&mut self, serial: Serial, running: &Running) {
        self.timers.remove(&(running.timer, serial));
        for request in &running.in_flight {
            if self.requests.remove(request).is_some() {
                self.outputs.push_back(Output::CancelRequest(*request));
            }
        }
    }

    fn cost(&self, running: &Running) -> Cost {
        Cost {
            requests: running.requests,
            failures: running.failures,
            hops: running.machine.hops(),
            elapsed: self.now.monotonic.since(running.started),
        }
    }

    fn report(&mut self, id: OperationId, kind: OperationKind, outcome: Outcome, cost: Cost) {
        self.emit_ended(id, kind, outcome.fault(), cost);
        self.outputs.push_back(Output::Update { id, update: Update::Ended { outcome, cost } });
    }

    fn emit_ended(&mut self, operation: OperationId, kind: OperationKind, fault: Option<Fault>, cost: Cost) {
        let Cost { requests, failures, hops, elapsed } = cost;
        self.emit(Event::OperationEnded { operation, kind, fault, requests, failures, hops, elapsed });
    }

    fn stored(&mut self, id: StoreId, reply: StoreReply) -> Result<(), InputError> {
        let serial = self.stores.remove(&id).ok_or(InputError::UnknownStore(id))?;
        self.drive(serial, |machine, cx| machine.stored(cx, reply));
        Ok(())
    }

    /// Sends a better value to holders of worse ones, on nobody's account and without retries: the next reader
    /// corrects what is left.
    fn correct(&mut self, record: Record, holders: Vec<PeerInfo>) {
        let spread = Spread::new(Request::PutValue { record }, holders, RetryPolicy::NEVER);
        let deadline = self.config.lookup.deadline;
        self.launch(
            Machine::Correction(spread),
            OperationKind::PutValue,
            None,
            OperationOptions::default(),
            deadline,
        );
    }

    fn identified(&mut self, id: PeerId, serves: bool, addrs: AddrList) {
        let info = PeerInfo::new(self.table.peer(id), self.usable(&addrs));
        let changed = if serves {
            let was_client = self.table.remove_client(&id);
            let updated = self.table.update_addrs(&info);
            self.update_asked(&info);
            self.consider(info);
            was_client || updated
        } else {
            self.evict(&info.peer, Eviction::NotServer);
            if info.addrs.is_empty() {
                // Nobody is to be shown the way to it, from now on.
                if self.table.remove_client(&id) {
                    self.outputs.push_back(Output::TableChanged { urgent: true });
                }
                false
            } else {
                self.table.add_client(info)
            }
        };
        if changed {
            self.outputs.push_back(Output::TableChanged { urgent: false });
        }
    }

    fn evict(&mut self, peer: &Peer, reason: Eviction) {
        if self.table.remove(peer).is_some() {
            self.left(peer.clone(), reason);
        }
    }

    /// Tells of a peer that has left the table, and lets the one that waits for its place come.
    fn left(&mut self, peer: Peer, reason: Eviction) {
        let prefix_len = self.table.prefix_len(&peer.key);
        if reason == Eviction::Failed {
            self.failures.note(peer.id, self.now.monotonic);
        }
        self.emit(Event::PeerEvicted { peer, reason });
        self.outputs.push_back(Output::TableChanged { urgent: true });
        if reason != Eviction::Replaced
            && let Some(next) = self.table.take_waiting(prefix_len)
        {
            if self.only_inserted {
                self.insert_peer(next);
            } else {
                self.consider(next);
            }
        }
        self.rejoin_if_few();
    }

    fn insert_peer(&mut self, info: PeerInfo) {
        let info = PeerInfo::new(info.peer, self.usable(&info.addrs));
        if info.addrs.is_empty() || !self.is_wanted(&info) {
            return;
        }
        let peer = info.peer.clone();
        match self.table.insert(info.clone(), self.now.monotonic) {
            Admission::Room => {
                let prefix_len = self.table.prefix_len(&peer.key);
                self.emit(Event::PeerAdmitted { peer, prefix_len });
            }
            Admission::Present => {}
            Admission::Full => return self.table.wait(info, self.now.monotonic),
            Admission::GroupFull | Admission::IsSelf => return,
        }
        self.outputs.push_back(Output::TableChanged { urgent: false });
    }

    /// Admits a peer that has answered, if it gets a place.
    fn admit(&mut self, info: PeerInfo, rtt: Duration, useful: bool) {
        if self.only_inserted {
            return;
        }
        // A table peer keeps the addresses that identify told; one without any could be reached by nobody.
        if info.addrs.is_empty() || self.table.contains(&info.peer) {
            return;
        }
        let peer = info.peer.clone();
        self.failures.forget(&peer.id);
        if !self.is_wanted(&info) {
            return self.emit(Event::PeerRejected { peer, reason: Rejection::Filtered });
        }
        let group = self.group_of(&info);
        let newcomer = Newcomer { info, group, rtt: Some(rtt), useful };
        let Admitted { admission, evicted } = self.table.admit(newcomer, self.now.monotonic);
        for (gone, reason) in evicted {
            self.left(gone.peer, reason);
        }
        match admission {
            Admission::Room => {
                let prefix_len = self.table.prefix_len(&peer.key);
                self.emit(Event::PeerAdmitted { peer, prefix_len });
                self.outputs.push_back(Output::TableChanged { urgent: false });
            }
            Admission::GroupFull => {
                self.emit(Event::PeerRejected { peer, reason: Rejection::GroupFull });
            }
            // A lookup meets many whose buckets are full; that is no event.
            Admission::Full | Admission::Present | Admission::IsSelf => {}
        }
    }

    fn set_mode(&mut self, mode: Mode) {
        if self.table.set_mode(mode) {
            self.emit(Event::ModeChanged { mode });
            self.outputs.push_back(Output::TableChanged { urgent: true });
        }
    }

    fn set_addrs(&mut self, addrs: AddrList) {
        let addrs = self.usable(&addrs);
        if self.table.set_local_addrs(addrs) {
            self.outputs.push_back(Output::TableChanged { urgent: false });
        }
    }

    /// The addresses that the address policy and the caller's filter let pass.
    fn usable(&self, addrs: &AddrList) -> AddrList {
        let policy = self.config.protocol.addresses;
        let filter = self.filter.as_deref();
        if policy == AddressPolicy::Any && filter.is_none() {
            return addrs.clone();
        }
        addrs.filtered(|addr| {
            (policy == AddressPolicy::Any || addr::is_public(addr))
                && filter.is_none_or(|filter| filter.addr(addr))
        })
    }

    fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}
