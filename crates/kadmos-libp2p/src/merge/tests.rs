//! Two realms' answers, given by hand in any order.

use std::pin::Pin;

use futures::executor::block_on;
use futures::future::{pending, ready};
use futures::{Stream, StreamExt};
use kadmos_core::error::FindPeerError;
use kadmos_core::operation;
use kadmos_core::record::InvalidRecord;
use kadmos_core::{
    Operation, OperationOptions, Outcome, UnixTime, Update, Validator, operation::Cost as CoreCost,
};
use tokio::sync::mpsc;

use super::*;
use crate::command::{Command, Ended, Replies};
use crate::streams::{Call, PROVIDERS_UNREAD_MAX, Providers, Values};

/// The behaviour's ends of a search of both realms.
struct Realms {
    replies: Vec<Replies>,
    _commands: mpsc::Receiver<Command>,
}

impl Realms {
    /// Begins a search, as its first poll does.
    fn start<S: Stream + Unpin>(
        operation: &Operation,
        search: impl FnOnce(Call, Call) -> S,
    ) -> (Self, Pin<Box<S>>) {
        let (sender, mut commands) = mpsc::channel(2);
        let [wan, lan] = Realm::ALL.map(|realm| {
            Call::new(&sender, realm, operation.clone(), OperationOptions::default(), PROVIDERS_UNREAD_MAX)
        });
        let mut search = Box::pin(search(wan, lan));
        assert!(
            search.poll_next_unpin(&mut Context::from_waker(futures::task::noop_waker_ref())).is_pending()
        );
        let mut replies = Vec::new();
        for expected in Realm::ALL {
            let Ok(Command::Start { realm, replies: of, .. }) = commands.try_recv() else { panic!() };
            assert_eq!(realm, expected);
            replies.push(of);
        }
        (Self { replies, _commands: commands }, search)
    }

    fn providers(count: usize) -> (Self, Pin<Box<Providers>>) {
        let operation = Operation::FindProviders { key: vec![1].into(), count };
        Self::start(&operation, |wan, lan| Providers::of_both(wan, lan, count))
    }

    fn values() -> (Self, Pin<Box<Values>>) {
        let key = Bytes::from_static(b"/test/x");
        let operation = Operation::GetValue { key: key.clone(), quorum: None };
        let validators = Arc::new(Validators::new().with("test", Larger));
        Self::start(&operation, |wan, lan| Values::of_both(wan, lan, key, validators))
    }

    fn update(&self, realm: Realm, update: Update) {
        self.replies[realm.index()].updates.try_send(update).unwrap();
    }

    fn provider(&self, realm: Realm, provider: &PeerAddrs) {
        self.update(realm, Update::Provider(provider.to_core().unwrap()));
    }

    /// Ends a realm's search; the realms must be ended from the last to the first.
    fn end(&mut self, realm: Realm, outcome: Outcome) {
        assert_eq!(self.replies.len(), realm.index() + 1);
        let replies = self.replies.pop().unwrap();
        let cost = CoreCost { requests: 3, hops: 1 + realm.index(), ..CoreCost::default() };
        replies.ended.send(Ended { outcome, cost }).unwrap();
    }

    /// Whether the reader has let go of both searches.
    fn cancelled(&self) -> bool {
        self.replies.iter().all(|replies| replies.updates.is_closed())
    }
}

/// Larger values are better.
struct Larger;

impl Validator for Larger {
    fn validate(&self, _: &[u8], _: &[u8], _: UnixTime) -> Result<(), InvalidRecord> {
        Ok(())
    }

    fn compare(&self, _: &[u8], a: &[u8], b: &[u8]) -> Ordering {
        a.cmp(b)
    }
}

fn peer(ports: &[u16]) -> PeerAddrs {
    PeerAddrs::new(PeerId::random(), ports.iter().map(|port| addr(*port)).collect())
}

fn addr(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
}

#[test]
fn a_provider_comes_again_only_with_further_addresses() {
    let (mut realms, mut search) = Realms::providers(0);
    let both = peer(&[1, 2]);
    realms.provider(Realm::Wan, &both);
    realms.provider(Realm::Lan, &PeerAddrs::new(both.id, vec![addr(2)]));
    realms.provider(Realm::Lan, &PeerAddrs::new(both.id, vec![addr(2), addr(3)]));
    let bare = peer(&[]);
    realms.provider(Realm::Lan, &bare);
    realms.end(Realm::Lan, Outcome::FindProviders(Ok(2)));
    assert_eq!(search.cost(), None);
    realms.end(Realm::Wan, Outcome::FindProviders(Ok(1)));
    let found: Vec<_> = block_on(search.by_ref().map(Result::unwrap).collect());
    let all = PeerAddrs::new(both.id, vec![addr(1), addr(2), addr(3)]);
    assert_eq!(found, [both, all, bare]);
    let cost = search.cost().unwrap();
    assert_eq!((cost.requests, cost.hops), (6, 2));
    assert!(block_on(search.next()).is_none());
}

#[test]
fn the_last_provider_that_was_asked_for_ends_both_searches() {
    let (realms, mut search) = Realms::providers(2);
    let (a, b) = (peer(&[1]), peer(&[2]));
    realms.provider(Realm::Lan, &a);
    realms.provider(Realm::Wan, &b);
    realms.provider(Realm::Wan, &peer(&[3]));
    assert!(!realms.cancelled());
    let found: Vec<_> = block_on(search.by_ref().map(Result::unwrap).collect());
    assert_eq!(found.len(), 2);
    assert!(realms.cancelled());
}

#[test]
fn dropping_the_search_lets_both_go() {
    let (realms, search) = Realms::providers(0);
    drop(search);
    assert!(realms.cancelled());
}

#[test]
fn a_realm_that_failed_is_told_unless_nobody_there_could_be_asked() {
    let (nobody, late) = (OperationError::NoPeers, OperationError::TimedOut);
    let failed = |failed: &[(Realm, &OperationError)]| {
        let failed = failed.iter().map(|(realm, error)| (*realm, FindProvidersError::from((*error).clone())));
        Some(FindProvidersError::Realms { failed: failed.collect() })
    };
    for (wan, lan, expected) in [
        (None, None, None),
        (Some(&nobody), None, None),
        (None, Some(&nobody), None),
        (Some(&late), None, failed(&[(Realm::Wan, &late)])),
        (None, Some(&late), failed(&[(Realm::Lan, &late)])),
        (Some(&late), Some(&nobody), failed(&[(Realm::Wan, &late), (Realm::Lan, &nobody)])),
        (Some(&nobody), Some(&nobody), Some(nobody.clone().into())),
    ] {
        let (mut realms, mut search) = Realms::providers(0);
        realms.provider(Realm::Lan, &peer(&[1]));
        for (realm, error) in [(Realm::Lan, lan), (Realm::Wan, wan)] {
            let result = error.map_or(Ok(0), |error| Err(error.clone().into()));
            realms.end(realm, Outcome::FindProviders(result));
        }
        assert!(block_on(search.next()).unwrap().is_ok(), "what was found comes first");
        assert_eq!(block_on(search.next()).map(Result::unwrap_err), expected);
        assert!(block_on(search.next()).is_none());
    }
}

#[test]
fn each_value_is_better_than_all_of_both_realms_before() {
    let (mut realms, mut search) = Realms::values();
    let value = |byte: u8| kadmos_core::record::ValueFrom { value: vec![byte].into(), peer: None };
    let found = |byte| {
        let found = operation::FoundValue { best: value(byte), answers: 2, corrected: 1 };
        Outcome::GetValue(Ok(found))
    };
    for byte in [3, 7] {
        realms.update(Realm::Wan, Update::Value(value(byte)));
    }
    for byte in [2, 5, 9] {
        realms.update(Realm::Lan, Update::Value(value(byte)));
    }
    realms.end(Realm::Lan, found(9));
    realms.end(Realm::Wan, found(7));
    let values: Vec<_> = block_on(search.by_ref().map(|value| value.unwrap().value[0]).collect());
    assert_eq!(values, [3, 7, 9]);
    let found = search.found().unwrap();
    assert_eq!((found.best.value[0], found.answers, found.corrected), (9, 4, 2));
    assert_eq!(search.cost().unwrap().requests, 6);
    assert!(block_on(search.next()).is_none());
    assert!(search.found().is_some(), "it stays");
}

#[test]
fn values_fail_when_both_realms_do() {
    for lan_has_one in [true, false] {
        let (mut realms, mut search) = Realms::values();
        let value = kadmos_core::record::ValueFrom { value: vec![1].into(), peer: None };
        let one = operation::FoundValue { best: value, answers: 1, corrected: 0 };
        let missing = |answered| GetValueError::NotFound { answered };
        let lan = if lan_has_one { Ok(one) } else { Err(missing(1)) };
        realms.end(Realm::Lan, Outcome::GetValue(lan));
        realms.end(Realm::Wan, Outcome::GetValue(Err(missing(2))));
        let first = block_on(search.next()).unwrap();
        if lan_has_one {
            assert_eq!(first.unwrap().value[0], 1);
            assert!(block_on(search.next()).is_none());
            assert_eq!(search.found().unwrap().answers, 1);
        } else {
            assert_eq!(first.unwrap_err(), GetValueError::of_realms(missing(2), missing(1)));
            assert!(search.found().is_none());
        }
    }
}

#[test]
fn equal_values_are_the_wide_networks() {
    let found = |peer| {
        let best = ValueFrom { value: vec![1].into(), peer: Some(peer) };
        FoundValue { best, answers: 1, corrected: 0 }
    };
    let (wan, lan) = (PeerId::random(), PeerId::random());
    let validators = Validators::new().with("test", Larger);
    assert_eq!(better(b"/test/x", &validators, found(wan), found(lan)).best.peer, Some(wan));
}

#[test]
fn who_is_found_in_one_realm_does_not_wait_for_long_for_the_other() {
    let error = || FindPeerError::NotFound { answered: 1 };
    // The other never answers: it is left after its second.
    assert_eq!(block_on(both_or_one(ready(Ok::<_, FindPeerError>(1)), pending())), (Some(Ok(1)), None));
    assert_eq!(block_on(both_or_one(pending(), ready(Ok::<_, FindPeerError>(2)))), (None, Some(Ok(2))));
    // A failure waits for the other.
    let both = both_or_one(ready(Err::<u8, _>(error())), ready(Ok(2)));
    assert_eq!(block_on(both), (Some(Err(error())), Some(Ok(2))));
    let mut waits = Box::pin(both_or_one(ready(Err::<u8, _>(error())), pending()));
    let waker = futures::task::noop_waker_ref();
    assert!(waits.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
}
