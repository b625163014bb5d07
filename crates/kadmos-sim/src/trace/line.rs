//! Events as lines that people compare.

use std::fmt;

use kadmos_core::Event;
use kadmos_core::message::{Request, Response};
use kadmos_core::operation::{Operation, Outcome, Update};
use kadmos_core::peer::PeerInfo;

use super::{Fact, TraceEvent};

/// `12.345678901 s #678 n5: asked by n17, request 9: find_node 0011aabb`. Peers print as the first 8 digits of their
/// keys, long keys and values as their first 8 digits.
impl fmt::Display for TraceEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.at.as_nanos();
        let (secs, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        write!(f, "{secs}.{fraction:09} s #{} {}: ", self.sequence, self.node)?;
        match self.fact {
            Fact::NodeStarted => f.write_str("started"),
            Fact::NodeStopped => f.write_str("stopped"),
            Fact::ModeSet(mode) => write!(f, "mode set to {mode:?}"),
            Fact::Timeout => f.write_str("timeout"),
            Fact::OperationStarted { id, operation } => {
                write!(f, "operation {} begins: {}", id.0, operation.kind().label())?;
                match operation {
                    Operation::Bootstrap => Ok(()),
                    Operation::FindPeer { id } => write!(f, " {}", Hex(&id.as_bytes()[2..])),
                    Operation::ClosestPeers { key }
                    | Operation::FindProviders { key, .. }
                    | Operation::GetValue { key, .. }
                    | Operation::Provide { key }
                    | Operation::Survey { key, .. }
                    | Operation::PutValue { key, .. } => write!(f, " {}", Hex(key)),
                    Operation::Deliver { delivery, .. } => write!(f, " {}", Hex(delivery.key())),
                }
            }
            Fact::Connected(peer) => write!(f, "connected to {peer}"),
            Fact::Disconnected(peer) => write!(f, "disconnected from {peer}"),
            Fact::Identified { peer, serves } => {
                write!(f, "{peer} identified, {}", if serves { "serves" } else { "does not serve" })
            }
            Fact::Asked { by, request, message } => {
                write!(f, "asked by {by}, request {}: {}", request.0, Asked(message))
            }
            Fact::Refused { by, code } => write!(f, "refused a request by {by}: {}", code.code()),
            Fact::Answered { by, request, response } => {
                write!(f, "answered by {by}, request {}: {}", request.0, Answer(response))
            }
            Fact::Sent { request, to, kind, .. } => {
                write!(f, "request {} sent: {} to ", request.0, kind.label())?;
                match to {
                    Some(to) => write!(f, "{to}"),
                    None => f.write_str("nobody"),
                }
            }
            Fact::Cancelled(request) => write!(f, "request {} cancelled", request.0),
            Fact::NodeRestarted { kept_records: true } => write!(f, "restarted with its records"),
            Fact::NodeRestarted { kept_records: false } => write!(f, "restarted without records"),
            Fact::ClockSet { ahead_secs } => write!(f, "clock set {ahead_secs} s ahead"),
            Fact::Flushed(request) => write!(f, "request {} flushed", request.0),
            Fact::Failed { request, failure } => {
                write!(f, "request {} failed: {}", request.0, failure.label())
            }
            Fact::Stored { id, reply } => write!(f, "store operation {} ended: {reply:?}", id.0),
            Fact::RecordTaken { key } => write!(f, "took a record for {}", Hex(key)),
            Fact::Core(event) => core_event(f, event),
            Fact::Update { id, update } => {
                write!(f, "operation {} ", id.0)?;
                match update {
                    Update::Provider(info) => {
                        write!(f, "found provider {}", Peers(std::slice::from_ref(info)))
                    }
                    Update::Answered { response, .. } => write!(f, "answered: {}", Answer(response)),
                    Update::Value(found) => write!(f, "found value {}", Hex(&found.value)),
                    Update::Ended { outcome, cost } => {
                        write!(f, "ended: {} requests, {} failed, ", cost.requests, cost.failures)?;
                        write!(f, "{} hops, {:?}: ", cost.hops, cost.elapsed)?;
                        match outcome {
                            Outcome::ClosestPeers(Ok(found)) => write!(f, "found {}", Peers(&found.peers)),
                            other => write!(f, "{other:?}"),
                        }
                    }
                }
            }
        }
    }
}

fn core_event(f: &mut fmt::Formatter<'_>, event: &Event) -> fmt::Result {
    match event {
        Event::PeerAdmitted { peer, prefix_len } => {
            write!(f, "admitted {} at prefix length {prefix_len}", Hex(peer.key.as_bytes()))
        }
        Event::PeerEvicted { peer, reason } => {
            write!(f, "evicted {}: {}", Hex(peer.key.as_bytes()), reason.label())
        }
        Event::PeerRejected { peer, reason } => {
            write!(f, "did not admit {}: {}", Hex(peer.key.as_bytes()), reason.label())
        }
        Event::RequestSent { kind, peer } => {
            write!(f, "sends {} to {}", kind.label(), Hex(peer.key.as_bytes()))
        }
        other => write!(f, "{other:?}"),
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

struct Peers<'a>(&'a [PeerInfo]);

impl fmt::Display for Peers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, info) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(f, "{separator}{:08x}", info.peer.key.prefix() >> 32)?;
        }
        f.write_str("]")
    }
}

struct Asked<'a>(&'a Request);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.kind().label())?;
        match self.0 {
            Request::PutValue { record } => write!(f, " {} = {}", Hex(&record.key), Hex(&record.value)),
            Request::GetValue { key }
            | Request::AddProvider { key, .. }
            | Request::GetProviders { key }
            | Request::FindNode { key } => write!(f, " {}", Hex(key)),
            Request::Ping => Ok(()),
        }
    }
}

struct Answer<'a>(&'a Response);

impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.kind().label())?;
        match self.0 {
            Response::PutValue { record } | Response::GetValue { record, .. } => match record {
                Some(record) => write!(f, " {} = {}", Hex(&record.key), Hex(&record.value))?,
                None => f.write_str(" no record")?,
            },
            Response::GetProviders { providers, .. } => write!(f, " providers {}", Peers(providers))?,
            Response::FindNode { .. } | Response::Ping | Response::AddProvider => {}
        }
        write!(f, " closer {}", Peers(self.0.closer()))
    }
}
