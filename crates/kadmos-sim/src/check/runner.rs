//! Runs one case: join, store, faults, heal, settle, demand.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use kadmos_core::config::Mode;
use kadmos_core::{Key, Operation, OperationId, Outcome, Update};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::case::{Case, Fault};
use crate::checkers::{Broken, Violation, Watch, hex};
use crate::faults::Keep;
use crate::oracle::Ratio;
use crate::random::{below, child};
use crate::records;
use crate::world::{NodeIndex, OperationReport, World};

/// Nodes start this far apart.
const START_SPACING: Duration = Duration::from_millis(100);
/// An operation ends within its deadline of a minute; this long is waited for it.
const OPERATIONS_END: Duration = Duration::from_secs(90);
/// How often checkers look into the world while things go wrong.
const INSPECT_EVERY: Duration = Duration::from_secs(5);
/// From healing to the demand: two refreshes each 600 s, and the end of what was under way.
const SETTLE: Duration = Duration::from_secs(1_400);
/// How often checkers look while the world settles.
const SETTLE_INSPECT_EVERY: Duration = Duration::from_secs(50);
/// More events in a virtual second than any of these networks has: some thousand a node.
const EVENTS_PER_SECOND_MAX: u64 = 1_000_000;
/// Lookups on which recall is demanded.
const LOOKUPS: usize = 24;
/// Recall demanded after healing, per mille. Tables are as good as new then, and lookups without churn find all.
const RECALL_MIN_PER_MILLE: u64 = 990;

/// What a run came to.
pub(super) struct Run {
    pub(super) violations: Vec<Violation>,
    pub(super) trace_hash: String,
    pub(super) figures: Figures,
}

/// A run in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Virtual seconds.
    pub virtual_secs: u64,
    /// Calls of `handle_input`.
    pub inputs: u64,
    /// Operations that users began while things went wrong, and how many of them succeeded.
    pub operations: Ratio,
    /// Recall after healing.
    pub recall: Ratio,
    /// Records that had a holder where they are looked for, after healing, of all stored before.
    pub records_alive: Ratio,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { virtual_secs, inputs, operations, recall, records_alive } = self;
        write!(
            f,
            "{virtual_secs} s, {inputs} inputs, {} of {} operations succeeded, recall {recall}, {} of {} records alive",
            operations.part, operations.whole, records_alive.part, records_alive.whole
        )
    }
}

/// Runs `case`; without `watched`, nobody looks on but everything happens alike.
pub(super) fn run(case: &Case, watched: bool) -> Run {
    let built = World::builder()
        .nodes(case.nodes)
        .clients(case.clients)
        .bootstrap(case.bootstrap)
        .seed(case.seed)
        .start_spacing(START_SPACING)
        .k(NonZeroUsize::new(case.k as usize).unwrap_or(NonZeroUsize::MIN))
        .wire(case.wire)
        .model(case.model.clone())
        .plant(case.plant)
        .build();
    let mut world = match built {
        Ok(world) => world,
        // No drawn case is like that; a case written by hand may be.
        Err(error) => {
            let what = Broken::Promise { what: format!("the case cannot be run: {error}") };
            let violations = vec![Violation { at_ms: 0, node: None, what }];
            return Run { violations, trace_hash: String::new(), figures: Figures::default() };
        }
    };
    let watch = if watched { Watch::all(&mut world) } else { Watch::with(&mut world, Vec::new()) };
    let rng = child(case.seed, "check-run", 0);
    let mut runner = Runner {
        case,
        world,
        watch,
        rng,
        stored: BTreeMap::new(),
        operations: BTreeMap::new(),
        figures: Figures::default(),
        stalled: false,
    };
    runner.join();
    runner.store();
    runner.go_wrong();
    runner.heal();
    runner.demand();
    runner.finish()
}

struct Runner<'a> {
    case: &'a Case,
    world: World,
    watch: Watch,
    rng: ChaCha8Rng,
    /// Keys of records that were stored, and whether they are values.
    stored: BTreeMap<Bytes, bool>,
    /// Operations that were begun to see whether they succeed.
    operations: BTreeMap<OperationId, Demand>,
    figures: Figures,
    /// Virtual time stands still: nothing more is run.
    stalled: bool,
}

/// What is expected of an operation.
#[derive(Clone, Debug)]
enum Demand {
    /// Nothing, but it is counted.
    Counted,
    /// To store something, before things go wrong.
    Stores,
    /// To look up, after healing.
    Recall,
    /// To succeed, after healing.
    Succeeds,
    /// To find a record that this node holds.
    Finds { key: Bytes, holder: NodeIndex },
}

impl Runner<'_> {
    fn join(&mut self) {
        let nodes = self.case.nodes + self.case.clients;
        self.run(START_SPACING * nodes + OPERATIONS_END, INSPECT_EVERY);
    }

    fn store(&mut self) {
        for index in 0..self.case.records {
            let node = self.any_running();
            let key = self.key("provided", index);
            self.begin(node, Operation::Provide { key }, Demand::Stores);
            let node = self.any_running();
            let key = records::key(&index.to_be_bytes());
            let value = records::value(&key, 1);
            self.begin(node, Operation::PutValue { key, value }, Demand::Stores);
        }
        self.run(OPERATIONS_END, INSPECT_EVERY);
    }

    fn go_wrong(&mut self) {
        if self.case.churn {
            self.world.churn();
        }
        let began = self.world.now();
        let end = began + Duration::from_secs(self.case.fault_secs.into());
        let mut faults = self.case.faults.iter().peekable();
        let every = Duration::from_millis(self.case.operation_every_ms.into());
        let mut operation_at = began + every;
        while !self.stalled {
            let fault_at = faults.peek().map(|timed| began + Duration::from_millis(timed.at_ms.into()));
            let mut next = end;
            if let Some(at) = fault_at {
                next = next.min(at);
            }
            if !every.is_zero() {
                next = next.min(operation_at);
            }
            self.run(next.since(self.world.now()), INSPECT_EVERY);
            if next >= end {
                break;
            }
            if fault_at == Some(next)
                && let Some(timed) = faults.next()
            {
                self.apply(&timed.fault);
            } else {
                self.begin_any();
                operation_at = next + every;
            }
        }
    }

    fn apply(&mut self, fault: &Fault) {
        let world = &mut self.world;
        let nodes = world.nodes().count() as u32; // the case's numbers are 32 bits
        let known = |node: &u32| (*node < nodes).then_some(NodeIndex::new(*node));
        match fault {
            Fault::Stop { node } => {
                if let Some(node) = known(node) {
                    world.stop(node);
                }
            }
            Fault::Restart { node, keep } => {
                if let Some(node) = known(node) {
                    world.restart(node, *keep);
                }
            }
            Fault::Partition { nodes } => {
                let a: Vec<_> = nodes.iter().filter_map(known).collect();
                let b: Vec<_> = world.nodes().filter(|node| !a.contains(node)).collect();
                world.partition(&a, &b);
            }
            Fault::Heal => world.heal(),
            Fault::Loss { per_mille } => world.set_loss(*per_mille),
            Fault::Mute { node } => {
                if let Some(node) = known(node) {
                    world.set_mute(node, true);
                }
            }
            Fault::Slow { node, ms } => {
                if let Some(node) = known(node) {
                    world.set_slow(node, Duration::from_millis((*ms).into()));
                }
            }
            Fault::ClockStep { node, secs } => {
                if let Some(node) = known(node) {
                    world.clock_step(node, *secs);
                }
            }
            Fault::Client { node } => {
                if let Some(node) = known(node) {
                    world.set_mode(node, Mode::Client);
                }
            }
            Fault::Join => {
                if let Err(error) = world.join_new(Mode::Server) {
                    self.watch.add(&self.world, None, Broken::Promise { what: error.to_string() });
                }
            }
        }
    }

    /// Everything is well again: hosts, network, clocks' rate; who was stopped is back, with its records.
    fn heal(&mut self) {
        self.world.heal();
        self.world.set_loss(0);
        self.world.end_churn();
        // While dead ids crowd the living out of answers, no walk can be sure to hear of all.
        self.world.forget_undialable();
        let servers = self.case.nodes;
        for node in self.world.nodes() {
            self.world.set_mute(node, false);
            self.world.set_slow(node, Duration::ZERO);
            if !self.world.is_running(node) && !self.world.is_starting(node) {
                self.world.restart(node, Keep::Records);
            } else if node.as_u32() < servers {
                self.world.set_mode(node, Mode::Server);
            }
        }
        self.run(SETTLE, SETTLE_INSPECT_EVERY);
    }

    fn demand(&mut self) {
        for node in self.world.nodes() {
            if self.world.is_running(node) && self.world.table(node).is_empty() {
                self.watch.add(&self.world, Some(node), Broken::NotRecovered);
            }
        }
        for index in 0..LOOKUPS as u32 {
            let node = self.any_running();
            let key = self.key("looked up", index);
            self.begin(node, Operation::ClosestPeers { key }, Demand::Recall);
        }
        self.run(OPERATIONS_END, INSPECT_EVERY);

        let key = self.key("provided after", 0);
        let node = self.any_running();
        self.begin(node, Operation::Provide { key: key.clone() }, Demand::Succeeds);
        self.run(OPERATIONS_END, INSPECT_EVERY);
        let node = self.any_running();
        self.begin(node, Operation::FindProviders { key: key.clone(), count: 1 }, Demand::Succeeds);
        for (key, is_value) in self.stored.clone() {
            let node = self.any_running();
            let k = self.case.k as usize;
            let holders = self.world.oracle().closest(&Key::of(&key), k, node);
            let holder = holders.into_iter().find(|holder| self.world.holds(*holder, &key));
            self.figures.records_alive.count(holder.is_some());
            let Some(holder) = holder else { continue };
            let operation = if is_value {
                Operation::GetValue { key: key.clone(), quorum: None }
            } else {
                Operation::FindProviders { key: key.clone(), count: 1 }
            };
            self.begin(node, operation, Demand::Finds { key, holder });
        }
        self.run(OPERATIONS_END, INSPECT_EVERY);
        let recall = self.figures.recall;
        if !self.stalled && !recall.is_at_least_per_mille(RECALL_MIN_PER_MILLE) {
            let what = Broken::RecallLow { recall, min_per_mille: RECALL_MIN_PER_MILLE };
            self.watch.add(&self.world, None, what);
        }
    }

    fn finish(mut self) -> Run {
        self.figures.virtual_secs = self.world.now().as_nanos() / 1_000_000_000;
        self.figures.inputs = self.world.counters().inputs;
        let violations = self.watch.clone().finish(&mut self.world);
        Run { violations, trace_hash: self.world.trace_hash().to_string(), figures: self.figures }
    }

    /// Lets time pass; checkers look on each `every` and at the end.
    fn run(&mut self, time: Duration, every: Duration) {
        let mut left = time;
        while !self.stalled {
            let step = left.min(every);
            let events_max = EVENTS_PER_SECOND_MAX * (step.as_secs() + 1);
            if !self.world.run_bounded(step, events_max) {
                self.stalled = true;
                self.watch.add(&self.world, None, Broken::Stalled { events: events_max });
            }
            self.inspect();
            left -= step;
            if left.is_zero() {
                break;
            }
        }
    }

    fn inspect(&mut self) {
        for (id, report) in self.watch.inspect(&mut self.world) {
            if let Some(demand) = self.operations.remove(&id) {
                self.judge(&report, demand);
            }
        }
    }

    fn judge(&mut self, report: &OperationReport, demand: Demand) {
        let succeeded = report.outcome().is_some_and(|outcome| outcome.fault().is_none());
        let found_something = !report.found.is_empty();
        match demand {
            Demand::Counted => self.figures.operations.count(succeeded),
            Demand::Stores if succeeded => {
                let (key, is_value) = match &report.operation {
                    Operation::PutValue { key, .. } => (key.clone(), true),
                    Operation::Provide { key } => (key.clone(), false),
                    _ => return,
                };
                self.stored.insert(key, is_value);
            }
            Demand::Stores => {} // where mute and slow nodes are, that may fail
            Demand::Recall => {
                let Operation::ClosestPeers { key } = &report.operation else { return };
                let found = match report.outcome() {
                    Some(Outcome::ClosestPeers(Ok(found))) => found.peers.as_slice(),
                    _ => &[],
                };
                let oracle = self.world.oracle();
                self.figures.recall.add(oracle.recall(
                    &Key::of(key),
                    self.case.k as usize,
                    report.node,
                    found,
                ));
            }
            Demand::Succeeds => {
                let must_find = matches!(report.operation, Operation::FindProviders { .. });
                if !succeeded || must_find && !found_something {
                    let what = Broken::OperationFailed { outcome: format!("{:?}", report.outcome()) };
                    self.watch.add(&self.world, Some(report.node), what);
                }
            }
            Demand::Finds { key, holder } => {
                let found = match report.outcome() {
                    Some(Outcome::GetValue(found)) => found.is_ok(),
                    _ => report.found.iter().any(|update| matches!(update, Update::Provider(_))),
                };
                if !found {
                    let what = Broken::RecordNotFound { key: hex(&key), holder: holder.as_u32() };
                    self.watch.add(&self.world, Some(report.node), what);
                }
            }
        }
    }

    fn begin(&mut self, node: NodeIndex, operation: Operation, demand: Demand) {
        let id = self.world.start_operation(node, operation);
        self.operations.insert(id, demand);
    }

    /// Begins an operation of any kind at any node.
    fn begin_any(&mut self) {
        let (node, other) = (self.any_running(), self.any_running());
        let number = below(&mut self.rng, 1 << 16) as u32; // 16 bits
        let key = self.key("meanwhile", number % 16);
        let value_key = records::key(&(number % 8).to_be_bytes());
        let operation = match number % 5 {
            0 => Operation::ClosestPeers { key: self.key("looked up meanwhile", number) },
            1 => Operation::Provide { key },
            2 => Operation::FindProviders { key, count: 0 },
            3 => Operation::GetValue { key: value_key, quorum: None },
            _ => Operation::FindPeer { id: self.world.info(other).peer.id },
        };
        self.begin(node, operation, Demand::Counted);
    }

    fn any_running(&mut self) -> NodeIndex {
        let running: Vec<_> = self.world.nodes().filter(|node| self.world.is_running(*node)).collect();
        // If none runs, an operation at a stopped node is simply never carried out.
        let index = below(&mut self.rng, running.len() as u64) as usize; // below the length, or 0
        running.get(index).copied().unwrap_or(NodeIndex::new(0))
    }

    fn key(&self, what: &str, index: u32) -> Bytes {
        Bytes::from(format!("{what} {index} of {}", self.case.seed))
    }
}
