//! `kadmos key` and `kadmos id`.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use kadmos_records::ipns;
use libp2p_identity::PeerId;
use multibase::Base;
use serde::Serialize;

use crate::args::Key;
use crate::data_dir::DataDir;
use crate::exit::{Exit, Failure};
use crate::identity::{self, Identity, KEY_FILE_BYTES_MAX, NewKey};
use crate::output::Output;
use crate::protocol::NodeInfo;

/// A key without its private half.
#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    id: String,
    ipns_name: String,
    key_type: &'static str,
    public_key_base64: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

/// Runs `kadmos key …`.
pub(crate) fn run(command: Key, home: &DataDir, output: &mut Output) -> Result<(), Failure> {
    match command {
        Key::New { kind, out: None } => install(home, || Identity::generate(kind), output),
        Key::New { kind, out: Some(path) } => new_file(kind, &path, output),
        Key::Show { file: None } => match Identity::load(home)? {
            Some(identity) => show(&identity, &home.identity(), output),
            None => Err(no_identity(home)),
        },
        Key::Show { file: Some(path) } => show(&read_key(&path)?, &path, output),
        Key::Import { kubo_config: Some(path), .. } => {
            install(home, || read_with(&path, Identity::from_kubo_config), output)
        }
        Key::Import { file: Some(path), .. } => install(home, || read_key(&path), output),
        // Clap demands one of the two.
        Key::Import { file: None, kubo_config: None } => {
            Err(Failure::usage("no key file given; see `kadmos key import --help`"))
        }
    }
}

/// What is known of the node without a daemon.
pub(crate) fn offline_node(home: &DataDir) -> Result<NodeInfo, Failure> {
    let identity = Identity::load(home)?.ok_or_else(|| no_identity(home))?;
    Ok(NodeInfo {
        id: identity.peer_id().to_base58(),
        ipns_name: ipns::format_name(&identity.peer_id()),
        key_type: identity.key_type().into(),
        running: false,
        addrs: Vec::new(),
        protocol: None,
        mode: None,
        peers: None,
        version: env!("CARGO_PKG_VERSION").into(),
    })
}

/// Reads the key file that `put --key-file` names.
pub(crate) fn read_key(path: &Path) -> Result<Identity, Failure> {
    read_with(path, Identity::from_any)
}

fn read_with(path: &Path, read: impl Fn(&[u8]) -> Result<Identity, String>) -> Result<Identity, Failure> {
    let bytes = if path == Path::new("-") { read_stdin() } else { identity::read_bounded(path) };
    let bytes = bytes.map_err(|error| Failure::io("read the key", path, &error, "check the path"))?;
    read(&bytes).map_err(|error| Failure::usage(format_args!("key file {}: {error}", path.display())))
}

fn read_stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().take(KEY_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {KEY_FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// Makes a key this data directory's identity, unless it has one.
fn install(
    home: &DataDir,
    make: impl FnOnce() -> Result<Identity, Failure>,
    output: &mut Output,
) -> Result<(), Failure> {
    let _lock = home.lock()?;
    let path = home.identity();
    if path.exists() {
        return Err(Failure::new(
            Exit::Refused,
            format_args!(
                "identity {} exists, and a key cannot be made again; move it away first, or use another directory with --home",
                path.display()
            ),
        ));
    }
    let identity = make()?;
    home.replace(&path, identity.file_text().as_bytes())?;
    show(&identity, &path, output)
}

fn new_file(kind: NewKey, path: &Path, output: &mut Output) -> Result<(), Failure> {
    let identity = Identity::generate(kind)?;
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).and_then(|mut file| {
            file.write_all(identity.file_text().as_bytes()).and_then(|()| file.sync_all())
        });
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::new(
            Exit::Refused,
            format_args!(
                "key file {} exists, and a key cannot be made again; choose another name",
                path.display()
            ),
        ),
        _ => Failure::io("write the key", path, &error, "choose a path that this user can write"),
    })?;
    show(&identity, path, output)
}

fn show(identity: &Identity, path: &Path, output: &mut Output) -> Result<(), Failure> {
    let id: PeerId = identity.peer_id();
    let shown = Shown {
        schema: "kadmos.key/1",
        id: id.to_base58(),
        ipns_name: ipns::format_name(&id),
        key_type: identity.key_type(),
        public_key_base64: Base::Base64Pad.encode(identity.keypair().public().encode_protobuf()),
        file: (path != Path::new("-")).then(|| path.display().to_string()),
    };
    output.print(&shown, |to, _| {
        writeln!(to, "peer id     {}", shown.id)?;
        writeln!(to, "ipns name   {}", shown.ipns_name)?;
        writeln!(to, "key type    {}", shown.key_type)?;
        writeln!(to, "public key  {}", shown.public_key_base64)?;
        match &shown.file {
            Some(file) => writeln!(to, "file        {file}"),
            None => Ok(()),
        }
    })
}

fn no_identity(home: &DataDir) -> Failure {
    Failure::new(
        Exit::NotFound,
        format_args!(
            "no identity in {}; run `kadmos key new` or `kadmos serve` to make one",
            home.path().display()
        ),
    )
}
