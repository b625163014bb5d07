//! What the behaviour shares with the handlers of all connections.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use kadmos_core::event::Refusal;
use kadmos_core::limits;
use kadmos_core::message::MessageKind;
use kadmos_core::routing::TableSnapshot;
use kadmos_core::server::Responder;
use kadmos_core::{Now, Reader, Validators};
use kadmos_store::Store;
use libp2p_swarm::StreamProtocol;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::metrics::serving::Serving;
use crate::realm::Realm;

/// Store operations of served requests at once, over all connections. Disks gain little from more; each holds one
/// request, so waiting ones cost memory that [`SessionLimits`] bounds already.
pub(crate) const STORE_OPERATIONS_MAX: usize = 256;

/// Bounds on the streams of one connection. The defaults are [`kadmos_core::limits`]; tests shorten them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Streams a peer may hold open. Default 32.
    pub inbound_streams_max: usize,
    /// Bytes of unfinished requests that a peer may make us hold, over its streams of one connection; the stream
    /// that exceeds them is reset. Default 8 MiB: two of the largest messages.
    pub inbound_bytes_max: usize,
    /// A peer's stream without a whole request, or with an answer it does not take, for this long is reset.
    /// Default 60 s.
    pub stream_idle_timeout: Duration,
    /// Streams we hold open. Default 4.
    pub outbound_streams_max: usize,
    /// Requests that wait for a stream, or for a connection. Default 4,096: as many as operations may run.
    pub outbound_queue_max: usize,
    /// A stream of ours is closed when it was not used for this long. Default 50 s.
    pub stream_park_timeout: Duration,
    /// The slow side of the store has this long before an answer goes out without its records. Default 100 ms.
    pub store_read_timeout: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            inbound_streams_max: limits::INBOUND_STREAMS_MAX,
            inbound_bytes_max: 2 * limits::MESSAGE_BYTES_MAX,
            stream_idle_timeout: limits::STREAM_IDLE_TIMEOUT,
            outbound_streams_max: limits::OUTBOUND_STREAMS_MAX,
            outbound_queue_max: limits::OUTBOUND_QUEUE_MAX,
            stream_park_timeout: limits::STREAM_PARK_TIMEOUT,
            store_read_timeout: limits::STORE_READ_TIMEOUT,
        }
    }
}

/// What handlers read and count in one realm. Everything in it is immutable, a single word, or swapped as a whole. With
/// two realms clock, limits, permits and counters are the same in both.
pub(crate) struct Shared {
    pub(crate) realm: Realm,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) protocol: StreamProtocol,
    pub(crate) limits: SessionLimits,
    pub(crate) frame_bytes_max: usize,
    /// The table that requests are answered from. The behaviour publishes, handlers read.
    pub(crate) table: ArcSwap<TableSnapshot>,
    pub(crate) validators: Arc<Validators>,
    pub(crate) responder: Responder,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) reader: Arc<dyn Reader>,
    /// One for each store operation of a served request; see [`STORE_OPERATIONS_MAX`].
    pub(crate) store_permits: Arc<Semaphore>,
    pub(crate) counters: Arc<Counters>,
    /// Whether handlers report each request they served. Costs each a message to the swarm's task.
    pub(crate) tells_served: bool,
}

impl Shared {
    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("realm", &self.realm)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

/// What the streams of all connections have done since the start. Only ever grows, but for the gauges.
///
/// Counted where it happens, in the tasks of the connections: serving a request sends no event anywhere.
#[derive(Debug, Default)]
pub struct Counters {
    serving: Serving,
    refused: [AtomicU64; Refusal::ALL.len()],
    inbound_streams: AtomicUsize,
    outbound_streams_opened: AtomicU64,
    outbound_streams_reused: AtomicU64,
    outbound_reuse_broken: AtomicU64,
    handlers: AtomicUsize,
}

impl Counters {
    /// Requests of a kind that were answered, or for ADD_PROVIDER stored.
    pub fn requests_served(&self, kind: MessageKind) -> u64 {
        self.serving.requests(kind)
    }

    /// Things of peers that were refused, by code.
    pub fn refusals(&self, code: Refusal) -> u64 {
        refusal_index(code).map_or(0, |index| self.refused[index].load(Ordering::Relaxed))
    }

    /// Gauge: streams that peers hold open.
    pub fn inbound_streams(&self) -> usize {
        self.inbound_streams.load(Ordering::Relaxed)
    }

    /// Streams we opened.
    pub fn outbound_streams_opened(&self) -> u64 {
        self.outbound_streams_opened.load(Ordering::Relaxed)
    }

    /// Requests that went out on a stream which had carried another before.
    pub fn outbound_streams_reused(&self) -> u64 {
        self.outbound_streams_reused.load(Ordering::Relaxed)
    }

    /// Streams that broke when they were used again, and whose request was sent anew.
    pub fn outbound_reuse_broken(&self) -> u64 {
        self.outbound_reuse_broken.load(Ordering::Relaxed)
    }

    /// Gauge: connections with a handler of ours.
    pub fn connections(&self) -> usize {
        self.handlers.load(Ordering::Relaxed)
    }

    /// How long requests took and how many bytes they had.
    pub(crate) fn serving(&self) -> &Serving {
        &self.serving
    }

    pub(crate) fn refused(&self, code: Refusal) {
        if let Some(index) = refusal_index(code) {
            self.refused[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn stream_opened(&self) {
        self.outbound_streams_opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stream_reused(&self) {
        self.outbound_streams_reused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn reuse_broken(&self) {
        self.outbound_reuse_broken.fetch_add(1, Ordering::Relaxed);
    }

    /// The gauges: each of these is undone by its guard's drop, wherever a connection ends.
    pub(crate) fn handler(self: &Arc<Self>) -> Gauge {
        Gauge::new(self, |counters| &counters.handlers)
    }

    pub(crate) fn inbound_stream(self: &Arc<Self>) -> Gauge {
        Gauge::new(self, |counters| &counters.inbound_streams)
    }
}

/// Refusals are few, so their place in [`Refusal::ALL`] is looked up.
fn refusal_index(code: Refusal) -> Option<usize> {
    Refusal::ALL.iter().position(|known| *known == code)
}

/// Holds a gauge up by one.
#[derive(Debug)]
pub(crate) struct Gauge {
    counters: Arc<Counters>,
    gauge: fn(&Counters) -> &AtomicUsize,
}

impl Gauge {
    fn new(counters: &Arc<Counters>, gauge: fn(&Counters) -> &AtomicUsize) -> Self {
        gauge(counters).fetch_add(1, Ordering::Relaxed);
        Self { counters: Arc::clone(counters), gauge }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        (self.gauge)(&self.counters).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_and_kind_has_its_counter() {
        let counters = Arc::new(Counters::default());
        for code in Refusal::ALL {
            counters.refused(code);
            assert_eq!(counters.refusals(code), 1, "{code:?}");
        }
        for kind in MessageKind::ALL {
            counters.serving().request_served(kind, Duration::ZERO);
            assert_eq!(counters.requests_served(kind), 1, "{kind:?}");
        }
    }

    #[test]
    fn gauges_fall_with_their_guards() {
        let counters = Arc::new(Counters::default());
        let (a, b) = (counters.handler(), counters.handler());
        assert_eq!((counters.connections(), counters.inbound_streams()), (2, 0));
        drop((a, b));
        assert_eq!(counters.connections(), 0);
    }
}
