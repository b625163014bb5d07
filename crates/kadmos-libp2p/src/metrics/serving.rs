//! How long requests of peers took, and how many bytes came and went.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kadmos_core::message::MessageKind;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// Upper bounds of the buckets, in microseconds: 10 µs to 2.6 s by fours. An answer from memory takes some 20, one
/// that waited for a disk up to 100,000, and one that its reader takes slowly as long as that one likes.
const BOUNDS_US: [u64; 10] = [10, 40, 160, 640, 2_560, 10_240, 40_960, 163_840, 655_360, 2_621_440];

/// Counted by all connections at once, so everything is a single word.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    times: [Times; MessageKind::ALL.len()],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

#[derive(Debug, Default)]
struct Times {
    /// One for each bound and one for what is longer; each time is in exactly one.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    nanos: AtomicU64,
}

impl Serving {
    /// Counts a request that was answered, from its last byte to the answer's, or that needs no answer and was taken.
    pub(crate) fn request_served(&self, kind: MessageKind, elapsed: Duration) {
        let times = &self.times[kind as usize]; // kinds are numbered 0 to 5
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < micros);
        times.buckets[bucket].fetch_add(1, Ordering::Relaxed); // at most the number of bounds
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        times.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Counts the bytes of a request.
    pub(crate) fn bytes_read(&self, count: usize) {
        self.bytes_in.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Counts the bytes of an answer.
    pub(crate) fn bytes_written(&self, count: usize) {
        self.bytes_out.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Requests of a kind so far.
    pub(crate) fn requests(&self, kind: MessageKind) -> u64 {
        self.times[kind as usize].buckets.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Bytes of requests and of answers so far.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.bytes_in.load(Ordering::Relaxed), self.bytes_out.load(Ordering::Relaxed))
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut seconds = encoder.encode_descriptor(
            "rpc_served_duration_seconds",
            "Time from a peer's request to its answer",
            None,
            MetricType::Histogram,
        )?;
        for kind in MessageKind::ALL {
            let times = &self.times[kind as usize];
            let counts: Vec<u64> = times.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            let bounds = BOUNDS_US.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
            let sum = times.nanos.load(Ordering::Relaxed) as f64 / 1e9;
            seconds.encode_family(&[("type", kind.label())])?.encode_histogram::<NoLabelSet>(
                sum,
                counts.iter().sum(), // from one reading, so that the buckets add up to it
                &buckets,
                None,
            )?;
        }
        let (read, written) = self.bytes();
        let mut bytes = encoder.encode_descriptor(
            "rpc_served_bytes",
            "Bytes of requests of peers and of the answers",
            None,
            MetricType::Counter,
        )?;
        for (direction, count) in [("in", read), ("out", written)] {
            ConstCounter::new(count).encode(bytes.encode_family(&[("direction", direction)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::*;

    #[derive(Debug, Default)]
    struct Alone(Serving);

    impl Collector for Alone {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
            self.0.encode(&mut encoder)
        }
    }

    #[test]
    fn times_fall_into_their_buckets() {
        let alone = Alone::default();
        for micros in [0, 10, 11, 40, 2_621_440, 2_621_441, u64::MAX / 1_000] {
            alone.0.request_served(MessageKind::FindNode, Duration::from_micros(micros));
        }
        alone.0.bytes_read(3);
        alone.0.bytes_written(5);
        assert_eq!((alone.0.requests(MessageKind::FindNode), alone.0.bytes()), (7, (3, 5)));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(alone));
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        for line in [
            r#"rpc_served_duration_seconds_bucket{le="0.00001",type="find_node"} 2"#,
            r#"rpc_served_duration_seconds_bucket{le="0.00004",type="find_node"} 4"#,
            r#"rpc_served_duration_seconds_bucket{le="0.00016",type="find_node"} 4"#,
            r#"rpc_served_duration_seconds_bucket{le="2.62144",type="find_node"} 5"#,
            r#"rpc_served_duration_seconds_bucket{le="+Inf",type="find_node"} 7"#,
            r#"rpc_served_duration_seconds_count{type="find_node"} 7"#,
            r#"rpc_served_duration_seconds_count{type="ping"} 0"#,
            r#"rpc_served_bytes_total{direction="in"} 3"#,
            r#"rpc_served_bytes_total{direction="out"} 5"#,
        ] {
            assert!(page.lines().any(|found| found == line), "{line} not in\n{page}");
        }
    }
}
