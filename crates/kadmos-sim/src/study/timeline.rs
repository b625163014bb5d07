//! Studies of a network to which something happens: the same lookups at marks before and after.
//!
//! The servers keep their tables up; the contenders are the clients. All contenders meet the same fate. What servers
//! of each kind did for their upkeep is told, too.

use std::time::Duration;

use kadmos_core::config::Mode;
use kadmos_core::{Operation, Timestamp, Update};

use super::arena::{Arena, Scene};
use super::contender::Contender;
use super::report::{Cell, Figure, Series, Table};
use super::stats::{Sample, Statistic};
use super::{Bench, Findings, Stage, StudyError};
use crate::baseline::Baseline;
use crate::charges::Charges;
use crate::faults::Keep;
use crate::model::Model;
use crate::oracle::Ratio;
use crate::random::{below, child};
use crate::world::{NodeIndex, OperationState};

/// Clients at work in each world.
const CLIENTS: u32 = 10;

/// Something that happens to a world.
type Act = fn(&mut Arena) -> Result<(), StudyError>;

/// What happens when, in minutes after the first mark.
struct Plan {
    method: &'static str,
    acts: &'static [(u64, Act)],
    marks: &'static [u64],
}

/// Nodes come and go as on the public network.
pub(super) fn churn(bench: &mut Bench<'_>) -> Result<Findings, StudyError> {
    run(
        bench,
        &Plan {
            method: "From minute 1 on, servers come and go as on the public network, with their records: three of four stay for days, \
             the others follow the published lengths of sessions.",
            acts: &[(1, |arena| {
                arena.world.churn();
                arena.world.keep(&arena.clients);
                Ok(())
            })],
            marks: &[0, 10, 20, 30, 45, 60],
        },
    )
}

/// Half of the network is cut off from the other for half an hour.
pub(super) fn partition(bench: &mut Bench<'_>) -> Result<Findings, StudyError> {
    run(
        bench,
        &Plan {
            method: "From minute 1 to minute 31 nothing passes between two halves of the servers; the clients are in the first. The \
             truth is still all servers: half of them cannot be found until minute 31.",
            acts: &[
                (1, |arena| {
                    let (mut a, b) = arena.world.nodes().partition::<Vec<_>, _>(|node| {
                        node.as_u32() % 2 == 0 || arena.clients.contains(node)
                    });
                    a.sort_unstable();
                    arena.world.partition(&a, &b);
                    Ok(())
                }),
                (31, |arena| {
                    arena.world.heal();
                    Ok(())
                }),
            ],
            marks: &[0, 10, 25, 32, 40, 50, 60],
        },
    )
}

/// As many newcomers as there are servers join at once.
pub(super) fn flood(bench: &mut Bench<'_>) -> Result<Findings, StudyError> {
    run(
        bench,
        &Plan {
            method: "In minute 1, as many new servers join as there are; they are part of the truth at once, and hold no records.",
            acts: &[(1, |arena| {
                for _ in 0..arena.world.oracle().len() {
                    arena.world.join_new(Mode::Server)?;
                }
                Ok(())
            })],
            marks: &[0, 2, 5, 10, 20, 40],
        },
    )
}

/// Half of all servers are started again at once.
pub(super) fn restart(bench: &mut Bench<'_>) -> Result<Findings, StudyError> {
    run(
        bench,
        &Plan {
            method: "In minute 1, every second server is started again at once, with its identity and its records and an empty table.",
            acts: &[(1, |arena| {
                let servers: Vec<_> =
                    arena.world.nodes().filter(|node| !arena.clients.contains(node)).collect();
                for node in servers {
                    // The nodes that everybody joins through stay.
                    if node.as_u32() % 2 == 1 && node.as_u32() > 2 && arena.world.is_running(node) {
                        arena.world.restart(node, Keep::Records);
                    }
                }
                Ok(())
            })],
            marks: &[0, 2, 5, 10, 20, 40],
        },
    )
}

/// What one contender measured at one mark.
#[derive(Clone, Debug, Default)]
struct Moment {
    first_ms: Sample,
    walk_ms: Sample,
    found: Ratio,
    recall: Ratio,
}

fn run(bench: &mut Bench<'_>, plan: &Plan) -> Result<Findings, StudyError> {
    let contenders =
        [Contender::baseline(Baseline::Go), Contender::baseline(Baseline::RustLibp2p), Contender::kadmos()];
    let config = bench.config;
    let servers = config.servers.unwrap_or(if config.quick { 300 } else { 2_000 });
    let (finds, walks) = (config.pick(40, 200), config.pick(20, 100));
    let mut moments = vec![vec![Moment::default(); plan.marks.len()]; contenders.len()];
    let mut charges = vec![(Charges::default(), 0u64); contenders.len()];
    let mut of_servers = [ServerCharges::new("kadmos"), ServerCharges::new("go")];
    for seed in config.seeds() {
        let go_per_mille = config.go_per_mille();
        let scene =
            Scene { servers, clients: CLIENTS, seed, model: Model::amino(), upkeep: true, go_per_mille };
        let mut warmed = Arena::build(&scene)?;
        let keys = warmed.keys("found", finds);
        warmed.plant_records(&keys);
        for (index, contender) in contenders.iter().enumerate() {
            let mut arena = warmed.seat(contender)?;
            let began = arena.world.now();
            let before = charges_of(&arena);
            let servers = ServerCharges::servers_of(&arena);
            let servers_before = of_servers.each_ref().map(|kind| kind.sum(&arena, &servers));
            let mut acts = plan.acts.iter();
            let mut next = acts.next();
            for (minute, moment) in plan.marks.iter().zip(&mut moments[index]) {
                while let Some((at, act)) = next.filter(|(at, _)| at <= minute) {
                    arena.world.run_until(began + Duration::from_secs(at * 60));
                    act(&mut arena)?;
                    next = acts.next();
                }
                arena.world.run_until(began + Duration::from_secs(minute * 60));
                let stage = Stage { seed, contender: &contender.name, what: "lookups at a mark" };
                measure(&mut arena, stage, &keys, walks, *minute, moment, bench);
            }
            let (sum, ms) = &mut charges[index];
            sum.add(&charges_of(&arena).since(&before));
            *ms += arena.world.now().since(began).as_millis() as u64; // some hours
            for (kind, before) in of_servers.iter_mut().zip(servers_before) {
                kind.add(&arena, &servers, &before, began);
            }
            bench.close(&arena, Some(&warmed));
        }
        bench.close(&warmed, None);
    }
    let mut findings = Findings {
        method: format!(
            "{servers} servers, dead ids and slow servers as on the public network. {} At each mark {CLIENTS} clients in data centres \
             look for providers of the same {finds} keys, which 18 of the 20 closest servers held in minute 0, and for the 20 \
             closest to {walks} others.",
            plan.method
        ),
        ..Findings::default()
    };
    tabulate(&mut findings, &contenders, plan.marks, &moments);
    let hours = |ms: u64| Duration::from_millis(ms);
    let mut table = Table::new(
        "charges of one client for each hour",
        ["dials", "dials failed", "lookup messages", "refresh messages", "probes", "keep-alives"],
    );
    for (contender, (sum, ms)) in contenders.iter().zip(&charges) {
        let per_hour = |count| Cell::Number {
            value: Charges::per_node_hour(count, u64::from(CLIENTS), hours(*ms)) as f64,
            digits: 0,
        };
        table.push(
            &contender.name,
            vec![
                per_hour(sum.dials),
                per_hour(sum.dials_failed),
                per_hour(sum.operation_messages),
                per_hour(sum.refresh_messages),
                per_hour(sum.probe_messages),
                per_hour(sum.keep_alives()),
            ],
        );
    }
    findings.tables.push(table);
    findings.tables.push(ServerCharges::table(&of_servers));
    Ok(findings)
}

/// What the servers of one kind did, those that were there from the beginning.
#[derive(Clone, Debug)]
struct ServerCharges {
    kind: &'static str,
    sum: Charges,
    /// Milliseconds of all of them together, whether they ran or not.
    node_ms: u64,
}

impl ServerCharges {
    fn new(kind: &'static str) -> Self {
        Self { kind, sum: Charges::default(), node_ms: 0 }
    }

    fn servers_of(arena: &Arena) -> Vec<NodeIndex> {
        arena.world.nodes().filter(|node| arena.world.table(*node).mode() == Mode::Server).collect()
    }

    fn of_kind<'a>(
        &self,
        arena: &'a Arena,
        servers: &'a [NodeIndex],
    ) -> impl Iterator<Item = NodeIndex> + 'a {
        let is_go = self.kind == "go";
        servers.iter().copied().filter(move |node| arena.world.baseline(*node).is_some() == is_go)
    }

    fn sum(&self, arena: &Arena, servers: &[NodeIndex]) -> Charges {
        let mut sum = Charges::default();
        self.of_kind(arena, servers).for_each(|node| sum.add(&arena.world.charges(node)));
        sum
    }

    fn add(&mut self, arena: &Arena, servers: &[NodeIndex], before: &Charges, began: Timestamp) {
        self.sum.add(&self.sum(arena, servers).since(before));
        let ms = arena.world.now().since(began).as_millis() as u64; // some hours
        self.node_ms += ms * self.of_kind(arena, servers).count() as u64;
    }

    /// A row for each kind that there was.
    fn table(kinds: &[Self]) -> Table {
        let columns =
            ["dials", "dials failed", "refresh messages", "probes", "all messages", "served", "keep-alives"];
        let mut table = Table::new("charges of one server for each hour", columns);
        for Self { kind, sum, node_ms } in kinds.iter().filter(|kind| kind.node_ms > 0) {
            let counts = [
                sum.dials,
                sum.dials_failed,
                sum.refresh_messages,
                sum.probe_messages,
                sum.messages(),
                sum.served_messages,
                sum.keep_alives(),
            ];
            let per_hour = |count| {
                let value = Charges::per_node_hour(count, 1, Duration::from_millis(*node_ms)) as f64;
                Cell::Number { value, digits: 0 }
            };
            table.push(*kind, counts.map(per_hour).into());
        }
        table
    }
}

fn measure(
    arena: &mut Arena,
    stage: Stage<'_>,
    keys: &[bytes::Bytes],
    walks: usize,
    minute: u64,
    moment: &mut Moment,
    bench: &mut Bench<'_>,
) {
    let mut operations: Vec<_> =
        keys.iter().map(|key| Operation::FindProviders { key: key.clone(), count: 1 }).collect();
    let mut rng = child(arena.seed, "walked at", minute);
    for _ in 0..walks {
        let key = super::arena::random_key(&mut rng);
        operations.insert(below(&mut rng, operations.len() as u64) as usize, Operation::ClosestPeers { key });
    }
    let done = arena.perform(stage, operations, bench.progress);
    let (mut first_ms, mut walk_ms) = (Vec::new(), Vec::new());
    for one in &done {
        match &one.report.operation {
            Operation::FindProviders { .. } => {
                let found = one.report.found.iter().any(|update| matches!(update, Update::Provider(_)));
                moment.found.count(found);
                first_ms.extend(one.first_provider.map(|first| first.as_secs_f64() * 1e3));
            }
            _ => {
                if let OperationState::Ended { cost, .. } = &one.report.state {
                    walk_ms.push(cost.elapsed.as_secs_f64() * 1e3);
                }
                if let Some(recall) = arena.recall(&one.report) {
                    moment.recall.add(recall);
                }
            }
        }
    }
    moment.first_ms.push_seed(first_ms);
    moment.walk_ms.push_seed(walk_ms);
}

fn tabulate(findings: &mut Findings, contenders: &[Contender], marks: &[u64], moments: &[Vec<Moment>]) {
    let names = contenders.iter().map(|contender| contender.name.as_str());
    let share = |ratio: Ratio| ratio.part as f64 / ratio.whole.max(1) as f64;
    type Column = (&'static str, fn(&Moment) -> Cell);
    let percentile = |percent| Statistic::Percentile(percent);
    let columns: [Column; 5] = [
        ("recall of the 20 closest, by minute", |moment| Cell::share(moment.recall)),
        ("providers found, by minute", |moment| Cell::share(moment.found)),
        ("time to the first provider record, p50, ms, by minute", |moment| {
            Cell::estimate(moment.first_ms.estimate(Statistic::Percentile(50)), 0)
        }),
        ("the same, p90", |moment| Cell::estimate(moment.first_ms.estimate(Statistic::Percentile(90)), 0)),
        ("time until the 20 closest are known, p50, ms, by minute", |moment| {
            Cell::estimate(moment.walk_ms.estimate(Statistic::Percentile(50)), 0)
        }),
    ];
    for (title, cell) in columns {
        let mut table = Table::new(title, names.clone());
        for (index, minute) in marks.iter().enumerate() {
            let cells = moments.iter().map(|of_contender| cell(&of_contender[index])).collect();
            table.push(format!("minute {minute}"), cells);
        }
        findings.tables.push(table);
    }
    let curve = |value: &dyn Fn(&Moment) -> Option<f64>| -> Vec<Series> {
        let series = contenders.iter().zip(moments).map(|(contender, moments)| Series {
            name: contender.name.clone(),
            points: marks
                .iter()
                .zip(moments)
                .filter_map(|(minute, moment)| Some((*minute as f64, value(moment)?)))
                .collect(),
        });
        series.collect()
    };
    let figure = |name: &str, title: &str, y: &str, series| Figure {
        name: name.into(),
        title: title.into(),
        x: "minutes".into(),
        y: y.into(),
        log_x: false,
        series,
    };
    findings.figures.push(figure(
        "recall",
        "Recall of the 20 closest",
        "recall",
        curve(&|moment| Some(share(moment.recall))),
    ));
    findings.figures.push(figure(
        "first-record-p90",
        "Time to the first provider record, p90",
        "milliseconds",
        curve(&|moment| moment.first_ms.estimate(percentile(90)).map(|estimate| estimate.value)),
    ));
}

fn charges_of(arena: &Arena) -> Charges {
    let mut sum = Charges::default();
    let add = |client: &NodeIndex| sum.add(&arena.world.charges(*client));
    arena.clients.iter().for_each(add);
    sum
}
