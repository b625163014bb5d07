//! kadmos-core in a program without std and without a C library: own entry point, allocator and panic handler.
//!
//! A dependency that linked std would define a second panic handler, and a missing symbol would fail the static link:
//! that this builds is the proof, and that it runs shows that the core's code was not dropped from it. It looks up
//! the peers closest to a key. The asking node knows one server, which knows another; requests and answers pass
//! through frames.
#![no_std]
#![no_main]

extern crate alloc;

mod runtime;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use bytes::Bytes;
use kadmos_core::error::RequestFailure;
use kadmos_core::message::{Request, Response};
use kadmos_core::record::{Read, StoredValue};
use kadmos_core::routing::Table;
use kadmos_core::server::{PeerBudget, Reply, Responder};
use kadmos_core::wire::frame::{self, FrameReader};
use kadmos_core::wire::{decode_request, decode_response};
use kadmos_core::{
    AddrList, Config, Input, Mode, Node, Now, Operation, OperationId, OperationOptions, Outcome, Output,
    Peer, PeerId, PeerInfo, Reader, Timestamp, UnixTime, Update, Validators,
};

/// Inputs after which the lookup counts as stuck; it needs about ten.
const STEPS_MAX: usize = 200;

/// The lookup. Errors: what went wrong, in a sentence for stderr.
pub(crate) fn check() -> Result<(), &'static str> {
    let validators = Arc::new(Validators::new());
    let config = Config::private("/check/kad/1.0.0");
    let responder = Responder::new(Arc::new(config.clone()), validators.clone());
    let (asking, near, far) = (info(0), info(1), info(2));
    let servers = [(near.clone(), table(&near, &far, &config)), (far.clone(), table(&far, &near, &config))];
    let mut budget = PeerBudget::new(asking.peer.id, Timestamp::ZERO);

    let mut node = Node::new(asking.peer, config, validators).map_err(|_| "the configuration was refused")?;
    let mut start = Some(Input::Start {
        id: OperationId(1),
        operation: Operation::ClosestPeers { key: Bytes::from_static(b"some key") },
        options: OperationOptions::default(),
    });
    let mut millis = 0;
    input(&mut node, millis, Input::AddPeer(near))?;
    for _ in 0..STEPS_MAX {
        let mut inputs = Vec::new();
        while let Some(output) = node.poll_output() {
            match output {
                Output::Send { request, to, message, .. } => {
                    let server = servers.iter().find(|(info, _)| info.peer == to.peer);
                    inputs.push(match server {
                        Some((_, table)) => {
                            let response = ask(&message, &responder, table, &mut budget, at(millis))?;
                            Input::Answered { request, response }
                        }
                        None => Input::Failed { request, failure: RequestFailure::Unreachable },
                    });
                }
                Output::Update { update: Update::Ended { outcome, .. }, .. } => return judge(&outcome),
                _ => {}
            }
        }
        // Once the first server is in the table, the lookup has where to begin.
        if inputs.is_empty() {
            inputs.extend(start.take());
        }
        millis += 1;
        if inputs.is_empty() {
            let wake = node.next_timeout().ok_or("the node waits for nothing")?;
            millis = millis.max(wake.as_nanos() / 1_000_000 + 1);
            inputs.push(Input::Timeout);
        }
        for fact in inputs {
            input(&mut node, millis, fact)?;
        }
    }
    Err("the lookup did not end")
}

/// One round trip through encoded frames and the core's server.
fn ask(
    message: &Request,
    responder: &Responder,
    table: &Table,
    budget: &mut PeerBudget,
    now: Now,
) -> Result<Response, &'static str> {
    let mut sent = Vec::new();
    frame::write_request(message, &mut sent);
    let received = decode_request(&unframe(&sent)?).map_err(|_| "a request did not decode")?.message;
    if received != *message {
        return Err("a request changed on its way");
    }
    let Reply::Respond(response) = responder.respond(now, received, table.view(), &NoRecords, budget) else {
        return Err("a request was not answered");
    };
    sent.clear();
    frame::write_response(&response, message.key(), &mut sent);
    let received =
        decode_response(&unframe(&sent)?, message.kind()).map_err(|_| "a response did not decode")?.message;
    if received == response { Ok(received) } else { Err("a response changed on its way") }
}

fn unframe(mut stream: &[u8]) -> Result<Bytes, &'static str> {
    let frame = FrameReader::new(1 << 16).read(&mut stream).map_err(|_| "a frame was refused")?;
    frame.ok_or("a frame was not complete")
}

fn judge(outcome: &Outcome) -> Result<(), &'static str> {
    let Outcome::ClosestPeers(Ok(closest)) = outcome else {
        return Err("the lookup failed");
    };
    let ids: Vec<_> = closest.peers.iter().map(|info| info.peer.id).collect();
    let both = [info(1).peer.id, info(2).peer.id];
    if ids.len() == 2 && both.iter().all(|id| ids.contains(id)) {
        Ok(())
    } else {
        Err("the lookup did not find both servers")
    }
}

fn input(node: &mut Node, millis: u64, input: Input) -> Result<(), &'static str> {
    node.handle_input(at(millis), input).map_err(|_| "the node refused an input")
}

fn at(millis: u64) -> Now {
    Now { monotonic: Timestamp::from_millis(millis), unix: UnixTime::from_secs(1_795_515_912) }
}

/// Peer `number` at 127.0.0.1, TCP port `4000 + number`.
fn info(number: u8) -> PeerInfo {
    let id = PeerId::from_digest([number; 32]);
    let addr = [4, 127, 0, 0, 1, 6, 0x0f, 0xa0 + number];
    PeerInfo::new(Peer::new(id), AddrList::collect(&id, [addr.as_slice()]))
}

fn table(local: &PeerInfo, known: &PeerInfo, config: &Config) -> Table {
    let mut table = Table::new(local.peer.clone(), Mode::Server, config.table.clone());
    table.set_local_addrs(local.addrs.clone());
    table.insert(known.clone(), Timestamp::ZERO);
    table
}

/// A store without records.
struct NoRecords;

impl Reader for NoRecords {
    fn value(&self, _key: &[u8], _now: UnixTime) -> Read<StoredValue> {
        Read::Absent
    }

    fn providers(&self, _: &[u8], _: UnixTime, _: &mut dyn FnMut(&PeerInfo) -> ControlFlow<()>) -> Read<()> {
        Read::Absent
    }
}
