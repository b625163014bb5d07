//! Answering others: the one server, a pure function.
//!
//! The libp2p connection handler and the simulator both call [`Responder::respond`] and do what the [`Reply`] says.

mod budget;
mod closer;
mod providers;
mod respond;
mod values;

use alloc::vec::Vec;
use core::ops::ControlFlow;

pub use budget::PeerBudget;
pub use respond::Responder;

use crate::event::Refusal;
use crate::message::{Request, Response};
use crate::peer::PeerInfo;
use crate::record::{ProviderRecord, Read, Reader, StoredValue, ValueWrite};
use crate::time::UnixTime;

/// What the driver does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// [`crate::limits::STORE_READ_TIMEOUT`], then call [`Responder::resume`] with the result as a [`Fetched`]. When
    /// the store fails or is late, an empty [`Fetched`] still answers GET_VALUE and GET_PROVIDERS with closer peers;
    /// reset the stream of a PUT_VALUE, whose answer would claim what is not known.
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

#[cfg(test)]
mod tests;
