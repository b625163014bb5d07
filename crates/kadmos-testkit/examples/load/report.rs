//! What came of it.

use std::fmt;
use std::time::Duration;

use super::process::Usage;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Report {
    clients: usize,
    depth: usize,
    elapsed: Duration,
    /// Sorted.
    latencies: Vec<Duration>,
    server: Usage,
}

impl Report {
    /// From the latency of each request.
    pub(crate) fn new(
        clients: usize,
        depth: usize,
        elapsed: Duration,
        mut latencies: Vec<Duration>,
        server: Usage,
    ) -> Self {
        latencies.sort_unstable();
        Self { clients, depth, elapsed, latencies, server }
    }

    /// The smallest latency that so many of a thousand do not exceed, in milliseconds.
    fn per_mille(&self, per_mille: usize) -> f64 {
        let index = (self.latencies.len() * per_mille).div_ceil(1_000).saturating_sub(1);
        self.latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clients, depth, elapsed, latencies, server } = self;
        let answered = latencies.len() as f64;
        writeln!(f, "clients                {clients}, {depth} requests under way each")?;
        writeln!(f, "answered               {} in {:.1} s", latencies.len(), elapsed.as_secs_f64())?;
        writeln!(f, "requests per second    {:.0}", answered / elapsed.as_secs_f64())?;
        let (p50, p90, p99) = (self.per_mille(500), self.per_mille(900), self.per_mille(990));
        writeln!(f, "latency in ms          p50 {p50:.2}, p90 {p90:.2}, p99 {p99:.2}")?;
        let seconds = server.processor.as_secs_f64();
        writeln!(f, "server processor time  {seconds:.2} s, {:.1} µs a request", seconds * 1e6 / answered)?;
        let mib = |kib: u64| kib as f64 / 1_024.0;
        let (now, most) = (mib(server.memory_kib), mib(server.memory_kib_max));
        writeln!(f, "server memory          {now:.1} MiB resident, at most {most:.1}")
    }
}
