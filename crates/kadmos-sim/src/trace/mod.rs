//! What happened, in order: the hash that tells whether two runs were the same, and whoever wants to watch.

mod encode;
mod hash;
mod line;

use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;

use kadmos_core::config::Mode;
use kadmos_core::error::RequestFailure;
use kadmos_core::event::Refusal;
use kadmos_core::message::{MessageKind, Request, Response};
use kadmos_core::record::StoreReply;
use kadmos_core::{Event, Operation, OperationId, RequestId, StoreId, Timestamp, Update};

use self::hash::Lanes;
use crate::world::NodeIndex;

/// One delivered event or one change of a node's state, borrowed while it happens. Prints as one line.
#[derive(Clone, Copy, Debug)]
pub struct TraceEvent<'a> {
    /// When.
    pub at: Timestamp,
    /// The number of the queued event that this is, or that caused it.
    pub sequence: u64,
    /// To which node it happened.
    pub node: NodeIndex,
    /// What.
    pub fact: Fact<'a>,
}

/// What happened to a node.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Fact<'a> {
    /// The node began to run.
    NodeStarted,
    /// The node's process ended.
    NodeStopped,
    /// The node began to run again, with nothing in its table.
    NodeRestarted {
        /// Whether it still has the records it held.
        kept_records: bool,
    },
    /// The node's wall clock was set.
    ClockSet {
        /// By so many seconds it is now ahead of the world's.
        ahead_secs: i64,
    },
    /// The node was told to serve, or not to.
    ModeSet(Mode),
    /// The time the node had asked for came.
    Timeout,
    /// An operation was given to the node.
    OperationStarted {
        /// Which.
        id: OperationId,
        /// What.
        operation: &'a Operation,
    },
    /// A connection came up.
    Connected(NodeIndex),
    /// A connection is gone.
    Disconnected(NodeIndex),
    /// Identify told about a connected peer.
    Identified {
        /// Who.
        peer: NodeIndex,
        /// Whether it serves.
        serves: bool,
    },
    /// A request of a peer arrived.
    Asked {
        /// Whose.
        by: NodeIndex,
        /// The asker's name for it.
        request: RequestId,
        /// What.
        message: &'a Request,
    },
    /// A peer's request was refused.
    Refused {
        /// Whose.
        by: NodeIndex,
        /// Why.
        code: Refusal,
    },
    /// A request of the node's own was answered.
    Answered {
        /// By whom.
        by: NodeIndex,
        /// Which.
        request: RequestId,
        /// The answer.
        response: &'a Response,
    },
    /// A request of the node's own was handed to the network.
    Sent {
        /// Which.
        request: RequestId,
        /// To whom; `None` when no node of the world has the id.
        to: Option<NodeIndex>,
        /// What kind of request.
        kind: MessageKind,
        /// When it fails if nothing has come by then.
        expires: Timestamp,
    },
    /// A request of the node's own is no longer wanted.
    Cancelled(RequestId),
    /// A request without an answer was sent.
    Flushed(RequestId),
    /// A request of the node's own failed.
    Failed {
        /// Which.
        request: RequestId,
        /// How.
        failure: RequestFailure,
    },
    /// A store operation of the node's own ended.
    Stored {
        /// Which.
        id: StoreId,
        /// How.
        reply: &'a StoreReply,
    },
    /// The node's store took a record from a peer.
    RecordTaken {
        /// The record's key.
        key: &'a [u8],
    },
    /// The core reported an event: admissions, evictions, operations and more.
    Core(&'a Event),
    /// An operation told its user something.
    Update {
        /// Which.
        id: OperationId,
        /// What.
        update: &'a Update,
    },
}

/// A hash of 256 bits over everything that happened. Equal for equal runs, of one build or of two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceHash([u8; 32]);

impl TraceHash {
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceHash({self})")
    }
}

/// Sees everything that happens, in order; `Break` halts the world after the event at hand.
pub type Observer = Box<dyn FnMut(&TraceEvent<'_>) -> ControlFlow<()>>;

/// The running hash, the observers, and the last lines if someone wants them.
#[derive(Default)]
pub(crate) struct Trace {
    hash: Lanes,
    buffer: Vec<u8>,
    events: u64,
    observers: Vec<Observer>,
    recorder: Option<Recorder>,
    halted: bool,
}

/// The last lines of a trace.
#[derive(Clone)]
struct Recorder {
    capacity: usize,
    lines: VecDeque<String>,
}

impl Trace {
    /// Encoded events are hashed in pieces of about this size: a call for each event would cost more than its bytes.
    const BUFFER_BYTES: usize = 8 << 10;

    pub(crate) fn record(&mut self, event: &TraceEvent<'_>) {
        self.events += 1;
        encode::event(&mut self.buffer, event);
        if self.buffer.len() >= Self::BUFFER_BYTES {
            self.hash.update(&self.buffer);
            self.buffer.clear();
        }
        if let Some(recorder) = &mut self.recorder {
            if recorder.lines.len() == recorder.capacity {
                recorder.lines.pop_front();
            }
            recorder.lines.push_back(event.to_string());
        }
        for observer in &mut self.observers {
            self.halted |= observer(event).is_break();
        }
    }

    pub(crate) fn observe(&mut self, observer: Observer) {
        self.observers.push(observer);
    }

    pub(crate) fn record_last(&mut self, capacity: usize) {
        self.recorder = (capacity > 0).then(|| Recorder { capacity, lines: VecDeque::new() });
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.recorder.iter().flat_map(|recorder| recorder.lines.iter().map(String::as_str))
    }

    pub(crate) fn hash(&self) -> TraceHash {
        let mut hash = self.hash.clone();
        hash.update(&self.buffer);
        TraceHash(hash.finish())
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted
    }
}

/// A copy of a world is watched by nobody.
impl Clone for Trace {
    fn clone(&self) -> Self {
        Self {
            hash: self.hash.clone(),
            buffer: self.buffer.clone(),
            events: self.events,
            observers: Vec::new(),
            recorder: self.recorder.clone(),
            halted: self.halted,
        }
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("hash", &self.hash())
            .field("events", &self.events)
            .field("observers", &self.observers.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kadmos_core::peer::PeerInfo;
    use kadmos_core::{AddrList, Peer, PeerId};

    use super::*;

    fn event(fact: Fact<'_>) -> TraceEvent<'_> {
        TraceEvent { at: Timestamp::from_millis(1_500), sequence: 7, node: NodeIndex::new(3), fact }
    }

    fn hash_of(events: &[TraceEvent<'_>]) -> TraceHash {
        let mut trace = Trace::default();
        events.iter().for_each(|event| trace.record(event));
        trace.hash()
    }

    #[test]
    fn every_difference_changes_the_hash() {
        let peers: Vec<_> =
            (0..3).map(|i| PeerInfo::new(Peer::new(PeerId::from_digest([i; 32])), AddrList::EMPTY)).collect();
        let responses = [
            Response::FindNode { closer: peers.clone() },
            Response::FindNode { closer: peers[..2].to_vec() },
            Response::FindNode { closer: vec![peers[1].clone(), peers[0].clone()] },
            Response::GetProviders { providers: peers[..2].to_vec(), closer: vec![] },
            Response::GetProviders { providers: vec![], closer: peers[..2].to_vec() },
            Response::GetValue { record: None, received: None, closer: peers[..2].to_vec() },
        ];
        let request = Request::FindNode { key: Bytes::from_static(b"key") };
        let by = NodeIndex::new(1);
        let mut events = vec![
            event(Fact::Timeout),
            TraceEvent { at: Timestamp::from_millis(1_501), ..event(Fact::Timeout) },
            TraceEvent { sequence: 8, ..event(Fact::Timeout) },
            TraceEvent { node: NodeIndex::new(4), ..event(Fact::Timeout) },
            event(Fact::Connected(by)),
            event(Fact::Disconnected(by)),
            event(Fact::Asked { by, request: RequestId(1), message: &request }),
            event(Fact::Asked { by, request: RequestId(2), message: &request }),
            event(Fact::Flushed(RequestId(1))),
            event(Fact::Failed { request: RequestId(1), failure: RequestFailure::Closed }),
            event(Fact::Failed { request: RequestId(1), failure: RequestFailure::TimedOut }),
        ];
        events.extend(responses.iter().map(|response| {
            event(Fact::Answered { by: NodeIndex::new(1), request: RequestId(1), response })
        }));
        let mut hashes: Vec<_> = events.iter().map(|event| hash_of(&[*event])).collect();
        hashes.push(hash_of(&events[..2]));
        hashes.push(hash_of(&[events[1], events[0]]));
        hashes.push(hash_of(&[]));
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }

    #[test]
    fn hash_does_not_depend_on_when_it_is_read() {
        let mut trace = Trace::default();
        for _ in 0..2_000 {
            trace.record(&event(Fact::Timeout));
            trace.hash();
        }
        assert_eq!(trace.hash(), hash_of(&[event(Fact::Timeout); 2_000]));
    }

    #[test]
    fn recorder_keeps_the_last_lines_and_observers_halt() {
        let mut trace = Trace::default();
        trace.record_last(2);
        trace.observe(Box::new(|event| match event.fact {
            Fact::NodeStopped => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }));
        for fact in [Fact::NodeStarted, Fact::Timeout] {
            trace.record(&event(fact));
        }
        assert!(!trace.is_halted());
        trace.record(&event(Fact::NodeStopped));
        assert!(trace.is_halted());
        let lines: Vec<_> = trace.lines().collect();
        assert_eq!(lines, ["1.500000000 s #7 n3: timeout", "1.500000000 s #7 n3: stopped"]);
    }
}
