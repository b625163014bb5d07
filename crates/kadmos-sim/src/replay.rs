//! One lookup, told as what caused what: who named whom, when each was asked, and how it ended.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kadmos_core::error::RequestFailure;
use kadmos_core::{Event, Key, Operation, Outcome, Peer, PeerId, RequestId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::baseline::Baseline;
use crate::model::Model;
use crate::oracle::Ratio;
use crate::random::child_seed;
use crate::study::StudyError;
use crate::trace::{Fact, TraceEvent};
use crate::world::{NodeIndex, OperationState, World};

/// Which lookup to replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayConfig {
    /// Servers. Default 1,000; at least 2.
    pub nodes: u32,
    /// Whatever happens by chance is drawn from it, the key too. Default 0.
    pub seed: u64,
    /// Which of them looks up. Default 0; below `nodes`.
    pub node: u32,
    /// Whose client sits in its seat; our own when `None`.
    pub baseline: Option<Baseline>,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self { nodes: 1_000, seed: 0, node: 0, baseline: None }
    }
}

/// A lookup and what caused what in it. Prints as a tree; serialises to JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// Which lookup.
    pub config: ReplayConfig,
    /// The key's place, in hexadecimal.
    pub target: String,
    /// Everybody who was asked, in the order in which they were first asked.
    pub asked: Vec<Asked>,
    /// Peers that were named and never asked.
    pub unasked: u64,
    /// From the start to the end, in microseconds.
    pub elapsed_us: u64,
    /// Why it ended.
    pub why: String,
    /// Of the servers truly closest, those that it returned.
    pub recall: Ratio,
}

/// A peer that was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Which node; `None` for an id that nobody has.
    pub node: Option<u32>,
    /// The first 8 hexadecimal digits of its key.
    pub key: String,
    /// Bits that its key shares with the target.
    pub prefix_len: u16,
    /// Its place among the servers truly closest to the target, from 1; `None` beyond the 20th.
    pub rank: Option<u32>,
    /// Index in [`Replay::asked`] of the peer that first named it; `None` for a peer of the table.
    pub named_by: Option<usize>,
    /// When it was asked, in microseconds from the start.
    pub asked_us: u64,
    /// How that ended.
    pub end: AskedEnd,
}

/// How a request of a replayed lookup ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum AskedEnd {
    /// It answered.
    Answered {
        /// This much later, in microseconds.
        after_us: u64,
        /// Peers that it named.
        named: usize,
        /// Of these, peers that nobody had named before.
        new: usize,
    },
    /// It failed.
    Failed {
        /// This much later, in microseconds.
        after_us: u64,
        /// How, as [`RequestFailure::label`].
        failure: String,
    },
    /// The lookup no longer wanted its answer.
    CalledOff,
    /// The lookup ended before it did.
    Waiting,
}

/// What is gathered while the world runs.
#[derive(Debug, Default)]
struct Gathered {
    /// The peer of the request that leaves the core next.
    leaving: Option<Peer>,
    peers: Vec<(Peer, Asked)>,
    by_request: BTreeMap<RequestId, usize>,
    /// Who first named each peer.
    named_by: BTreeMap<PeerId, usize>,
}

/// No lookup takes longer: go's has the latest deadline.
const LIMIT: Duration = Duration::from_secs(320);
/// Servers whose rank is told.
const RANKED: usize = 20;
/// Joining and upkeep would disturb.
const NEVER: Duration = Duration::from_secs(30 * 86_400);

/// Runs one lookup for a key drawn from the seed, in a standing network as the public one is, and tells what caused
/// what in it.
///
/// Errors: [`StudyError`] for numbers out of range, before anything has run. Cost: a second for each 10,000 servers.
pub fn replay(config: &ReplayConfig) -> Result<Replay, StudyError> {
    if config.nodes < 2 {
        return Err(StudyError::Servers { got: config.nodes });
    }
    if config.node >= config.nodes {
        return Err(StudyError::Node { got: config.node, nodes: config.nodes });
    }
    let mut world = World::builder()
        .nodes(config.nodes)
        .seed(config.seed)
        .model(Model::amino())
        .oracle_start(true)
        .start_spacing(NEVER)
        .upkeep(false)
        .build()?;
    let node = NodeIndex::new(config.node);
    world.run(Duration::from_secs(30)); // those that everybody knows join
    if let Some(baseline) = config.baseline {
        world.set_baseline(node, baseline);
    }
    let k = world.config().lookup.k.get();
    let digest = child_seed(config.seed, "replayed key", u64::from(config.node));
    let key = Bytes::from([[0x12, 0x20].as_slice(), &digest].concat());
    let target = Key::of(&key);
    let truth = world.oracle().closest(&target, RANKED, node);
    let gathered: Rc<RefCell<Gathered>> = Rc::default();
    let began = world.now();
    let sees = Rc::clone(&gathered);
    let ranks = truth.clone();
    world.observe(Box::new(move |event| {
        if event.node == node {
            sees.borrow_mut().note(event, began, &target, &ranks);
        }
        ControlFlow::Continue(())
    }));
    let id = world.start_operation(node, Operation::ClosestPeers { key });
    let until = began + LIMIT;
    while world.operation(id).is_some_and(|report| report.is_running()) && world.step(until) {}
    let report = world.take_operation(id);
    let (why, elapsed, found) = match report.map(|report| report.state) {
        Some(OperationState::Ended { outcome: Outcome::ClosestPeers(Ok(found)), cost }) => {
            let why = if found.complete {
                format!("{} peers returned: nobody nearer is left to ask", found.peers.len())
            } else {
                format!("{} peers returned: the time to wait for the others was up", found.peers.len())
            };
            (why, cost.elapsed, found.peers)
        }
        Some(OperationState::Ended { outcome: Outcome::ClosestPeers(Err(error)), cost }) => {
            (error.to_string(), cost.elapsed, Vec::new())
        }
        _ => ("it did not end".into(), world.now().since(began), Vec::new()),
    };
    let recall = world.oracle().recall(&target, k.min(RANKED), node, &found);
    drop(world); // and its observer
    let Gathered { peers, named_by, .. } =
        Rc::try_unwrap(gathered).map(RefCell::into_inner).unwrap_or_default();
    let asked_ids: BTreeSet<_> = peers.iter().map(|(peer, _)| peer.id).collect();
    Ok(Replay {
        config: config.clone(),
        target: target.to_string(),
        unasked: named_by.keys().filter(|id| !asked_ids.contains(id)).count() as u64,
        asked: peers.into_iter().map(|(_, asked)| asked).collect(),
        elapsed_us: micros(elapsed),
        why,
        recall,
    })
}

impl Gathered {
    fn note(&mut self, event: &TraceEvent<'_>, began: Timestamp, target: &Key, truth: &[NodeIndex]) {
        let since = |at_us: u64| micros(event.at.since(began)).saturating_sub(at_us);
        match event.fact {
            Fact::Core(Event::RequestSent { peer, .. }) => {
                self.leaving = Some(peer.clone());
            }
            Fact::Core(Event::RequestFailed { peer, failure, .. }) => {
                // One that failed before it was sent is told by the core alone.
                if let Some(peer) = self.leaving.take_if(|leaving| leaving == peer) {
                    let end = AskedEnd::Failed { after_us: 0, failure: failure.label().into() };
                    self.push(peer, None, since(0), target, truth, end);
                }
            }
            Fact::Sent { request, to, .. } => {
                if let Some(peer) = self.leaving.take() {
                    let index = self.push(peer, to, since(0), target, truth, AskedEnd::Waiting);
                    self.by_request.insert(request, index);
                }
            }
            Fact::Answered { request, response, .. } => {
                let Some(index) = self.by_request.remove(&request) else { return };
                let mut new = 0;
                for info in response.closer() {
                    if !self.is_known(&info.peer) {
                        self.named_by.insert(info.peer.id, index);
                        new += 1;
                    }
                }
                let asked = &mut self.peers[index].1;
                asked.end = AskedEnd::Answered {
                    after_us: since(asked.asked_us),
                    named: response.closer().len(),
                    new,
                };
            }
            Fact::Failed { request, failure } => self.failed(request, failure, since),
            Fact::Cancelled(request) => {
                if let Some(index) = self.by_request.remove(&request) {
                    self.peers[index].1.end = AskedEnd::CalledOff;
                }
            }
            _ => {}
        }
    }

    fn failed(&mut self, request: RequestId, failure: RequestFailure, since: impl Fn(u64) -> u64) {
        let Some(index) = self.by_request.remove(&request) else { return };
        let asked = &mut self.peers[index].1;
        asked.end = AskedEnd::Failed { after_us: since(asked.asked_us), failure: failure.label().into() };
    }

    fn is_known(&self, peer: &Peer) -> bool {
        self.named_by.contains_key(&peer.id) || self.peers.iter().any(|(known, _)| known == peer)
    }

    fn push(
        &mut self,
        peer: Peer,
        node: Option<NodeIndex>,
        asked_us: u64,
        target: &Key,
        truth: &[NodeIndex],
        end: AskedEnd,
    ) -> usize {
        let rank = node.and_then(|node| truth.iter().position(|near| *near == node));
        let asked = Asked {
            node: node.map(NodeIndex::as_u32),
            key: peer.key.to_string().chars().take(8).collect(),
            prefix_len: peer.key.common_prefix_len(target),
            rank: rank.map(|rank| rank as u32 + 1), // at most 20
            named_by: self.named_by.get(&peer.id).copied(),
            asked_us,
            end,
        };
        self.peers.push((peer, asked));
        self.peers.len() - 1
    }
}

impl Replay {
    /// Who was asked because of `parent`, or was in the table.
    fn children(&self, parent: Option<usize>) -> Vec<usize> {
        (0..self.asked.len()).filter(|index| self.asked[*index].named_by == parent).collect()
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, parent: Option<usize>, indent: &str) -> fmt::Result {
        let children = self.children(parent);
        for (place, index) in children.iter().enumerate() {
            let is_last = place + 1 == children.len();
            writeln!(f, "{indent}{}{}", if is_last { "└─ " } else { "├─ " }, self.asked[*index])?;
            self.write(f, Some(*index), &format!("{indent}{}", if is_last { "   " } else { "│  " }))?;
        }
        Ok(())
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(node) => write!(f, "n{node}")?,
            None => write!(f, "nobody")?,
        }
        write!(f, " {} shares {} bits", self.key, self.prefix_len)?;
        if let Some(rank) = self.rank {
            write!(f, ", true no. {rank}")?;
        }
        write!(f, ", asked at {}", Millis(self.asked_us))?;
        match &self.end {
            AskedEnd::Answered { after_us, named, new } => {
                write!(f, ", answered after {}: {named} named, {new} new", Millis(*after_us))
            }
            AskedEnd::Failed { after_us, failure } => write!(f, ", {failure} after {}", Millis(*after_us)),
            AskedEnd::CalledOff => write!(f, ", called off"),
            AskedEnd::Waiting => write!(f, ", still waited for at the end"),
        }
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReplayConfig { nodes, seed, node, baseline } = &self.config;
        let client = baseline.map_or("kadmos", Baseline::label);
        let target: String = self.target.chars().take(8).collect();
        writeln!(
            f,
            "n{node} ({client}) looks for the closest to {target} among {nodes} servers, seed {seed}"
        )?;
        self.write(f, None, "")?;
        let answered = self.asked.iter().filter(|one| matches!(one.end, AskedEnd::Answered { .. })).count();
        writeln!(
            f,
            "ended after {}: {}; {} asked, {answered} answered, {} named and not asked; {} of the true {} found",
            Millis(self.elapsed_us),
            self.why,
            self.asked.len(),
            self.unasked,
            self.recall.part,
            self.recall.whole
        )
    }
}

struct Millis(u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} ms", self.0 / 1_000, self.0 % 1_000 / 100)
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64 // minutes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_is_a_tree_whose_branches_follow_from_their_parents() {
        for baseline in [None, Some(Baseline::Go), Some(Baseline::RustLibp2p), Some(Baseline::Original)] {
            let config = ReplayConfig { nodes: 400, seed: 5, node: 17, baseline };
            let replay = replay(&config).expect("valid numbers");
            assert_eq!(replay, super::replay(&config).expect("valid numbers"), "the same each time");
            assert!(replay.asked.len() >= 10, "{baseline:?}");
            for (index, asked) in replay.asked.iter().enumerate() {
                let Some(parent) = asked.named_by else { continue };
                assert!(parent < index, "{baseline:?}");
                let AskedEnd::Answered { after_us, new, .. } = replay.asked[parent].end else {
                    panic!("{baseline:?}: only who answers names anybody");
                };
                assert!(
                    new > 0 && asked.asked_us >= replay.asked[parent].asked_us + after_us,
                    "{baseline:?}"
                );
            }
            let text = replay.to_string();
            // The heading, a line for each, and the end.
            assert_eq!(text.lines().count(), replay.asked.len() + 2, "{text}");
            let json = serde_json::to_string(&replay).expect("plain data");
            assert_eq!(serde_json::from_str::<Replay>(&json).expect("what was written"), replay);
        }
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let config = ReplayConfig { nodes: 10, node: 10, ..ReplayConfig::default() };
        assert_eq!(replay(&config), Err(StudyError::Node { got: 10, nodes: 10 }));
    }
}
