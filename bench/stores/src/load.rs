//! What a server of the public network holds: 2,000,000 provider records of 700,000 multihashes, from 20,000 providers with
//! four addresses each.

pub const RECORDS: u64 = 2_000_000;
pub const KEYS: u64 = 700_000;
pub const PROVIDERS: u64 = 20_000;
pub const START: u64 = 1_795_515_912;
pub const HOUR: u64 = 3_600;
/// Records live for two days.
pub const LIFE: u64 = 48 * HOUR;

/// SplitMix64, so that every run has the same records.
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A claim: which multihash, by whom, when.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    pub key: u64,
    pub provider: u64,
    pub received: u64,
}

impl Claim {
    pub fn expires(&self) -> u64 {
        self.received + LIFE
    }
}

/// Record `number` of all, announced anew at `received`. Every multihash has two or three.
pub fn claim(number: u64, received: u64) -> Claim {
    Claim { key: number % KEYS, provider: mix(number) % PROVIDERS, received }
}

pub fn multihash(key: u64) -> [u8; 34] {
    digest(key, 1)
}

pub fn peer_id(provider: u64) -> [u8; 34] {
    digest(provider, 2)
}

fn digest(number: u64, salt: u64) -> [u8; 34] {
    let mut bytes = [0; 34];
    bytes[..2].copy_from_slice(&[0x12, 0x20]);
    for (word, chunk) in bytes[2..].chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&mix(number ^ mix(salt * 1_000 + word as u64)).to_be_bytes());
    }
    bytes
}

/// TCP and QUIC over both IPs.
pub fn addrs(provider: u64) -> [Vec<u8>; 4] {
    let [a, b, c, d, e, ..] = mix(provider ^ 0xadd5).to_be_bytes();
    let quic = [0x91, 0x02, 0x0f, 0xa1, 0xcd, 0x03];
    let tcp = [6, 0x0f, 0xa1];
    let ip4 = vec![4, a, b, c, d];
    let mut ip6 = vec![41, 0x20, 1, a, b];
    ip6.resize(17, e);
    [[&ip4[..], &tcp].concat(), [&ip4[..], &quic].concat(), [&ip6[..], &tcp].concat(), [&ip6[..], &quic].concat()]
}
