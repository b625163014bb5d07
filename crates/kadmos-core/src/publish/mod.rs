//! Records on their way to the k peers closest to their key.

mod spread;

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

pub(crate) use self::spread::Spread;
use crate::error::{OperationError, ProvideError, PublishReport, PutValueError, RequestFailure};
use crate::key::Key;
use crate::limits::VALUE_BYTES_MAX;
use crate::lookup::{Walk, walk_failure};
use crate::machine::{Context, Effect};
use crate::message::{Record, Request, Response};
use crate::operation::{Delivery, Holders, Outcome, Update};
use crate::peer::{Peer, PeerInfo};
use crate::record::{ProviderRecord, StoreReply, StoreRequest, ValueWrite};
use crate::time::Timestamp;

/// Finds the closest peers and sends them a record. Source: ipfs/specs kad-dht, "Content provider advertisement"
/// and "Value storage".
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    what: What,
    stage: Stage,
    /// Why the own store did not take the record.
    local_failure: Option<String>,
}

#[derive(Clone, Debug)]
enum What {
    Provider {
        key: Bytes,
    },
    Value {
        record: Record,
    },
    /// Somebody else's rules, and holders if they name them.
    Foreign {
        delivery: Delivery,
        holders: Holders,
    },
}

#[derive(Clone, Debug)]
enum Stage {
    New,
    /// The own store tells what it holds.
    Reading,
    /// The own store takes the record.
    Writing,
    /// Looking for holders; from `until` on those found so far must do.
    Walking {
        walk: Walk,
        until: Timestamp,
    },
    Spreading {
        spread: Spread,
        hops: usize,
    },
}

impl Publish {
    pub(crate) fn provider(key: Bytes) -> Self {
        Self { what: What::Provider { key }, stage: Stage::New, local_failure: None }
    }

    pub(crate) fn value(record: Record) -> Self {
        Self { what: What::Value { record }, stage: Stage::New, local_failure: None }
    }

    pub(crate) fn foreign(delivery: Delivery, holders: Holders) -> Self {
        Self { what: What::Foreign { delivery, holders }, stage: Stage::New, local_failure: None }
    }

    pub(crate) fn start(&mut self, cx: &mut Context<'_>) {
        match &mut self.what {
            What::Foreign { holders: Holders::Closest(_), .. } => self.start_walk(cx),
            What::Foreign { holders: Holders::Peers(holders), .. } => {
                let holders = core::mem::take(holders);
                self.start_spread(cx, holders, 0);
            }
            What::Provider { key } => {
                let local = cx.table.view().local().clone();
                if local.addrs.is_empty() {
                    return self.end_provide(cx, Err(ProvideError::NoAddresses));
                }
                let records = &cx.config.records;
                let record = ProviderRecord {
                    key: key.clone(),
                    provider: local,
                    received: cx.now.unix,
                    expires: cx.now.unix + records.provider_age_max,
                    addrs_expire: cx.now.unix + records.provider_addrs_age_max,
                };
                self.stage = Stage::Writing;
                cx.emit(Effect::Store(StoreRequest::AddProvider(record)));
            }
            What::Value { record } => {
                if record.value.len() > VALUE_BYTES_MAX {
                    let error = PutValueError::TooLarge { got: record.value.len(), max: VALUE_BYTES_MAX };
                    return self.end_put(cx, Err(error));
                }
                if let Err(invalid) = cx.validators.validate(&record.key, &record.value, cx.now.unix) {
                    return self.end_put(cx, Err(PutValueError::Invalid { invalid }));
                }
                self.stage = Stage::Reading;
                let key = record.key.clone();
                cx.emit(Effect::Store(StoreRequest::Value { key }));
            }
        }
    }

    pub(crate) fn stored(&mut self, cx: &mut Context<'_>, reply: StoreReply) {
        match (&self.stage, &self.what, reply) {
            (Stage::Reading, What::Value { record }, StoreReply::Value(stored)) => {
                if let Some(stored) = &stored
                    && stored.record.value != record.value
                    && !cx.validators.replaces(&record.key, &record.value, &stored.record.value)
                    && cx.validators.validate(&record.key, &stored.record.value, cx.now.unix).is_ok()
                {
                    return self.end_put(cx, Err(PutValueError::Outdated));
                }
                let write = ValueWrite {
                    record: record.clone(),
                    received: cx.now.unix,
                    expires: cx.now.unix + cx.config.records.value_age_max,
                    expected: stored.map(|stored| stored.version),
                };
                self.stage = Stage::Writing;
                cx.emit(Effect::Store(StoreRequest::PutValue(write)));
            }
            (Stage::Writing, _, StoreReply::Written) => self.start_walk(cx),
            (Stage::Writing, What::Value { record }, StoreReply::Conflict) => {
                // A peer stored one meanwhile: compare again. Each round means that somebody else made progress.
                let key = record.key.clone();
                self.stage = Stage::Reading;
                cx.emit(Effect::Store(StoreRequest::Value { key }));
            }
            // Whether others can hold the record does not depend on whether we can: a store that strangers have
            // filled must not keep us from publishing.
            (Stage::Reading | Stage::Writing, _, StoreReply::Failed { reason }) => {
                self.local_failure = Some(reason);
                self.start_walk(cx);
            }
            (Stage::Reading | Stage::Writing, _, _) => {
                self.local_failure = Some("the store answered another question".into());
                self.start_walk(cx);
            }
            _ => {}
        }
    }

    pub(crate) fn answered(&mut self, cx: &mut Context<'_>, peer: &Peer, response: &Response) {
        match &mut self.stage {
            Stage::Walking { walk, .. } => {
                if matches!(self.what, What::Foreign { .. }) {
                    let (peer, response) = (peer.clone(), response.clone());
                    cx.emit(Effect::Update(Update::Answered { peer, response }));
                }
                walk.answered(peer, response.closer(), cx.now.monotonic);
                self.advance(cx);
            }
            Stage::Spreading { spread, .. } => {
                spread.answered(cx, peer, response);
                self.finish_if_spread(cx);
            }
            Stage::New | Stage::Reading | Stage::Writing => {}
        }
    }

    pub(crate) fn flushed(&mut self, cx: &mut Context<'_>, peer: &Peer) {
        if let Stage::Spreading { spread, .. } = &mut self.stage {
            spread.flushed(cx, peer);
            self.finish_if_spread(cx);
        }
    }

    pub(crate) fn failed(&mut self, cx: &mut Context<'_>, peer: &Peer, failure: RequestFailure) {
        match &mut self.stage {
            Stage::Walking { walk, .. } => {
                walk.failed(peer, cx.now.monotonic);
                self.advance(cx);
            }
            Stage::Spreading { spread, .. } => {
                spread.failed(cx, peer, failure);
                self.finish_if_spread(cx);
            }
            Stage::New | Stage::Reading | Stage::Writing => {}
        }
    }

    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        match &mut self.stage {
            Stage::Walking { walk, until } => {
                walk.handle_timeout(cx.now.monotonic);
                if *until <= cx.now.monotonic && walk.answers() > 0 {
                    walk.stop();
                }
                self.advance(cx);
            }
            Stage::Spreading { spread, .. } => {
                spread.handle_timeout(cx);
                self.finish_if_spread(cx);
            }
            Stage::New | Stage::Reading | Stage::Writing => {}
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        match &self.stage {
            Stage::Walking { walk, until } if walk.answers() > 0 => {
                Some(walk.next_timeout().map_or(*until, |walk| walk.min(*until)))
            }
            Stage::Walking { walk, .. } => walk.next_timeout(),
            Stage::Spreading { spread, .. } => spread.next_timeout(),
            Stage::New | Stage::Reading | Stage::Writing => None,
        }
    }

    /// When time is up: what was sent was sent.
    pub(crate) fn expired(&mut self) -> Outcome {
        let report = match &mut self.stage {
            Stage::Spreading { spread, .. } => Some(spread.take_report(RequestFailure::TimedOut)),
            _ => None,
        };
        self.outcome(report.ok_or(OperationError::TimedOut))
    }

    pub(crate) fn hops(&self) -> usize {
        match &self.stage {
            Stage::Walking { walk, .. } => walk.hops(),
            Stage::Spreading { hops, .. } => *hops,
            Stage::New | Stage::Reading | Stage::Writing => 0,
        }
    }

    /// The record's key.
    pub(crate) fn key(&self) -> &Bytes {
        match &self.what {
            What::Provider { key } => key,
            What::Value { record } => &record.key,
            What::Foreign { delivery, .. } => delivery.key(),
        }
    }

    fn start_walk(&mut self, cx: &mut Context<'_>) {
        let walk = cx.walk(Key::of(self.key()));
        // The last tenth of the time is for sending, as go-libp2p-kad-dht keeps it.
        let until = cx.now.monotonic + cx.deadline() / 10 * 9;
        self.stage = Stage::Walking { walk, until };
        self.advance(cx);
    }

    fn advance(&mut self, cx: &mut Context<'_>) {
        let key = self.key().clone();
        let Stage::Walking { walk, .. } = &mut self.stage else { return };
        if !cx.has_ended(walk) {
            while let Some(to) = walk.next_peer() {
                cx.send(to, Request::FindNode { key: key.clone() }, 0);
            }
            return;
        }
        if let Some(error) = walk_failure(walk) {
            return self.fail(cx, error);
        }
        if walk.is_complete() {
            let prefix_len = cx.table.prefix_len(walk.target());
            cx.emit(Effect::Refreshed { prefix_len, answered: walk_failure(walk).is_none() });
        }
        let hops = walk.hops();
        let mut holders = walk.closest();
        if let What::Foreign { holders: Holders::Closest(count), .. } = &self.what {
            holders.truncate(count.get());
        }
        self.start_spread(cx, holders, hops);
    }

    fn start_spread(&mut self, cx: &mut Context<'_>, holders: Vec<PeerInfo>, hops: usize) {
        let mut spread = Spread::new(self.request(cx.table.view().local()), holders, cx.config.retry);
        spread.start(cx);
        self.stage = Stage::Spreading { spread, hops };
        self.finish_if_spread(cx);
    }

    fn request(&self, local: &PeerInfo) -> Request {
        match &self.what {
            What::Provider { key } => {
                Request::AddProvider { key: key.clone(), providers: alloc::vec![local.clone()] }
            }
            What::Value { record } | What::Foreign { delivery: Delivery::Value(record), .. } => {
                Request::PutValue { record: record.clone() }
            }
            What::Foreign { delivery: Delivery::Provider { key, provider }, .. } => {
                Request::AddProvider { key: key.clone(), providers: alloc::vec![provider.clone()] }
            }
        }
    }

    fn finish_if_spread(&mut self, cx: &mut Context<'_>) {
        if let Stage::Spreading { spread, .. } = &mut self.stage
            && spread.has_ended()
        {
            let report = spread.take_report(RequestFailure::Closed);
            let outcome = self.outcome(Ok(report));
            cx.emit(Effect::Ended(outcome));
        }
    }

    fn outcome(&mut self, result: Result<PublishReport, OperationError>) -> Outcome {
        let local_failure = self.local_failure.take();
        let result = result.map(|report| PublishReport { local_failure, ..report });
        match &self.what {
            What::Provider { .. } | What::Foreign { delivery: Delivery::Provider { .. }, .. } => {
                Outcome::Provide(match result {
                    Ok(report) if report.sent > 0 => Ok(report),
                    Ok(report) => {
                        Err(ProvideError::NotSent { attempted: report.attempted, failed: report.failed })
                    }
                    Err(error) => Err(error.into()),
                })
            }
            What::Value { .. } | What::Foreign { delivery: Delivery::Value(_), .. } => {
                Outcome::PutValue(match result {
                    Ok(report) if report.stored > 0 => Ok(report),
                    Ok(report) => {
                        Err(PutValueError::NotStored { attempted: report.attempted, failed: report.failed })
                    }
                    Err(error) => Err(error.into()),
                })
            }
        }
    }

    fn fail(&mut self, cx: &mut Context<'_>, error: OperationError) {
        let outcome = self.outcome(Err(error));
        cx.emit(Effect::Ended(outcome));
    }

    fn end_put(&self, cx: &mut Context<'_>, result: Result<PublishReport, PutValueError>) {
        cx.emit(Effect::Ended(Outcome::PutValue(result)));
    }

    fn end_provide(&self, cx: &mut Context<'_>, result: Result<PublishReport, ProvideError>) {
        cx.emit(Effect::Ended(Outcome::Provide(result)));
    }
}
