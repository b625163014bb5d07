//! Where hosts are and how long bytes take between them. Every number is a constant with its source.
//!
//! No trace of round trips between the peers of a public DHT has been published. The matrix below is our own: six
//! regions, weighted like the servers of the public network, tuned until the round trips of random pairs fit the
//! distribution we calibrate every model of that network to (p10 35, p50 141, p90 254, p99 328 ms; with it the
//! published lookup times of ProbeLab's Parsec are met). `docs/simulator.md` says what follows from that.

use std::time::Duration;

use kadmos_core::AddrList;
use kadmos_core::peer::PeerId;
use rand_chacha::ChaCha8Rng;

use crate::random::{below, child};

/// Number of regions.
pub const REGIONS: usize = 6;

/// Names of the regions, for reports.
pub const REGION_NAMES: [&str; REGIONS] =
    ["north america east", "north america west", "europe", "east asia", "south asia", "south america"];

/// Hosts per hundred in each region; sums to 100. Three quarters of the public servers are in North America and
/// Europe. Source: own choice after the SIGCOMM 2022 measurement of IPFS (arXiv 2208.05877) and ProbeLab's reports.
pub const REGION_SHARES: [u64; REGIONS] = [22, 13, 34, 16, 9, 6];

/// Round trips between the backbones of two regions, in milliseconds; symmetric.
pub const REGION_ROUND_TRIPS_MS: [[u64; REGIONS]; REGIONS] = [
    [12, 65, 90, 195, 235, 130],
    [65, 12, 145, 120, 175, 185],
    [90, 145, 20, 220, 170, 210],
    [195, 120, 220, 35, 75, 285],
    [235, 175, 170, 75, 35, 315],
    [130, 185, 210, 285, 315, 25],
];

/// Hosts per hundred that stand in data centres. Source: as [`REGION_SHARES`]; 60 is the value we calibrate with.
pub const DATA_CENTRE_SHARE: u64 = 60;

/// What a host in a data centre adds to a round trip, in microseconds.
pub const DATA_CENTRE_ACCESS_US: (u64, u64) = (1_000, 3_000);

/// What a host on a home line adds to a round trip, in microseconds: cable and fibre lines between 8 and 35 ms.
pub const HOME_ACCESS_US: (u64, u64) = (8_000, 35_000);

/// An unused connection closes after this long. Source: libp2p-swarm 0.57, default of `idle_connection_timeout`.
pub const CONNECTION_IDLE: Duration = Duration::from_secs(10);

/// A dial to an address where nobody is fails after this long; one to a host whose process has ended, after a round
/// trip. Source: libp2p-quic 0.14 `handshake_timeout`, and go-libp2p's TCP connect time-out.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a host is, and on which line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Index into [`REGION_NAMES`].
    pub region: u8,
    /// What its line adds to each round trip, in microseconds.
    pub access_us: u32,
}

impl Host {
    /// Places host number `index` of the world seeded with `seed`.
    pub fn place(seed: u64, index: u32) -> Self {
        let mut rng: ChaCha8Rng = child(seed, "host", u64::from(index));
        let mut ticket = below(&mut rng, REGION_SHARES.iter().sum());
        let mut region = 0;
        for share in REGION_SHARES {
            if ticket < share {
                break;
            }
            ticket -= share;
            region += 1;
        }
        let (from, to) =
            if below(&mut rng, 100) < DATA_CENTRE_SHARE { DATA_CENTRE_ACCESS_US } else { HOME_ACCESS_US };
        let access_us = from + below(&mut rng, to - from);
        Self { region, access_us: access_us as u32 } // at most 35,000
    }

    /// The round trip to `other`.
    pub fn round_trip(&self, other: &Self) -> Duration {
        let backbone_ms = REGION_ROUND_TRIPS_MS[usize::from(self.region)][usize::from(other.region)];
        Duration::from_micros(backbone_ms * 1_000 + u64::from(self.access_us) + u64::from(other.access_us))
    }
}

/// Multiaddr code of `/ip4`, followed by 4 bytes.
const IP4: u8 = 4;
/// Multiaddr code of `/tcp`, followed by 2 bytes.
const TCP: u8 = 6;
/// The port of every simulated host: IPFS's.
const PORT: u16 = 4_001;
/// First octets 20 to 99 hold only public addresses.
const FIRST_OCTETS: u32 = 80;
/// Their /16 networks.
const GROUPS: u32 = FIRST_OCTETS * 256;

/// The address of host number `index`: `/ip4/<public address>/tcp/4001`, distinct for the first 1.3 billion hosts.
/// `group` hosts in a row share a /16 network, of which there are 20,480.
pub fn addrs(peer: &PeerId, index: u32, group: u32) -> AddrList {
    AddrList::collect(peer, [addr(index, group).as_slice()])
}

/// See [`addrs`]. A peer is dialled successfully only at its own address.
pub(crate) fn addr(index: u32, group: u32) -> [u8; 8] {
    // Within a block of networks, hosts are dealt out by group, and their place in the group comes third.
    let (block, place) = (index / (GROUPS * group), index % (GROUPS * group));
    let (network, host) = (place / group, block * group + place % group);
    let first = 20 + (network % FIRST_OCTETS) as u8; // 20 to 99
    let a = (network / FIRST_OCTETS) as u8; // 0 to 255
    let [b, c, ..] = host.to_le_bytes();
    let [port_high, port_low] = PORT.to_be_bytes();
    [IP4, first, a, b, c, TCP, port_high, port_low]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn round_trips_fit_the_calibration() {
        let hosts: Vec<_> = (0..600).map(|index| Host::place(1, index)).collect();
        let mut round_trips: Vec<_> = hosts
            .iter()
            .enumerate()
            .flat_map(|(i, a)| hosts[i + 1..].iter().map(|b| a.round_trip(b).as_millis() as u64))
            .collect();
        round_trips.sort_unstable();
        for (percent, expected_ms) in [(10, 35), (50, 141), (90, 254), (99, 328)] {
            let got = round_trips[round_trips.len() * percent / 100];
            assert!(got * 100 >= expected_ms * 85 && got * 100 <= expected_ms * 115, "p{percent}: {got} ms");
        }
    }

    #[test]
    fn table_is_symmetric_and_shares_are_whole() {
        assert_eq!(REGION_SHARES.iter().sum::<u64>(), 100);
        for (a, row) in REGION_ROUND_TRIPS_MS.iter().enumerate() {
            for (b, ms) in row.iter().enumerate() {
                assert_eq!(*ms, REGION_ROUND_TRIPS_MS[b][a]);
            }
        }
    }

    #[test]
    fn every_host_has_its_own_public_address_in_its_group() {
        let peer = PeerId::from_digest([0; 32]);
        for group in [1, 4, 256] {
            let mut seen = BTreeSet::new();
            for index in (0..30_000).chain([1 << 24, (1 << 24) + 1, 1 << 30]) {
                let list = addrs(&peer, index, group);
                assert_eq!(list.iter().collect::<Vec<_>>(), [addr(index, group).as_slice()]);
                assert!(kadmos_core::addr::is_public(&addr(index, group)));
                assert!(seen.insert(addr(index, group)), "{index}");
            }
            let network = |index| addr(index, group)[1..3].to_vec();
            let groups: BTreeSet<_> = (0..20_480).map(network).collect();
            assert_eq!(groups.len() as u32, 20_480 / group);
            assert!((0..1_000).all(|index| network(index) == network(index / group * group)));
        }
    }
}
