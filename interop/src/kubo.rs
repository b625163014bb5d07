//! A Kubo node, the DHT's reference implementation, as a child process.
//!
//! `interop/kubo/install.py` fetches it, `interop/kubo/kubo_peer.py` runs it; both need Python 3.8 and pip.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

use crate::swarm::{self, Transport};
use crate::{step, step_within};

/// The first test downloads 90 MB, the others wait for it.
const INSTALL_LIMIT: Duration = Duration::from_secs(300);

/// What a node is made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Listens nowhere, so that nobody can connect to it.
    pub unreachable: bool,
    /// Listens on TCP of this address only, rather than on TCP and QUIC of 127.0.0.1.
    pub host: Option<Ipv4Addr>,
    /// Runs in the network namespace of this process, rather than in that of the test.
    pub namespace_of: Option<u32>,
    /// Publishes its IPNS name by itself a minute after its start, the least that Kubo allows.
    pub ipns_republish: bool,
}

/// A running node. Its process ends soon after this is dropped.
#[derive(Debug)]
pub struct Kubo {
    driver: Driver,
    id: PeerId,
    addrs: Vec<Multiaddr>,
}

/// A node that has an identity and a repository, but does not run.
#[derive(Debug)]
pub struct Stopped {
    driver: Driver,
    keypair: Keypair,
}

impl Kubo {
    /// Starts a node with a fresh identity (RSA, so its id is a SHA-256), which serves [`crate::PROTOCOL`] on TCP and
    /// QUIC of 127.0.0.1 and knows nobody. Panics, saying what to install, if Kubo cannot be had.
    pub async fn start() -> Self {
        Self::create(Options::default()).await.run().await
    }

    /// As [`Kubo::start`], in two steps.
    pub async fn create(options: Options) -> Stopped {
        let Options { unreachable, host, namespace_of, ipns_republish } = options;
        let driver = Driver::start(namespace_of).await;
        let listen = match (unreachable, host) {
            (true, _) => Vec::new(),
            (false, Some(host)) => vec![Transport::Tcp.listen_addr(host)],
            (false, None) => swarm::listen_in_tests(),
        };
        let arguments = json!({ "listen": listen, "ipns_republish": ipns_republish });
        let created = driver.call("create", arguments).await;
        let keypair = decode(&created["private_key"]);
        let keypair = Keypair::from_protobuf_encoding(&keypair).expect("Kubo's key is an RSA key");
        Stopped { driver, keypair }
    }

    /// Ends the process, without a word to its peers.
    pub async fn stop(self) {
        let Driver { mut process, stdin, .. } = self.driver;
        drop(stdin);
        step("the end of Kubo", process.wait()).await.expect("it was started, and is waited for once");
    }

    /// Its process. `None` once that has ended.
    pub fn process(&self) -> Option<u32> {
        self.driver.process.id()
    }

    /// Its id.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Its addresses, with `/p2p`.
    pub fn addrs(&self) -> &[Multiaddr] {
        &self.addrs
    }

    /// Connects. Panics if that fails.
    pub async fn connect(&self, addr: &Multiaddr) {
        self.driver.call("connect", json!({ "addr": addr })).await;
    }

    /// Ids of the peers it is connected to.
    pub async fn peers(&self) -> Vec<PeerId> {
        strings(&self.driver.call("peers", json!({})).await)
            .map(|id| id.parse().expect("a peer id"))
            .collect()
    }

    /// The errors it has logged so far.
    pub fn complaints(&self) -> Vec<String> {
        self.driver.complaints.lock().expect("no panic under the lock").clone()
    }

    /// Looks a peer up. `None` if it finds no address.
    pub async fn find_peer(&self, peer: PeerId) -> Option<Vec<Multiaddr>> {
        let found =
            self.driver.call("find_peer", json!({ "peer_id": peer.to_base58(), "seconds": 10 })).await;
        let addrs: Vec<_> = strings(&found).map(|addr| addr.parse().expect("a multiaddr")).collect();
        (!addrs.is_empty()).then_some(addrs)
    }

    /// Adds a file of `content` and announces it. Gives the CID.
    pub async fn add(&self, content: &[u8]) -> String {
        let cid = self.driver.call("add", json!({ "content": BASE64.encode(content) })).await;
        cid.as_str().expect("the driver answers with the CID").to_owned()
    }

    /// Finds providers of a file and fetches it. Panics if that takes longer than [`crate::STEP`]: Kubo itself never
    /// gives up.
    pub async fn download(&self, cid: &str) -> Vec<u8> {
        decode(&self.driver.call("download", json!({ "cid": cid })).await)
    }
}

impl Stopped {
    /// Its key, for records in its name.
    pub fn keypair(&self) -> &Keypair {
        &self.keypair
    }

    /// Makes `record` what Kubo finds as the IPNS record that it published last. Only of use with
    /// [`Options::ipns_republish`]: Kubo then signs it anew and publishes it.
    pub async fn seed_ipns(&self, record: &[u8]) {
        let peer_id = BASE64.encode(self.keypair.public().to_peer_id().to_bytes());
        self.driver.call("seed_ipns", json!({ "peer_id": peer_id, "record": BASE64.encode(record) })).await;
    }

    /// Starts the node.
    pub async fn run(self) -> Kubo {
        let running = self.driver.call("run", json!({})).await;
        let addrs = strings(&running["addrs"]).map(|addr| addr.parse().expect("a multiaddr")).collect();
        Kubo { driver: self.driver, id: self.keypair.public().to_peer_id(), addrs }
    }
}

/// The process and the requests that wait for its answers.
#[derive(Debug)]
struct Driver {
    process: Child,
    stdin: tokio::sync::Mutex<(u64, ChildStdin)>,
    waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>,
    complaints: Arc<Mutex<Vec<String>>>,
}

impl Driver {
    async fn start(namespace_of: Option<u32>) -> Self {
        let library = install().await;
        let mut command = match namespace_of {
            None => Command::new("python3"),
            Some(process) => {
                let mut command = Command::new("nsenter");
                command.args(["--net", "--target", &process.to_string(), "python3"]);
                command
            }
        };
        let mut process = command
            .arg(scripts().join("kubo_peer.py"))
            .arg(library)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Not killed on drop: it ends with its input, and takes its repository along.
            .spawn()
            .expect("python3 ran a moment ago");
        let stdin = process.stdin.take().expect("piped");
        let stdout = process.stdout.take().expect("piped");
        let stderr = process.stderr.take().expect("piped");
        let (waiting, complaints) = (Arc::default(), Arc::default());
        tokio::spawn(read_answers(stdout, Arc::clone(&waiting)));
        tokio::spawn(read_complaints(stderr, Arc::clone(&complaints)));
        Self { process, stdin: tokio::sync::Mutex::new((0, stdin)), waiting, complaints }
    }

    /// Makes the driver do something. Panics with its error, or if it takes longer than a step.
    async fn call(&self, call: &str, mut arguments: Value) -> Value {
        let (reply, answer) = oneshot::channel();
        {
            let mut stdin = self.stdin.lock().await;
            stdin.0 += 1;
            arguments["id"] = stdin.0.into();
            arguments["call"] = call.into();
            self.waiting.lock().expect("no panic under the lock").insert(stdin.0, reply);
            let line = format!("{arguments}\n");
            stdin.1.write_all(line.as_bytes()).await.expect("the process reads until its input ends");
        }
        let mut answer = match step(&format!("Kubo's answer to {call}"), answer).await {
            Ok(answer) => answer,
            Err(_) => panic!("Kubo's process ended during {call}; its standard error says why"),
        };
        match answer["error"].as_str() {
            None => answer["result"].take(),
            Some(error) => panic!("Kubo refused: {error}"),
        }
    }
}

async fn read_answers(stdout: ChildStdout, waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let answer: Value = serde_json::from_str(&line).expect("the driver prints nothing else there");
        let id = answer["id"].as_u64().expect("an answer names its request");
        if let Some(reply) = waiting.lock().expect("no panic under the lock").remove(&id) {
            // The test may no longer wait.
            let _ = reply.send(answer);
        }
    }
    // Whoever still waits learns that the process has ended.
    waiting.lock().expect("no panic under the lock").clear();
}

/// Shows what Kubo logs with the test's own output, and keeps it.
async fn read_complaints(stderr: ChildStderr, complaints: Arc<Mutex<Vec<String>>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        eprintln!("{line}");
        complaints.lock().expect("no panic under the lock").push(line);
    }
}

/// The path of Kubo's library, which is downloaded if it is not there yet. There is no way to skip: a missing peer fails.
pub async fn install() -> PathBuf {
    let script = scripts().join("install.py");
    let mut command = Command::new("python3");
    command.arg(&script).arg(target().join("interop/kubo")).stdin(Stdio::null()).kill_on_drop(true);
    let output = match step_within(INSTALL_LIMIT, "Kubo's download", command.output()).await {
        Ok(output) => output,
        Err(error) => panic!("python3 did not start ({error}); install Python 3.8 or later with pip"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim_end());
    PathBuf::from(String::from_utf8(output.stdout).expect("a path in UTF-8").trim_end())
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kubo")
}

/// The target directory, of which the running program is a part: `<target>/<profile>/deps/<test>` or
/// `<target>/<profile>/<program>`.
fn target() -> PathBuf {
    let program = std::env::current_exe().expect("a program knows its own path");
    let mut profiles = program.ancestors().skip(1).filter(|folder| !folder.ends_with("deps"));
    let target = profiles.nth(1).expect("cargo runs programs from its target directory");
    target.to_owned()
}

fn decode(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("the driver answers with base64");
    BASE64.decode(text).expect("the driver answers with base64")
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    let list = value.as_array().expect("the driver answers with a list");
    list.iter().map(|item| item.as_str().expect("the driver answers with strings"))
}
