//! `kadmos devnet` and `kadmos sim`.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{CONTENT, Home, Service};

#[test]
fn a_devnet_checks_itself() {
    let home = Home::new();
    let lines = home.run(&["devnet", "--nodes", "8", "--k", "3", "--check", "--json"]).json();
    let of =
        |schema: &str| lines.iter().filter(|line| line["schema"] == schema).cloned().collect::<Vec<Value>>();
    let operations = of("kadmos.devnet-operation/1");
    assert_eq!(operations.len(), 7);
    for operation in &operations {
        assert_eq!(
            (operation["tried"].as_u64(), operation["succeeded"].as_u64()),
            (Some(8), Some(8)),
            "{operation}"
        );
        assert_eq!(operation["messages"]["count"], 8, "an operation's cost was lost: {operation}");
    }
    let holders = of("kadmos.devnet-holders/1");
    let held: Vec<_> = holders
        .iter()
        .map(|it| (it["records"].as_u64(), it["expected"].as_u64(), it["held"].as_u64()))
        .collect();
    assert_eq!(held, [(Some(8), Some(3), Some(24)); 3]);
    assert_eq!(lines.last().unwrap()["passed"], true);
}

#[test]
fn a_devnet_stays_and_others_join_it() {
    let home = Home::new();
    let mut network = Service::start(&mut home.command(&["devnet", "--nodes", "5", "--json"]));
    let ready: Value = serde_json::from_str(&network.out()).unwrap();
    assert_eq!((&ready["schema"], ready["addrs"].as_array().unwrap().len()), (&"kadmos.devnet/1".into(), 5));
    assert_eq!(ready["bootstrap"].as_array().unwrap().len(), 3);
    let joining = [
        "--network",
        ready["network"].as_str().unwrap(),
        "--bootstrap",
        ready["bootstrap"][0].as_str().unwrap(),
    ];
    let closest = home.run(&[&["closest", CONTENT][..], &joining].concat()).ok();
    assert_eq!(closest.lines().count(), 5, "{closest}");
    network.signal(Signal::INT);
    assert_eq!(network.wait().code(), Some(0));
}

#[test]
fn simulated_runs_report_and_repeat_themselves() {
    let home = Home::new();
    let small = ["--nodes", "30", "--lookups", "20", "--records", "5", "--json"];
    let report = |seed: &str| {
        let args = [&["sim", "run"][..], &small, &["--seed", seed]].concat();
        home.run(&args).json().pop().unwrap()
    };
    let first = report("7");
    assert_eq!((&first["schema"], &first["config"]["nodes"]), (&"kadmos.sim-report/1".into(), &30.into()));
    assert_eq!(first["recall"]["part"], first["recall"]["whole"]);
    assert_eq!(report("7")["trace_hash"], first["trace_hash"]);
    assert_ne!(report("8")["trace_hash"], first["trace_hash"]);

    let same = home.run(&[&["sim", "diff", "--seed", "7"][..], &small].concat()).json().pop().unwrap();
    assert_eq!((&same["schema"], &same["equal"]), (&"kadmos.sim-diff/1".into(), &true.into()));
    let other = home.run(&[&["sim", "diff", "--seed", "7", "--seed-b", "8"][..], &small].concat());
    assert_eq!(other.code, Some(1));
    let other: Value = serde_json::from_str(other.out.trim()).unwrap();
    assert_eq!(other["equal"], false);
    assert_ne!(other["first"], other["second"]);
}

#[test]
fn studies_write_their_report_and_lookups_are_replayed() {
    let home = Home::new();
    let folder = home.file("study");
    let folder = folder.to_str().unwrap();
    let small = ["--quick", "--servers", "100", "--seeds", "1", "--work-percent", "3", "--report", folder];
    let study = home.run(&[&["sim", "study", "mute", "--json"][..], &small].concat()).json().pop().unwrap();
    assert_eq!(
        (&study["schema"], &study["folder"], &study["study"]),
        (&"kadmos.study/1".into(), &folder.into(), &"mute".into())
    );
    let command = "kadmos sim study mute --seed 1 --quick --seeds 1 --servers 100 --work-percent 3";
    assert_eq!(study["command"], command);
    for file in ["report.txt", "report.json", "first-record-p50.svg"] {
        assert!(home.file("study").join(file).exists(), "{file}");
    }

    // So small a world is not like the public network: the modelled go is too fast, and the study says so.
    let lookup = [&["sim", "study", "lookup"][..], &small].concat();
    let missed = home.run(&lookup);
    assert_eq!(missed.code, Some(1));
    assert!(missed.err.contains("against published times failed"), "{}", missed.err);

    let replay = ["sim", "replay", "--nodes", "200", "--seed", "7", "--node", "17", "--client", "go"];
    let replayed = home.run(&[&replay[..], &["--json"]].concat()).json().pop().unwrap();
    assert_eq!(replayed["schema"], "kadmos.sim-replay/1");
    let asked = replayed["asked"].as_array().unwrap().len();
    assert_eq!(home.run(&replay).ok().lines().count(), asked + 2, "a line for each, a heading and an end");
    home.run(&["sim", "replay", "--nodes", "10", "--node", "10"]).failed(2, "expected a number below 10");
}

#[test]
fn trials_print_what_they_measured_and_a_bar_that_fails_is_an_exit_code() {
    let home = Home::new();
    let small = ["sim", "trial", "join", "--servers", "40", "--go-percent", "25"];
    let ran = home.run(&[&small[..], &["--json"]].concat());
    let report: serde_json::Value = serde_json::from_str(&ran.out).expect("one report");
    assert_eq!((&report["schema"], &report["trial"]), (&"kadmos.trial/1".into(), &"join".into()));
    let holds = |bar: &serde_json::Value| bar["measured"].as_f64() >= bar["limit"].as_f64();
    let bars = report["bars"].as_array().unwrap();
    assert!(bars.len() == 2 && holds(&bars[1]), "every lookup finds its target: {report}");
    // So few servers are crowded out of answers by dead ids.
    assert_eq!(ran.code, Some(if bars.iter().all(holds) { 0 } else { 1 }), "{report}");
    let said = home.run(&small);
    assert!(said.out.starts_with("trial join: 40 servers, 25 % go"), "{}", said.out);
    assert_eq!(said.out.contains("FAILS"), ran.code == Some(1), "{}", said.out);
    assert_eq!(said.err.contains("1 of 1 trials failed (join)"), ran.code == Some(1), "{}", said.err);

    home.run(&["sim", "trial", "join", "--servers", "39"]).failed(2, "read 39, expected at least 40");
    home.run(&["sim", "trial", "jion"]).failed(2, "expected the name of a trial: churn, partition");
    home.run(&["sim", "trial", "join", "--go-percent", "91"]).failed(2, "expected at most 90 %");
}
