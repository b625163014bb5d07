//! The standard run: a network that joins through a few nodes, settles, and does its job.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kadmos_core::error::Fault;
use kadmos_core::{ConfigError, Key, Operation, Outcome, Update};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use serde::{Deserialize, Serialize};

use crate::charges::Charges;
use crate::model::Model;
use crate::oracle::Ratio;
use crate::random::{below, child};
use crate::records;
use crate::report::{
    KindCharges, OperationStats, PhaseReport, RunReport, Samples, SignedReport, Spread, processor_time,
    resident_bytes, resident_peak_bytes,
};
use crate::trace::Observer;
use crate::world::{NodeIndex, OperationReport, World};

/// What to run. All but the seed has a default fit for a first look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Servers. Default 100; at least 2.
    pub nodes: u32,
    /// How many of them all others know beforehand. Default 3; at least 1.
    pub bootstrap: u32,
    /// Whatever happens by chance is drawn from it. Default 0.
    pub seed: u64,
    /// Peers in an answer, in a result and in a bucket. Default 20.
    pub k: usize,
    /// Lookups for random keys by random nodes. Default 1,000.
    pub lookups: u32,
    /// Content keys to provide and find, and as many values to put and get. Default 100.
    pub records: u32,
    /// Virtual seconds from the last join to the first lookup; a table is refreshed every 600. Default 900.
    pub settle_secs: u64,
    /// Whether each message is encoded and decoded on its way. Default: no.
    pub wire: bool,
    /// What the network does. Default [`Model::calm`].
    pub model: Model,
    /// Whether all run from the beginning with full tables, and nobody joins. Default: no.
    pub oracle_start: bool,
    /// Nodes per mille, drawn from the seed, that run a model of go-libp2p-kad-dht. Default 0.
    pub go_per_mille: u32,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            nodes: 100,
            bootstrap: 3,
            seed: 0,
            k: 20,
            lookups: 1_000,
            records: 100,
            settle_secs: 900,
            wire: false,
            model: Model::calm(),
            oracle_start: false,
            go_per_mille: 0,
        }
    }
}

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// Nodes start and join.
    Join,
    /// Time passes.
    Settle,
    /// Lookups for closest peers.
    Lookups,
    /// Providers are announced and found, values put and got.
    Records,
}

impl Phase {
    /// Stable label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Settle => "settle",
            Self::Lookups => "lookups",
            Self::Records => "records",
        }
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// In which part.
    pub phase: Phase,
    /// Nodes, virtual seconds, lookups or operations done.
    pub done: u64,
    /// Of how many.
    pub of: u64,
    /// Virtual time since the world's beginning.
    pub virtual_time: Duration,
    /// Events so far.
    pub events: u64,
    /// Of the true closest peers of the lookups that have ended, those that were found.
    pub recall: Ratio,
}

/// Why a run could not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Too few nodes for anybody to find anybody.
    #[error("nodes: read {got}, expected at least 2")]
    Nodes {
        /// What was read.
        got: u32,
    },
    /// Nobody to join through.
    #[error("bootstrap: read {got}, expected 1 to {nodes}, the number of nodes")]
    Bootstrap {
        /// What was read.
        got: u32,
        /// Its bound.
        nodes: u32,
    },
    /// Nothing to look for.
    #[error("k: read 0, expected at least 1")]
    K,
    /// A setting of the nodes cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl RunError {
    /// Always the caller's.
    pub const fn fault(&self) -> Fault {
        Fault::Caller
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        "correct the named number; nothing has run"
    }
}

/// Time between the starts of two nodes.
const START_SPACING: Duration = Duration::from_millis(100);
/// Time between two operations of a run: 100 begin in a virtual second.
const OPERATION_SPACING: Duration = Duration::from_millis(10);
/// No operation of ours takes longer: its deadline is a minute.
const OPERATIONS_END: Duration = Duration::from_secs(120);
/// No operation of go's takes longer: real ones have no deadline at all, modelled ones five minutes.
const GO_OPERATIONS_END: Duration = Duration::from_secs(320);
/// What is under way when the last operation ends has arrived by then: an ADD_PROVIDER takes half a round trip.
const LAST_MESSAGES: Duration = Duration::from_secs(1);
/// How often progress is told, in virtual time.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Runs a network and reports what it was worth. `progress` hears once per virtual second.
///
/// Errors: [`RunError`], before anything has run. Cost: a second or less per 100,000 events in a release build.
pub fn run(config: &RunConfig, progress: &mut dyn FnMut(Progress)) -> Result<RunReport, RunError> {
    run_observed(config, None, progress)
}

/// As [`run`]; `observer` sees the whole trace, and ends the run early when it breaks.
pub fn run_observed(
    config: &RunConfig,
    observer: Option<Observer>,
    progress: &mut dyn FnMut(Progress),
) -> Result<RunReport, RunError> {
    if config.nodes < 2 {
        return Err(RunError::Nodes { got: config.nodes });
    }
    if !(1..=config.nodes).contains(&config.bootstrap) {
        return Err(RunError::Bootstrap { got: config.bootstrap, nodes: config.nodes });
    }
    let k = NonZeroUsize::new(config.k).ok_or(RunError::K)?;
    let mut world = World::builder()
        .nodes(config.nodes)
        .bootstrap(config.bootstrap)
        .seed(config.seed)
        .start_spacing(START_SPACING)
        .k(k)
        .wire(config.wire)
        .model(config.model.clone())
        .settled(config.oracle_start)
        .go_share(config.go_per_mille)
        .build()?;
    if let Some(observer) = observer {
        world.observe(observer);
    }
    let mut run = Run {
        config,
        world,
        rng: child(config.seed, "run", 0),
        progress,
        began: Instant::now(),
        processor_began: processor_time(),
        report: RunReport::new(config),
        recall: Rc::default(),
    };
    run.join();
    run.settle();
    run.look_up();
    run.records();
    Ok(run.finish())
}

/// A run under way.
struct Run<'a> {
    config: &'a RunConfig,
    world: World,
    rng: ChaCha8Rng,
    progress: &'a mut dyn FnMut(Progress),
    began: Instant,
    processor_began: Option<Duration>,
    report: RunReport,
    /// Shared with whoever judges lookups while they end.
    recall: Rc<Cell<Ratio>>,
}

impl Run<'_> {
    fn operations_end(&self) -> Duration {
        if self.config.go_per_mille > 0 { GO_OPERATIONS_END } else { OPERATIONS_END }
    }

    fn join(&mut self) {
        let of = u64::from(self.config.nodes);
        if self.config.oracle_start {
            self.report.joined = Ratio { part: of, whole: of };
            return self.end_phase(Phase::Join);
        }
        let end = self.world.now() + START_SPACING * self.config.nodes + self.operations_end();
        let mut joined = Ratio::default();
        while joined.whole < of && self.world.now() < end && !self.world.is_halted() {
            self.world.run(PROGRESS_EVERY);
            for (_, operation) in self.world.take_ended() {
                joined.count(operation.outcome().is_some_and(|outcome| outcome.fault().is_none()));
            }
            self.tell(Phase::Join, joined.whole, of);
        }
        self.report.joined = Ratio { part: joined.part, whole: of };
        self.end_phase(Phase::Join);
    }

    fn settle(&mut self) {
        for second in 0..self.config.settle_secs {
            self.world.run(Duration::from_secs(1));
            self.tell(Phase::Settle, second, self.config.settle_secs);
        }
        self.end_phase(Phase::Settle);
        let tables = self.world.nodes().map(|node| self.world.table(node).len() as u64);
        self.report.table_peers = Spread::of(tables.collect());
        let own = self.world.nodes().filter_map(|node| self.world.core(node));
        (self.report.table_entries, self.report.table_bytes) = own.fold((0, 0), |(entries, bytes), core| {
            let table = core.table();
            (entries + table.view().len() as u64, bytes + table.allocated_bytes() as u64)
        });
    }

    fn look_up(&mut self) {
        let mut samples = Samples::default();
        let k = self.config.k;
        let (mut recall, mut perfect, mut complete) = (Ratio::default(), Ratio::default(), Ratio::default());
        let keys =
            (0..self.config.lookups).map(|_| Operation::ClosestPeers { key: random_key(&mut self.rng) });
        let operations: Vec<_> = keys.collect();
        let so_far = Rc::clone(&self.recall);
        self.perform(Phase::Lookups, operations, &mut |world, operation| {
            samples.add(operation);
            let Operation::ClosestPeers { key } = &operation.operation else { return };
            let (found, ended) = match operation.outcome() {
                Some(Outcome::ClosestPeers(Ok(found))) => (found.peers.as_slice(), found.complete),
                _ => ([].as_slice(), false),
            };
            let one = world.oracle().recall(&Key::of(key), k, operation.node, found);
            recall.add(one);
            so_far.set(recall);
            perfect.count(one.part == one.whole);
            complete.count(ended);
        });
        self.report.recall = recall;
        self.report.perfect = perfect;
        self.report.complete = complete;
        self.report.closest_peers = samples.stats();
        self.end_phase(Phase::Lookups);
    }

    fn records(&mut self) {
        let keys: Vec<_> = (0..self.config.records).map(|_| random_key(&mut self.rng)).collect();
        let provide = keys.iter().map(|key| Operation::Provide { key: key.clone() }).collect();
        let mut providers = BTreeMap::new();
        self.report.provide = self.perform_counted(Phase::Records, provide, |_, operation| {
            providers.insert(key_of(&operation.operation), operation.node);
            matches!(operation.outcome(), Some(Outcome::Provide(Ok(_))))
        });
        self.report.providers_held = self.held(&providers, |world, node, key| {
            !world.store(node).providers(key, 1, world.unix()).is_empty()
        });

        let find = keys.iter().map(|key| Operation::FindProviders { key: key.clone(), count: 1 }).collect();
        self.report.find_providers = self.perform_counted(Phase::Records, find, |world, operation| {
            let provider = providers.get(&key_of(&operation.operation)).map(|node| world.info(*node).peer.id);
            operation
                .found
                .iter()
                .any(|update| matches!(update, Update::Provider(found) if Some(found.peer.id) == provider))
        });

        let keys: Vec<_> = keys.iter().map(|key| records::key(key)).collect();
        let put = keys
            .iter()
            .map(|key| Operation::PutValue { key: key.clone(), value: records::value(key, 1) })
            .collect();
        let mut publishers = BTreeMap::new();
        self.report.put_value = self.perform_counted(Phase::Records, put, |_, operation| {
            publishers.insert(key_of(&operation.operation), operation.node);
            matches!(operation.outcome(), Some(Outcome::PutValue(Ok(_))))
        });
        self.report.values_held =
            self.held(&publishers, |world, node, key| world.store(node).value(key, world.unix()).is_some());

        let get = keys.iter().map(|key| Operation::GetValue { key: key.clone(), quorum: None }).collect();
        self.report.get_value = self.perform_counted(Phase::Records, get, |_, operation| {
            let expected = records::value(&key_of(&operation.operation), 1);
            matches!(operation.outcome(), Some(Outcome::GetValue(Ok(found))) if found.best.value == expected)
        });
        if self.config.wire && self.config.records > 0 {
            self.report.signed = Some(self.signed_records());
        }
        self.end_phase(Phase::Records);
    }

    /// Puts and gets records as the public network has them; names are put a second time, by others.
    fn signed_records(&mut self) -> SignedReport {
        let now = self.world.unix();
        let mut signed = Vec::new();
        for index in 0..self.config.records {
            match records::signed(self.config.seed, index, now) {
                Ok(record) => signed.push(record),
                Err(error) => self.world.violation(NodeIndex::new(0), error),
            }
        }
        let put = |key: &Bytes, value: &Bytes| Operation::PutValue { key: key.clone(), value: value.clone() };
        let first: Vec<_> = signed.iter().map(|one| put(&one.key, &one.first)).collect();
        let second: Vec<_> =
            signed.iter().filter_map(|one| Some(put(&one.key, one.second.as_ref()?))).collect();
        let newest: BTreeMap<_, _> =
            signed.into_iter().map(|one| (one.key, one.second.unwrap_or(one.first))).collect();
        let mut publishers = BTreeMap::new();
        let mut samples = Samples::default();
        for operations in [first, second] {
            self.perform(Phase::Records, operations, &mut |_, operation| {
                publishers.insert(key_of(&operation.operation), operation.node);
                let success = matches!(operation.outcome(), Some(Outcome::PutValue(Ok(_))));
                samples.add_judged(operation, success);
            });
        }
        let held = self.held(&publishers, |world, node, key| {
            let held = world.store(node).value(key, world.unix());
            held.is_some_and(|held| newest.get(key) == Some(&held.record.value))
        });
        let get = newest.keys().map(|key| Operation::GetValue { key: key.clone(), quorum: None }).collect();
        let get = self.perform_counted(Phase::Records, get, |_, operation| {
            let expected = newest.get(&key_of(&operation.operation));
            matches!(operation.outcome(), Some(Outcome::GetValue(Ok(found))) if Some(&found.best.value) == expected)
        });
        SignedReport { put: samples.stats(), held, get }
    }

    fn finish(self) -> RunReport {
        let Self { world, began, processor_began, mut report, .. } = self;
        report.virtual_ms = world.now().as_nanos() / 1_000_000;
        report.real_ms = began.elapsed().as_millis() as u64; // no run takes centuries
        report.counters = world.counters();
        report.trace_events = world.trace_events();
        report.trace_hash = world.trace_hash().to_string();
        report.violations = world.violations().to_vec();
        report.charges = world.charges_of_all();
        report.kinds = kinds(&world);
        report.memory_bytes = resident_bytes();
        report.memory_peak_bytes = resident_peak_bytes();
        report.processor_ms = computed_ms(processor_began);
        report
    }

    /// Gives operations to random nodes, one after the other, and shows each to `ended` when it has ended.
    fn perform(
        &mut self,
        phase: Phase,
        operations: Vec<Operation>,
        ended: &mut dyn FnMut(&World, &OperationReport),
    ) {
        let of = operations.len() as u64;
        let mut done = 0;
        let mut settle = |world: &mut World| {
            for (_, operation) in world.take_ended() {
                ended(world, &operation);
                done += 1;
            }
            done
        };
        let per_progress = (PROGRESS_EVERY.as_nanos() / OPERATION_SPACING.as_nanos()) as usize; // 100
        for batch in operations.chunks(per_progress) {
            for operation in batch {
                let node = NodeIndex::new(below(&mut self.rng, u64::from(self.config.nodes)) as u32);
                self.world.start_operation(node, operation.clone());
                self.world.run(OPERATION_SPACING);
            }
            let done = settle(&mut self.world);
            self.tell(phase, done, of);
        }
        self.world.run_until_idle(self.operations_end());
        self.world.run(LAST_MESSAGES);
        let done = settle(&mut self.world);
        self.tell(phase, done, of);
    }

    /// As [`Run::perform`], counting those that `succeeded` says have.
    fn perform_counted(
        &mut self,
        phase: Phase,
        operations: Vec<Operation>,
        mut succeeded: impl FnMut(&World, &OperationReport) -> bool,
    ) -> OperationStats {
        let mut samples = Samples::default();
        self.perform(phase, operations, &mut |world, operation| {
            let success = succeeded(world, operation);
            samples.add_judged(operation, success);
        });
        samples.stats()
    }

    /// How many of the true k closest hold each record, the publisher left out.
    fn held(
        &self,
        records: &BTreeMap<Bytes, NodeIndex>,
        holds: impl Fn(&World, NodeIndex, &Bytes) -> bool,
    ) -> Ratio {
        let mut held = Ratio::default();
        for (key, publisher) in records {
            for node in self.world.oracle().closest(&Key::of(key), self.config.k, *publisher) {
                held.count(holds(&self.world, node, key));
            }
        }
        held
    }

    fn tell(&mut self, phase: Phase, done: u64, of: u64) {
        (self.progress)(Progress {
            phase,
            done,
            of,
            virtual_time: Duration::from_nanos(self.world.now().as_nanos()),
            events: self.world.counters().events,
            recall: self.recall.get(),
        });
    }

    fn end_phase(&mut self, phase: Phase) {
        let sum = |count: fn(&PhaseReport) -> u64| self.report.phases.iter().map(count).sum::<u64>();
        let counters = self.world.counters();
        let processor_sum: u64 = self.report.phases.iter().filter_map(|phase| phase.processor_ms).sum();
        let ended = PhaseReport {
            phase,
            processor_ms: computed_ms(self.processor_began).map(|ms| ms.saturating_sub(processor_sum)),
            real_ms: self.began.elapsed().as_millis() as u64 - sum(|phase| phase.real_ms), // no run takes centuries
            virtual_ms: self.world.now().as_nanos() / 1_000_000 - sum(|phase| phase.virtual_ms),
            events: counters.events - sum(|phase| phase.events),
            requests: counters.requests - sum(|phase| phase.requests),
        };
        self.report.phases.push(ended);
    }
}

/// What each implementation's nodes did, if there is more than one.
fn kinds(world: &World) -> Vec<KindCharges> {
    let mut kinds: Vec<KindCharges> = Vec::new();
    for node in world.nodes() {
        let name = world.baseline(node).map_or("kadmos", |model| model.baseline().label());
        let known = kinds.iter().position(|kind| kind.name == name);
        let index = known.unwrap_or_else(|| {
            kinds.push(KindCharges { name: name.into(), nodes: 0, charges: Charges::default() });
            kinds.len() - 1
        });
        kinds[index].nodes += 1;
        kinds[index].charges.add(&world.charges(node));
    }
    if kinds.len() > 1 { kinds } else { Vec::new() }
}

/// Milliseconds that this thread has computed since then.
fn computed_ms(began: Option<Duration>) -> Option<u64> {
    Some(processor_time()?.saturating_sub(began?).as_millis() as u64) // no run takes centuries
}

/// A key like a multihash: random bytes.
fn random_key(rng: &mut ChaCha8Rng) -> Bytes {
    let mut key = vec![0; 34];
    rng.fill_bytes(&mut key);
    (key[0], key[1]) = (0x12, 0x20);
    key.into()
}

fn key_of(operation: &Operation) -> Bytes {
    match operation {
        Operation::ClosestPeers { key }
        | Operation::FindProviders { key, .. }
        | Operation::GetValue { key, .. }
        | Operation::Provide { key }
        | Operation::Survey { key, .. }
        | Operation::PutValue { key, .. } => key.clone(),
        Operation::Deliver { delivery, .. } => delivery.key().clone(),
        Operation::Bootstrap | Operation::FindPeer { .. } => Bytes::new(),
    }
}
