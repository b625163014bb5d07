//! How modelled nodes put and get values.
//!
//! For go it models `routing.go` of go-libp2p-kad-dht (`PutValue`, `SearchValue`, `processValues`, `updatePeerValues`): a put
//! reads and writes the own store, walks, and sends to the 20 closest at once; a get counts the own store's value, ends
//! after one answer more than its quorum, and corrects holders only if the walk came to its end.
//!
//! For rust-libp2p it models `behaviour.rs` of libp2p-kad (`put_record` with `Quorum::All`, `get_record`), and the program
//! that every user writes around it: libp2p-kad hands out each record as it comes, unchecked, so validating, choosing and
//! ending the query after as many as wanted are the program's. Nobody is corrected.

use std::cmp::Ordering;
use std::time::Duration;

use bytes::Bytes;
use kadmos_core::error::PutValueError;
use kadmos_core::message::{Record, Request};
use kadmos_core::operation::{FoundValue, Outcome};
use kadmos_core::record::{ProviderRecord, StoreReply, StoreRequest, ValueFrom, ValueWrite};
use kadmos_core::{InputError, OperationId, Output, Peer, PeerInfo, StoreId, Update};

use super::client::{Client, Role, Serial};
use super::job::{Goal, Publishing};

/// How long values and provider records are kept. Source: go's `amino/defaults.go`, `DefaultMaxRecordAge` and
/// `ProvideValidity`; libp2p-kad's `record_ttl` and `provider_record_ttl` are the same.
const RECORD_AGE: Duration = Duration::from_secs(48 * 3_600);
/// How long a provider's addresses are kept. Source: go's `amino/defaults.go`, `DefaultProviderAddrTTL`.
const ADDRS_AGE: Duration = Duration::from_secs(24 * 3_600);

/// How far a get is.
#[derive(Clone, Debug)]
pub(super) struct Getting {
    /// Valid answers that end it; 0 walks to the end.
    stop_after: usize,
    best: Option<ValueFrom>,
    /// Valid answers, the own store's included. go asks peers a second time whose answers came while its walk ended, and
    /// counts them again.
    answers: usize,
    /// Peers and the valid values they had.
    held: Vec<(Peer, Bytes)>,
    /// Peers that answered, with a value or without.
    pub(super) answered: usize,
    /// The closest, if the walk came to its end.
    pub(super) closest: Vec<PeerInfo>,
    corrected: usize,
}

impl Getting {
    pub(super) fn is_enough(&self) -> bool {
        self.stop_after > 0 && self.answers >= self.stop_after
    }

    pub(super) fn found(&self) -> Option<FoundValue> {
        Some(FoundValue { best: self.best.clone()?, answers: self.answers, corrected: self.corrected })
    }

    /// Those of the closest that do not hold the best value.
    fn to_correct(&self) -> Vec<PeerInfo> {
        let Some(best) = &self.best else { return Vec::new() };
        let holds_best = |info: &&PeerInfo| {
            self.held.iter().any(|(peer, value)| *peer == info.peer && *value == best.value)
        };
        self.closest.iter().filter(|info| !holds_best(info)).cloned().collect()
    }
}

impl Client {
    /// Begins a get: with the own store.
    pub(super) fn getting(&self, quorum: Option<usize>) -> Goal {
        let stop_after = match quorum.unwrap_or(0) {
            0 => 0,
            // Source: `processValues`, which stops when it has more than the quorum.
            quorum if self.baseline.is_go() => quorum + 1,
            quorum => quorum,
        };
        Goal::Value(Getting {
            stop_after,
            best: None,
            answers: 0,
            held: Vec::new(),
            answered: 0,
            closest: Vec::new(),
            corrected: 0,
        })
    }

    /// Begins an operation on a value: reads the own store, and goes on with what it says.
    pub(super) fn read_own(&mut self, serial: Serial, key: Bytes) {
        let id = self.store(StoreRequest::Value { key }, Some(serial));
        debug_assert!(self.stores.contains_key(&id), "it is waited for");
    }

    /// Puts our own provider record into our own store, as both do before they tell others.
    pub(super) fn store_own_claim(&mut self, key: Bytes) {
        let now = self.now.unix;
        let provider = self.table.view().local().clone();
        let (expires, addrs_expire) = (now + RECORD_AGE, now + ADDRS_AGE);
        let record = ProviderRecord { key, provider, received: now, expires, addrs_expire };
        self.store(StoreRequest::AddProvider(record), None);
    }

    /// What the store says. What was only written is not waited for.
    pub(super) fn stored(&mut self, id: StoreId, reply: StoreReply) -> Result<(), InputError> {
        let serial = self.stores.remove(&id).ok_or(InputError::UnknownStore(id))?;
        let Some(serial) = serial else { return Ok(()) };
        let Some(job) = self.jobs.get_mut(&serial) else { return Ok(()) }; // it was cancelled
        let own = match reply {
            StoreReply::Value(own) => own,
            _ => None,
        };
        let key = job.key.clone();
        if let Goal::Provide(Publishing { record: Some(record), .. }) = &job.goal {
            let (record, user) = (record.clone(), job.user);
            let is_outdated = own.as_ref().is_some_and(|own| {
                own.record.value != record.value
                    && self.validators.compare(&key, &own.record.value, &record.value) == Ordering::Greater
            });
            if is_outdated {
                self.refuse_put(serial, user, PutValueError::Outdated);
                return Ok(());
            }
            let received = self.now.unix;
            let expected = own.map(|own| own.version);
            let write = ValueWrite { record, received, expires: received + RECORD_AGE, expected };
            self.store(StoreRequest::PutValue(write), None);
        } else if let Some(own) = own {
            self.note_value(serial, None, &own.record);
        }
        self.begin_walk(serial);
        self.advance(serial);
        Ok(())
    }

    /// Ends a put that never began.
    pub(super) fn refuse_put(&mut self, serial: Serial, user: Option<OperationId>, error: PutValueError) {
        let Some(job) = self.jobs.remove(&serial) else { return };
        if let Some(id) = user {
            let outcome = Outcome::PutValue(Err(error));
            self.emit_ended(&job, id, outcome.fault());
            let cost = self.cost(&job);
            self.tell(id, Update::Ended { outcome, cost });
        }
    }

    /// Takes a value that somebody had; `None` is our own store.
    pub(super) fn note_value(&mut self, serial: Serial, from: Option<&Peer>, record: &Record) {
        let Some(job) = self.jobs.get_mut(&serial) else { return };
        let (user, key) = (job.user, job.key.clone());
        let Goal::Value(getting) = &mut job.goal else { return };
        if getting.is_enough() {
            return; // what comes later is not looked at
        }
        let is_valid =
            record.key == key && self.validators.validate(&key, &record.value, self.now.unix).is_ok();
        if !is_valid {
            return;
        }
        getting.answers += 1;
        if let Some(peer) = from {
            getting.held.push((peer.clone(), record.value.clone()));
        }
        let is_better = getting.best.as_ref().is_none_or(|best| {
            self.validators.compare(&key, &record.value, &best.value) == Ordering::Greater
        });
        if is_better {
            let found = ValueFrom { value: record.value.clone(), peer: from.cloned() };
            getting.best = Some(found.clone());
            if let Some(id) = user {
                self.tell(id, Update::Value(found));
            }
        }
    }

    /// Sends the best value to those of the closest that do not have it. Source: `updatePeerValues`, which waits for nobody.
    pub(super) fn correct(&mut self, serial: Serial) {
        let Some(job) = self.jobs.get_mut(&serial).filter(|_| self.baseline.is_go()) else { return };
        let Goal::Value(getting) = &mut job.goal else { return };
        let Some(best) = &getting.best else { return };
        let record = Record { key: job.key.clone(), value: best.value.clone() };
        let holders = getting.to_correct();
        getting.corrected = holders.len();
        for info in holders {
            self.ask(Role::Correct, info, Request::PutValue { record: record.clone() });
        }
    }

    /// Asks the store; `serial` waits for its answer.
    fn store(&mut self, request: StoreRequest, serial: Option<Serial>) -> StoreId {
        let id = StoreId(self.next_store);
        self.next_store += 1;
        self.stores.insert(id, serial);
        self.push(Output::Store { id, request });
        id
    }
}
