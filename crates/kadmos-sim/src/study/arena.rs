//! The world that all contenders of a study start from, and how they are put to work in clones of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kadmos_core::peer::PeerInfo;
use kadmos_core::record::ProviderRecord;
use kadmos_core::{ConfigError, Key, Operation, OperationId, Timestamp, Update};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::contender::Contender;
use super::{Stage, StudyProgress};
use crate::model::Model;
use crate::network::DATA_CENTRE_ACCESS_US;
use crate::oracle::Ratio;
use crate::random::{below, child};
use crate::trace::Fact;
use crate::world::{NodeIndex, OperationReport, World};

/// Dead ids per mille in a full bucket of a table that has been kept up for long. Source: ProbeLab RFM19, bucket 0.
const STALE_IN_FULL_PER_MILLE: u64 = 38;
/// The same in a bucket that is not full. Source: as above, some 15 %.
const STALE_IN_OTHERS_PER_MILLE: u64 = 150;

/// Holders of a record that took it, of the 20 that were to. Source: ProbeLab RFM17, median.
const PLANTED_HOLDERS: usize = 18;

/// Virtual time between two operations of one client: connections of the one before have closed. Parsec's nodes work
/// at a similar pace.
pub(crate) const PACE: Duration = Duration::from_secs(15);
/// No operation takes longer: go's classic provide has the latest deadline.
const OPERATIONS_END: Duration = Duration::from_secs(320);
/// Nodes of an oracle start join this far apart: in a study that measures a standing network, never.
const NEVER: Duration = Duration::from_secs(30 * 86_400);

/// What a world of a study is made of.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) servers: u32,
    pub(crate) clients: u32,
    pub(crate) seed: u64,
    pub(crate) model: Model,
    /// Whether servers keep their tables up.
    pub(crate) upkeep: bool,
    /// Servers per mille that run go's implementation.
    pub(crate) go_per_mille: u32,
}

/// A warmed world: servers that know each other, and clients with tables as long use leaves them.
#[derive(Debug)]
pub(crate) struct Arena {
    pub(crate) world: World,
    pub(crate) clients: Vec<NodeIndex>,
    pub(crate) seed: u64,
    pub(crate) k: usize,
}

/// What an operation came to.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) report: OperationReport,
    /// From its start until the first provider was told.
    pub(crate) first_provider: Option<Duration>,
}

impl Arena {
    /// Builds the world.
    ///
    /// Errors: [`ConfigError`] when no node can work with the settings.
    pub(crate) fn build(scene: &Scene) -> Result<Self, ConfigError> {
        // Twice as many seats as wanted: the clients stand in data centres, as those that published times did.
        let seats = scene.clients * 3;
        let mut builder = World::builder()
            .nodes(scene.servers)
            .clients(seats)
            .seed(scene.seed)
            .model(scene.model.clone())
            .oracle_start(true)
            .go_share(scene.go_per_mille);
        if !scene.upkeep {
            builder = builder.start_spacing(NEVER).upkeep(false);
        }
        let mut world = builder.build()?;
        let k = world.config().lookup.k.get();
        let clients: Vec<_> = (scene.servers..scene.servers + seats)
            .map(NodeIndex::new)
            .filter(|node| u64::from(world.host(*node).access_us) <= DATA_CENTRE_ACCESS_US.1)
            .take(scene.clients as usize)
            .collect();
        let dead = dead_ids(&world);
        for (index, node) in (0..).zip(&clients) {
            let mut rng = child(scene.seed, "aged table", index);
            let table = aged_table(&world, *node, k, &dead, &mut rng);
            world.reseat(*node, |_| {}, table)?;
        }
        // Without upkeep, only the servers that everybody knows join: at once. With it, all do, ten each second.
        let joining = if scene.upkeep { (scene.servers + seats) / 10 } else { 0 };
        world.run(Duration::from_secs(u64::from(joining) + 30));
        Ok(Self { world, clients, seed: scene.seed, k })
    }

    /// A clone of the world with `contender` in all clients' seats.
    pub(crate) fn seat(&self, contender: &Contender) -> Result<Self, ConfigError> {
        let mut world = self.world.clone();
        for client in &self.clients {
            contender.sit(&mut world, *client)?;
        }
        Ok(Self { world, clients: self.clients.clone(), seed: self.seed, k: self.k })
    }

    /// Random keys, the same for every contender.
    pub(crate) fn keys(&self, what: &str, count: usize) -> Vec<Bytes> {
        let mut rng = child(self.seed, what, 0);
        (0..count).map(|_| random_key(&mut rng)).collect()
    }

    /// Puts a provider record for each key on 18 of the 20 servers closest to it. The providers are servers, too.
    pub(crate) fn plant_records(&mut self, keys: &[Bytes]) {
        let mut rng = child(self.seed, "planted", 0);
        let servers = self.world.oracle().len() as u64;
        for key in keys {
            let provider = NodeIndex::new(below(&mut rng, servers) as u32); // below the number of servers
            let mut holders = self.world.oracle().closest(&Key::of(key), self.k, provider);
            while holders.len() > PLANTED_HOLDERS {
                holders.remove(below(&mut rng, holders.len() as u64) as usize); // below its length
            }
            let now = self.world.unix();
            let record = ProviderRecord {
                key: key.clone(),
                provider: self.world.info(provider).clone(),
                received: now,
                expires: now + Duration::from_secs(48 * 3_600),
                addrs_expire: now + Duration::from_secs(24 * 3_600),
            };
            for holder in holders {
                // A store that is full or failed would show as records that are not found.
                let _ = self.world.store(holder).add_provider(&record, now);
            }
        }
    }

    /// Lets the clients perform these operations in turn, each at its pace, and returns what each came to, in the
    /// order of `operations`.
    pub(crate) fn perform(
        &mut self,
        stage: Stage<'_>,
        operations: Vec<Operation>,
        progress: &mut dyn FnMut(&StudyProgress<'_>),
    ) -> Vec<Done> {
        let first: Rc<RefCell<BTreeMap<OperationId, Timestamp>>> = Rc::default();
        let seen = Rc::clone(&first);
        self.world.observe(Box::new(move |event| {
            if let Fact::Update { id, update: Update::Provider(_) } = event.fact {
                seen.borrow_mut().entry(id).or_insert(event.at);
            }
            ControlFlow::Continue(())
        }));
        let of = operations.len() as u64;
        let clients = self.clients.clone();
        let pause = PACE / clients.len().max(1) as u32; // some twenty clients
        let mut ids = Vec::with_capacity(operations.len());
        let mut recall = Ratio::default();
        let mut tell = |world: &World, done: u64, recall: Ratio| {
            progress(&StudyProgress {
                stage,
                done,
                of,
                virtual_time: Duration::from_nanos(world.now().as_nanos()),
                events: world.counters().events,
                recall,
            });
        };
        let mut counted = BTreeSet::new();
        for (operation, client) in operations.into_iter().zip(clients.iter().cycle()) {
            ids.push(self.world.start_operation(*client, operation));
            self.world.run(pause);
            if ids.len().is_multiple_of(16) {
                self.count_recall(&ids, &mut counted, &mut recall);
                tell(&self.world, ids.len() as u64, recall);
            }
        }
        let until = self.world.now() + OPERATIONS_END;
        while self.world.running_operations() > 0 && self.world.step(until) {}
        self.count_recall(&ids, &mut counted, &mut recall);
        tell(&self.world, of, recall);
        let first = first.borrow();
        ids.into_iter()
            .filter_map(|id| {
                let report = self.world.take_operation(id)?;
                let first_provider = first.get(&id).map(|at| at.since(report.started));
                Some(Done { report, first_provider })
            })
            .collect()
    }

    /// How much of the truth a closest-peers operation found.
    pub(crate) fn recall(&self, report: &OperationReport) -> Option<Ratio> {
        let Operation::ClosestPeers { key } = &report.operation else { return None };
        let found = match report.outcome() {
            Some(kadmos_core::Outcome::ClosestPeers(Ok(found))) => found.peers.as_slice(),
            _ => &[],
        };
        Some(self.world.oracle().recall(&Key::of(key), self.k, report.node, found))
    }

    /// Of the servers truly closest to `key`, how many hold a provider record; and how many of all nodes but the provider do.
    pub(crate) fn holders(&self, key: &Bytes, provider: NodeIndex) -> (usize, usize) {
        let now = self.world.unix();
        let holds = |node: NodeIndex| !self.world.store(node).providers(key, 1, now).is_empty();
        let closest = self.world.oracle().closest(&Key::of(key), self.k, provider);
        let all = self
            .world
            .nodes()
            .filter(|node| *node != provider && self.world.is_running(*node) && holds(*node))
            .count();
        (closest.into_iter().filter(|node| holds(*node)).count(), all)
    }

    fn count_recall(&self, ids: &[OperationId], counted: &mut BTreeSet<OperationId>, recall: &mut Ratio) {
        for id in ids {
            let Some(report) = self.world.operation(*id).filter(|report| !report.is_running()) else {
                continue;
            };
            if counted.insert(*id)
                && let Some(one) = self.recall(report)
            {
                recall.add(one);
            }
        }
    }
}

/// A key like a multihash: random bytes.
pub(crate) fn random_key(rng: &mut ChaCha8Rng) -> Bytes {
    let mut key = vec![0; 34];
    rng.fill_bytes(&mut key);
    (key[0], key[1]) = (0x12, 0x20);
    key.into()
}

/// Every id that some server names and nobody answers at, in the order of their keys.
fn dead_ids(world: &World) -> Vec<PeerInfo> {
    let all: BTreeMap<Key, &PeerInfo> =
        world.nodes().flat_map(|node| world.undialable(node)).map(|info| (info.peer.key, info)).collect();
    all.into_values().cloned().collect()
}

/// The table of a node with the dead ids that years of measurements found in tables.
fn aged_table(
    world: &World,
    node: NodeIndex,
    k: usize,
    dead: &[PeerInfo],
    rng: &mut ChaCha8Rng,
) -> Vec<PeerInfo> {
    let own = world.info(node).peer.key;
    let mut table = Vec::new();
    for (prefix_len, bucket) in world.table(node).buckets() {
        let is_full = bucket.len() >= k;
        let (per_mille, whole) = if is_full {
            (STALE_IN_FULL_PER_MILLE, bucket.len() as u64)
        } else {
            // So many beside the living that they are the share of all.
            (STALE_IN_OTHERS_PER_MILLE * 1_000 / (1_000 - STALE_IN_OTHERS_PER_MILLE), bucket.len() as u64)
        };
        let wanted = (0..whole).filter(|_| below(rng, 1_000) < per_mille).count();
        let mut here: Vec<_> =
            dead.iter().filter(|info| own.common_prefix_len(&info.peer.key) == prefix_len).cloned().collect();
        while here.len() > wanted {
            here.swap_remove(below(rng, here.len() as u64) as usize); // below its length
        }
        let living = if is_full { bucket.len() - here.len() } else { bucket.len() };
        table.extend(bucket.iter().take(living).cloned());
        table.extend(here);
    }
    table
}
