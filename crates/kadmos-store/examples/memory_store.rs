//! What a store in memory costs: bytes a record, inserts, look-ups, and what they are after two days of turnover.
//!
//!     cargo run --release -p kadmos-store --example memory_store
//!
//! 1,000,000 provider records of distinct keys from 10,000 providers with 4 addresses each; keys are mostly multihashes of
//! SHA-256, and some longer and shorter ones. Prints JSON.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use kadmos_core::record::{ProviderRecord, Reader};
use kadmos_core::time::{Now, Timestamp, UnixTime};
use kadmos_core::{AddrList, Peer, PeerId, PeerInfo};
use kadmos_store::{MemoryLimits, MemoryStore};

const RECORDS: u64 = 1_000_000;
const PROVIDERS: u64 = 10_000;
const START: u64 = 1_795_515_912;
const HOUR: u64 = 3_600;

/// SplitMix64, so that every run has the same keys.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 85 % SHA-256, 5 % each of BLAKE2b-256, SHA2-512 and the identity of some 20 bytes.
fn key(number: u64) -> Bytes {
    let (head, len): (&[u8], usize) = match mix(number) % 20 {
        0 => (&[0xa0, 0xe4, 0x02, 0x20], 32),
        1 => (&[0x13, 0x40], 64),
        2 => (&[0x00, 0x14], 20),
        _ => (&[0x12, 0x20], 32),
    };
    let digest = (0u64..8).flat_map(|word| mix(number ^ mix(word + 77)).to_be_bytes());
    head.iter().copied().chain(digest.take(len)).collect()
}

fn providers() -> Vec<PeerInfo> {
    (0..PROVIDERS)
        .map(|number| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&mix(number).to_be_bytes());
            let peer = Peer::new(PeerId::from_digest(digest));
            let [a, b, c, d, ..] = mix(number + 5).to_be_bytes();
            let tcp = [4, a, b, c, d, 6, 0x0f, 0xa1];
            let quic = [4, a, b, c, d, 0x91, 0x02, 0x0f, 0xa1, 0xcd, 0x03];
            let mut tcp6 = vec![41, 0x20, 1, a, b];
            tcp6.resize(17, c);
            tcp6.extend([6, 0x0f, 0xa1]);
            let mut quic6 = tcp6.clone();
            quic6.truncate(17);
            quic6.extend([0x91, 0x02, 0x0f, 0xa1, 0xcd, 0x03]);
            let addrs = AddrList::collect(&peer.id, [&tcp[..], &quic, &tcp6, &quic6]);
            PeerInfo::new(peer, addrs)
        })
        .collect()
}

/// Received `secs` after the start, and as long before that as it takes to announce so many others.
fn record(number: u64, providers: &[PeerInfo], secs: u64, others: u64) -> ProviderRecord {
    let ago = others * 48 * HOUR / RECORDS;
    let date = |later| UnixTime::from_secs(START + secs + later - ago.min(48 * HOUR - 1));
    ProviderRecord {
        key: key(number),
        provider: providers[(mix(number) >> 32) as usize % providers.len()].clone(),
        received: date(0),
        expires: date(48 * HOUR),
        addrs_expire: date(24 * HOUR),
    }
}

/// Resident bytes of this process, now and at most.
fn resident() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().split(' ').next()?.parse::<u64>().ok()
    };
    (field("VmRSS:").unwrap_or(0) * 1_024, field("VmHWM:").unwrap_or(0) * 1_024)
}

/// What this thread has computed, so that other programs on the machine are not counted. Reading it takes some 200 ns, which
/// [`Times::json`] takes off.
fn computed() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// What measuring nothing takes.
fn overhead() -> u32 {
    let mut times: Vec<u32> = (0..10_000)
        .map(|_| {
            let start = computed();
            (computed() - start).subsec_nanos()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

#[derive(Default)]
struct Times(Vec<u32>);

impl Times {
    fn measure<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = computed();
        let result = work();
        self.0.push(u32::try_from((computed() - start).as_nanos()).unwrap_or(u32::MAX));
        result
    }

    fn json(&mut self) -> String {
        let overhead = overhead();
        self.0.iter_mut().for_each(|nanos| *nanos = nanos.saturating_sub(overhead));
        self.0.sort_unstable();
        let at = |part: f64| self.0[((self.0.len() - 1) as f64 * part) as usize];
        let total: u64 = self.0.iter().map(|nanos| u64::from(*nanos)).sum();
        format!(
            "{{\"mean_ns\": {}, \"p50_ns\": {}, \"p99_ns\": {}, \"p999_ns\": {}, \"max_ns\": {}}}",
            total / self.0.len() as u64,
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        )
    }
}

fn main() {
    let providers = providers();
    let limits = MemoryLimits {
        provider_keys: usize::MAX,
        provider_bytes: usize::MAX,
        records_per_provider: usize::MAX,
        ..MemoryLimits::default()
    };
    let mut inserts = Times(Vec::with_capacity(RECORDS as usize * 3));
    let mut turnover = Times(Vec::with_capacity(RECORDS as usize * 3));
    let mut hits = Times(Vec::with_capacity(RECORDS as usize));
    let mut misses = Times(Vec::with_capacity(RECORDS as usize));
    for times in [&mut inserts, &mut turnover, &mut hits, &mut misses] {
        times.0.resize(times.0.capacity(), 1); // their pages are not the store's
        times.0.clear();
    }
    let store = MemoryStore::new(limits);
    let now = UnixTime::from_secs(START);
    let (before, _) = resident();

    // Announced over the two days before, so that they expire one after the other.
    for number in 0..RECORDS {
        let record = record(number, &providers, 0, RECORDS - number);
        inserts.measure(|| store.add_provider(&record, now)).expect("nothing is limited");
    }
    let (steady, peak) = resident();

    for number in 0..RECORDS {
        let (hit, miss) = (key(mix(number) % RECORDS), key(RECORDS * 9 + number));
        for (times, key) in [(&mut hits, hit), (&mut misses, miss)] {
            times.measure(|| {
                Reader::providers(&store, &key, now, &mut |provider| {
                    black_box(provider);
                    std::ops::ControlFlow::Continue(())
                })
            });
        }
    }

    // Two days and more: each hour brings a 48th of the records, and takes those of two days ago.
    let mut expired = Times::default();
    let mut freed = 0;
    for hour in 1..=60u64 {
        let secs = hour * HOUR;
        let unix = UnixTime::from_secs(START + secs);
        let part = RECORDS / 48;
        for number in 0..part {
            let record = record(RECORDS + hour * part + number, &providers, secs, 0);
            turnover.measure(|| store.add_provider(&record, unix)).expect("nothing is limited");
        }
        let now = Now { monotonic: Timestamp::from_millis(secs * 1_000), unix };
        loop {
            let gone = expired.measure(|| store.expire(now, 64));
            freed += gone.providers;
            if !gone.more {
                break;
            }
        }
    }
    let stats = store.stats();
    let (after, peak_after) = resident();
    let per = |bytes: u64, records: u64| bytes as f64 / records as f64;
    println!("{{");
    println!("  \"records\": {RECORDS},");
    println!("  \"bytes_per_record\": {:.1},", per(steady - before, RECORDS));
    println!("  \"peak_bytes\": {},", peak - before);
    println!("  \"insert\": {},", inserts.json());
    println!("  \"lookup_hit\": {},", hits.json());
    println!("  \"lookup_miss\": {},", misses.json());
    println!("  \"after_turnover\": {{");
    println!("    \"records\": {}, \"freed\": {freed},", stats.provider_records);
    println!("    \"bytes_per_record\": {:.1},", per(after - before, stats.provider_records as u64));
    println!(
        "    \"counted_per_record\": {:.1},",
        per(stats.provider_bytes as u64, stats.provider_records as u64)
    );
    println!("    \"peak_bytes\": {},", peak_after - before);
    println!("    \"insert\": {},", turnover.json());
    println!("    \"expire_64\": {}", expired.json());
    println!("  }}");
    println!("}}");
}
