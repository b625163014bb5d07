//! What go's node does unasked.

use super::*;
use crate::baseline::go;

/// Sends within a minute from `secs` on, by whom they were for.
fn sends_from(bench: &mut Bench, secs: u64) -> Vec<PeerId> {
    bench.run(Timestamp::from_millis(secs * 1_000 - 1));
    bench.sends.clear();
    bench.run(Timestamp::from_millis(secs * 1_000 + 60_000));
    bench.sends.iter().map(|(_, to)| *to).collect()
}

/// A prefix that was looked up a little less than ten minutes ago is not looked up again, so each is every twenty; our own id
/// is each time.
#[test]
fn prefixes_are_refreshed_every_other_time() {
    let mut bench = Bench::new(Baseline::Go, 200, 150);
    let counts: Vec<_> = [600, 1_200, 1_800, 2_400].map(|secs| sends_from(&mut bench, secs).len()).into();
    assert!(counts[0] > 100 && counts[2] > 100, "{counts:?}");
    assert!((20..40).contains(&counts[1]) && (20..40).contains(&counts[3]), "{counts:?}");
    assert_eq!(bench.client.running_operations(), 0);
}

/// Lookups of a user count: the prefixes that they went to are not refreshed soon after.
#[test]
fn a_users_lookup_spares_a_prefix() {
    let refresh = |looked_up: bool| {
        let mut bench = Bench::new(Baseline::Go, 200, 150);
        bench.run(Timestamp::from_millis(590_000));
        for index in 0..if looked_up { 15 } else { 0 } {
            bench.perform(Operation::ClosestPeers { key: key(&format!("{index}")) });
        }
        sends_from(&mut bench, 600).len()
    };
    let (spared, all) = (refresh(true), refresh(false));
    assert!(spared * 4 < all * 3, "{spared} of {all}");
}

#[test]
fn who_was_silent_for_43_minutes_is_pinged_and_out_if_dead() {
    let mut bench = Bench::new(Baseline::Go, 200, 150);
    // Everybody hears of the nearest only, so that walks meet few of the table, and nobody new enters.
    let table: Vec<_> = bench.client.view().iter().cloned().collect();
    let dead = table[0].clone();
    let alive = table[1].clone();
    for gone in [&dead, &alive] {
        bench.servers.retain(|info| info != gone); // nobody names them
    }
    bench.temper(&dead, Temper::Dead(60));
    // Walks begin with the table's nearest, so that a far one may be met; what is sure is that 43 minutes do not pass.
    bench.run(Timestamp::from_millis(43 * 60_000));
    let began = bench.now;
    bench.sends.clear();
    bench.run(began + Duration::from_secs(1_300));
    let is_known = |bench: &Bench, info: &PeerInfo| bench.client.view().get(&info.peer.id).is_some();
    assert!(is_known(&bench, &alive) && !is_known(&bench, &dead));
    assert!(bench.sends.iter().any(|(_, to)| *to == alive.peer.id), "it was asked and answered");
}

/// A walk of a refresh ends after ten seconds, whatever it waits for; the next prefix follows.
#[test]
fn walks_of_a_refresh_wait_ten_seconds() {
    let mut bench = Bench::new(Baseline::Go, 120, 100);
    for (index, server) in bench.servers.clone().iter().enumerate() {
        if index % 3 == 0 {
            bench.temper(server, Temper::Dead(60));
        }
    }
    bench.run(Timestamp::from_millis(600_000));
    let prefixes = bench.client.view().buckets().count() as u64;
    assert_eq!(bench.client.running_operations(), 1);
    let end = 600_000 + (prefixes + 1) * go::REFRESH_WALK_TIMEOUT.as_millis() as u64;
    bench.run(Timestamp::from_millis(end));
    assert_eq!(bench.client.running_operations(), 0);
}

#[test]
fn an_empty_table_connects_to_two_bootstrap_peers_every_two_minutes_and_refreshes() {
    let mut bench = Bench::new(Baseline::Go, 200, 0);
    let known: Vec<_> = (0..4).map(info).collect();
    bench.feed(Input::AddBootstrapPeers { kind: SourceKind::Configured, peers: known.clone() });
    known.iter().for_each(|one| bench.temper(one, Temper::Dead(5)));
    let tried = sends_from(&mut bench, 120);
    assert_eq!(tried.len(), 4, "all are tried, one after the other");
    known.iter().for_each(|one| bench.temper(one, Temper::Answers));
    let sent = sends_from(&mut bench, 240);
    let contacted = known.iter().filter(|one| sent[..2].contains(&one.peer.id)).count();
    assert!(contacted >= 1, "the first is a bootstrap peer");
    assert!(bench.client.view().len() > go::LOW_PEERS, "the first peer of the table begins a refresh");
}

#[test]
fn a_stranger_that_names_nobody_is_not_admitted_to_a_table_of_twenty() {
    let stranger = info(9_000);
    let admitted = |known| {
        let mut bench = Bench::new(Baseline::Go, 200, known);
        bench.servers.clear(); // so answers are empty
        bench.feed(Input::Connected { peer: stranger.peer.id, remote: None });
        let (peer, addrs) = (stranger.peer.id, stranger.addrs.clone());
        bench.feed(Input::Identified { peer, serves: true, addrs });
        bench.run(Timestamp::from_millis(1_000));
        bench.client.view().get(&stranger.peer.id).is_some()
    };
    assert!(admitted(3));
    assert!(!admitted(60));
}
