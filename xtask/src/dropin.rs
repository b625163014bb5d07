//! `cargo xtask dropin`: whether `kadmos_libp2p::kad` is what was written for libp2p-kad takes it for.
//!
//! A workspace made in the target directory puts `interop/kad-shim` in the place of libp2p-kad. In it the `libp2p` facade
//! and `libp2p-metrics` are built as they are, and libp2p-kad's own tests are run: they come from the registry, so they
//! are read there and are in no repository but their own. Then both interfaces are compared by what rustdoc says of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::failure::Failure;
use crate::process::{Limit, run, stdout_of};
use crate::repo::Repo;

/// Unit tests of libp2p-kad's behaviour that use more than its interface, or test what differs; `docs/kad.md` says why.
const LEFT_OUT: [&str; 11] = [
    "add_provider", // values made by the crate's own `Arbitrary`
    "bootstrap",    // reads the query pool
    "disjoint_query_does_not_finish_before_all_paths_did", // there are no disjoint paths
    "exp_decr_expiration_overflow", // a private function
    "get_providers_limit", // `Arbitrary`
    "get_providers_limit_n_1",
    "get_providers_limit_n_2",
    "get_providers_limit_n_5",
    "get_providers_single",                // `Arbitrary`
    "network_behaviour_on_address_change", // a private event
    "put_record",                          // `Arbitrary`, and runs a job by hand
];

/// What stands before the unit tests, instead of what they take from inside their crate.
const PRELUDE: &str = "#![allow(unused, clippy::all)]
use std::{collections::{HashMap, HashSet}, num::NonZeroUsize, task::Poll, time::Duration};
use libp2p_core::{Endpoint, Multiaddr};
use libp2p_identity::PeerId;
use libp2p_kad::{*, store::{MemoryStore, RecordStore}, KBucketDistance as Distance, RecordKey as Key};
mod kbucket { pub use libp2p_kad::KBucketKey as Key; }
mod record { pub use libp2p_kad::RecordKey as Key; }
const SHA_256_MH: u64 = 0x12;
const JOBS_MAX_QUERIES: usize = 100;
trait Eval { fn eval(&self, total: NonZeroUsize) -> NonZeroUsize; }
impl Eval for Quorum {
    fn eval(&self, total: NonZeroUsize) -> NonZeroUsize {
        match self { Quorum::N(n) => total.min(*n), _ => total }
    }
}
";

const UPSTREAM: &str = "[package]
name = \"upstream\"
version = \"0.0.0\"
edition = \"2024\"
publish = false

[lib]
path = \"lib.rs\"

[dependencies]
futures = \"0.3\"
futures-timer = \"3\"
libp2p-core = \"0.44\"
libp2p-identify = \"0.48\"
libp2p-identity = { version = \"0.3\", features = [\"ed25519\", \"rand\"] }
libp2p-kad = \"0.49\"
libp2p-noise = \"0.47\"
libp2p-swarm = { version = \"0.48\", features = [\"macros\", \"tokio\"] }
libp2p-swarm-test = { version = \"0.7\", features = [\"tokio\"] }
libp2p-yamux = \"0.48\"
quickcheck = { version = \"1\", default-features = false }
rand = \"0.10\"
tokio = { version = \"1\", features = [\"macros\", \"rt-multi-thread\", \"time\"] }
tracing-subscriber = { version = \"0.3\", features = [\"env-filter\"] }
";

const FACADE: &str = "[package]
name = \"facade\"
version = \"0.0.0\"
edition = \"2024\"
publish = false

[dependencies]
libp2p = { version = \"0.57\", features = [\"kad\", \"metrics\", \"serde\"] }
";

const FACADE_MAIN: &str = "use libp2p::kad;
use libp2p::metrics::{Metrics, Recorder, Registry};

fn main() {
    let id = libp2p::PeerId::random();
    let mut behaviour = kad::Behaviour::new(id, kad::store::MemoryStore::new(id));
    behaviour.get_closest_peers(id);
    Metrics::new(&mut Registry::default()).record(&kad::Event::UnroutablePeer { peer: id });
}
";

pub(crate) fn run_all(repo: &Repo, limit: &Limit) -> Result<(), Failure> {
    let source = registry_source(repo, limit)?;
    let workspace = write_workspace(repo, &source)?;
    let cargo = |args: &[&str]| {
        let mut cargo = repo.cargo(args.iter().copied());
        cargo.current_dir(&workspace).env("CARGO_TARGET_DIR", workspace.join("target"));
        cargo
    };
    run(&mut cargo(&["run", "--package", "facade"]), limit)?;
    run(&mut cargo(&["test", "--package", "upstream", "--no-fail-fast"]), limit)?;
    compare(repo, limit)
}

/// Where cargo has put the source of libp2p-kad, which the interop tests depend on.
fn registry_source(repo: &Repo, limit: &Limit) -> Result<PathBuf, Failure> {
    let metadata = stdout_of(&mut repo.cargo(["metadata", "--format-version", "1", "--locked"]), limit)?;
    let metadata: Value = serde_json::from_str(&metadata)
        .map_err(|error| Failure::wrong(format!("cannot read cargo's metadata: {error}")))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .filter(|package| package["name"] == "libp2p-kad" && package["source"].is_string())
        .find_map(|package| package["manifest_path"].as_str());
    let source = manifest.and_then(|path| Path::new(path).parent()).map(Path::to_path_buf);
    source.ok_or_else(|| Failure::wrong("libp2p-kad is no dependency of this workspace any more"))
}

fn write_workspace(repo: &Repo, source: &Path) -> Result<PathBuf, Failure> {
    let workspace = repo.target.join("dropin");
    let shim = repo.root.join("interop/kad-shim");
    let manifest = format!(
        "[workspace]\nresolver = \"3\"\nmembers = [\"facade\", \"upstream\"]\n\n[patch.crates-io]\nlibp2p-kad = {{ path = {shim:?} }}\n\n\
         [profile.dev]\ndebug = \"line-tables-only\"\n\n{}",
        optimised(&read(&repo.root.join("Cargo.toml"))?)
    );
    let unit_tests = public_tests(&read(&source.join("src/behaviour/test.rs"))?)?;
    for (name, text) in [
        ("Cargo.toml", manifest.as_str()),
        ("Cargo.lock", &read(&repo.root.join("Cargo.lock"))?),
        ("facade/Cargo.toml", FACADE),
        ("facade/src/main.rs", FACADE_MAIN),
        ("upstream/Cargo.toml", UPSTREAM),
        ("upstream/lib.rs", ""),
        ("upstream/tests/behaviour.rs", &unit_tests),
        ("upstream/tests/client_mode.rs", &read(&source.join("tests/client_mode.rs"))?),
    ] {
        let path = workspace.join(name);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        written.map_err(|error| Failure::wrong(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(workspace)
}

/// The part of this workspace's manifest by which handshakes and hashing are fast in tests: those tests are full of them.
fn optimised(manifest: &str) -> &str {
    let from = manifest.find("[profile.dev.package]").unwrap_or(manifest.len());
    let part = &manifest[from..];
    part.find("\n\n").map_or(part, |end| &part[..=end])
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure::wrong(format!("cannot read {}: {error}", path.display())))
}

/// The unit tests that use the interface only, as a test of their own: what they reach for inside is asked of the interface.
fn public_tests(source: &str) -> Result<String, Failure> {
    let changed = || Failure::wrong("libp2p-kad's tests are not what they were: see xtask/src/dropin.rs");
    let (_, body) = source.split_once("use futures::{").ok_or_else(changed)?;
    let (before, rest) = body.split_once("use super::*;\n").ok_or_else(changed)?;
    let (_, rest) = rest.split_once("};\n").ok_or_else(changed)?; // what they take from their crate
    let mut tests = format!("use futures::{{{before}{rest}");
    for (inside, outside) in [
        (".behaviour_mut().store.", ".behaviour_mut().store_mut()."),
        ("swarm.behaviour().queries.config().replication_factor", "K_VALUE"),
        ("assert_eq!(swarm.behaviour_mut().queries.size(), 0);", ""),
        (".queries.size()", ".iter_queries().count()"),
    ] {
        tests = tests.replace(inside, outside);
    }
    let settings = tests.lines().filter(|line| !line.contains(".set_automatic_bootstrap_throttle("));
    tests = settings.map(|line| format!("{line}\n")).collect();
    for name in LEFT_OUT {
        let start = ["(", "<"]
            .iter()
            .find_map(|next| tests.find(&format!("\nfn {name}{next}")))
            .ok_or_else(changed)?;
        let from = tests[..start].rfind("\n}\n").map_or(0, |end| end + 3);
        let to = start + tests[start..].find("\n}\n").ok_or_else(changed)? + 3;
        tests.replace_range(from..to, "");
    }
    Ok(format!("{PRELUDE}{tests}"))
}

/// Fails unless every path of libp2p-kad's interface is one of ours.
fn compare(repo: &Repo, limit: &Limit) -> Result<(), Failure> {
    let interface = |package: &str| -> Result<Value, Failure> {
        let json = ["--", "-Z", "unstable-options", "--output-format", "json"];
        let mut rustdoc = repo.cargo(["rustdoc", "--locked", "--lib", "--package", package]);
        // The format has no stable version; both sides are written by the same compiler.
        run(rustdoc.args(json).env("RUSTC_BOOTSTRAP", "1"), limit)?;
        let path = repo.target.join("doc").join(format!("{}.json", package.replace('-', "_")));
        serde_json::from_str(&read(&path)?)
            .map_err(|error| Failure::wrong(format!("cannot read {}: {error}", path.display())))
    };
    let theirs = Interface::of(&interface("libp2p-kad")?, None);
    let ours = Interface::of(&interface("kadmos-libp2p")?, Some("kad"));
    let missing: Vec<_> = theirs.difference(&ours).collect();
    println!(
        "{} paths of libp2p-kad's interface, {} missing, {} ours",
        theirs.len(),
        missing.len(),
        ours.len()
    );
    if theirs.len() < 400 {
        return Err(Failure::wrong("libp2p-kad's interface was not read: rustdoc's format has changed"));
    }
    if missing.is_empty() { Ok(()) } else { Err(Failure::wrong(format!("missing: {missing:#?}"))) }
}

/// Names, fields, variants, methods and traits of everything a crate or module exports.
struct Interface<'a> {
    index: &'a Value,
    paths: BTreeSet<String>,
}

impl<'a> Interface<'a> {
    fn of(doc: &'a Value, module: Option<&str>) -> BTreeSet<String> {
        let mut interface = Self { index: &doc["index"], paths: BTreeSet::new() };
        let root = interface.get(&doc["root"]);
        let top = module.map_or(root, |name| {
            let modules = items(&root["inner"]["module"]["items"]).map(|id| interface.get(id));
            let found =
                modules.filter(|item| item["inner"]["module"].is_object()).find(|item| item["name"] == name);
            found.unwrap_or(&Value::Null)
        });
        interface.module(top, "");
        // The integer is the same macro's in both.
        interface.paths.retain(|path| !path.starts_with("U256"));
        interface.paths
    }

    fn get(&self, id: &Value) -> &'a Value {
        &self.index[id.as_u64().map(|id| id.to_string()).unwrap_or_default()]
    }

    fn module(&mut self, module: &'a Value, prefix: &str) {
        for id in items(&module["inner"]["module"]["items"]) {
            let item = self.get(id);
            let export = &item["inner"]["use"];
            let name = if export.is_object() { &export["name"] } else { &item["name"] };
            let path = format!("{prefix}{}", name.as_str().unwrap_or_default());
            match () {
                () if export.is_object() => self.item(self.get(&export["id"]), path),
                () if item["visibility"] == "public" => self.item(item, path),
                () => {}
            }
        }
    }

    fn item(&mut self, item: &'a Value, path: String) {
        let inner = &item["inner"];
        if inner["module"].is_object() {
            self.module(item, &format!("{path}::"));
        }
        for id in items(&inner["trait"]["items"]) {
            self.add(&path, "::", self.get(id));
        }
        for id in items(&inner["struct"]["kind"]["plain"]["fields"]) {
            let field = self.get(id);
            if field["visibility"] == "public" {
                self.add(&path, ".", field);
            }
        }
        for id in items(&inner["enum"]["variants"]) {
            let variant = self.get(id);
            let name = self.add(&path, "::", variant);
            for id in items(&variant["inner"]["variant"]["kind"]["struct"]["fields"]) {
                self.add(&name, ".", self.get(id));
            }
        }
        for id in items(&inner["struct"]["impls"]).chain(items(&inner["enum"]["impls"])) {
            let implementation = &self.get(id)["inner"]["impl"];
            let given = implementation["is_synthetic"] == true || implementation["blanket_impl"].is_object();
            match implementation["trait"]["path"].as_str() {
                _ if given => {}
                Some(name) => {
                    let name = name.rsplit("::").next().unwrap_or(name);
                    self.paths.insert(format!("{path}: {name}"));
                }
                None => {
                    for id in items(&implementation["items"]) {
                        let method = self.get(id);
                        if method["visibility"] == "public" {
                            self.add(&path, "::", method);
                        }
                    }
                }
            }
        }
        self.paths.insert(path);
    }

    fn add(&mut self, of: &str, separator: &str, item: &Value) -> String {
        let path = format!("{of}{separator}{}", item["name"].as_str().unwrap_or_default());
        self.paths.insert(path.clone());
        path
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
