//! The queries under way: what the core tells of their operations becomes libp2p-kad's results.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use kadmos_core::error::{
    ClosestPeersError, OperationError, ProvideError, PublishReport, PutValueError as CorePutError,
};
use kadmos_core::message::Response;
use kadmos_core::operation::Cost;
use kadmos_core::{OperationId, Outcome, Peer};
use libp2p_identity::PeerId;

use super::config::Caching;
use super::event::{
    AddProviderError, AddProviderOk, BootstrapError, BootstrapOk, Event, GetClosestPeersError,
    GetClosestPeersOk, GetProvidersError, GetProvidersOk, GetRecordError, GetRecordOk, PeerInfo, PeerRecord,
    ProgressStep, PutRecordError, PutRecordOk, QueryResult,
};
use super::kbucket::{Distance, Key as KBucketKey, KeyBytes};
use super::query::{AddProviderContext, PutRecordContext, QueryId, QueryInfo, QueryStats};
use super::record::{Key, Record};
use crate::convert::{multiaddrs, peer_id};

/// A query.
#[derive(Debug)]
pub(crate) struct Query {
    pub(super) id: QueryId,
    pub(super) info: QueryInfo,
    /// Of operations that have ended, and answers of the one under way.
    pub(super) stats: QueryStats,
    /// The operation under way.
    pub(super) operation: OperationId,
    target: KeyBytes,
    /// Who has answered, by distance. At most as many as the core asks.
    answered: BTreeMap<Distance, PeerId>,
    /// The user has ended it.
    pub(super) finished: bool,
}

/// How a query's operation ended.
pub(super) enum End {
    /// The core has ended it.
    Core { outcome: Outcome, cost: Cost },
    /// The user has; with what it has cost so far.
    User { cost: Option<Cost> },
}

/// What follows.
pub(super) enum Next {
    /// Nothing: it is over.
    Over,
    /// A bootstrap goes on.
    Bootstrap,
}

/// All queries.
#[derive(Debug, Default)]
pub(super) struct Queries {
    running: BTreeMap<QueryId, Query>,
    by_operation: BTreeMap<OperationId, QueryId>,
    next_id: usize,
    /// Those of jobs.
    jobs: usize,
}

impl Queries {
    /// Registers a query whose operation has begun.
    pub(super) fn add(&mut self, info: QueryInfo, target: KeyBytes, operation: OperationId) -> QueryId {
        let id = QueryId(self.next_id);
        self.next_id += 1;
        self.jobs += usize::from(is_job(&info));
        self.by_operation.insert(operation, id);
        let stats = QueryStats { start: Some(Instant::now()), ..QueryStats::empty() };
        let answered = BTreeMap::new();
        self.running.insert(id, Query { id, info, stats, operation, target, answered, finished: false });
        id
    }

    /// A query that the user has not ended.
    pub(super) fn get(&self, id: QueryId) -> Option<&Query> {
        self.running.get(&id).filter(|query| !query.finished)
    }

    /// See [`Queries::get`].
    pub(super) fn get_mut(&mut self, id: QueryId) -> Option<&mut Query> {
        self.running.get_mut(&id).filter(|query| !query.finished)
    }

    /// All that the user has not ended.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Query> {
        self.running.values().filter(|query| !query.finished)
    }

    /// See [`Queries::iter`].
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Query> {
        self.running.values_mut().filter(|query| !query.finished)
    }

    /// Queries of jobs under way.
    pub(super) fn jobs(&self) -> usize {
        self.jobs
    }

    /// Those that the user has ended, to be ended by [`Queries::end`].
    pub(super) fn finished(&self) -> Vec<(QueryId, OperationId)> {
        let finished = self.running.values().filter(|query| query.finished);
        finished.map(|query| (query.id, query.operation)).collect()
    }

    /// Whose an operation is.
    pub(super) fn of(&self, operation: OperationId) -> Option<QueryId> {
        self.by_operation.get(&operation).copied()
    }

    /// A bootstrap goes on with another operation.
    pub(super) fn go_on(&mut self, id: QueryId, target: KeyBytes, operation: OperationId) {
        if let Some(query) = self.running.get_mut(&id) {
            self.by_operation.insert(operation, id);
            query.operation = operation;
            query.target = target;
            query.answered.clear();
        }
    }

    /// A query has given something: the event that tells so; with what the operation under way has cost.
    pub(super) fn progress(
        &mut self,
        id: QueryId,
        result: QueryResult,
        last: bool,
        cost: Option<Cost>,
    ) -> Option<Event> {
        let query = self.running.get_mut(&id)?;
        let step = query.info.step_mut().map_or(ProgressStep::FIRST, |next| {
            let step = *next;
            *next = step.next();
            step
        });
        let stats = query.stats_with(cost);
        Some(Event::OutboundQueryProgressed { id, result, stats, step: ProgressStep { last, ..step } })
    }

    /// A query ends with this result.
    pub(super) fn conclude(&mut self, id: QueryId, result: QueryResult) -> Option<Event> {
        self.running.get_mut(&id)?.stats.end = Some(Instant::now());
        let event = self.progress(id, result, true, None);
        self.forget(id);
        event
    }

    fn forget(&mut self, id: QueryId) {
        if let Some(query) = self.running.remove(&id) {
            self.jobs -= usize::from(is_job(&query.info));
        }
    }

    /// A peer has answered: the event that tells what, if that is something.
    pub(super) fn answered(
        &mut self,
        id: QueryId,
        peer: &Peer,
        response: Response,
        caching: &Caching,
        cost: Option<Cost>,
    ) -> Option<Event> {
        let query = self.running.get_mut(&id)?;
        query.stats.successes += 1;
        let peer = peer_id(&peer.id);
        let distance = KBucketKey::from(peer).distance(&query.target);
        query.answered.insert(distance, peer);
        let result = match (&mut query.info, response) {
            (
                QueryInfo::GetProviders { key, providers_found, .. },
                Response::GetProviders { providers, .. },
            ) if !providers.is_empty() => {
                let providers: HashSet<_> = providers.iter().map(|info| peer_id(&info.peer.id)).collect();
                *providers_found += providers.len();
                let key = key.clone();
                QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { key, providers }))
            }
            (
                QueryInfo::GetRecord { key, found_a_record, cache_candidates, .. },
                Response::GetValue { record, .. },
            ) => match record.filter(|record| record.key == *key.as_ref()) {
                Some(record) => {
                    *found_a_record = true;
                    let record = Record::new(key.clone(), record.value.to_vec());
                    QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(PeerRecord {
                        peer: Some(peer),
                        record,
                    })))
                }
                None => {
                    if let Caching::Enabled { max_peers } = caching {
                        cache_candidates.insert(distance, peer);
                        if cache_candidates.len() > usize::from(*max_peers) {
                            cache_candidates.pop_last();
                        }
                    }
                    return None;
                }
            },
            _ => return None,
        };
        self.progress(id, result, false, cost)
    }

    /// An operation has ended: the event that tells what came of it, if it was the user's, and what follows.
    pub(super) fn end(&mut self, id: QueryId, end: End, query_timeout: Duration) -> (Option<Event>, Next) {
        let Some(query) = self.running.get_mut(&id) else { return (None, Next::Over) };
        self.by_operation.remove(&query.operation);
        let late = query.take_cost(&end, query_timeout);
        let (result, next) = query.result(end, late);
        let event = match (result, &next) {
            (Some(result), _) => self.conclude(id, result),
            (None, Next::Bootstrap) => None,
            (None, Next::Over) => {
                self.forget(id);
                None
            }
        };
        (event, next)
    }
}

impl Query {
    /// What it has cost with an operation that is under way.
    pub(super) fn stats_with(&self, cost: Option<Cost>) -> QueryStats {
        let mut stats = self.stats;
        if let Some(cost) = cost {
            stats.requests += count(cost.requests);
            stats.failures += count(cost.failures);
        }
        stats
    }

    /// Adds what the operation has cost; tells whether its time was up.
    fn take_cost(&mut self, end: &End, query_timeout: Duration) -> bool {
        let (outcome, cost) = match end {
            End::Core { outcome, cost } => (outcome, cost),
            End::User { cost } => {
                self.stats = self.stats_with(*cost);
                return false;
            }
        };
        self.stats = self.stats_with(Some(*cost));
        self.stats.successes += count(sent(outcome));
        cost.elapsed >= query_timeout
    }

    /// The closest of those that answered, if nobody knows more about them.
    fn closest_ids(&self, count: usize) -> Vec<PeerId> {
        self.answered.values().take(count).copied().collect()
    }

    fn result(&mut self, end: End, late: bool) -> (Option<QueryResult>, Next) {
        let (closest, late) = match &end {
            End::Core { outcome: Outcome::ClosestPeers(Ok(closest)), .. } => {
                let peer = |info: &kadmos_core::PeerInfo| PeerInfo {
                    peer_id: peer_id(&info.peer.id),
                    addrs: multiaddrs(&info.addrs),
                };
                (closest.peers.iter().map(peer).collect(), late && !closest.complete)
            }
            End::Core {
                outcome: Outcome::ClosestPeers(Err(ClosestPeersError::Operation(error))), ..
            } => {
                // Nobody to ask, or nobody who answers, is a result: nobody is closest.
                (Vec::new(), matches!(error, OperationError::TimedOut))
            }
            _ => {
                let ids = self.closest_ids(usize::MAX).into_iter();
                (ids.map(|peer_id| PeerInfo { peer_id, addrs: Vec::new() }).collect::<Vec<_>>(), late)
            }
        };
        let ids = || closest.iter().map(|info| info.peer_id).collect::<Vec<_>>();
        let result = match &mut self.info {
            QueryInfo::Bootstrap { peer, remaining, .. } => {
                let num_remaining = remaining.as_ref().map(|remaining| count(remaining.len()));
                if late {
                    let error = BootstrapError::Timeout { peer: *peer, num_remaining };
                    QueryResult::Bootstrap(Err(error))
                } else if matches!(end, End::User { .. }) {
                    let num_remaining = num_remaining.unwrap_or_default();
                    QueryResult::Bootstrap(Ok(BootstrapOk { peer: *peer, num_remaining }))
                } else {
                    return (None, Next::Bootstrap);
                }
            }
            QueryInfo::GetClosestPeers { key, num_results, .. } => {
                let (key, mut peers) = (key.clone(), closest);
                peers.truncate(num_results.get());
                QueryResult::GetClosestPeers(match late {
                    true => Err(GetClosestPeersError::Timeout { key, peers }),
                    false => Ok(GetClosestPeersOk { key, peers }),
                })
            }
            QueryInfo::GetProviders { key, .. } => QueryResult::GetProviders(match late {
                true => Err(GetProvidersError::Timeout { key: key.clone(), closest_peers: ids() }),
                false => Ok(GetProvidersOk::FinishedWithNoAdditionalRecord { closest_peers: ids() }),
            }),
            QueryInfo::GetRecord { key, found_a_record, cache_candidates, .. } => {
                let key = key.clone();
                QueryResult::GetRecord(match (late, *found_a_record) {
                    (true, _) => Err(GetRecordError::Timeout { key }),
                    (false, true) => Ok(GetRecordOk::FinishedWithNoAdditionalRecord {
                        cache_candidates: std::mem::take(cache_candidates),
                    }),
                    (false, false) => Err(GetRecordError::NotFound { key, closest_peers: ids() }),
                })
            }
            QueryInfo::AddProvider { key, context, .. } => {
                let key = key.clone();
                let result = match provided(&end) {
                    true => Ok(AddProviderOk { key }),
                    false => Err(AddProviderError::Timeout { key }),
                };
                match context {
                    AddProviderContext::Publish => QueryResult::StartProviding(result),
                    AddProviderContext::Republish => QueryResult::RepublishProvider(result),
                }
            }
            QueryInfo::PutRecord { record, quorum, context, .. } => {
                let result = stored(&end, late, record.key.clone(), *quorum);
                match context {
                    PutRecordContext::Publish | PutRecordContext::Custom => QueryResult::PutRecord(result),
                    PutRecordContext::Republish => QueryResult::RepublishRecord(result),
                    PutRecordContext::Replicate => {
                        tracing::debug!(?result, "record replicated");
                        return (None, Next::Over);
                    }
                }
            }
        };
        (Some(result), Next::Over)
    }
}

fn is_job(info: &QueryInfo) -> bool {
    matches!(
        info,
        QueryInfo::AddProvider { context: AddProviderContext::Republish, .. }
            | QueryInfo::PutRecord { context: PutRecordContext::Republish | PutRecordContext::Replicate, .. }
    )
}

/// Records that were sent at the end of an operation; its other requests tell by their answers.
fn sent(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Provide(Ok(report)) | Outcome::PutValue(Ok(report)) => report.sent,
        // Sent, and not echoed: these are no failures of the network.
        Outcome::PutValue(Err(CorePutError::NotStored { attempted, failed })) => attempted - failed.len(),
        _ => 0,
    }
}

/// Whether a provider record was announced, as far as there is anybody to announce it to.
fn provided(end: &End) -> bool {
    match end {
        End::Core { outcome: Outcome::Provide(result), .. } => matches!(
            result,
            Ok(_)
                | Err(ProvideError::Operation(OperationError::NoPeers))
                | Err(ProvideError::NotSent { attempted: 0, .. })
        ),
        End::Core { .. } => false,
        End::User { .. } => true,
    }
}

fn stored(end: &End, late: bool, key: Key, quorum: NonZeroUsize) -> Result<PutRecordOk, PutRecordError> {
    let (report, late) = match end {
        End::Core { outcome: Outcome::PutValue(result), .. } => {
            let timed_out = matches!(result, Err(CorePutError::Operation(OperationError::TimedOut)));
            (result.as_ref().ok(), late || timed_out)
        }
        _ => (None, late),
    };
    let holders = |report: &PublishReport| report.holders.iter().map(|peer| peer_id(&peer.id)).collect();
    let success: Vec<PeerId> = report.map(holders).unwrap_or_default();
    if success.len() >= quorum.get() {
        Ok(PutRecordOk { key })
    } else if late {
        Err(PutRecordError::Timeout { key, success, quorum })
    } else {
        Err(PutRecordError::QuorumFailed { key, success, quorum })
    }
}

/// libp2p-kad counts with 32 bits; no query has that many of anything.
fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
