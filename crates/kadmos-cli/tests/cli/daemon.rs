//! Two daemons, the commands on their sockets, and commands with a node of their own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{CONTENT, Home, NOBODY, Service, mode};

#[test]
fn the_main_job_works_over_the_socket_and_without_it() {
    let (near, far, none) = (Home::new(), Home::new(), Home::new());
    let first = near.serve(&[]);
    let second = far.serve(&["--bootstrap", &first.addr()]);
    let (first_id, second_id, addr) = (first.id(), second.id(), first.addr());
    assert_eq!(mode(&near.file("kadmos.sock")), 0o600);

    // Content: announced by the second, found through the first's socket, and by a node that lives for one command.
    let published = far.run(&["provide", CONTENT, "--json"]).json().remove(0);
    assert_eq!((&published["schema"], &published["sent"]), (&"kadmos.published/1".into(), &1.into()));
    for provider in [
        near.run(&["find-providers", CONTENT, "--json"]),
        none.run(&["find-providers", CONTENT, "--json", "--count", "1", "--bootstrap", &addr]),
    ] {
        let lines = provider.json();
        assert_eq!(lines.len(), 1);
        assert_eq!(
            (&lines[0]["schema"], &lines[0]["id"]),
            (&"kadmos.provider/1".into(), &second_id.as_str().into())
        );
        assert_eq!(lines[0]["addrs"].as_array().unwrap().len(), 1);
    }
    assert_eq!(near.run(&["find-providers", CONTENT]).ok(), format!("{second_id}\n"));

    // Names: a new record counts up, and is read everywhere.
    let name = format!("/ipns/{second_id}");
    for sequence in 0..2_u64 {
        far.run(&["put", "/ipns/self", &format!("/ipfs/{CONTENT}")]).ok();
        let value = near.run(&["get", &name, "--json"]).json().remove(0);
        assert_eq!((value["kind"].as_str(), value["sequence"].as_u64()), (Some("ipns"), Some(sequence)));
    }
    assert_eq!(none.run(&["get", &name, "--bootstrap", &addr]).ok(), format!("/ipfs/{CONTENT}\n"));
    far.run(&["put", &format!("/pk/{second_id}")]).ok();
    let key = near.run(&["get", &format!("/pk/{second_id}"), "--json"]).json().remove(0);
    assert_eq!((&key["kind"], &key["id"]), (&"public_key".into(), &second_id.as_str().into()));

    // Peers.
    let found = none.run(&["find-peer", &second_id, "--bootstrap", &addr]).ok();
    assert_eq!(found.trim_end(), second.addr());
    let closest = none.run(&["closest", CONTENT, "--json", "--bootstrap", &addr]).json();
    let ranks: Vec<_> = closest.iter().map(|peer| peer["rank"].as_u64().unwrap()).collect();
    assert_eq!(ranks, [1, 2]);
    let prefixes: Vec<_> = closest.iter().map(|peer| peer["common_prefix_len"].as_u64().unwrap()).collect();
    assert!(prefixes[0] >= prefixes[1], "{prefixes:?}");
    assert!(near.run(&["ping", &second_id]).ok().starts_with("pong 1 from "));
    let pong = none.run(&["ping", &addr, "--json"]).json().remove(0);
    assert_eq!(pong["id"], first_id);

    // What is not there.
    let unknown = "QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN";
    near.run(&["find-providers", unknown]).failed(3, "nobody provides");
    near.run(&["find-peer", NOBODY]).failed(3, "the peer was not found");
    none.run(&["find-peer", NOBODY, "--bootstrap", &addr]).failed(3, "the peer was not found");
    near.run(&["get", &format!("/pk/{NOBODY}")]).failed(3, "no valid value was found");

    // What is refused: a record of the wrong key, a namespace without rules, an older record.
    let stolen = far.write("record", b"not a record");
    far.run(&["put", &name, &format!("@{}", stolen.display())]).failed(6, "the value is invalid");
    near.run(&["get", "/nothing/here"]).failed(6, "namespace");
    far.run(&["put", "/ipns/self", "/ipfs/bafkqaaa", "--sequence", "0"])
        .failed(6, "a better value is already stored");
    far.run(&["put", &format!("/ipns/{first_id}"), "/ipfs/bafkqaaa"]).failed(2, "is the name of another key");

    first.stop();
    second.stop();
    assert!(!near.file("kadmos.sock").exists());
}

#[test]
fn a_directory_has_one_daemon() {
    let home = Home::new();
    let mut daemon = home.serve(&[]);
    assert_eq!(daemon.ready["schema"], "kadmos.ready/1");
    let note = daemon.service.err("this node waits for others");
    assert!(note.contains(&daemon.addr()), "{note}");
    let id = home.run(&["id", "--json"]).json().remove(0);
    assert_eq!(
        (&id["id"], &id["running"], &id["mode"]),
        (&daemon.id().into(), &true.into(), &"server".into())
    );
    let listen = ["serve", "--listen", "/ip4/127.0.0.1/tcp/0"];
    home.run(&listen).failed(1, "is in use by process");
    home.run(&["key", "new"]).failed(1, "is in use by process");
    // A daemon that is killed leaves its socket, but no lock.
    let before = daemon.id();
    daemon.service.signal(Signal::KILL);
    assert_eq!(daemon.service.wait().code(), None);
    assert!(home.file("kadmos.sock").exists());
    let again = home.serve(&[]);
    assert_eq!(again.id(), before);
    again.stop();
}

#[test]
fn a_daemon_in_two_networks_uses_the_local_one_while_it_knows_nobody_else() {
    let (near, far) = (Home::new(), Home::new());
    near.write("config.toml", "realm = \"lan\"\n");
    far.write("config.toml", "realm = \"both\"\n");
    let local = near.serve(&[]);
    let mut both = far.serve(&["--bootstrap", &local.addr()]);
    both.service.err("Joined network");
    let protocols = |daemon: &Value| [daemon["protocol"].clone(), daemon["lan_protocol"].clone()];
    let [wide, lan] = protocols(&both.ready);
    assert_ne!(wide, lan);
    assert_eq!(protocols(&local.ready), [lan, Value::Null]);
    let published = far.run(&["provide", CONTENT, "--json"]).json().remove(0);
    assert_eq!(published["holders"], json!([local.id()]));
    assert_eq!(near.run(&["find-providers", CONTENT]).ok(), format!("{}\n", both.id()));
    far.run(&["find-peer", NOBODY]).failed(3, "lan: the peer was not found");
    both.stop();
    local.stop();
}

#[test]
fn peers_are_remembered_over_a_restart() {
    let (near, far) = (Home::new(), Home::new());
    let first = near.serve(&[]);
    let mut second = far.serve(&["--bootstrap", &first.addr()]);
    second.service.err("Joined network");
    second.stop();
    let memory = far.file("memory-kadmos-test-1");
    assert_eq!(mode(&memory), 0o600);

    // Without any bootstrap peer, the daemon and a command with its own node both join through what is remembered.
    let mut second = far.serve(&[]);
    second.service.err("Joined network");
    second.service.err("answered by source: remembered 1 of 1");
    second.stop();
    let before = std::fs::read(&memory).unwrap();
    let closest = far.run(&["closest", CONTENT]).ok();
    assert!(closest.contains(&first.id()), "{closest}");

    assert_eq!(std::fs::read(&memory).unwrap(), before, "a command reads it only");

    // A damaged file is a warning and a cold start.
    std::fs::write(&memory, "{").unwrap();
    let mut second = far.serve(&[]);
    second.service.err("the memory cannot be read");
    second.service.err("this node waits for others");
    second.stop();
    first.stop();
}

#[test]
fn a_file_lists_peers_to_join_through() {
    let (near, far) = (Home::new(), Home::new());
    let first = near.serve(&[]);
    let list = far.write("peers.txt", format!("# ours\n{}\n", first.addr()));
    let closest = far.run(&["closest", CONTENT, "--bootstrap-file", list.to_str().unwrap()]).ok();
    assert!(closest.contains(&first.id()), "{closest}");
    far.write("config.toml", format!("bootstrap_file = {list:?}\n"));
    let mut second = far.serve(&[]);
    second.service.err("answered by source: file 1 of 1");
    second.stop();
    first.stop();
    far.write("peers.txt", "nonsense\n");
    let ran = Home::new().run(&["closest", CONTENT, "--bootstrap-file", list.to_str().unwrap()]);
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.err.contains("line 1") && ran.err.contains("the file "), "{ran:?}");
}

/// Goal: a page is a way in for the daemon and for commands, and one that never comes is told as what was tried.
#[test]
fn a_page_lists_peers_to_join_through() {
    let (near, far) = (Home::new(), Home::new());
    let first = near.serve(&[]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/peers.txt", listener.local_addr().unwrap());
    let text = format!("{}\n", first.addr());
    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while !lines.next().unwrap().unwrap().is_empty() {}
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).unwrap();
        }
        listener
    });
    let closest = far.run(&["closest", CONTENT, "--bootstrap-url", &url]).ok();
    assert!(closest.contains(&first.id()), "{closest}");
    far.write("config.toml", format!("bootstrap_url = {url:?}\n"));
    let mut second = far.serve(&[]);
    second.service.err("answered by source: url 1 of 1");
    second.stop();
    first.stop();
    let _silent = server.join().unwrap();
    let ran = Home::new().run(&["closest", CONTENT, "--bootstrap-url", &url]);
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.err.contains(&format!("tried {url}")), "{ran:?}");
    Home::new().run(&["closest", CONTENT, "--bootstrap-url", "peers.txt"]).failed(2, "bootstrap_url: read");
}

#[test]
fn the_socket_speaks_lines_of_json() {
    let home = Home::new();
    let daemon = home.serve(&[]);
    let mut stream = UnixStream::connect(home.file("kadmos.sock")).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut ask = |request: &str| -> Vec<Value> {
        writeln!(stream, "{request}").unwrap();
        let mut events = Vec::new();
        loop {
            let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            let last = event["schema"] == "kadmos.end/1" || event["schema"] == "kadmos.failure/1";
            events.push(event);
            if last {
                return events;
            }
        }
    };
    let events = ask(r#"{"schema":"kadmos.request/1","command":{"id":{}}}"#);
    assert_eq!((&events[0]["schema"], &events[0]["id"]), (&"kadmos.node/1".into(), &daemon.id().into()));
    assert_eq!(events[1]["schema"], "kadmos.end/1");
    for (request, exit) in [
        ("hello", "usage"),
        (r#"{"schema":"kadmos.request/1","command":{"find-peer":{"peer":"nobody"}}}"#, "usage"),
        (r#"{"schema":"kadmos.request/1","timeout_seconds":-1,"command":{"id":{}}}"#, "usage"),
        (r#"{"schema":"kadmos.request/1","command":{"closest":{"key":"/pk/x"}}}"#, "usage"),
    ] {
        assert_eq!(ask(request).last().unwrap()["exit"], exit, "{request}");
    }
    let find = json!({"schema": "kadmos.request/1", "command": {"find-peer": {"peer": NOBODY}}});
    assert_eq!(ask(&find.to_string()).last().unwrap()["exit"], "unreachable");
    daemon.stop();
}

#[test]
fn a_node_that_announced_itself_stays_until_interrupted() {
    let (near, far) = (Home::new(), Home::new());
    let daemon = near.serve(&[]);
    let args = ["provide", CONTENT, "--keep", "--bootstrap", &daemon.addr(), "--json"];
    let mut command = far.command(&args);
    command.env("KADMOS_LISTEN", "/ip4/127.0.0.1/tcp/0");
    let mut keeping = Service::start(&mut command);
    assert!(keeping.out().contains("kadmos.published/1"));
    keeping.err("staying up until interrupted");
    let provider = near.run(&["find-providers", CONTENT, "-v"]).ok();
    assert!(provider.contains("/ip4/127.0.0.1/tcp/"), "{provider}");
    keeping.signal(Signal::INT);
    keeping.err("kadmos: interrupted");
    assert_eq!(keeping.wait().code(), Some(130));
    daemon.stop();
}

#[test]
fn a_client_is_in_nobody_s_table() {
    let (near, far) = (Home::new(), Home::new());
    let server = near.serve(&[]);
    let mut client = far.serve(&["--mode", "client", "--bootstrap", &server.addr()]);
    client.service.err("Joined network");
    assert_eq!(far.run(&["id", "--json"]).json()[0]["mode"], "client");
    assert_eq!(far.run(&["id", "--json"]).json()[0]["peers"], 1);
    assert_eq!(near.run(&["id", "--json"]).json()[0]["peers"], 0);
    client.stop();
    server.stop();
}
