//! What a store that outlives its process writes down as it changes.

use bytes::Bytes;
use kadmos_core::PeerInfo;
use kadmos_core::time::UnixTime;

/// A value as it is kept; dates in store time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) value: Bytes,
    pub(crate) received: UnixTime,
    pub(crate) expires: UnixTime,
    pub(crate) version: u64,
}

/// The dates of a provider record, in store time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClaimDates {
    pub(crate) received: UnixTime,
    pub(crate) expires: UnixTime,
    pub(crate) addrs_expire: UnixTime,
}

/// Is told what was added or whose dates were corrected, in order. Not what expired: that follows from the dates. Nor who
/// gave way: the rule is applied again after a restart.
pub(crate) trait Log {
    /// A provider record was written or corrected. `is_shorter` when it replaces one that would have lived into a later hour.
    fn claim(&mut self, key: &[u8], provider: &PeerInfo, dates: ClaimDates, is_shorter: bool);
    /// A value was written or corrected.
    fn value(&mut self, key: &Bytes, held: &Held);
}

/// Writes nothing down.
impl Log for () {
    fn claim(&mut self, _: &[u8], _: &PeerInfo, _: ClaimDates, _: bool) {}
    fn value(&mut self, _: &Bytes, _: &Held) {}
}
