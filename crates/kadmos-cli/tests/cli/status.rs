//! How a daemon is, how it ends on request, and how many files it may open.

use std::process::Command;

use serde_json::Value;

use crate::support::{Home, Ran, Service};

/// Rules are applied ten times a second, so that nobody waits for rounds.
const QUICK: &str = "[health]\ninterval = \"100ms\"\n";

/// Asks until the daemon is in this state. Each try is a process of its own, which takes some milliseconds.
fn until(home: &Home, state: &str) -> Value {
    let mut last = String::new();
    for _ in 0..500 {
        let ran = home.run(&["status", "--json"]);
        let expected = if ran.out.contains("\"state\":\"healthy\"") { 0 } else { 1 };
        assert_eq!((ran.code, ran.err.as_str()), (Some(expected), ""), "{ran:?}");
        let status: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(status["schema"], "kadmos.status/1");
        let explained = status["reasons"].as_array().is_some_and(|it| !it.is_empty());
        assert!(explained || state == "healthy", "a bad state has a reason: {status}");
        if status["state"] == state {
            return status;
        }
        last = ran.out;
    }
    panic!("not {state} after 500 tries: {last}");
}

#[test]
fn status_tells_the_state_and_why() {
    let (near, far) = (Home::new(), Home::new());
    near.run(&["status"]).failed(5, "no daemon runs");
    near.write("config.toml", QUICK);
    far.write("config.toml", QUICK);
    let first = near.serve(&[]);
    let alone = until(&near, "unhealthy");
    let mut second = far.serve(&["--bootstrap", &first.addr(), "--mode", "client"]);
    second.service.err("Joined network");
    let well = until(&far, "healthy");
    assert_eq!(well["table"]["peers"], 1);
    assert_eq!((&well["mode"], &well["mode_setting"]), (&"client".into(), &"client".into()));
    assert_eq!(well["id"], second.id());
    assert!(well["reasons"].as_array().unwrap().is_empty(), "{well}");
    let text = far.run(&["status"]).ok();
    assert!(text.starts_with("state        healthy for ") && text.contains("|#"), "{text}");

    // Nobody else serves, so the first one's table stays empty.
    assert_eq!(alone["mode"], "server");
    let reasons = until(&near, "unhealthy")["reasons"].clone();
    assert_eq!(reasons[0]["code"], "table_small");
    assert_eq!((&reasons[0]["measured_percent"], &reasons[0]["action"]), (&0.into(), &"rejoin".into()));
    let ran = near.run(&["status"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("unhealthy  table_small: 0 % of the peers"), "{ran:?}");
    second.stop();
    first.stop();
}

/// Goal: a node that has just started says why it is not well before the first round of its rules, which is 30 s away.
#[test]
fn a_new_node_says_why_it_is_not_well_at_once() {
    let home = Home::new();
    let daemon = home.serve(&[]);
    let ran = home.run(&["status", "--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let status: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&status["state"], &status["reasons"][0]["code"]),
        (&"unhealthy".into(), &"table_small".into())
    );
    daemon.stop();
}

#[test]
fn a_drained_daemon_ends() {
    let home = Home::new();
    home.run(&["drain"]).failed(5, "no daemon runs");
    let daemon = home.serve(&[]);
    let drained = home.run(&["drain", "--json"]).json().remove(0);
    assert_eq!((&drained["schema"], &drained["cut_off"]), (&"kadmos.drained/1".into(), &0.into()));
    assert_eq!(daemon.service.wait().code(), Some(0));
    assert!(!home.file("kadmos.sock").exists());
    home.serve(&[]).stop();
}

/// The daemon under a shell that sets limits first.
fn limited(home: &Home, limits: &str) -> Service {
    let plain = home.command(&["serve", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{limits}; exec \"$0\" \"$@\""))
        .arg(plain.get_program())
        .args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Service::start(&mut command)
}

#[test]
fn the_file_limit_is_raised_and_a_low_one_is_told() {
    let home = Home::new();
    let mut daemon = limited(&home, "ulimit -Sn 200 && ulimit -Hn 300");
    let note = daemon.err("open files");
    assert!(note.contains("may need 2048 open files and 300 are allowed"), "{note}");
    assert!(note.contains("LimitNOFILE=2048"), "{note}");
    daemon.out(); // it is up all the same
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<_> = files.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).collect();
    assert_eq!(numbers, ["300", "300"], "soft and hard");
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));

    let devnet =
        format!("ulimit -n 200 && exec {} devnet --nodes 3 --check --k 4", env!("CARGO_BIN_EXE_kadmos"));
    let ran = Ran::of(Command::new("sh").arg("-c").arg(devnet));
    assert!(
        ran.err.contains("3 nodes in one process may need 265 open files and 200 are allowed"),
        "{ran:?}"
    );
}
