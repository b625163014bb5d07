//! A modelled node: facts in, effects out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use kadmos_core::config::Mode;
use kadmos_core::error::{Fault, OperationError, PutValueError, RequestFailure};
use kadmos_core::event::Eviction;
use kadmos_core::message::{Record, Request, Response};
use kadmos_core::operation::{Cost, Outcome};
use kadmos_core::routing::TableSnapshot;
use kadmos_core::{
    Event, Input, InputError, Now, Operation, OperationId, OperationOptions, Output, Peer, PeerId, PeerInfo,
    Preimages, Purpose, RequestId, StoreId, Timestamp, Update, Validators,
};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::go_upkeep::Upkeep;
use super::job::{Goal, Job, Joining, Publishing};
use super::membership::{Entry, Membership};
use super::size::SizeEstimator;
use super::walk::Walk;
use super::{Baseline, go, ip_groups, original};

/// Bootstrap peers that are remembered, and contacted by a bootstrap.
const BOOTSTRAP_PEERS_MAX: usize = 8;
/// Peers whose failed dials are remembered; those whose time is up are then forgotten.
const BACKOFFS_MAX: usize = 1_024;

/// One node of a [`Baseline`], server or client. The same contract as [`kadmos_core::Node`].
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) baseline: Baseline,
    pub(super) now: Now,
    pub(super) table: Membership,
    pub(super) rng: ChaCha8Rng,
    pub(super) bootstrap_peers: Vec<PeerInfo>,
    pub(super) jobs: BTreeMap<Serial, Job>,
    next_serial: u64,
    requests: BTreeMap<RequestId, Sent>,
    next_request: u64,
    retries: Vec<(Timestamp, Sent)>,
    /// Requests that fail before anything is sent, to be told once the input at hand is dealt with.
    stillborn: VecDeque<(RequestId, RequestFailure)>,
    /// Who is connected, and what identify told of those that serve.
    pub(super) connected: BTreeMap<PeerId, Option<PeerInfo>>,
    /// Until when a peer is not dialled again.
    backoffs: BTreeMap<PeerId, Timestamp>,
    pub(super) sizes: SizeEstimator,
    pub(super) refresh_at: Option<Timestamp>,
    /// Store operations that have not ended, and what waits for each.
    pub(super) stores: BTreeMap<StoreId, Option<Serial>>,
    pub(super) next_store: u64,
    pub(super) validators: Arc<Validators>,
    /// What go does unasked; the others do none of it.
    pub(super) upkeep: Upkeep,
    /// Whether it does anything unasked.
    pub(super) keeps_up: bool,
    pub(super) preimages: Option<Arc<Preimages>>,
    outputs: VecDeque<Output>,
}

/// Names a job inside the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Serial(u64);

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Of a walk.
    Ask(Serial),
    /// To a bootstrap peer, or of a bootstrap that is no walk.
    Contact(Serial),
    /// A record for a holder.
    Put(Serial),
    /// To see whether a server answers before it enters the table.
    Probe,
    /// To a bootstrap peer, unasked, because the table is empty.
    Connect,
    /// A better value, for one of the closest that does not have it.
    Correct,
    /// To see whether a peer of the table still answers, before a refresh.
    Ping(Serial),
}

impl Role {
    fn serial(self) -> Option<Serial> {
        match self {
            Self::Ask(serial) | Self::Contact(serial) | Self::Put(serial) | Self::Ping(serial) => {
                Some(serial)
            }
            Self::Probe | Self::Connect | Self::Correct => None,
        }
    }
}

/// With what an operation begins.
enum Begins {
    AtOnce,
    Contacting,
    Walking,
    ReadingOwn,
    Refused(PutValueError),
}

/// A request under way.
#[derive(Clone, Debug)]
struct Sent {
    role: Role,
    to: PeerInfo,
    message: Request,
    sent: Timestamp,
    /// When its answer is too late; known once the connection is up.
    answer_by: Option<Timestamp>,
    /// Tries before this one.
    tries: usize,
}

impl Client {
    /// A node named `local`, with an empty table; `seed` decides all that it does by chance.
    pub fn new(baseline: Baseline, local: Peer, mode: Mode, bucket_size: NonZeroUsize, seed: u64) -> Self {
        Self {
            baseline,
            now: Now::default(),
            table: Membership::new(baseline, local, mode, bucket_size),
            rng: ChaCha8Rng::seed_from_u64(seed),
            bootstrap_peers: Vec::new(),
            jobs: BTreeMap::new(),
            next_serial: 0,
            requests: BTreeMap::new(),
            next_request: 0,
            retries: Vec::new(),
            stillborn: VecDeque::new(),
            connected: BTreeMap::new(),
            backoffs: BTreeMap::new(),
            sizes: SizeEstimator::default(),
            refresh_at: None,
            stores: BTreeMap::new(),
            next_store: 0,
            validators: Arc::default(),
            upkeep: Upkeep::default(),
            keeps_up: true,
            preimages: None,
            outputs: VecDeque::new(),
        }
    }

    /// The rules for values. Default: none, which refuses every value.
    pub fn set_validators(&mut self, validators: Arc<Validators>) {
        self.validators = validators;
    }

    /// Whether it does anything unasked: refreshes, pings, looking for peers when it has few. Default: yes.
    pub fn set_upkeep(&mut self, keeps_up: bool) {
        self.keeps_up = keeps_up;
    }

    /// Takes the ids to refresh buckets with from here, as go takes them from a table in its code, instead of trying.
    pub fn share_preimages(&mut self, preimages: Arc<Preimages>) {
        self.preimages = Some(preimages);
    }

    /// Puts a peer into the table without asking it, as somebody else's table has it, which this node takes over.
    /// Returns whether there was room.
    pub fn remember(&mut self, peer: PeerInfo, now: Timestamp) -> bool {
        self.table.take_over(peer, now)
    }

    /// Puts a peer into the table without asking it, as if it had answered long ago: if this node's own rules admit it.
    pub fn restore(&mut self, peer: PeerInfo, now: Timestamp) -> bool {
        matches!(self.table.enter(peer, now, false), Entry::Added { .. })
    }

    /// Feeds one fact. Time never runs backwards: an older `now` counts as the latest one seen.
    ///
    /// Errors: [`InputError`] for ids the client does not know, as [`kadmos_core::Node::handle_input`].
    pub fn handle_input(&mut self, now: Now, input: Input) -> Result<(), InputError> {
        self.now.monotonic = self.now.monotonic.max(now.monotonic);
        self.now.unix = now.unix;
        if self.refresh_at.is_none() && self.keeps_up {
            self.refresh_at = self.baseline.refresh_interval().map(|every| self.now.monotonic + every);
        }
        let result = self.handle(input);
        self.run_stillborn()?;
        self.fix_low_peers();
        self.run_stillborn()?;
        result
    }

    /// Takes the next effect; call until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the client next wants [`Input::Timeout`].
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let requests = self.requests.values().filter_map(|sent| sent.answer_by);
        let retries = self.retries.iter().map(|(at, _)| *at);
        let jobs = self.jobs.values().flat_map(|job| {
            let walk = job.walk.as_ref();
            [Some(job.deadline), walk.and(job.walk_until), walk.and_then(Walk::next_timeout)]
                .into_iter()
                .flatten()
        });
        let upkeep = self.next_upkeep();
        requests.chain(retries).chain(jobs).chain(self.refresh_at).chain(upkeep).min()
    }

    /// The table, as requests are answered from it.
    pub fn view(&self) -> &TableSnapshot {
        self.table.view()
    }

    /// Whose behaviour this is.
    pub fn baseline(&self) -> Baseline {
        self.baseline
    }

    /// go's estimate of the network's size, once it has one.
    pub fn network_size(&self) -> Option<f64> {
        self.sizes.size(self.now.monotonic)
    }

    /// Operations under way, upkeep included.
    pub fn running_operations(&self) -> usize {
        self.jobs.len()
    }

    /// Requests under way.
    pub fn running_requests(&self) -> usize {
        self.requests.len()
    }

    /// On whose account a request is; `None` once it is no longer in flight.
    pub fn purpose(&self, request: RequestId) -> Option<Purpose> {
        let role = self.requests.get(&request)?.role;
        let Some(serial) = role.serial() else {
            return Some(match role {
                Role::Connect => Purpose::Upkeep,
                Role::Correct => Purpose::Correction,
                _ => Purpose::Probe,
            });
        };
        if matches!(role, Role::Ping(_)) {
            return Some(Purpose::Probe);
        }
        let job = self.jobs.get(&serial)?;
        Some(job.user.map_or(Purpose::Upkeep, Purpose::Operation))
    }

    fn run_stillborn(&mut self) -> Result<(), InputError> {
        while let Some((request, failure)) = self.stillborn.pop_front() {
            self.request_failed(request, failure)?;
        }
        Ok(())
    }

    fn handle(&mut self, input: Input) -> Result<(), InputError> {
        match input {
            Input::Timeout => self.handle_timeout(),
            Input::Start { id, operation, options } => self.start(id, operation, options)?,
            Input::Cancel(id) => {
                let serial =
                    self.jobs.iter().find(|(_, job)| job.user == Some(id)).map(|(serial, _)| *serial);
                if let Some(job) = serial.and_then(|serial| self.jobs.remove(&serial)) {
                    self.emit_ended(&job, id, Some(Fault::Caller));
                }
                self.drop_orphans();
            }
            Input::AddBootstrapPeers { peers, .. } => {
                self.bootstrap_peers.extend(peers);
                self.bootstrap_peers.truncate(BOOTSTRAP_PEERS_MAX);
            }
            Input::Remember(_) | Input::SourceLookupBegan(_) | Input::SourceLookupEnded(_) => {} // none of the anchors does either
            Input::AddPeer(info) | Input::InsertPeer(info) => self.consider(info),
            Input::RemovePeer(id) => self.evict(&Peer::new(id), Eviction::Removed),
            Input::SetMode(mode) => {
                if self.table.set_mode(mode) {
                    self.outputs.push_back(Output::Event(Event::ModeChanged { mode }));
                    self.outputs.push_back(Output::TableChanged { urgent: true });
                }
            }
            Input::SetAddrs(addrs) => {
                if self.table.set_local_addrs(addrs) {
                    self.outputs.push_back(Output::TableChanged { urgent: false });
                }
            }
            Input::SetReachability(_) => {} // it has no notion of its health
            Input::Connected { peer, .. } => self.connected(peer),
            Input::NetworkChanged => {} // what the modelled clients do then is not modelled
            Input::Disconnected(id) => {
                self.connected.remove(&id);
                self.table.remove_client(&id);
            }
            Input::Identified { peer, serves, addrs } => {
                let info = PeerInfo::new(Peer::new(peer), addrs);
                if let Some(known) = self.connected.get_mut(&peer) {
                    *known = serves.then(|| info.clone());
                }
                if serves {
                    self.table.remove_client(&peer);
                    self.consider(info);
                    self.upkeep.want_peers();
                } else {
                    self.evict(&info.peer, Eviction::NotServer);
                    self.table.add_client(info);
                }
            }
            Input::Answered { request, response } => self.request_answered(request, &response)?,
            Input::Flushed(request) => self.request_flushed(request)?,
            Input::Failed { request, failure } => {
                if self.requests.contains_key(&request) {
                    self.request_failed(request, failure)?;
                } else {
                    return Err(InputError::UnknownRequest(request));
                }
            }
            Input::Stored { id, reply } => self.stored(id, reply)?,
        }
        Ok(())
    }

    fn handle_timeout(&mut self) {
        let now = self.now.monotonic;
        let late: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, sent)| sent.answer_by.is_some_and(|at| at <= now))
            .map(|(request, _)| *request)
            .collect();
        for request in late {
            self.outputs.push_back(Output::CancelRequest(request));
            self.stillborn.push_back((request, RequestFailure::TimedOut));
        }
        let (due, waiting) = std::mem::take(&mut self.retries).into_iter().partition(|(at, _)| *at <= now);
        self.retries = waiting;
        for (_, sent) in due {
            self.send(sent);
        }
        for serial in self.jobs.keys().copied().collect::<Vec<_>>() {
            let Some(job) = self.jobs.get_mut(&serial) else { continue };
            if job.deadline <= now {
                self.finish(serial, true);
                continue;
            }
            if let Some(walk) = &mut job.walk {
                walk.handle_timeout(now);
                self.advance(serial);
            }
        }
        self.run_upkeep();
    }

    fn start(
        &mut self,
        id: OperationId,
        operation: Operation,
        options: OperationOptions,
    ) -> Result<(), InputError> {
        if self.jobs.values().any(|job| job.user == Some(id)) {
            return Err(InputError::DuplicateOperation(id));
        }
        let kind = operation.kind();
        self.outputs.push_back(Output::Event(Event::OperationStarted { operation: id, kind }));
        let (key, goal) = match operation {
            Operation::Bootstrap => (bytes::Bytes::new(), Goal::Bootstrap(Joining::default())),
            Operation::ClosestPeers { key } => (key, Goal::Closest(Vec::new())),
            Operation::FindPeer { id } => {
                let key = bytes::Bytes::copy_from_slice(id.as_bytes());
                (key, Goal::Peer { id, found: None, answered: 0 })
            }
            Operation::FindProviders { key, count } => {
                (key, Goal::Providers { count, seen: BTreeSet::new() })
            }
            Operation::Provide { key } => {
                let optimistic =
                    (self.baseline == Baseline::GoOptimistic).then(|| self.network_size()).flatten();
                let optimistic = optimistic.map(go::Thresholds::of);
                (key, Goal::Provide(Publishing { optimistic, ..Publishing::default() }))
            }
            // Kadmos' own, and nothing the anchors can do.
            Operation::Survey { .. } | Operation::Deliver { .. } => {
                let reason = "surveys and deliveries are not modelled".into();
                let outcome = Outcome::failed(kind, OperationError::Store { reason });
                self.tell(id, Update::Ended { outcome, cost: Cost::default() });
                return Ok(());
            }
            // The Dart port's values are not modelled: no study compares them.
            Operation::GetValue { .. } | Operation::PutValue { .. }
                if self.baseline == Baseline::Original =>
            {
                let reason = "values are not modelled".into();
                let outcome = Outcome::failed(kind, OperationError::Store { reason });
                self.tell(id, Update::Ended { outcome, cost: Cost::default() });
                return Ok(());
            }
            Operation::GetValue { key, quorum } => (key, self.getting(quorum)),
            Operation::PutValue { key, value } => {
                let record = Some(Record { key: key.clone(), value });
                (key, Goal::Provide(Publishing { record, ..Publishing::default() }))
            }
        };
        let job = self.job(Some(id), kind, key, goal, options.deadline);
        self.launch(job);
        Ok(())
    }

    pub(super) fn job(
        &self,
        user: Option<OperationId>,
        kind: kadmos_core::operation::OperationKind,
        key: bytes::Bytes,
        goal: Goal,
        deadline: Option<Duration>,
    ) -> Job {
        let started = self.now.monotonic;
        Job {
            user,
            kind,
            key,
            started,
            deadline: started + deadline.unwrap_or_else(|| self.baseline.deadline()),
            walk_until: None,
            walk: None,
            goal,
            hops: 0,
            requests: 0,
            failures: 0,
            open: 0,
        }
    }

    /// Begins an operation.
    pub(super) fn launch(&mut self, job: Job) {
        let serial = Serial(self.next_serial);
        self.next_serial += 1;
        let (key, user) = (job.key.clone(), job.user);
        let begins = match &job.goal {
            Goal::Bootstrap(_) if user.is_none() => Begins::AtOnce, // a refresh begins with the table
            Goal::Bootstrap(_) => Begins::Contacting,
            Goal::Provide(Publishing { record: Some(record), .. }) => {
                match self.validators.validate(&key, &record.value, self.now.unix) {
                    Ok(()) => Begins::ReadingOwn,
                    Err(invalid) => Begins::Refused(PutValueError::Invalid { invalid }),
                }
            }
            Goal::Value(_) => Begins::ReadingOwn,
            Goal::Provide(_) if self.baseline != Baseline::Original => {
                self.store_own_claim(key.clone());
                Begins::Walking
            }
            _ => Begins::Walking,
        };
        self.jobs.insert(serial, job);
        match begins {
            Begins::AtOnce => {}
            Begins::Contacting => self.begin_bootstrap(serial),
            Begins::Walking => self.begin_walk(serial),
            Begins::ReadingOwn => return self.read_own(serial, key),
            Begins::Refused(error) => return self.refuse_put(serial, user, error),
        }
        self.advance(serial);
    }

    /// Sends a request for the first time.
    pub(super) fn ask(&mut self, role: Role, to: PeerInfo, message: Request) {
        if let Some(job) = role.serial().and_then(|serial| self.jobs.get_mut(&serial)) {
            job.open += 1;
        }
        self.send(Sent { role, to, message, sent: self.now.monotonic, answer_by: None, tries: 0 });
    }

    fn send(&mut self, mut sent: Sent) {
        let now = self.now.monotonic;
        if let Some(job) = sent.role.serial().and_then(|serial| self.jobs.get_mut(&serial)) {
            job.requests += 1;
        }
        let request = RequestId(self.next_request);
        self.next_request += 1;
        let is_connected = self.connected.contains_key(&sent.to.peer.id);
        sent.sent = now;
        sent.answer_by = (is_connected && sent.message.has_response()).then(|| now + self.answer_timeout());
        let kind = sent.message.kind();
        self.outputs.push_back(Output::Event(Event::RequestSent { kind, peer: sent.to.peer.clone() }));
        let cannot_dial = !is_connected && (self.backs_off(&sent.to.peer) || self.lacks_address(&sent));
        if cannot_dial {
            self.stillborn.push_back((request, RequestFailure::Unreachable));
        } else {
            let timeout = self.timeout(sent.role);
            let (to, message) = (sent.to.clone(), sent.message.clone());
            self.outputs.push_back(Output::Send { request, to, message, timeout });
        }
        self.requests.insert(request, sent);
    }

    /// From the decision to send until a request has failed, dial and answer together.
    fn timeout(&self, role: Role) -> Duration {
        match self.baseline {
            Baseline::GoOptimistic if matches!(role, Role::Put(_) | Role::Correct) => go::PUT_TIMEOUT,
            Baseline::Go | Baseline::GoOptimistic if matches!(role, Role::Probe | Role::Ping(_)) => {
                go::CHECK_TIMEOUT
            }
            Baseline::Go | Baseline::GoOptimistic => go::DIAL_TIMEOUT + go::READ_TIMEOUT,
            Baseline::RustLibp2p => super::rust_libp2p::REQUEST_TIMEOUT,
            Baseline::Original => original::NETWORK_TIMEOUT * 2,
        }
    }

    /// From a request on a connection until its answer is too late.
    fn answer_timeout(&self) -> Duration {
        match self.baseline {
            Baseline::Go | Baseline::GoOptimistic => go::READ_TIMEOUT,
            Baseline::RustLibp2p => super::rust_libp2p::REQUEST_TIMEOUT / 2,
            Baseline::Original => original::NETWORK_TIMEOUT,
        }
    }

    /// Whether go's swarm refuses to dial a peer again.
    fn backs_off(&self, peer: &Peer) -> bool {
        self.backoffs.get(&peer.id).is_some_and(|until| *until > self.now.monotonic)
    }

    /// Whether the original does not know how to reach a peer: it keeps the addresses of peers that others named only
    /// in its search for a peer. Source: `query_manager.dart`.
    fn lacks_address(&self, sent: &Sent) -> bool {
        let job = sent.role.serial().and_then(|serial| self.jobs.get(&serial));
        self.baseline == Baseline::Original
            && job.is_some_and(|job| matches!(job.goal, Goal::Provide(_) | Goal::Providers { .. }))
            && !self.table.contains(&sent.to.peer)
    }

    fn connected(&mut self, id: PeerId) {
        self.connected.entry(id).or_default();
        self.backoffs.remove(&id);
        let answer_by = self.now.monotonic + self.answer_timeout();
        for sent in self.requests.values_mut() {
            if sent.to.peer.id == id && sent.message.has_response() && sent.answer_by.is_none() {
                sent.answer_by = Some(answer_by);
            }
        }
    }

    fn request_answered(&mut self, request: RequestId, response: &Response) -> Result<(), InputError> {
        let Sent { role, to, message, sent, .. } =
            self.requests.remove(&request).ok_or(InputError::UnknownRequest(request))?;
        let (kind, elapsed) = (message.kind(), self.now.monotonic.since(sent));
        self.outputs.push_back(Output::Event(Event::RequestAnswered {
            kind,
            peer: to.peer.clone(),
            elapsed,
        }));
        let is_check = matches!(role, Role::Probe | Role::Ping(_) | Role::Connect);
        if self.baseline.is_go() && is_check && response.closer().is_empty() && self.table.len() >= go::K {
            // Source: `dht.go`, `lookupCheck`: it knows nobody, not even itself.
            self.evict(&to.peer, Eviction::Failed);
        } else if !(self.baseline.is_go() && matches!(role, Role::Put(_) | Role::Correct)) {
            self.table.answered(&to.peer, self.now.monotonic);
            self.admit(to.clone());
        }
        if role == Role::Connect {
            self.connect_ended(true);
        }
        let Some(serial) = role.serial() else { return Ok(()) };
        let local = self.table.view().local().peer.clone();
        let mut closer: Vec<_> = response
            .closer()
            .iter()
            .filter(|info| info.peer != local && !info.addrs.is_empty())
            .cloned()
            .collect();
        if self.baseline.is_go() {
            closer.truncate(go::ANSWER_MAX);
            ip_groups::filter_answer(&mut closer);
        }
        if let Some(job) = self.jobs.get_mut(&serial) {
            job.open -= 1;
            self.note_answer(serial, role, &to, response, &closer);
            self.advance(serial);
        }
        Ok(())
    }

    fn request_flushed(&mut self, request: RequestId) -> Result<(), InputError> {
        let Sent { role, to, message, sent, .. } =
            self.requests.remove(&request).ok_or(InputError::UnknownRequest(request))?;
        let (kind, elapsed) = (message.kind(), self.now.monotonic.since(sent));
        self.outputs.push_back(Output::Event(Event::RequestAnswered {
            kind,
            peer: to.peer.clone(),
            elapsed,
        }));
        let Some(serial) = role.serial() else { return Ok(()) };
        if let Some(job) = self.jobs.get_mut(&serial) {
            job.open -= 1;
            if let Goal::Provide(publishing) = &mut job.goal {
                publishing.ended(&to.peer, Ok(()));
            }
            self.advance(serial);
        }
        Ok(())
    }

    fn request_failed(&mut self, request: RequestId, failure: RequestFailure) -> Result<(), InputError> {
        // Called off since it was noted.
        let Some(sent) = self.requests.remove(&request) else { return Ok(()) };
        let (kind, peer) = (sent.message.kind(), sent.to.peer.clone());
        self.outputs.push_back(Output::Event(Event::RequestFailed { kind, peer: peer.clone(), failure }));
        // A dial that took longer tried one address after the other, and those that failed first may be dialled again.
        if failure == RequestFailure::Unreachable && self.now.monotonic.since(sent.sent) <= go::DIAL_BACKOFF {
            self.note_failed_dial(&peer);
        }
        let delay = (self.baseline == Baseline::Original && failure.is_retryable())
            .then(|| original::RETRY_DELAYS.get(sent.tries))
            .flatten();
        if let (Some(delay), Some(serial)) = (delay, sent.role.serial()) {
            if let Some(job) = self.jobs.get_mut(&serial) {
                job.failures += 1;
                let again = Sent { tries: sent.tries + 1, answer_by: None, ..sent };
                self.retries.push((self.now.monotonic + *delay, again));
            }
            return Ok(());
        }
        if failure == RequestFailure::Unsupported {
            self.evict(&peer, Eviction::NotServer);
        } else if self.baseline.is_go() && matches!(sent.role, Role::Put(_) | Role::Correct) {
            // Source: `routing.go`: what becomes of a record says nothing to the table.
        } else if self.table.failed(&peer) {
            self.evicted(peer.clone(), Eviction::Failed);
        }
        if sent.role == Role::Connect {
            self.connect_ended(false);
        }
        let Some(serial) = sent.role.serial() else { return Ok(()) };
        if let Some(job) = self.jobs.get_mut(&serial) {
            job.open -= 1;
            job.failures += 1;
            match (sent.role, &mut job.goal) {
                (Role::Put(_), Goal::Provide(publishing)) => publishing.ended(&peer, Err(failure)),
                (_, goal) => {
                    // go looks for a connection, and has it even if the peer does not serve. Source: `routing.go`, `FindPeer`.
                    if let Goal::Peer { id, found, .. } = goal
                        && self.baseline.is_go()
                        && *id == peer.id
                        && self.connected.contains_key(id)
                    {
                        *found = Some(sent.to);
                    }
                    if let Some(walk) = &mut job.walk {
                        walk.failed(&peer);
                    }
                }
            }
            self.advance(serial);
        }
        Ok(())
    }

    fn note_failed_dial(&mut self, peer: &Peer) {
        if !self.baseline.is_go() || self.backs_off(peer) {
            return;
        }
        let now = self.now.monotonic;
        if self.backoffs.len() >= BACKOFFS_MAX {
            self.backoffs.retain(|_, until| *until > now);
        }
        if self.backoffs.len() < BACKOFFS_MAX {
            self.backoffs.insert(peer.id, now + go::DIAL_BACKOFF);
        }
    }

    /// Calls off the requests of a job's walk to peers that `which` picks.
    pub(super) fn call_off(&mut self, serial: Serial, which: impl Fn(&Peer) -> bool) {
        let is_off = |sent: &Sent| sent.role == Role::Ask(serial) && which(&sent.to.peer);
        let off: Vec<_> =
            self.requests.iter().filter(|(_, sent)| is_off(sent)).map(|(request, _)| *request).collect();
        let tries = self.retries.len();
        self.retries.retain(|(_, sent)| !is_off(sent));
        if let Some(job) = self.jobs.get_mut(&serial) {
            job.open -= off.len() + tries - self.retries.len();
        }
        for request in off {
            self.requests.remove(&request);
            self.outputs.push_back(Output::CancelRequest(request));
        }
    }

    /// Calls off what belongs to jobs that are over.
    pub(super) fn drop_orphans(&mut self) {
        let is_orphan = |role: Role| role.serial().is_some_and(|serial| !self.jobs.contains_key(&serial));
        let orphans: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, sent)| is_orphan(sent.role))
            .map(|(request, _)| *request)
            .collect();
        self.retries
            .retain(|(_, sent)| sent.role.serial().is_none_or(|serial| self.jobs.contains_key(&serial)));
        for request in orphans {
            self.requests.remove(&request);
            self.outputs.push_back(Output::CancelRequest(request));
        }
    }

    pub(super) fn is_connected(&self, peer: &Peer) -> bool {
        self.connected.contains_key(&peer.id)
    }

    /// Tells a job's user how it ended; a job whose sends go on lives on without a user.
    pub(super) fn tell_ended(&mut self, job: &mut Job, expired: bool) {
        let Some(id) = job.user.take() else { return };
        let outcome = job.outcome(expired, self.table.view().len());
        self.emit_ended(job, id, outcome.fault());
        let cost = self.cost(job);
        self.outputs.push_back(Output::Update { id, update: Update::Ended { outcome, cost } });
    }

    pub(super) fn tell(&mut self, id: OperationId, update: Update) {
        self.outputs.push_back(Output::Update { id, update });
    }

    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn emit_ended(&mut self, job: &Job, operation: OperationId, fault: Option<Fault>) {
        let Cost { requests, failures, hops, elapsed } = self.cost(job);
        let kind = job.kind;
        self.outputs.push_back(Output::Event(Event::OperationEnded {
            operation,
            kind,
            fault,
            requests,
            failures,
            hops,
            elapsed,
        }));
    }

    pub(super) fn cost(&self, job: &Job) -> Cost {
        let hops = job.hops.max(job.walk.as_ref().map_or(0, Walk::hops));
        let elapsed = self.now.monotonic.since(job.started);
        Cost { requests: job.requests, failures: job.failures, hops, elapsed }
    }

    /// A peer that answered may enter the table.
    pub(super) fn admit(&mut self, info: PeerInfo) {
        if self.table.is_empty() {
            self.upkeep.begin_bootstrapping();
        }
        let prefix_len = self.table.prefix_len(&info.peer.key);
        let peer = info.peer.clone();
        let replaceable = self.upkeep.is_bootstrapping();
        if let Entry::Added { replaced } = self.table.enter(info, self.now.monotonic, replaceable) {
            if let Some(replaced) = replaced {
                self.outputs.push_back(Output::Event(Event::PeerEvicted {
                    peer: replaced,
                    reason: Eviction::Removed,
                }));
            }
            self.outputs.push_back(Output::Event(Event::PeerAdmitted { peer, prefix_len }));
            self.outputs.push_back(Output::TableChanged { urgent: false });
            self.upkeep.want_peers();
        }
    }

    fn evict(&mut self, peer: &Peer, reason: Eviction) {
        if self.table.remove(peer) {
            self.evicted(peer.clone(), reason);
        }
    }

    fn evicted(&mut self, peer: Peer, reason: Eviction) {
        self.outputs.push_back(Output::Event(Event::PeerEvicted { peer, reason }));
        self.outputs.push_back(Output::TableChanged { urgent: true });
        self.upkeep.want_peers();
    }

    /// A server that connected, or of which somebody told.
    ///
    /// go asks it first (`dht.go`, `peerFound`, `lookupCheck`); rust-libp2p and the original take whoever identifies as a
    /// server. While a walk asks the same peer, go's check is left out here, though not in its code.
    pub(super) fn consider(&mut self, info: PeerInfo) {
        if !self.table.is_useful(&info.peer) || info.addrs.is_empty() {
            return;
        }
        if !self.baseline.is_go() {
            return self.admit(info);
        }
        let checks = self.requests.values().filter(|sent| sent.role == Role::Probe).count();
        if checks < go::CHECKS_MAX && !self.requests.values().any(|sent| sent.to.peer == info.peer) {
            let key = bytes::Bytes::copy_from_slice(info.peer.id.as_bytes());
            self.ask(Role::Probe, info, Request::FindNode { key });
        }
    }
}
