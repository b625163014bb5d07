//! A person's mistakes: each gets one clear line and the right exit code.

use std::net::TcpListener;

use crate::support::{CONTENT, Home, NOBODY, Ran, mode};

/// An address on which nothing listens: the port was free a moment ago.
fn dead_addr() -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("/ip4/127.0.0.1/tcp/{port}/p2p/{NOBODY}")
}

#[test]
fn bad_names_are_usage_errors() {
    let home = Home::new();
    for (args, text) in [
        (&["find-providers", "bafybad"][..], "read \"bafybad\", expected a CID"),
        (&["provide", "/ipfs/a/b"], "a path below a CID"),
        (&["find-peer", "12D3Koo"], "read \"12D3Koo\", expected a peer id"),
        (&["ping", "/ip4/127.0.0.1/tcp/4010"], "does not end in /p2p/"),
        (&["get", "k51"], "expected a record key"),
        (&["get", "/ipns/example.com"], "expected a peer id"),
        (&["closest", "?"], "expected a CID, a multihash, a peer id, or a record key"),
        (&["put", "/ipns/self/x", "y"], "expected a peer id"),
        (&["find-peer", NOBODY, "--bootstrap", "/ip4/1.2.3.4/tcp/1"], "it does not end in /p2p/<peer id>"),
        (&["find-peer", NOBODY, "--bootstrap", "localhost:4001"], "bootstrap: read \"localhost:4001\""),
        (&["serve", "--listen", "4001"], "listen: read \"4001\", expected a multiaddress"),
        (&["serve", "--listen", "/ip4/127.0.0.1/tcp/0/ws"], "expected a TCP or QUIC address"),
        (&["find-peer", NOBODY, "--network", "wan"], "expected amino, lan or private:/name"),
        (&["find-peer", NOBODY, "--timeout", "5"], "expected a duration"),
        (&["find-peer", NOBODY, "--log", "a=b=c"], "expected one such as info"),
        (&["find-pear", NOBODY], "similar subcommands exist: "),
        (&["find-peer"], "<PEER>"),
        (&["find-peer", NOBODY, "--jsn"], "a similar argument exists: '--json'"),
        (&["devnet", "--nodes", "1"], "1 is not in 2..="),
        (&["decode", "what is this"], "cannot decode \"what is this\""),
        (&["decode", "--as", "cid", "zzz"], "expected a CID"),
        (&["decode", "@/no/such/file"], "cannot read /no/such/file"),
    ] {
        let code = if text.starts_with("cannot read") { 1 } else { 2 };
        home.run(args).failed(code, text);
    }
}

#[test]
fn bad_settings_name_their_place() {
    let home = Home::new();
    home.write("config.toml", "mode = \"server\"\n\n[lookup]\n  alhpa = 3\n");
    home.run(&["find-peer", NOBODY])
        .failed(2, "config.toml, line 4, column 3: unknown key `alhpa`; did you mean `alpha`?");
    home.write("config.toml", "[lookup]\nk = 4\nbeta = 5\n");
    home.run(&["serve"]).failed(2, "lookup.beta: read 5, expected at most lookup.k = 4");
    home.write("config.toml", "[lookup]\nk = 21\n");
    home.run(&["serve", "--network", "amino"])
        .failed(2, "lookup.k: read 21, but a protocol under /ipfs needs 20");
    home.write("config.toml", "");
    home.run(&["serve", "--config", "/no/such.toml"])
        .failed(2, "cannot read the configuration file /no/such.toml");
    let mut command = home.command(&["serve"]);
    command.env("KADMOS_LOOKUP_DEADLINE", "soon");
    Ran::of(&mut command)
        .failed(2, "environment variable KADMOS_LOOKUP_DEADLINE: read \"soon\", expected a duration");
}

#[test]
fn a_port_in_use_is_said() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    home.run(&["serve", "--listen", &addr]).failed(1, "the port is in use");
}

#[test]
fn a_port_of_another_daemon_is_in_use_too() {
    let (first, second) = (Home::new(), Home::new());
    let daemon = first.serve(&[]);
    let addr = daemon.addr();
    let (listen, _) = addr.rsplit_once("/p2p/").unwrap();
    second.run(&["serve", "--listen", listen]).failed(1, "the port is in use");
    daemon.stop();
}

#[test]
fn a_directory_that_cannot_be_written_is_said() {
    let home = Home::new();
    // Below a file, nobody can make a directory, root included.
    let file = home.write("file", "");
    let below = file.join("data");
    let mut command = home.command(&["serve"]);
    command.env("KADMOS_HOME", &below);
    Ran::of(&mut command).failed(1, "cannot write to the data directory");
    let mut command = home.command(&["key", "new"]);
    command.env("KADMOS_HOME", &below);
    Ran::of(&mut command).failed(1, "set KADMOS_HOME to another directory");
}

#[test]
fn a_directory_whose_socket_path_is_too_long_is_said() {
    let home = Home::new();
    let mut command = home.command(&["serve"]);
    command.env("KADMOS_HOME", home.path().join("x".repeat(120)));
    Ran::of(&mut command).failed(2, "set KADMOS_HOME to a shorter directory");
}

#[test]
fn without_peers_commands_say_so() {
    let home = Home::new();
    for args in [
        &["find-peer", NOBODY][..],
        &["find-providers", CONTENT],
        &["get", "/pk/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"],
        &["closest", CONTENT],
        &["provide", CONTENT],
        &["ping", NOBODY],
    ] {
        home.run(args).failed(5, "no peer of network private:/kadmos/test/1 is known");
    }
    let dead = dead_addr();
    home.run(&["find-peer", NOBODY, "--bootstrap", &dead]).failed(5, "nobody answered to join through");
    home.run(&["ping", &dead]).failed(5, "could not be reached");
}

#[test]
fn a_daemon_without_peers_says_what_it_tried_and_stays() {
    let home = Home::new();
    let dead = dead_addr();
    let mut daemon = home.serve(&["--bootstrap", &dead]);
    daemon.service.err("Records are kept in memory");
    let notice = daemon.service.err("No answer yet");
    assert!(notice.contains(&dead) && notice.contains("--bootstrap"), "{notice}");
    home.run(&["find-peer", NOBODY]).failed(5, "no peers are known");
    let id = &home.run(&["id", "--json"]).json()[0];
    assert_eq!((id["running"].as_bool(), id["peers"].as_u64()), (Some(true), Some(0)));
    daemon.stop();
}

/// A peer that takes connections and never speaks is the slow case: nothing fails, so only the clock can tell.
#[test]
fn a_silent_network_is_noticed_within_ten_seconds() {
    let home = Home::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = format!("/ip4/127.0.0.1/tcp/{}/p2p/{NOBODY}", silent.local_addr().unwrap().port());
    let began = std::time::Instant::now();
    let mut daemon = home.serve(&["--bootstrap", &addr]);
    daemon.service.err("No answer yet");
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    daemon.stop();
}

#[test]
fn time_that_is_up_has_its_own_code() {
    let home = Home::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = format!("/ip4/127.0.0.1/tcp/{}/p2p/{NOBODY}", silent.local_addr().unwrap().port());
    home.run(&["find-peer", NOBODY, "--bootstrap", &addr, "--timeout", "200ms"]).failed(4, "--timeout");
}

#[test]
fn a_socket_of_somebody_else_is_no_daemon() {
    let home = Home::new();
    home.run(&["key", "new"]).ok();
    // What a daemon that was killed leaves behind.
    drop(std::os::unix::net::UnixListener::bind(home.file("kadmos.sock")).unwrap());
    let id = home.run(&["id"]).ok();
    assert!(id.contains("not running"), "{id}");
    assert_eq!(mode(&home.file("identity.key")), 0o600);
}
