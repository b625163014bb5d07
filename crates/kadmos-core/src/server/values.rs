//! GET_VALUE and PUT_VALUE.

use alloc::vec::Vec;

use bytes::Bytes;

use super::{Reply, Responder};
use crate::event::Refusal;
use crate::message::{Record, Request, Response};
use crate::peer::PeerId;
use crate::record::{Read, Reader, StoredValue, ValueWrite};
use crate::routing::TableSnapshot;
use crate::time::Now;
use crate::wire::response_len;

impl Responder {
    /// The stored record, if it has not expired, and closer peers. It is not validated again: the asker must.
    pub(super) fn get_value(
        &self,
        now: Now,
        key: Bytes,
        table: &TableSnapshot,
        reader: &dyn Reader,
        peer: &PeerId,
    ) -> Reply {
        let stored = match reader.value(&key, now.unix) {
            Read::Hit(stored) => Some(stored).filter(|stored| is_current(stored, now)),
            Read::Absent => None,
            Read::NotResident => return Reply::Fetch(Request::GetValue { key }),
        };
        let mut closer = self.closer(&key, table, peer);
        let (record, received) =
            stored.map_or((None, None), |stored| (Some(stored.record), Some(stored.received)));
        let mut response = Response::GetValue { record, received, closer: Vec::new() };
        let mut used = response_len(&response, &key);
        if used > self.config.protocol.message_bytes_max {
            // Only where messages are smaller than values may be: then others must be asked.
            response = Response::GetValue { record: None, received: None, closer: Vec::new() };
            used = response_len(&response, &key);
        }
        Self::truncate(&mut closer, used, self.config.protocol.message_bytes_max);
        if let Response::GetValue { closer: named, .. } = &mut response {
            *named = closer;
        }
        Reply::Respond(response)
    }

    /// Stores a value that is valid and better than the one held, or equal to it, which renews its age.
    ///
    /// A held value that is no longer valid gives way to any that is.
    pub(super) fn put_value(&self, now: Now, record: Record, reader: &dyn Reader) -> Reply {
        if self.validators.validate(&record.key, &record.value, now.unix).is_err() {
            return Reply::Reset(Refusal::InvalidRecord);
        }
        let held = match reader.value(&record.key, now.unix) {
            Read::Hit(stored) => Some(stored).filter(|stored| is_current(stored, now)),
            Read::Absent => None,
            Read::NotResident => return Reply::Fetch(Request::PutValue { record }),
        };
        if held.as_ref().is_some_and(|held| self.outranks(&held.record, &record, now)) {
            return Reply::Reset(Refusal::OutdatedRecord);
        }
        Reply::StoreValue {
            write: ValueWrite {
                record: record.clone(),
                received: now.unix,
                expires: now.unix + self.config.records.value_age_max,
                expected: held.map(|held| held.version),
            },
            response: Response::PutValue { record: Some(record.clone()) },
            request: Request::PutValue { record },
        }
    }

    /// Whether `held` stays in place of the valid record `new`.
    fn outranks(&self, held: &Record, new: &Record, now: Now) -> bool {
        held.value != new.value
            && !self.validators.replaces(&new.key, &new.value, &held.value)
            && self.validators.validate(&held.key, &held.value, now.unix).is_ok()
    }
}

/// Readers leave expired values out; a clock that stepped since must not bring one back.
fn is_current(stored: &StoredValue, now: Now) -> bool {
    now.unix < stored.expires
}
