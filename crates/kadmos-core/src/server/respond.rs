//! One request in, one reply out.

use alloc::sync::Arc;

use super::{PeerBudget, Reply};
use crate::config::{Config, Mode};
use crate::event::Refusal;
use crate::limits::VALUE_BYTES_MAX;
use crate::message::{Request, Response};
use crate::peer::PeerId;
use crate::record::{Reader, Validators};
use crate::routing::TableSnapshot;
use crate::time::Now;

/// Answers requests, from a view of the table and what a [`Reader`] knows at once.
///
/// Holds no state, so one serves all connections at the same time. Source of its rules: go-libp2p-kad-dht
/// `handlers.go`; ipfs/specs kad-dht. Where it differs from go is in `docs/wire.md`.
#[derive(Clone, Debug)]
pub struct Responder {
    pub(super) config: Arc<Config>,
    pub(super) validators: Arc<Validators>,
}

impl Responder {
    /// A responder with the sizes and ages of `config`.
    pub fn new(config: Arc<Config>, validators: Arc<Validators>) -> Self {
        Self { config, validators }
    }

    /// Answers one request of `budget`'s peer.
    ///
    /// Shape: a response names at most k closer peers and, in FIND_NODE, the target; never the requester among them;
    /// at most [`crate::limits::PROVIDERS_PER_REPLY_MAX`] providers; at most `protocol.message_bytes_max` bytes
    /// encoded. Cost: two passes over the peers of a bucket or two; no waiting.
    pub fn respond(
        &self,
        now: Now,
        request: Request,
        table: &TableSnapshot,
        reader: &dyn Reader,
        budget: &mut PeerBudget,
    ) -> Reply {
        if !budget.charge(now.monotonic) {
            return Reply::Reset(Refusal::RateLimited);
        }
        self.resume(now, request, table, reader, budget.peer())
    }

    /// As [`Responder::respond`], without charging the budget: for the second half of a request that waited.
    pub fn resume(
        &self,
        now: Now,
        request: Request,
        table: &TableSnapshot,
        reader: &dyn Reader,
        peer: &PeerId,
    ) -> Reply {
        if table.mode() == Mode::Client {
            return Reply::Reset(Refusal::NotServing);
        }
        if let Some(refusal) = out_of_bounds(&request) {
            return Reply::Reset(refusal);
        }
        match request {
            Request::FindNode { key } => Reply::Respond(self.find_node(&key, table, peer)),
            Request::GetValue { key } => self.get_value(now, key, table, reader, peer),
            Request::PutValue { record } => self.put_value(now, record, reader),
            Request::GetProviders { key } => self.get_providers(now, key, table, reader, peer),
            Request::AddProvider { key, providers } => self.add_provider(now, key, &providers, peer),
            Request::Ping => Reply::Respond(Response::Ping),
        }
    }
}

/// What the codec refuses as well: requests that never were bytes come this way, too.
fn out_of_bounds(request: &Request) -> Option<Refusal> {
    let kind = request.kind();
    let has_key = !matches!(request, Request::Ping);
    if has_key && !(1..=kind.key_bytes_max()).contains(&request.key().len()) {
        return Some(Refusal::KeyLength);
    }
    match request {
        Request::PutValue { record } if record.value.len() > VALUE_BYTES_MAX => Some(Refusal::ValueLength),
        _ => None,
    }
}
