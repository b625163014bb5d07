//! Events as bytes for the hash. Fixed width, lengths before lists, so that no two events encode alike.

use bytes::Bytes;
use kadmos_core::Event;
use kadmos_core::config::Mode;
use kadmos_core::message::{Record, Request, Response};
use kadmos_core::operation::{ClosestPeers, Cost, Outcome, Update};
use kadmos_core::peer::{Peer, PeerInfo};
use kadmos_core::record::{StoreReply, ValueFrom};

use super::{Fact, TraceEvent};
use crate::world::NodeIndex;

/// Appends `event`.
pub(super) fn event(out: &mut Vec<u8>, event: &TraceEvent<'_>) {
    number(out, event.at.as_nanos());
    number(out, event.sequence);
    index(out, event.node);
    match event.fact {
        Fact::NodeStarted => out.push(0),
        Fact::NodeStopped => out.push(1),
        Fact::ModeSet(mode) => out.extend([2, u8::from(mode == Mode::Server)]),
        Fact::Timeout => out.push(3),
        Fact::OperationStarted { id, operation } => {
            out.push(4);
            number(out, id.0);
            debug(out, operation);
        }
        Fact::Connected(peer) => {
            out.push(5);
            index(out, peer);
        }
        Fact::Disconnected(peer) => {
            out.push(6);
            index(out, peer);
        }
        Fact::Identified { peer, serves } => {
            out.extend([7, u8::from(serves)]);
            index(out, peer);
        }
        Fact::Asked { by, request, message } => {
            out.push(8);
            index(out, by);
            number(out, request.0);
            request_bytes(out, message);
        }
        Fact::Refused { by, code } => {
            out.push(9);
            index(out, by);
            bytes(out, code.code().as_bytes());
        }
        Fact::Answered { by, request, response } => {
            out.push(10);
            index(out, by);
            number(out, request.0);
            response_bytes(out, response);
        }
        Fact::Flushed(request) => {
            out.push(11);
            number(out, request.0);
        }
        Fact::Failed { request, failure } => {
            out.push(12);
            number(out, request.0);
            bytes(out, failure.label().as_bytes());
        }
        Fact::Stored { id, reply } => {
            out.push(13);
            number(out, id.0);
            reply_bytes(out, reply);
        }
        Fact::RecordTaken { key } => {
            out.push(14);
            bytes(out, key);
        }
        Fact::Sent { request, to, kind, expires } => {
            out.extend([17, kind as u8]);
            number(out, request.0);
            index(out, to.unwrap_or(NodeIndex::new(u32::MAX)));
            number(out, expires.as_nanos());
        }
        Fact::Cancelled(request) => {
            out.push(18);
            number(out, request.0);
        }
        Fact::NodeRestarted { kept_records } => out.extend([19, u8::from(kept_records)]),
        Fact::ClockSet { ahead_secs } => {
            out.push(20);
            out.extend(ahead_secs.to_be_bytes());
        }
        Fact::Core(event) => {
            out.push(15);
            core_event(out, event);
        }
        Fact::Update { id, update } => {
            out.push(16);
            number(out, id.0);
            update_bytes(out, update);
        }
    }
}

/// The frequent events by hand; the others, and those the core may grow, by their `Debug` text.
fn core_event(out: &mut Vec<u8>, event: &Event) {
    match event {
        Event::PeerAdmitted { peer: who, prefix_len } => {
            out.push(0);
            peer(out, who);
            out.extend(prefix_len.to_be_bytes());
        }
        Event::PeerRejected { peer: who, reason } => {
            out.push(1);
            peer(out, who);
            bytes(out, reason.label().as_bytes());
        }
        Event::RequestSent { kind, peer: who } => {
            out.extend([2, *kind as u8]);
            peer(out, who);
        }
        Event::RequestAnswered { kind, peer: who, elapsed } => {
            out.extend([3, *kind as u8]);
            peer(out, who);
            number(out, elapsed.as_nanos() as u64); // a request ends within minutes
        }
        other => {
            out.push(u8::MAX);
            debug(out, other);
        }
    }
}

fn request_bytes(out: &mut Vec<u8>, request: &Request) {
    out.push(request.kind() as u8);
    match request {
        Request::PutValue { record } => record_bytes(out, Some(record)),
        Request::AddProvider { key, providers } => {
            bytes(out, key);
            peers(out, providers);
        }
        Request::GetValue { key } | Request::GetProviders { key } | Request::FindNode { key } => {
            bytes(out, key)
        }
        Request::Ping => {}
    }
}

fn response_bytes(out: &mut Vec<u8>, response: &Response) {
    out.push(response.kind() as u8);
    match response {
        Response::PutValue { record } => record_bytes(out, record.as_ref()),
        Response::GetValue { record, .. } => record_bytes(out, record.as_ref()),
        Response::GetProviders { providers, .. } => peers(out, providers),
        _ => {}
    }
    peers(out, response.closer());
}

fn reply_bytes(out: &mut Vec<u8>, reply: &StoreReply) {
    match reply {
        StoreReply::Value(stored) => {
            out.push(0);
            record_bytes(out, stored.as_ref().map(|stored| &stored.record));
        }
        StoreReply::Providers(providers) => {
            out.push(1);
            peers(out, providers);
        }
        StoreReply::Written => out.push(2),
        StoreReply::Conflict => out.push(3),
        StoreReply::Failed { reason } => {
            out.push(4);
            bytes(out, reason.as_bytes());
        }
    }
}

fn update_bytes(out: &mut Vec<u8>, update: &Update) {
    match update {
        Update::Provider(info) => {
            out.push(0);
            peers(out, std::slice::from_ref(info));
        }
        Update::Value(ValueFrom { value, peer: from }) => {
            out.push(1);
            bytes(out, value);
            if let Some(from) = from {
                peer(out, from);
            }
        }
        Update::Answered { peer: from, response } => {
            out.push(3);
            peer(out, from);
            debug(out, response);
        }
        Update::Ended { outcome, cost } => {
            out.push(2);
            match outcome {
                Outcome::ClosestPeers(Ok(ClosestPeers { peers: found, complete })) => {
                    out.extend([1, u8::from(*complete)]);
                    peers(out, found);
                }
                other => {
                    out.push(0);
                    debug(out, other);
                }
            }
            let Cost { requests, failures, hops, elapsed } = cost;
            for count in [requests, failures, hops] {
                number(out, *count as u64);
            }
            number(out, elapsed.as_nanos() as u64); // an operation ends within minutes
        }
    }
}

fn record_bytes(out: &mut Vec<u8>, record: Option<&Record>) {
    out.push(u8::from(record.is_some()));
    if let Some(Record { key, value }) = record {
        bytes(out, key);
        bytes(out, value);
    }
}

/// Peers by the first 64 bits of their keys, and how long their address lists are: two peers of one world that share
/// 64 bits would take 2^32 nodes, and an address belongs to one node.
fn peers(out: &mut Vec<u8>, peers: &[PeerInfo]) {
    out.extend((peers.len() as u32).to_be_bytes()); // bounded by the limits on messages
    for info in peers {
        peer(out, &info.peer);
        out.extend((info.addrs.encoded().len() as u16).to_be_bytes()); // at most 8 KiB
    }
}

fn peer(out: &mut Vec<u8>, peer: &Peer) {
    number(out, peer.key.prefix());
}

fn index(out: &mut Vec<u8>, node: NodeIndex) {
    out.extend(node.as_u32().to_be_bytes());
}

fn number(out: &mut Vec<u8>, number: u64) {
    out.extend(number.to_be_bytes());
}

fn bytes(out: &mut Vec<u8>, bytes: impl AsRef<[u8]>) {
    number(out, bytes.as_ref().len() as u64);
    out.extend_from_slice(bytes.as_ref());
}

/// `Debug` text is the same in every build of one version of the compiler; the hash promises no more.
fn debug(out: &mut Vec<u8>, value: &impl std::fmt::Debug) {
    bytes(out, Bytes::from(format!("{value:?}")));
}
