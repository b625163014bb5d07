//! Requests of ours: to whom, on whose account, and what their end says about the peer.

use alloc::vec::Vec;
use core::time::Duration;

use super::{InputError, Node, Output, RequestId, Running, Serial};
use crate::error::{Fault, RequestFailure};
use crate::event::{Event, Eviction, Rejection};
use crate::limits::ADDRS_PER_CLAIM_MAX;
use crate::machine::{Machine, Tag};
use crate::message::{MessageKind, Request, Response};
use crate::operation::OperationId;
use crate::peer::{Peer, PeerInfo};
use crate::time::Timestamp;

#[derive(Clone, Debug)]
pub(super) struct InFlight {
    owner: Owner,
    to: PeerInfo,
    /// The first bits of the peer's key, so that most others are told from it without reading a descriptor.
    prefix: u64,
    kind: MessageKind,
    sent: Timestamp,
}

/// On whose account a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Purpose {
    /// Of a user's operation.
    Operation(OperationId),
    /// Of a correction: a better value for a holder of a worse one.
    Correction,
    /// Of the table's: to see whether a peer answers.
    Probe,
    /// Of the table's: a refresh, or joining again.
    Upkeep,
}

#[derive(Clone, Copy, Debug)]
enum Owner {
    Operation {
        serial: Serial,
        tag: Tag,
    },
    Probe,
    /// A neighbour, who is asked for our own id.
    Neighbour,
}

impl Node {
    pub(super) fn send_for(
        &mut self,
        serial: Serial,
        tag: Tag,
        to: PeerInfo,
        message: Request,
        timeout: Duration,
    ) -> RequestId {
        self.send(Owner::Operation { serial, tag }, to, message, timeout)
    }

    pub(super) fn send_probe(&mut self, to: PeerInfo, message: Request) {
        let timeout = self.config.lookup.request_timeout;
        self.send(Owner::Probe, to, message, timeout);
    }

    pub(super) fn send_to_neighbour(&mut self, to: PeerInfo, message: Request) {
        let timeout = self.config.lookup.request_timeout;
        self.send(Owner::Neighbour, to, message, timeout);
    }

    /// On whose account a request is; `None` once it is no longer in flight. Simulators and meters charge by it.
    pub fn purpose(&self, request: RequestId) -> Option<Purpose> {
        Some(match self.requests.get(&request)?.owner {
            Owner::Probe | Owner::Neighbour => Purpose::Probe,
            Owner::Operation { serial, .. } => match self.running.get(&serial)?.as_ref() {
                Running { user: Some(id), .. } => Purpose::Operation(*id),
                Running { machine: Machine::Correction(_), .. } => Purpose::Correction,
                Running { .. } => Purpose::Upkeep,
            },
        })
    }

    /// Puts what a peer says of itself in the place of what others said of it, for requests under way to it: when it
    /// answers, it is admitted with these addresses.
    pub(super) fn update_asked(&mut self, info: &PeerInfo) {
        if !info.addrs.is_empty() {
            let prefix = info.peer.key.prefix();
            let to_it =
                |in_flight: &&mut InFlight| in_flight.prefix == prefix && in_flight.to.peer == info.peer;
            for in_flight in self.requests.values_mut().filter(to_it) {
                in_flight.to.addrs = info.addrs.clone();
            }
        }
    }

    /// Whether a request to `peer` is under way whose answer will admit it anyway.
    pub(super) fn is_asking(&self, peer: &Peer) -> bool {
        let prefix = peer.key.prefix();
        self.requests.values().any(|in_flight| in_flight.prefix == prefix && in_flight.to.peer == *peer)
    }

    fn send(&mut self, owner: Owner, to: PeerInfo, message: Request, timeout: Duration) -> RequestId {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        let kind = message.kind();
        self.emit(Event::RequestSent { kind, peer: to.peer.clone() });
        let prefix = to.peer.key.prefix();
        let in_flight = InFlight { owner, to: to.clone(), prefix, kind, sent: self.now.monotonic };
        self.requests.insert(request, in_flight);
        self.outputs.push_back(Output::Send { request, to, message, timeout });
        request
    }

    pub(super) fn request_answered(
        &mut self,
        request: RequestId,
        mut response: Response,
    ) -> Result<(), InputError> {
        let in_flight = self.take(request)?;
        self.network_answers();
        self.checkup.history.request_ended(true, self.now.monotonic);
        self.emit_answered(&in_flight);
        let InFlight { owner, to, sent, .. } = in_flight;
        let peer = to.peer.clone();
        let names_itself = response.closer().iter().any(|info| info.peer == peer);
        self.sanitize(&mut response);
        self.judge_answer(to, sent, owner, &response, names_itself);
        match owner {
            Owner::Operation { serial, tag } => {
                self.drive(serial, |machine, cx| machine.answered(cx, &peer, tag, response));
            }
            Owner::Probe => self.probe_ended(&peer, true),
            Owner::Neighbour => {
                self.consider_named(response.closer());
                self.probe_ended(&peer, true);
            }
        }
        Ok(())
    }

    /// What an answer says about the peer that gave it: whether it may enter the table, or how it does there.
    fn judge_answer(
        &mut self,
        to: PeerInfo,
        sent: Timestamp,
        owner: Owner,
        response: &Response,
        names_itself: bool,
    ) {
        let now = self.now.monotonic;
        let (peer, rtt) = (to.peer.clone(), now.since(sent));
        let helps = says_something(response) && matches!(owner, Owner::Operation { .. });
        if self.table.contains(&peer) {
            if self.table.answered(&peer, now, Some(rtt)) {
                self.outputs.push_back(Output::TableChanged { urgent: false });
            }
            if helps {
                self.table.helped(&peer, now);
            }
            return;
        }
        // An echo or a pong says nothing about whom a peer knows.
        if !matches!(
            response,
            Response::FindNode { .. } | Response::GetProviders { .. } | Response::GetValue { .. }
        ) {
            return;
        }
        // Where few are known, those who know nobody else yet are welcome: a network begins with them.
        let is_small = self.table.view().len() < self.config.lookup.k.get();
        if says_something(response) || names_itself || is_small {
            let usable = self.usable(&to.addrs);
            self.admit(PeerInfo::new(to.peer, usable), rtt, helps);
            if matches!(owner, Owner::Probe) && self.table.contains(&peer) {
                self.newcomer_entered(&peer);
            }
        } else {
            self.emit(Event::PeerRejected { peer, reason: Rejection::NotUseful });
        }
    }

    pub(super) fn request_flushed(&mut self, request: RequestId) -> Result<(), InputError> {
        let in_flight = self.take(request)?;
        self.network_answers();
        self.emit_answered(&in_flight);
        if let Owner::Operation { serial, .. } = in_flight.owner {
            self.drive(serial, |machine, cx| machine.flushed(cx, &in_flight.to.peer));
        }
        Ok(())
    }

    pub(super) fn request_failed(
        &mut self,
        request: RequestId,
        failure: RequestFailure,
    ) -> Result<(), InputError> {
        let in_flight = self.take(request)?;
        let peer = in_flight.to.peer;
        self.emit(Event::RequestFailed { kind: in_flight.kind, peer: peer.clone(), failure });
        if matches!(failure.fault(), Fault::Network | Fault::Peer) && failure != RequestFailure::Unsupported {
            self.checkup.history.request_ended(false, self.now.monotonic);
        }
        match failure {
            RequestFailure::Unsupported => {
                self.network_answers();
                self.evict(&peer, Eviction::NotServer);
            }
            RequestFailure::Malformed => {
                self.network_answers();
                self.count_failure(&peer);
            }
            RequestFailure::Unreachable | RequestFailure::TimedOut | RequestFailure::Closed => {
                self.peer_is_silent(&peer, in_flight.sent);
            }
            RequestFailure::Overloaded => {} // says nothing about the peer
        }
        match in_flight.owner {
            Owner::Operation { serial, tag } => {
                if let Some(running) = self.running.get_mut(&serial) {
                    running.failures += 1;
                }
                self.drive(serial, |machine, cx| machine.failed(cx, &peer, tag, failure));
            }
            Owner::Probe | Owner::Neighbour => self.probe_ended(&peer, false),
        }
        Ok(())
    }

    fn take(&mut self, request: RequestId) -> Result<InFlight, InputError> {
        let in_flight = self.requests.remove(&request).ok_or(InputError::UnknownRequest(request))?;
        if let Owner::Operation { serial, .. } = in_flight.owner
            && let Some(running) = self.running.get_mut(&serial)
        {
            running.in_flight.retain(|known| *known != request);
        }
        Ok(in_flight)
    }

    fn emit_answered(&mut self, in_flight: &InFlight) {
        self.emit(Event::RequestAnswered {
            kind: in_flight.kind,
            peer: in_flight.to.peer.clone(),
            elapsed: self.now.monotonic.since(in_flight.sent),
        });
    }

    /// Drops what no peer should have sent: ourselves, addresses against the policy, peers that cannot be reached.
    ///
    /// Providers without addresses stay: they can still be found. Source: libp2p kad-dht r2.
    fn sanitize(&self, response: &mut Response) {
        match response {
            Response::FindNode { closer } | Response::GetValue { closer, .. } => self.sanitize_closer(closer),
            Response::GetProviders { providers, closer } => {
                self.sanitize_closer(closer);
                for info in providers {
                    info.addrs = self.usable(&info.addrs);
                }
            }
            Response::PutValue { .. } | Response::Ping | Response::AddProvider => {}
        }
    }

    fn sanitize_closer(&self, closer: &mut Vec<PeerInfo>) {
        let view = self.table.view();
        closer.retain_mut(|info| {
            if info.peer == view.local().peer {
                return false;
            }
            let known = view.get_peer(&info.peer);
            if known.is_some_and(|known| known.addrs.is_shared(&info.addrs)) {
                return !info.addrs.is_empty(); // passed when it entered the table
            }
            info.addrs = self.usable(&info.addrs).truncated(ADDRS_PER_CLAIM_MAX);
            if !self.is_wanted(info) {
                return false;
            }
            if let Some(known) = known {
                // What the peer itself told us comes before what others say of it.
                info.addrs = known.addrs.merged(&info.addrs);
            }
            !info.addrs.is_empty()
        });
    }
}

/// Whether an answer helps somebody who asks: it names peers, or has what was asked for.
fn says_something(response: &Response) -> bool {
    let has_record = match response {
        Response::GetProviders { providers, .. } => !providers.is_empty(),
        Response::GetValue { record, .. } => record.is_some(),
        _ => false,
    };
    has_record || !response.closer().is_empty()
}
