//! What every [`Store`] must do, as cases that run against any of them.
//!
//! ```no_run
//! # async fn example() {
//! use std::sync::Arc;
//!
//! use kadmos_store::{MemoryStore, conformance};
//!
//! conformance::check_all(&|limits| Box::pin(async move { Arc::new(MemoryStore::new(limits)) as Arc<_> })).await;
//! # }
//! ```
//!
//! Cases panic with what they saw; they pass the time in and never wait. The case of concurrent writers uses threads
//! of its own and polls the store from them, so a store that needs a runtime must find its way to it from any thread.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use bytes::Bytes;
use kadmos_core::message::Record;
use kadmos_core::record::{ProviderRecord, ValueWrite};
use kadmos_core::time::{Now, Timestamp, UnixTime};
use kadmos_core::{AddrList, Peer, PeerId, PeerInfo};

use crate::memory::MemoryLimits;
use crate::store::{BoxFuture, Store};

mod capacity;
mod expiry;
mod keys;
mod providers;
mod values;

/// Opens a new, empty store within the given bounds. A store without one of the bounds fails the case of that bound.
pub type Fresh<'a> = &'a (dyn Fn(MemoryLimits) -> BoxFuture<'a, Arc<dyn Store>> + Sync);

/// One thing that every store must do.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What it is about: `area_case_expectation`.
    pub name: &'static str,
    /// Runs it; panics when the store does something else.
    pub run: for<'a> fn(Fresh<'a>) -> BoxFuture<'a, ()>,
}

macro_rules! cases {
    ($($module:ident :: $name:ident),* $(,)?) => {
        /// Every case.
        pub const CASES: &[Case] = &[
            $(Case { name: stringify!($name), run: |fresh| Box::pin($module::$name(fresh)) }),*
        ];
    };
}

cases! {
    values::value_written_is_read_back,
    values::value_write_with_wrong_version_conflicts,
    values::value_version_never_returns,
    values::value_batch_answers_each_write_in_order,
    values::value_writers_racing_lose_no_update,
    values::value_removal_respects_the_version,
    values::value_reader_sees_what_the_store_has,
    values::value_keys_of_any_bytes_are_apart,
    providers::provider_added_is_read_back,
    providers::provider_announced_again_replaces_itself,
    providers::provider_latest_addresses_serve_every_key,
    providers::provider_addresses_expire_before_the_claim,
    providers::provider_count_bounds_the_answer,
    providers::provider_order_lets_none_stay_first,
    providers::provider_partial_answers_reach_everyone,
    providers::provider_removal_leaves_the_others,
    providers::provider_reader_sees_what_the_store_has,
    keys::keys_pages_cover_every_key_once,
    keys::keys_leave_expired_records_out,
    expiry::expired_records_are_never_served,
    expiry::expired_records_are_not_taken,
    expiry::expire_frees_all_within_its_budget,
    expiry::expire_spares_renewed_records,
    expiry::clock_set_forward_expires_nothing_early,
    expiry::clock_set_back_keeps_nothing_for_ever,
    expiry::clock_set_unnoticed_harms_no_record,
    capacity::full_of_values_refuses_by_name,
    capacity::full_of_value_bytes_refuses_by_name,
    capacity::full_of_provider_keys_refuses_by_name,
    capacity::full_of_provider_bytes_refuses_by_name,
    capacity::full_share_of_a_provider_refuses_by_name,
    capacity::full_key_takes_the_newcomer,
    capacity::full_key_of_squatters_keeps_the_honest_provider,
    capacity::stats_follow_every_write,
}

/// Runs every case, each on stores of its own.
///
/// Panics: with the case's own message; the name of the case is printed to stderr before it runs.
pub async fn check_all(fresh: Fresh<'_>) {
    for case in CASES {
        eprintln!("conformance: {}", case.name);
        (case.run)(fresh).await;
    }
}

/// A day in 2026; every case starts here.
const START: UnixTime = UnixTime::from_secs(1_795_515_912);
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

fn after(secs: u64) -> UnixTime {
    UnixTime::from_secs(START.as_secs() + secs)
}

/// Both clocks, `secs` after the start, neither of them set.
fn both(secs: u64) -> Now {
    clocks(secs, after(secs))
}

/// Both clocks, `secs` after the start, the wall clock at `unix`.
fn clocks(secs: u64, unix: UnixTime) -> Now {
    Now { monotonic: Timestamp::from_millis(secs * 1_000), unix }
}

/// A value of two days, received at the start.
fn write(key: &[u8], value: &[u8], expected: Option<u64>) -> ValueWrite {
    ValueWrite {
        record: Record { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) },
        received: START,
        expires: after(2 * DAY),
        expected,
    }
}

fn peer(number: u32) -> Peer {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&number.to_be_bytes());
    Peer::new(PeerId::from_digest(digest))
}

/// Peer `number` at port `number` of an address in the network 93.`network`.0.0/16.
fn provider(number: u32, network: u8) -> PeerInfo {
    let peer = peer(number);
    let [_, host, port @ ..] = number.to_be_bytes();
    let addr = [4, 93, network, host, 1, 6, port[0], port[1]];
    let addrs = AddrList::collect(&peer.id, [addr.as_slice()]);
    PeerInfo::new(peer, addrs)
}

/// A claim of two days whose addresses live for one, received at the start.
fn claim(key: &[u8], provider: PeerInfo) -> ProviderRecord {
    ProviderRecord {
        key: Bytes::copy_from_slice(key),
        provider,
        received: START,
        expires: after(2 * DAY),
        addrs_expire: after(DAY),
    }
}

async fn put(store: &dyn Store, write: ValueWrite, now: UnixTime) -> Result<(), crate::WriteError> {
    let mut results = store.put_values(vec![write], now).await;
    assert_eq!(results.len(), 1, "one result for one write");
    results.remove(0)
}

async fn add(store: &dyn Store, record: ProviderRecord, now: UnixTime) -> Result<(), crate::WriteError> {
    let mut results = store.add_providers(vec![record], now).await;
    assert_eq!(results.len(), 1, "one result for one record");
    results.remove(0)
}

/// The version and value under `key`.
async fn value(store: &dyn Store, key: &[u8], now: UnixTime) -> Option<(u64, Bytes)> {
    let stored = store.value(key, now).await.expect("the store reads")?;
    assert_eq!(stored.record.key, key);
    Some((stored.version, stored.record.value))
}

/// The providers of `key`, in the store's order.
async fn providers(store: &dyn Store, key: &[u8], now: UnixTime) -> Vec<PeerInfo> {
    store.providers(key, usize::MAX, now).await.expect("the store reads")
}

/// The providers of `key` by id, sorted.
async fn provider_ids(store: &dyn Store, key: &[u8], now: UnixTime) -> Vec<PeerId> {
    let mut ids: Vec<_> = providers(store, key, now).await.iter().map(|found| found.peer.id).collect();
    ids.sort();
    ids
}

/// Runs a future on this thread, parked while it waits.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}
