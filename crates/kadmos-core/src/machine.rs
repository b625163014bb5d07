//! What every running operation is made of: facts in, effects out, as for the node itself.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::bootstrap::{Bootstrap, PhaseReport, Preimages, Refresh, SourceKind};
use crate::config::Config;
use crate::error::{OperationError, RequestFailure};
use crate::event::Refusal;
use crate::key::Key;
use crate::lookup::{Query, Walk, WalkLimits};
use crate::message::{Record, Request, Response};
use crate::netsize::Sample;
use crate::operation::{OperationOptions, Outcome, Update};
use crate::peer::{Peer, PeerInfo};
use crate::publish::{Publish, Spread};
use crate::record::{StoreReply, StoreRequest, Validators};
use crate::routing::Table;
use crate::time::{Now, Timestamp};

/// Tells one walk of an operation from another; machines with a single one use 0.
pub(crate) type Tag = u32;

/// What a machine may look at, and where its effects go.
pub(crate) struct Context<'a> {
    pub(crate) now: Now,
    pub(crate) config: &'a Config,
    pub(crate) options: OperationOptions,
    pub(crate) validators: &'a Validators,
    pub(crate) table: &'a Table,
    pub(crate) bootstrap_peers: &'a [PeerInfo],
    /// Of each of these, from where it is known.
    pub(crate) source_kinds: &'a [SourceKind],
    /// Sources that are being looked up, and how many of each kind.
    pub(crate) pending_sources: &'a BTreeMap<SourceKind, u32>,
    pub(crate) rng: &'a mut ChaCha8Rng,
    pub(crate) preimages: Option<&'a Preimages>,
    /// When those who have come to us of late, and are near, will have told whom they know.
    pub(crate) neighbours_settle_at: Option<Timestamp>,
    pub(crate) effects: Vec<Effect>,
}

impl Context<'_> {
    pub(crate) fn emit(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn send(&mut self, to: PeerInfo, message: Request, tag: Tag) {
        self.emit(Effect::Send { to, message, tag, timeout: self.config.lookup.request_timeout });
    }

    pub(crate) fn walk_limits(&self) -> WalkLimits {
        let lookup = &self.config.lookup;
        WalkLimits {
            k: lookup.k.get(),
            alpha: self.options.alpha.unwrap_or(lookup.alpha).get(),
            beta: lookup.beta.get(),
            follow_up: lookup.follow_up_timeout,
        }
    }

    /// Begins a walk to `target` from the nearest peers of the table.
    pub(crate) fn walk(&self, target: Key) -> Walk {
        self.walk_from(target, &[])
    }

    /// As [`Context::walk`], and from `seeds`.
    pub(crate) fn walk_from(&self, target: Key, seeds: &[PeerInfo]) -> Walk {
        let nearest = self.table.view().closest(&target, self.config.lookup.k.get());
        Walk::new(target, self.walk_limits(), nearest.into_iter().chain(seeds), self.now.monotonic)
    }

    /// Whether a walk is over. One that fell short because peers failed is first given the table's next nearest:
    /// where many have died, answers are full of them, and the living beyond are known to nobody else.
    pub(crate) fn has_ended(&self, walk: &mut Walk) -> bool {
        let next_nearest =
            || self.table.view().closest(walk.target(), self.config.lookup.k.get() + walk.asked());
        if walk.fell_short() {
            let seeds = next_nearest();
            walk.refill(seeds, self.now.monotonic);
        }
        walk.has_ended()
    }

    /// Whether a table peer has answered since this node was started.
    pub(crate) fn is_verified(&self, peer: &Peer) -> bool {
        self.table.standing(peer).is_some_and(|standing| standing.is_verified())
    }

    /// Whether the table holds anybody who has answered since this node was started.
    pub(crate) fn has_verified(&self) -> bool {
        self.table.iter().any(|(_, _, standing)| standing.is_verified())
    }

    /// The time an operation has in all.
    pub(crate) fn deadline(&self) -> Duration {
        self.options.deadline.unwrap_or(self.config.lookup.deadline)
    }
}

/// An effect of a machine, which the node gives an id and turns into outputs.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Send {
        to: PeerInfo,
        message: Request,
        tag: Tag,
        timeout: Duration,
    },
    Store(StoreRequest),
    Update(Update),
    Refused {
        peer: Peer,
        code: Refusal,
    },
    /// A lookup towards our own bucket `prefix_len` ended.
    Refreshed {
        prefix_len: u16,
        /// Whether anybody answered.
        answered: bool,
    },
    /// A walk to a random key tells something of the network's size.
    Measured(Sample),
    /// A phase of joining ended.
    PhaseEnded(PhaseReport),
    /// Send `record` to these peers, on nobody's account.
    Correct {
        record: Record,
        holders: Vec<PeerInfo>,
    },
    /// The operation is over; its requests are cancelled.
    Ended(Outcome),
}

/// A running operation.
#[derive(Clone, Debug)]
pub(crate) enum Machine {
    Bootstrap(Bootstrap),
    /// Spreads a better value among holders of worse ones.
    Correction(Spread),
    Publish(Publish),
    Query(Query),
    /// Periodic upkeep of the table.
    Refresh(Refresh),
}

impl Machine {
    pub(crate) fn start(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Bootstrap(machine) => machine.start(cx),
            Self::Correction(machine) => machine.start(cx),
            Self::Publish(machine) => machine.start(cx),
            Self::Query(machine) => machine.start(cx),
            Self::Refresh(machine) => machine.start(cx),
        }
    }

    pub(crate) fn answered(&mut self, cx: &mut Context<'_>, peer: &Peer, tag: Tag, response: Response) {
        match self {
            Self::Bootstrap(machine) => machine.answered(cx, peer, tag, &response),
            Self::Correction(machine) => machine.answered(cx, peer, &response),
            Self::Publish(machine) => machine.answered(cx, peer, &response),
            Self::Query(machine) => machine.answered(cx, peer, response),
            Self::Refresh(machine) => machine.answered(cx, peer, tag, &response),
        }
    }

    /// A request without an answer was flushed.
    pub(crate) fn flushed(&mut self, cx: &mut Context<'_>, peer: &Peer) {
        match self {
            Self::Correction(machine) => machine.flushed(cx, peer),
            Self::Publish(machine) => machine.flushed(cx, peer),
            Self::Bootstrap(_) | Self::Query(_) | Self::Refresh(_) => {}
        }
    }

    pub(crate) fn failed(&mut self, cx: &mut Context<'_>, peer: &Peer, tag: Tag, failure: RequestFailure) {
        match self {
            Self::Bootstrap(machine) => machine.failed(cx, peer, tag),
            Self::Correction(machine) => machine.failed(cx, peer, failure),
            Self::Publish(machine) => machine.failed(cx, peer, failure),
            Self::Query(machine) => machine.failed(cx, peer, failure),
            Self::Refresh(machine) => machine.failed(cx, peer, tag),
        }
    }

    pub(crate) fn stored(&mut self, cx: &mut Context<'_>, reply: StoreReply) {
        match self {
            Self::Publish(machine) => machine.stored(cx, reply),
            Self::Query(machine) => machine.stored(cx, reply),
            Self::Bootstrap(_) | Self::Correction(_) | Self::Refresh(_) => {}
        }
    }

    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Bootstrap(machine) => machine.handle_timeout(cx),
            Self::Correction(machine) => machine.handle_timeout(cx),
            Self::Publish(machine) => machine.handle_timeout(cx),
            Self::Query(machine) => machine.handle_timeout(cx),
            Self::Refresh(machine) => machine.handle_timeout(cx),
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        match self {
            Self::Bootstrap(machine) => machine.next_timeout(),
            Self::Correction(machine) => machine.next_timeout(),
            Self::Publish(machine) => machine.next_timeout(),
            Self::Query(machine) => machine.next_timeout(),
            Self::Refresh(machine) => machine.next_timeout(),
        }
    }

    /// The outcome when the operation's deadline has passed: what there is, or a time-out.
    pub(crate) fn expired(&mut self, cx: &mut Context<'_>) -> Outcome {
        match self {
            Self::Bootstrap(machine) => machine.expired(cx),
            Self::Correction(_) => Outcome::PutValue(Err(OperationError::TimedOut.into())),
            Self::Publish(machine) => machine.expired(),
            Self::Query(machine) => machine.expired(),
            Self::Refresh(machine) => machine.expired(),
        }
    }

    pub(crate) fn hops(&self) -> usize {
        match self {
            Self::Publish(machine) => machine.hops(),
            Self::Query(machine) => machine.hops(),
            Self::Bootstrap(_) | Self::Correction(_) | Self::Refresh(_) => 0,
        }
    }
}
