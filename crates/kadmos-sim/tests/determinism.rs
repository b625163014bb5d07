//! A run is repeated by its configuration alone, to the last event; and a run that is not is found out.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kadmos_core::Operation;
use kadmos_sim::{Fact, NodeIndex, Ratio, RunConfig, World, diff, run, run::run_observed};

fn config() -> RunConfig {
    RunConfig { nodes: 30, seed: 7, lookups: 30, records: 5, settle_secs: 620, ..RunConfig::default() }
}

fn hash(config: &RunConfig) -> String {
    run(config, &mut |_| {}).expect("the configuration is sound").trace_hash
}

/// Goal: one seed, one run. Method: run twice, compare the hash of everything that happened.
#[test]
#[cfg_attr(feature = "canary-random-map", ignore = "the canary breaks it, as it should")]
fn trace_same_seed_same_hash() {
    let config = config();
    let first = hash(&config);
    assert_eq!(first, hash(&config));
    assert_ne!(first, hash(&RunConfig { seed: 8, ..config.clone() }));
    assert_ne!(first, hash(&RunConfig { lookups: 31, ..config }));
}

/// Goal: the hash finds what it is for. Method: with requests leaving in the order of a randomly seeded map, two runs
/// of one seed must not be the same.
#[test]
#[cfg_attr(not(feature = "canary-random-map"), ignore = "needs the feature canary-random-map")]
fn trace_canary_random_map_other_hash() {
    let config = RunConfig { settle_secs: 0, ..config() };
    assert_ne!(hash(&config), hash(&config));
    let divergence = diff(&config, &config).expect("the configuration is sound");
    assert!(divergence.is_some(), "the same is seen line by line");
}

/// Goal: the codec changes nothing. Method: the same run with values that travel as they are, and with bytes; without records,
/// because over the wire there are more of them.
#[test]
#[cfg_attr(feature = "canary-random-map", ignore = "the canary breaks it, as it should")]
fn trace_wire_same_hash() {
    let config = RunConfig { settle_secs: 0, records: 0, ..config() };
    assert_eq!(hash(&config), hash(&RunConfig { wire: true, ..config.clone() }));

    let records = |wire| {
        let mut world = World::builder().nodes(30).seed(7).wire(wire).build().expect("valid settings");
        assert!(world.run_until_idle(Duration::from_secs(60)));
        let key = kadmos_sim::records::key(b"value");
        let value = kadmos_sim::records::value(&key, 1);
        for operation in [
            Operation::Provide { key: Bytes::from_static(b"content") },
            Operation::FindProviders { key: Bytes::from_static(b"content"), count: 1 },
            Operation::PutValue { key: key.clone(), value },
            Operation::GetValue { key, quorum: None },
        ] {
            world.start_operation(NodeIndex::new(9), operation);
            assert!(world.run_until_idle(Duration::from_secs(60)));
        }
        world.trace_hash()
    };
    assert_eq!(records(true), records(false));
}

/// Goal: over the wire, nodes store and find records signed as on the public network, checked by the real validators, and a
/// seed is still a run. Method: a run of both kinds of nodes, twice.
#[test]
#[cfg_attr(feature = "canary-random-map", ignore = "the canary breaks it, as it should")]
fn wire_runs_have_signed_records() {
    let config = RunConfig { wire: true, settle_secs: 0, records: 4, go_per_mille: 500, ..config() };
    let report = run(&config, &mut |_| {}).expect("the configuration is sound");
    let signed = report.signed.as_ref().expect("it was over the wire");
    assert_eq!(signed.put.succeeded, Ratio { part: 6, whole: 6 }, "two of four are names, and put twice");
    assert_eq!(signed.get.succeeded, Ratio { part: 4, whole: 4 });
    assert!(signed.held.is_at_least_per_mille(990), "{}", signed.held);
    assert_eq!(report.kinds.len(), 2);
    assert_eq!(report.violations, [] as [String; 0]);
    assert_eq!(hash(&config), report.trace_hash);
    assert_eq!(run(&RunConfig { wire: false, ..config }, &mut |_| {}).expect("sound").signed, None);
}

/// Goal: watching changes nothing, and an observer can end a run. Method: count events, then break at the first
/// lookup.
#[test]
#[cfg_attr(feature = "canary-random-map", ignore = "the canary breaks it, as it should")]
fn trace_observed_same_hash() {
    let config = config();
    let count = Rc::new(RefCell::new(0u64));
    let counted = Rc::clone(&count);
    let observer = Box::new(move |_: &kadmos_sim::TraceEvent<'_>| {
        *counted.borrow_mut() += 1;
        ControlFlow::Continue(())
    });
    let report = run_observed(&config, Some(observer), &mut |_| {}).expect("the configuration is sound");
    assert_eq!(report.trace_hash, hash(&config));
    assert_eq!(report.trace_events, *count.borrow());

    let observer = Box::new(|event: &kadmos_sim::TraceEvent<'_>| match event.fact {
        Fact::OperationStarted { operation: kadmos_core::Operation::ClosestPeers { .. }, .. } => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    let halted = run_observed(&config, Some(observer), &mut |_| {}).expect("the configuration is sound");
    assert!(halted.trace_events < report.trace_events);
    assert_eq!(halted.closest_peers.succeeded.whole, 0);
}

/// Goal: the diff names the first event that differs. Method: equal configurations give none; two that differ only
/// in what is looked up part after everybody has settled, those with other ids at the first answer.
#[test]
#[cfg_attr(feature = "canary-random-map", ignore = "the canary breaks it, as it should")]
fn diff_two_runs_first_difference() {
    let config = RunConfig { nodes: 20, lookups: 5, records: 0, settle_secs: 0, ..config() };
    assert_eq!(diff(&config, &config), Ok(None));

    let other_k = diff(&config, &RunConfig { k: 5, ..config.clone() }).expect("sound").expect("different");
    assert_ne!(other_k.first.first(), other_k.second.first());
    assert!(other_k.first[0].contains(" s #"), "{other_k}");

    let fewer =
        diff(&config, &RunConfig { lookups: 4, ..config.clone() }).expect("sound").expect("different");
    assert!(fewer.first[0].contains("operation"), "{fewer}");
    assert!(fewer.index > other_k.index);
}
