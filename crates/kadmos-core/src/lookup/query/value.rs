//! What a value lookup has found: the best value, and who holds a worse one.

use alloc::vec::Vec;
use core::cmp::Ordering;

use bytes::Bytes;

use crate::event::Refusal;
use crate::machine::{Context, Effect};
use crate::message::Record;
use crate::operation::{FoundValue, Update};
use crate::peer::{Peer, PeerInfo};
use crate::record::{StoreRequest, StoredValue, ValueFrom, ValueWrite};

/// Source: ipfs/specs kad-dht, "Value retrieval" and "Entry correction". Unlike go's, the quorum is exact, and holders
/// of worse values are corrected also when the quorum ends the walk early.
#[derive(Clone, Debug)]
pub(super) struct ValueSearch {
    quorum: usize,
    best: Option<ValueFrom>,
    /// Valid answers, the own store's included.
    answers: usize,
    /// Peers and their valid values. At most one entry per peer asked.
    held: Vec<(Peer, Bytes)>,
    /// The own copy, if it is valid.
    local: Option<StoredValue>,
}

impl ValueSearch {
    /// `quorum` 0 means none.
    pub(super) fn new(quorum: usize) -> Self {
        Self { quorum, best: None, answers: 0, held: Vec::new(), local: None }
    }

    /// Takes the own store's value; returns whether the quorum is reached.
    pub(super) fn add_local(&mut self, cx: &mut Context<'_>, key: &Bytes, stored: &StoredValue) -> bool {
        let value = stored.record.value.clone();
        // A stored value may have expired by its own rules since it was stored.
        if cx.validators.validate(key, &value, cx.now.unix).is_err() {
            return false;
        }
        self.local = Some(stored.clone());
        self.count(cx, key, ValueFrom { value, peer: None })
    }

    /// Takes a peer's answer; returns whether the quorum is reached.
    pub(super) fn add(
        &mut self,
        cx: &mut Context<'_>,
        key: &Bytes,
        peer: &Peer,
        record: Option<&Record>,
    ) -> bool {
        let Some(record) = record else { return false };
        if record.key != *key || cx.validators.validate(key, &record.value, cx.now.unix).is_err() {
            cx.emit(Effect::Refused { peer: peer.clone(), code: Refusal::InvalidRecord });
            return false;
        }
        self.held.push((peer.clone(), record.value.clone()));
        self.count(cx, key, ValueFrom { value: record.value.clone(), peer: Some(peer.clone()) })
    }

    /// The best value; `None` when there is none.
    pub(super) fn found(&self, corrected: usize) -> Option<FoundValue> {
        Some(FoundValue { best: self.best.clone()?, answers: self.answers, corrected })
    }

    /// Sends the best value to all who answered with a worse one, and to those of `closest` who had none. Returns
    /// how many that are.
    pub(super) fn correct(&self, cx: &mut Context<'_>, key: &Bytes, closest: &[PeerInfo]) -> usize {
        let Some(best) = &self.best else { return 0 };
        let held_by =
            |peer: &Peer| self.held.iter().find(|(holder, _)| holder == peer).map(|(_, value)| value);
        let mut holders: Vec<_> =
            closest.iter().filter(|info| held_by(&info.peer) != Some(&best.value)).cloned().collect();
        for (peer, value) in &self.held {
            if *value != best.value && !holders.iter().any(|info| info.peer == *peer) {
                // It has just answered, so the connection is there and needs no address.
                let known = cx.table.view().get(&peer.id).cloned();
                holders.push(known.unwrap_or_else(|| PeerInfo::new(peer.clone(), Default::default())));
            }
        }
        let record = Record { key: key.clone(), value: best.value.clone() };
        if let Some(local) = self.local.as_ref().filter(|local| local.record.value != best.value) {
            cx.emit(Effect::Store(StoreRequest::PutValue(ValueWrite {
                record: record.clone(),
                received: cx.now.unix,
                expires: cx.now.unix + cx.config.records.value_age_max,
                expected: Some(local.version),
            })));
        }
        let count = holders.len();
        if count > 0 {
            cx.emit(Effect::Correct { record, holders });
        }
        count
    }

    fn count(&mut self, cx: &mut Context<'_>, key: &Bytes, from: ValueFrom) -> bool {
        self.answers += 1;
        let better = match &self.best {
            None => true,
            Some(best) => cx.validators.compare(key, &from.value, &best.value) == Ordering::Greater,
        };
        if better {
            cx.emit(Effect::Update(Update::Value(from.clone())));
            self.best = Some(from);
        }
        self.quorum > 0 && self.answers >= self.quorum
    }
}
