//! What a host with rules of its own uses: surveys, deliveries, and a table that takes only whom it is given.

use std::num::NonZeroUsize;

use bytes::Bytes;
use kadmos_core::config::ConfigError;
use kadmos_core::message::{MessageKind, Request, Response};
use kadmos_core::operation::{Delivery, Holders, Question};
use kadmos_core::{Config, Event, Input, Operation, Outcome, Update, Validators};

use crate::rig::{Rig, nearest, peer, private, record};

const KEY: &[u8] = b"no namespace, and too long for a multihash";

#[test]
fn a_survey_passes_every_answer_on_and_judges_none() {
    let mut rig = Rig::with_peers(private(), 60);
    let id = rig.start(Operation::Survey { key: Bytes::from_static(KEY), question: Question::Value });
    assert!(rig.stores.is_empty(), "the own store is not asked");
    let first = rig.sent.pop_front().expect("a request");
    // No validator of this node's would take it.
    let found = Response::GetValue { record: Some(record(KEY, b"x")), received: None, closer: vec![] };
    rig.answer(&first, found.clone());
    assert_eq!(rig.updates, [(id, Update::Answered { peer: first.to.peer.clone(), response: found })]);
    assert_eq!(rig.node.cost_so_far(id).expect("it runs").failures, 0);
    let asked = 1 + rig.answer_all(400).len();
    let answered = rig.updates.iter().filter(|(_, update)| matches!(update, Update::Answered { .. }));
    assert_eq!(answered.count(), asked, "and nobody was corrected");
    let Outcome::ClosestPeers(Ok(closest)) = rig.ended(id) else { panic!() };
    assert!(closest.peers.iter().all(|info| nearest(400, KEY, 21).contains(info)));
    assert_eq!(rig.node.cost_so_far(id), None);
}

#[test]
fn a_delivery_goes_to_those_named_and_to_nobody_else() {
    let mut rig = Rig::with_peers(private(), 30);
    let holders = vec![peer(100), peer(101)];
    let delivery = Delivery::Value(record(KEY, b"x"));
    let id = rig.start(Operation::Deliver { delivery, holders: Holders::Peers(holders.clone()) });
    let sent = rig.answer_all(400);
    assert_eq!(sent.iter().map(|sent| sent.to.clone()).collect::<Vec<_>>(), holders);
    assert!(
        sent.iter().all(|sent| matches!(sent.message, Request::PutValue { .. })) && rig.stores.is_empty()
    );
    let Outcome::PutValue(Ok(report)) = rig.ended(id) else { panic!() };
    assert_eq!((report.attempted, report.stored), (2, 2));
}

#[test]
fn a_delivery_without_holders_finds_the_closest() {
    let mut rig = Rig::with_peers(private(), 60);
    let key = Bytes::from_static(b"a multihash");
    let delivery = Delivery::Provider { key: key.clone(), provider: peer(7) };
    let id =
        rig.start(Operation::Deliver { delivery, holders: Holders::Closest(NonZeroUsize::new(5).unwrap()) });
    let sent = rig.answer_all(400);
    let given = sent.iter().filter(|sent| sent.message.kind() == MessageKind::AddProvider);
    let given: Vec<_> = given.map(|sent| sent.to.clone()).collect();
    assert_eq!(given, nearest(400, &key, 5));
    let Outcome::Provide(Ok(report)) = rig.ended(id) else { panic!() };
    assert_eq!(report.sent, 5);
    assert!(rig.stores.is_empty());
}

#[test]
fn a_table_that_takes_only_whom_it_is_given() {
    let mut rig = Rig::new(private());
    rig.node.admit_only_inserted();
    rig.input(Input::AddPeer(peer(1)));
    rig.input(Input::Identified { peer: peer(2).peer.id, serves: true, addrs: peer(2).addrs });
    assert!(rig.sent.is_empty() && rig.node.table().view().is_empty());
    rig.input(Input::InsertPeer(peer(3)));
    assert!(rig.events.iter().any(|event| matches!(event, Event::PeerAdmitted { peer: admitted, .. }
        if *admitted == peer(3).peer)));
    // Whoever answers on the way is asked again, and enters no table.
    rig.start(Operation::ClosestPeers { key: Bytes::from_static(KEY) });
    rig.answer_all(50);
    assert_eq!(rig.node.table().view().iter().cloned().collect::<Vec<_>>(), [peer(3)]);
}

#[test]
fn no_rules_take_everything_and_the_latest() {
    let none = Validators::none();
    let now = kadmos_core::UnixTime::from_secs(1);
    assert!(none.validate(b"any", b"a", now).is_ok() && none.accepts(b"/x/y").is_ok());
    assert!(none.replaces(b"any", b"a", b"b") && none.replaces(b"any", b"b", b"a"));
    assert!(Validators::new().validate(b"/x/y", b"a", now).is_err());
    let mut config = Config::amino();
    config.protocol.message_bytes_max = 16 << 10;
    assert!(matches!(config.validate(&Validators::new()), Err(ConfigError::Ipfs { .. })));
    assert_eq!(config.validate(&none), Ok(()));
}

#[test]
fn an_inserted_peer_waits_for_the_next_place() {
    let mut config = private();
    config.table.bucket_size = NonZeroUsize::MIN;
    config.table.neighbours = 0;
    let mut rig = Rig::new(config);
    rig.node.admit_only_inserted();
    let mut far = (0..).map(peer).filter(|info| rig.node.table().prefix_len(&info.peer.key) == 0);
    let (first, second) = (far.next().unwrap(), far.next().unwrap());
    drop(far);
    rig.input(Input::InsertPeer(first.clone()));
    rig.input(Input::InsertPeer(second.clone()));
    assert!(rig.node.table().contains(&first.peer) && !rig.node.table().contains(&second.peer));
    rig.input(Input::RemovePeer(first.peer.id));
    assert!(rig.node.table().contains(&second.peer));
}
