//! Lookups of one node against scripted peers.

use std::time::Duration;

use crate::rig::{Rig, nearest, peer, private};
use bytes::Bytes;
use kadmos_core::error::{
    ClosestPeersError, Fault, FindPeerError, FindProvidersError, OperationError, RequestFailure,
};
use kadmos_core::event::Refusal;
use kadmos_core::message::{Request, Response};
use kadmos_core::operation::OperationOptions;
use kadmos_core::record::StoreReply;
use kadmos_core::{AddrList, Event, Input, InputError, Operation, OperationId, Outcome, PeerInfo, Update};

const KEY: &[u8] = b"a key";

fn closest(rig: &mut Rig) -> OperationId {
    rig.start(Operation::ClosestPeers { key: Bytes::from_static(KEY) })
}

#[test]
fn closest_peers_are_the_true_ones_in_order() {
    let mut rig = Rig::with_peers(private(), 60);
    let id = closest(&mut rig);
    let asked = rig.answer_all(400);
    let (outcome, cost) = rig.outcome(id).expect("ended");
    let Outcome::ClosestPeers(Ok(found)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(found.peers, nearest(400, KEY, 20));
    assert!(found.complete);
    assert_eq!((cost.requests, cost.failures, cost.hops), (asked.len(), 0, 2));
    assert_eq!((rig.node.running_operations(), rig.node.running_requests()), (0, 0));
}

#[test]
fn an_empty_table_is_the_networks_fault_and_says_so() {
    let mut rig = Rig::new(private());
    let id = closest(&mut rig);
    let Outcome::ClosestPeers(Err(error)) = rig.ended(id) else { panic!() };
    assert_eq!(error, ClosestPeersError::Operation(OperationError::NoPeers));
    assert_eq!(error.fault(), Fault::Network);
    assert!(error.advice().contains("bootstrap"));
}

#[test]
fn peers_that_all_fail_are_counted() {
    let mut rig = Rig::with_peers(private(), 3);
    let id = closest(&mut rig);
    while let Some(sent) = rig.sent.pop_front() {
        rig.fail(&sent, RequestFailure::Unreachable);
    }
    assert_eq!(rig.ended(id), Outcome::ClosestPeers(Err(OperationError::NoAnswers { asked: 3 }.into())));
}

#[test]
fn ourselves_and_unreachable_peers_are_never_asked() {
    let mut rig = Rig::with_peers(private(), 3);
    closest(&mut rig);
    let nowhere = PeerInfo::new(peer(500).peer, AddrList::EMPTY);
    let sent = rig.sent.pop_front().expect("a request");
    rig.answer(&sent, Response::FindNode { closer: vec![peer(u32::MAX), nowhere.clone(), peer(501)] });
    let asked: Vec<_> = rig.sent.iter().map(|sent| sent.to.peer.clone()).collect();
    assert!(asked.contains(&peer(501).peer));
    assert!(!asked.contains(&peer(u32::MAX).peer) && !asked.contains(&nowhere.peer));
}

#[test]
fn cancelling_stops_at_once() {
    let mut rig = Rig::with_peers(private(), 30);
    let id = closest(&mut rig);
    let asked: Vec<_> = rig.sent.drain(..).collect();
    rig.input(Input::Cancel(id));
    assert_eq!(rig.cancelled, asked.iter().map(|sent| sent.id).collect::<Vec<_>>());
    assert_eq!((rig.node.running_operations(), rig.node.running_requests()), (0, 0));
    assert!(rig.updates.is_empty());
    // An answer that was already on its way is told apart, and changes nothing.
    let late =
        Input::Answered { request: asked[0].id, response: Response::FindNode { closer: vec![peer(99)] } };
    assert_eq!(rig.node.handle_input(rig.now, late), Err(InputError::UnknownRequest(asked[0].id)));
    rig.drain();
    assert!(rig.sent.is_empty() && rig.updates.is_empty());
    rig.input(Input::Cancel(id)); // twice is harmless
}

#[test]
fn a_deadline_gives_whoever_has_answered() {
    let mut rig = Rig::with_peers(private(), 30);
    let id = closest(&mut rig);
    let sent = rig.sent.pop_front().expect("a request");
    rig.answer(&sent, Response::FindNode { closer: vec![] });
    rig.advance(Duration::from_secs(60));
    let Outcome::ClosestPeers(Ok(found)) = rig.ended(id) else { panic!("{:?}", rig.ended(id)) };
    assert_eq!((found.peers, found.complete), (vec![sent.to], false));
}

#[test]
fn invented_addresses_do_not_crowd_out_true_ones() {
    let mut rig = Rig::with_peers(private(), 10);
    let target = peer(333);
    let id = rig.start(Operation::FindPeer { id: target.peer.id });
    let invented: Vec<_> = (0..200u8).map(|n| vec![4, 10, 9, 9, n, 6, 0, 80]).collect();
    let lie = AddrList::collect(&target.peer.id, invented.iter().map(Vec::as_slice));
    let liar = rig.sent.pop_front().expect("a request");
    rig.answer(&liar, Response::FindNode { closer: vec![PeerInfo::new(target.peer.clone(), lie)] });
    let asked = rig.sent.pop_back().expect("the target is asked at once");
    assert_eq!(asked.to.peer, target.peer);
    assert_eq!(asked.to.addrs.len(), kadmos_core::limits::ADDRS_PER_CLAIM_MAX);
    rig.fail(&asked, RequestFailure::Unreachable);
    for sent in rig.sent.drain(..).collect::<Vec<_>>() {
        rig.answer(&sent, Response::FindNode { closer: vec![target.clone()] });
    }
    let Outcome::FindPeer(Ok(found)) = rig.ended(id) else { panic!("{:?}", rig.ended(id)) };
    assert!(found.addrs.iter().any(|addr| target.addrs.iter().any(|own| own == addr)), "{found:?}");
}

#[test]
fn what_a_peer_said_of_itself_comes_before_what_others_say() {
    let mut rig = Rig::with_peers(private(), 10);
    closest(&mut rig);
    let liar = rig.sent.pop_front().expect("a request");
    let other = nearest(10, KEY, 10).pop().expect("ten peers");
    let lie = PeerInfo::new(other.peer.clone(), peer(4_000).addrs);
    rig.answer(&liar, Response::FindNode { closer: vec![lie] });
    assert_eq!(rig.node.table().view().get(&other.peer.id), Some(&other));
}

#[test]
fn an_id_in_use_is_refused() {
    let mut rig = Rig::with_peers(private(), 3);
    let id = closest(&mut rig);
    let again = Input::Start { id, operation: Operation::Bootstrap, options: OperationOptions::default() };
    assert_eq!(rig.node.handle_input(rig.now, again), Err(InputError::DuplicateOperation(id)));
}

#[test]
fn an_operations_own_deadline_and_alpha_count() {
    let mut rig = Rig::with_peers(private(), 30);
    let options = OperationOptions { deadline: Some(Duration::from_secs(3)), alpha: 2.try_into().ok() };
    let id = rig.start_with(Operation::ClosestPeers { key: Bytes::from_static(KEY) }, options);
    assert_eq!(rig.sent.len(), 2);
    rig.advance(Duration::from_millis(2_999));
    assert_eq!(rig.outcome(id), None);
    rig.advance(Duration::from_millis(1));
    assert_eq!(rig.ended(id), Outcome::ClosestPeers(Err(OperationError::TimedOut.into())));
    assert_eq!(rig.cancelled.len(), 2);
}

#[test]
fn a_key_of_a_wrong_length_is_refused_before_anything_is_sent() {
    let mut rig = Rig::with_peers(private(), 3);
    for (operation, max) in [
        (Operation::ClosestPeers { key: Bytes::new() }, 1024),
        (Operation::ClosestPeers { key: vec![0; 1_025].into() }, 1024),
        (Operation::GetValue { key: Bytes::new(), quorum: None }, 1024),
        (Operation::Provide { key: vec![0; 81].into() }, 80),
        (Operation::FindProviders { key: vec![0; 81].into(), count: 0 }, 80),
    ] {
        let kind = operation.kind();
        let id = rig.start(operation);
        let got = if max == 80 { 81 } else { 0 };
        let outcome = rig.ended(id);
        assert_eq!(outcome.fault(), Some(Fault::Caller), "{kind:?}");
        if got == 81 {
            assert_eq!(outcome, Outcome::failed(kind, OperationError::KeyLength { got, max }));
        }
    }
    assert!(rig.sent.is_empty() && rig.stores.is_empty());
}

#[test]
fn operations_are_bounded() {
    let mut rig = Rig::with_peers(private(), 1);
    for _ in 0..kadmos_core::limits::OPERATIONS_MAX {
        rig.start(Operation::FindProviders { key: Bytes::from_static(KEY), count: 0 });
    }
    let id = closest(&mut rig);
    assert_eq!(rig.ended(id), Outcome::ClosestPeers(Err(OperationError::TooMany.into())));
}

#[test]
fn an_answer_to_another_question_counts_against_the_peer() {
    let mut rig = Rig::with_peers(private(), 3);
    let id = closest(&mut rig);
    while let Some(sent) = rig.sent.pop_front() {
        rig.answer(&sent, Response::Ping);
    }
    assert_eq!(rig.ended(id), Outcome::ClosestPeers(Err(OperationError::NoAnswers { asked: 3 }.into())));
    let refused = |event: &&Event| matches!(event, Event::Refused { code: Refusal::WrongResponse, .. });
    assert_eq!(rig.events.iter().filter(refused).count(), 3);
}

#[test]
fn a_peer_is_found_once_it_has_answered_itself() {
    let mut rig = Rig::with_peers(private(), 40);
    let target = peer(333);
    let id = rig.start(Operation::FindPeer { id: target.peer.id });
    rig.answer_all(400);
    assert_eq!(rig.ended(id), Outcome::FindPeer(Ok(target)));
}

#[test]
fn a_peer_that_serves_nothing_is_found_by_reaching_it() {
    let mut rig = Rig::with_peers(private(), 1);
    let target = peer(333);
    let id = rig.start(Operation::FindPeer { id: target.peer.id });
    let sent = rig.sent.pop_front().expect("a request");
    rig.answer(&sent, Response::FindNode { closer: vec![target.clone()] });
    let sent = rig.sent.pop_front().expect("a request to the target");
    assert_eq!(sent.to, target);
    rig.fail(&sent, RequestFailure::Unsupported);
    assert_eq!(rig.ended(id), Outcome::FindPeer(Ok(target)));
}

#[test]
fn a_connected_client_is_found_at_once() {
    let mut rig = Rig::with_peers(private(), 1);
    let client = peer(7);
    let input = Input::Identified { peer: client.peer.id, serves: false, addrs: client.addrs.clone() };
    rig.input(input);
    let id = rig.start(Operation::FindPeer { id: client.peer.id });
    assert_eq!(rig.ended(id), Outcome::FindPeer(Ok(client.clone())));
    rig.input(Input::Disconnected(client.peer.id));
    rig.start(Operation::FindPeer { id: client.peer.id });
    assert!(!rig.sent.is_empty(), "a client that has left must be looked for");
}

#[test]
fn a_peer_nobody_knows_is_not_found() {
    let mut rig = Rig::with_peers(private(), 40);
    let id = rig.start(Operation::FindPeer { id: peer(5_000).peer.id });
    rig.answer_all(400);
    assert!(
        matches!(rig.ended(id), Outcome::FindPeer(Err(FindPeerError::NotFound { answered })) if answered >= 20)
    );
    let id = rig.start(Operation::FindPeer { id: peer(u32::MAX).peer.id });
    assert_eq!(rig.ended(id), Outcome::FindPeer(Err(FindPeerError::IsSelf)));
}

fn providers(rig: &Rig) -> Vec<PeerInfo> {
    let provider = |(_, update): &(OperationId, Update)| match update {
        Update::Provider(info) => Some(info.clone()),
        _ => None,
    };
    rig.updates.iter().filter_map(provider).collect()
}

#[test]
fn providers_stream_and_end_at_the_count() {
    let mut rig = Rig::with_peers(private(), 40);
    let id = rig.start(Operation::FindProviders { key: Bytes::from_static(KEY), count: 3 });
    assert!(rig.sent.is_empty(), "the own store is asked first");
    rig.store_reply(StoreReply::Providers(vec![peer(900)]));
    assert_eq!(providers(&rig), [peer(900)]);
    let sent = rig.sent.pop_front().expect("a request");
    assert_eq!(sent.message, Request::GetProviders { key: Bytes::from_static(KEY) });
    let bare = PeerInfo::new(peer(901).peer, AddrList::EMPTY);
    rig.answer(&sent, Response::GetProviders { providers: vec![bare.clone(), peer(900)], closer: vec![] });
    assert_eq!(providers(&rig), [peer(900), bare.clone()]);
    let sent = rig.sent.pop_front().expect("a request");
    // Addresses for a provider that had none are news, the same provider again is not.
    let more = vec![peer(901), peer(901), peer(902), peer(903)];
    rig.answer(&sent, Response::GetProviders { providers: more, closer: vec![] });
    assert_eq!(providers(&rig), [peer(900), bare, peer(901), peer(902)]);
    assert_eq!(rig.ended(id), Outcome::FindProviders(Ok(3)));
    assert_eq!(rig.node.running_requests(), 0);
}

#[test]
fn one_answer_cannot_fill_a_search_with_inventions() {
    use kadmos_core::limits::{PROVIDER_REPORTS_MAX, PROVIDERS_PER_ANSWER_MAX};
    let mut rig = Rig::with_peers(private(), 40);
    rig.start(Operation::FindProviders { key: Bytes::from_static(KEY), count: 0 });
    rig.store_reply(StoreReply::Providers(vec![]));
    let flood = rig.sent.pop_front().expect("a request");
    let invented = (10_000..11_000).map(peer).collect();
    rig.answer(&flood, Response::GetProviders { providers: invented, closer: vec![] });
    assert_eq!(providers(&rig).len(), PROVIDERS_PER_ANSWER_MAX);
    // A true provider is reported again when its true addresses come after invented ones, within bounds.
    for n in 0..8 {
        let sent = rig.sent.pop_front().expect("a request");
        let claim = PeerInfo::new(peer(900).peer, peer(5_000 + n).addrs);
        rig.answer(&sent, Response::GetProviders { providers: vec![claim], closer: vec![] });
    }
    let reports: Vec<_> = providers(&rig).into_iter().filter(|info| info.peer == peer(900).peer).collect();
    assert_eq!(reports.len(), PROVIDER_REPORTS_MAX);
    assert_eq!(reports.last().map(|info| info.addrs.len()), Some(PROVIDER_REPORTS_MAX));
}

#[test]
fn enough_providers_in_the_own_store_need_no_network() {
    let mut rig = Rig::with_peers(private(), 40);
    let id = rig.start(Operation::FindProviders { key: Bytes::from_static(KEY), count: 1 });
    rig.store_reply(StoreReply::Providers(vec![peer(900)]));
    assert_eq!(rig.ended(id), Outcome::FindProviders(Ok(1)));
    assert!(rig.sent.is_empty());
}

#[test]
fn a_search_without_providers_has_not_failed() {
    let mut rig = Rig::with_peers(private(), 40);
    let id = rig.start(Operation::FindProviders { key: Bytes::from_static(KEY), count: 0 });
    rig.store_reply(StoreReply::Failed { reason: "disk".into() });
    rig.answer_all(400);
    assert_eq!(rig.ended(id), Outcome::FindProviders(Ok(0)));
    let mut alone = Rig::new(private());
    let id = alone.start(Operation::FindProviders { key: Bytes::from_static(KEY), count: 0 });
    alone.store_reply(StoreReply::Providers(vec![]));
    let expected = FindProvidersError::Operation(OperationError::NoPeers);
    assert_eq!(alone.ended(id), Outcome::FindProviders(Err(expected)));
}
