//! The bounds of a store in memory.

/// How much a [`super::MemoryStore`] holds. What is beyond is refused with the name of the bound; expired records go
/// first.
///
/// Bytes are what the process really spends, allocator and index included, so the two byte bounds are the most
/// memory the records can take. Zero refuses everything, except where noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Values. Default 65,536: as many names as a public server is close to, several times over.
    pub values: usize,
    /// Bytes of values, with keys and index. Default 64 MiB: the default number of values at 600 bytes each, what
    /// an IPNS record takes, with the index; or 6,000 IPNS records of the greatest length.
    pub value_bytes: usize,
    /// Multihashes with providers. Default 2,097,152: what a public server is close to when 860 million multihashes are
    /// each held by 20 of 8,000 servers.
    pub provider_keys: usize,
    /// Providers of one multihash; at least 1. Default 256, two and a half full answers: enough that answers differ,
    /// and that no one group holds them all. A newcomer takes another's place.
    pub providers_per_key: usize,
    /// Provider records of one provider. Default 262,144: ten peers announce half of the public network's content,
    /// some 100,000 records of each on every server; with room for two of that size.
    pub records_per_provider: usize,
    /// Bytes of provider records, with addresses and index. Default 256 MiB: some 3.5 million records of providers
    /// that announce many multihashes each, 700,000 when every one has a provider of its own.
    pub provider_bytes: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self {
            values: 65_536,
            value_bytes: 64 << 20,
            provider_keys: 2 << 20,
            providers_per_key: 256,
            records_per_provider: 262_144,
            provider_bytes: 256 << 20,
        }
    }
}

/// Expired keys that one write may collect to make room; more are left to [`crate::Store::expire`], so that a write
/// costs at most some 100 microseconds.
pub(super) const ROOM_VISITS_MAX: usize = 256;
