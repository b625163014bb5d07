//! `cargo xtask demo`: the main job on one screen.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failure::Failure;
use crate::process::{Limit, Service, run as run_command, stdout_of};
use crate::repo::Repo;

/// Real nodes in the network.
const NODES: &str = "30";
/// Whatever is announced: the CID of the 11 bytes `hello world`.
const CONTENT: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
/// How often running programs are looked at.
const POLL: Duration = Duration::from_millis(200);

/// The test stage.
pub(crate) fn stage(repo: &Repo, limit: &Limit) -> Result<String, Failure> {
    run(repo, limit, true).map(|()| "announced and found".into())
}

/// Builds what is needed, starts the network and the daemon, announces and finds; then stays, unless `once`.
pub(crate) fn run(repo: &Repo, limit: &Limit, once: bool) -> Result<(), Failure> {
    run_command(&mut repo.cargo(["build", "--package", "kadmos-cli", "--locked"]), limit)?;
    let demo = Demo { repo, limit, program: repo.binary("debug", "kadmos"), home: Home::create()? };

    let started = Instant::now();
    let mut network = demo.service(&["devnet", "--nodes", NODES, "--json"])?;
    let ready = demo.ready(&mut network)?;
    let joining = demo.joining(&ready)?;
    println!(
        "{:>7.2} s  {NODES} nodes run on 127.0.0.1 and know each other",
        started.elapsed().as_secs_f64()
    );

    let started = Instant::now();
    let listen = ["--listen", "/ip4/127.0.0.1/tcp/0"];
    let mut daemon =
        demo.service(&[&["serve", "--json"][..], &listen, &demo.at_home(), &joining.options()].concat())?;
    let serving = demo.ready(&mut daemon)?;
    let id = text(&serving, "id")?;
    println!("{:>7.2} s  the daemon {id} is up and joins them", started.elapsed().as_secs_f64());

    let started = Instant::now();
    let published =
        demo.ask(&[&["provide", CONTENT, "--json"][..], &demo.at_home()].concat(), "kadmos.published/1")?;
    let published = published.first().ok_or_else(|| Failure::wrong("`kadmos provide` reported nothing"))?;
    println!(
        "{:>7.2} s  it has announced {CONTENT} to {} of the {} closest nodes",
        started.elapsed().as_secs_f64(),
        published["sent"],
        published["attempted"]
    );

    let started = Instant::now();
    let find = ["find-providers", CONTENT, "--count", "1", "--no-daemon", "--json"];
    let found = demo.ask(&[&find[..], &joining.options()].concat(), "kadmos.provider/1")?;
    if !found.iter().any(|provider| provider["id"] == id) {
        return Err(Failure::wrong(format!("another node looked for {CONTENT} and did not find {id}")));
    }
    println!(
        "{:>7.2} s  another node, new to the network, has found it there",
        started.elapsed().as_secs_f64()
    );

    if !once {
        demo.stay(&joining, &mut network, &mut daemon)?;
    }
    for (service, name) in [(daemon, "the daemon"), (network, "the network")] {
        let status = service.stop()?;
        if !status.success() && status.code() != Some(130) {
            return Err(Failure::wrong(format!("{name} did not end in order: {status}")));
        }
    }
    println!("           everything has ended in order");
    Ok(())
}

/// What a demo's steps share.
struct Demo<'a> {
    repo: &'a Repo,
    limit: &'a Limit,
    program: PathBuf,
    home: Home,
}

/// How others join the network.
struct Joining {
    network: String,
    bootstrap: Vec<String>,
}

impl Joining {
    /// As options of `kadmos`.
    fn options(&self) -> Vec<&str> {
        let peers = self.bootstrap.iter().flat_map(|addr| ["--bootstrap", addr.as_str()]);
        ["--network", self.network.as_str()].into_iter().chain(peers).collect()
    }
}

impl Demo<'_> {
    fn service(&self, args: &[&str]) -> Result<Service, Failure> {
        Service::start(self.repo.command(&self.program.to_string_lossy()).args(args))
    }

    /// The options that name the daemon's data directory, and nobody's configuration.
    fn at_home(&self) -> [&str; 2] {
        ["--home", self.home.text()]
    }

    /// Runs a command to its end and keeps the objects of one form.
    fn ask(&self, args: &[&str], schema: &str) -> Result<Vec<Value>, Failure> {
        let said = stdout_of(self.repo.command(&self.program.to_string_lossy()).args(args), self.limit)?;
        let objects: Vec<_> = said.lines().map(object).collect::<Result<_, _>>()?;
        Ok(objects.into_iter().filter(|object| object["schema"] == schema).collect())
    }

    /// The first line: what a program says once it is up.
    fn ready(&self, service: &mut Service) -> Result<Value, Failure> {
        object(&service.line(self.limit)?)
    }

    fn joining(&self, ready: &Value) -> Result<Joining, Failure> {
        let addrs = ready["bootstrap"].as_array().into_iter().flatten();
        let bootstrap: Vec<_> = addrs.filter_map(Value::as_str).map(Into::into).collect();
        if bootstrap.is_empty() {
            return Err(Failure::wrong(format!("the network named no address to join through: {ready}")));
        }
        Ok(Joining { network: text(ready, "network")?.into(), bootstrap })
    }

    /// Shows what else to try, until a signal comes. Errors: a program ends by itself.
    fn stay(&self, joining: &Joining, network: &mut Service, daemon: &mut Service) -> Result<(), Failure> {
        let program = self.program.strip_prefix(&self.repo.root).unwrap_or(&self.program).display();
        let first = joining.bootstrap.first().map_or("", String::as_str);
        println!("\nAll of it stays until Ctrl-C. In another terminal, for example:");
        println!("  {program} id --home {}", self.home.text());
        println!("  {program} closest {CONTENT} -v --home {}", self.home.text());
        println!("  {program} find-providers {CONTENT} -v --network {} --bootstrap {first}", joining.network);
        loop {
            match self.limit.interrupt.check() {
                Err(Failure::Interrupted) => return Ok(()),
                other => other?,
            }
            // What they print from now on is not needed, but must be read, or they would be held up.
            network.pending()?;
            daemon.pending()?;
            thread::sleep(POLL);
        }
    }
}

/// A data directory for the daemon; removed at the end.
#[derive(Debug)]
struct Home(String);

impl Home {
    /// In the system's directory for such things: the path of a socket in it must be short.
    fn create() -> Result<Self, Failure> {
        let dir = std::env::temp_dir().join(format!("kadmos-demo-{}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(|error| Failure::wrong(format!("cannot create {}: {error}", dir.display())))?;
        match dir.to_str() {
            Some(text) => Ok(Self(text.into())),
            None => Err(Failure::wrong(format!("the path {} is not UTF-8", dir.display()))),
        }
    }

    fn text(&self) -> &str {
        &self.0
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new(&self.0));
    }
}

fn object(line: &str) -> Result<Value, Failure> {
    serde_json::from_str(line).ok().filter(Value::is_object).ok_or_else(|| {
        Failure::wrong(format!("the program printed {line:?}, expected one JSON object a line"))
    })
}

fn text<'a>(object: &'a Value, field: &str) -> Result<&'a str, Failure> {
    object[field].as_str().ok_or_else(|| Failure::wrong(format!("no text in field {field:?} of {object}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_objects_are_read() {
        assert_eq!(text(&object(r#"{"id": "Qm1"}"#).unwrap(), "id").unwrap(), "Qm1");
        for line in ["", "[1]", "hello"] {
            assert!(object(line).unwrap_err().to_string().contains("one JSON object a line"));
        }
        assert!(text(&object("{}").unwrap(), "id").unwrap_err().to_string().contains("\"id\""));
    }

    #[test]
    fn others_are_told_how_to_join() {
        let joining = Joining { network: "private:/n".into(), bootstrap: vec!["/a".into(), "/b".into()] };
        assert_eq!(joining.options(), ["--network", "private:/n", "--bootstrap", "/a", "--bootstrap", "/b"]);
    }
}
