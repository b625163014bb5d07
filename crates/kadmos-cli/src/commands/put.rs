//! `kadmos put`: finished records, and records that are made here.

use std::io::Read as _;
use std::path::Path;
use std::time::SystemTime;

use kadmos_core::UnixTime;
use kadmos_core::limits::VALUE_BYTES_MAX;
use kadmos_records::{ipns, pk};
use libp2p_identity::{PeerId, PublicKey};
use multibase::Base;

use crate::args::{Global, Put};
use crate::client::{Need, Session};
use crate::commands::key::read_key;
use crate::data_dir::DataDir;
use crate::exit::{Exit, Failure};
use crate::identity::Identity;
use crate::output::{Output, note};
use crate::parse::RecordKey;
use crate::protocol::{Event, Meaning, Request};

/// Runs the command.
pub(crate) async fn run(
    args: Put,
    global: &Global,
    home: &DataDir,
    output: &mut Output,
) -> Result<(), Failure> {
    let signer = Signer { key_file: args.key_file.as_deref(), home };
    let text = signer.resolve_self(&args.key)?;
    let key: RecordKey = text.parse().map_err(Failure::usage)?;
    let source = source(&key, args.value.as_deref())?;
    // Everything that can be wrong on this machine is found before the network is asked.
    let prepared = match source {
        Source::Bytes(bytes) => Prepared::Bytes(bytes),
        Source::PublicKey => Prepared::Bytes(pk::value(&signer.public_key(&key)?).to_vec()),
        Source::Path(path) => Prepared::Sign { identity: Box::new(signer.owner(&key, &text)?), path },
    };
    let mut session = Session::open(global, home, Need::Peers).await?;
    let result = publish(&mut session, prepared, &text, &args, output).await;
    session.close().await;
    result
}

/// What VALUE says.
enum Source {
    /// A finished record.
    Bytes(Vec<u8>),
    /// A path to sign.
    Path(String),
    /// No value: the public key that a `/pk` key names.
    PublicKey,
}

enum Prepared {
    Bytes(Vec<u8>),
    Sign { identity: Box<Identity>, path: String },
}

async fn publish(
    session: &mut Session,
    prepared: Prepared,
    text: &str,
    args: &Put,
    output: &mut Output,
) -> Result<(), Failure> {
    let value = match prepared {
        Prepared::Bytes(bytes) => bytes,
        Prepared::Sign { identity, path } => {
            let sequence = match args.sequence {
                Some(sequence) => sequence,
                None => next_sequence(session, text).await?,
            };
            if output.style().verbose {
                note(format_args!("signing {path} with sequence {sequence}"));
            }
            sign(&identity, &path, sequence, args)?
        }
    };
    let request = Request::Put { key: text.into(), value_base64: Base::Base64Pad.encode(value) };
    session.run(request, &mut |event| output.event(&event)).await
}

/// One more than the sequence of the record that the network has; 0 when it has none.
async fn next_sequence(session: &mut Session, text: &str) -> Result<u64, Failure> {
    let mut current = None;
    let request = Request::Get { key: text.into(), quorum: None };
    let result = session
        .run(request, &mut |event| {
            if let Event::Value(value) = event
                && let Meaning::Ipns(record) = value.meaning
            {
                current = Some(record.sequence);
            }
            Ok(())
        })
        .await;
    match (result, current) {
        (Ok(()), Some(sequence)) => Ok(sequence.saturating_add(1)),
        (Ok(()), None) => Ok(0),
        (Err(failure), _) if failure.exit == Exit::NotFound => Ok(0),
        // Without the current number a new record may lose against it, silently.
        (Err(failure), _) => Err(Failure::new(
            failure.exit,
            format_args!(
                "cannot tell the current sequence number of {text}: {failure}; or give one with --sequence"
            ),
        )),
    }
}

fn sign(identity: &Identity, path: &str, sequence: u64, args: &Put) -> Result<Vec<u8>, Failure> {
    let now = UnixTime::from_secs(SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()));
    ipns::create(identity.keypair(), path.as_bytes(), sequence, now + args.lifetime.0, args.ttl.0)
        .map(|record| record.to_vec())
        .map_err(|error| Failure::usage(format_args!("cannot sign {path:?}: {error}; {}", error.advice())))
}

/// Reads VALUE, which means different things for different keys.
fn source(key: &RecordKey, value: Option<&str>) -> Result<Source, Failure> {
    let is_ipns = key.bytes.starts_with(ipns::PREFIX);
    let is_pk = key.bytes.starts_with(pk::PREFIX);
    let Some(text) = value else {
        return if is_pk {
            Ok(Source::PublicKey)
        } else {
            Err(Failure::usage(
                "no value given; expected a path to sign, text, @FILE or - for standard input",
            ))
        };
    };
    if text == "-" {
        return read(Path::new("-"), std::io::stdin()).map(Source::Bytes);
    }
    if let Some(path) = text.strip_prefix('@') {
        let path = Path::new(path);
        let file = std::fs::File::open(path)
            .map_err(|error| Failure::io("read the record", path, &error, "check the path after @"))?;
        return read(path, file).map(Source::Bytes);
    }
    if is_ipns {
        return if text.starts_with('/') {
            Ok(Source::Path(text.into()))
        } else {
            Err(Failure::usage(format_args!(
                "read the value {text:?}, expected a path such as /ipfs/bafy… to sign, or @FILE with a finished record"
            )))
        };
    }
    if is_pk {
        let bytes = Base::Base64Pad.decode(text);
        return bytes.map(Source::Bytes).map_err(|error| {
            Failure::usage(format_args!(
                "read the value {text:?}, expected a public key in base64 ({error}); leave it out for this node's own"
            ))
        });
    }
    Ok(Source::Bytes(text.as_bytes().to_vec()))
}

fn read(path: &Path, from: impl std::io::Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    from.take(VALUE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::io("read the record", path, &error, "check the path"))?;
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(Failure::new(
            Exit::Refused,
            format_args!(
                "{} has more than {VALUE_BYTES_MAX} bytes, the most that a record may have",
                path.display()
            ),
        ));
    }
    Ok(bytes)
}

/// Where private keys come from.
struct Signer<'a> {
    key_file: Option<&'a Path>,
    home: &'a DataDir,
}

impl Signer<'_> {
    fn identity(&self) -> Result<Identity, Failure> {
        if let Some(path) = self.key_file {
            return read_key(path);
        }
        Identity::load(self.home)?.ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format_args!(
                    "no identity in {} to sign with; run `kadmos key new`, or name a key with --key-file",
                    self.home.path().display()
                ),
            )
        })
    }

    /// Puts the own name in the place of `self`.
    fn resolve_self(&self, key: &str) -> Result<String, Failure> {
        match key {
            "/ipns/self" => Ok(format!("/ipns/{}", ipns::format_name(&self.identity()?.peer_id()))),
            "/pk/self" => Ok(format!("/pk/{}", self.identity()?.peer_id())),
            _ => Ok(key.into()),
        }
    }

    /// The key pair that `key` names.
    fn owner(&self, key: &RecordKey, text: &str) -> Result<Identity, Failure> {
        let identity = self.identity()?;
        if key.peer == Some(identity.peer_id()) {
            return Ok(identity);
        }
        Err(Failure::usage(format_args!(
            "{text} is the name of another key than {}; name its key with --key-file, or put to /ipns/self",
            identity.peer_id()
        )))
    }

    /// The public key that a `/pk` key names: from the id when it contains it, else from the own identity.
    fn public_key(&self, key: &RecordKey) -> Result<PublicKey, Failure> {
        // A `/pk` key is only parsed with a peer id.
        let peer: PeerId = key.peer.ok_or_else(|| Failure::usage("the key names no peer"))?;
        let hash: &crate::parse::Multihash = peer.as_ref();
        if hash.code() == 0
            && let Ok(public) = kadmos_records::public_key::decode(hash.digest())
        {
            return Ok(public);
        }
        let identity = self.identity()?;
        if identity.peer_id() == peer {
            return Ok(identity.keypair().public());
        }
        Err(Failure::usage(format_args!(
            "the public key of {peer} is neither in its id nor this node's; give it as VALUE in base64 or as @FILE"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

    fn key(text: &str) -> RecordKey {
        text.parse().unwrap()
    }

    #[test]
    fn values_mean_what_their_key_says() {
        let name = key(&format!("/ipns/{ED25519}"));
        assert!(matches!(source(&name, Some("/ipfs/bafy")), Ok(Source::Path(path)) if path == "/ipfs/bafy"));
        assert_eq!(source(&name, Some("bafy")).err().unwrap().exit, Exit::Usage);
        assert_eq!(source(&name, None).err().unwrap().exit, Exit::Usage);
        let public = key(&format!("/pk/{ED25519}"));
        assert!(matches!(source(&public, None), Ok(Source::PublicKey)));
        assert!(matches!(source(&public, Some("AAE=")), Ok(Source::Bytes(bytes)) if bytes == [0, 1]));
        assert!(source(&public, Some("?")).is_err());
        assert!(
            matches!(source(&key("/mine/a"), Some("text")), Ok(Source::Bytes(bytes)) if bytes == b"text")
        );
    }

    #[test]
    fn files_are_read_within_bounds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        std::fs::write(&path, vec![7; VALUE_BYTES_MAX]).unwrap();
        let text = format!("@{}", path.display());
        assert!(
            matches!(source(&key("/mine/a"), Some(&text)), Ok(Source::Bytes(bytes)) if bytes.len() == VALUE_BYTES_MAX)
        );
        std::fs::write(&path, vec![7; VALUE_BYTES_MAX + 1]).unwrap();
        assert_eq!(source(&key("/mine/a"), Some(&text)).err().unwrap().exit, Exit::Refused);
    }

    #[test]
    fn keys_belong_to_their_names() {
        let directory = tempfile::tempdir().unwrap();
        let home = DataDir::locate(Some(directory.path()), |_| None).unwrap();
        let signer = Signer { key_file: None, home: &home };
        assert_eq!(signer.resolve_self("/ipns/self").unwrap_err().exit, Exit::NotFound);
        let identity = Identity::load_or_create(&home).unwrap();
        let text = signer.resolve_self("/ipns/self").unwrap();
        assert_eq!(signer.owner(&key(&text), &text).unwrap().peer_id(), identity.peer_id());
        let other = format!("/ipns/{ED25519}");
        assert_eq!(signer.owner(&key(&other), &other).unwrap_err().exit, Exit::Usage);
        let public = signer.public_key(&key(&format!("/pk/{ED25519}"))).unwrap();
        assert_eq!(public.to_peer_id().to_base58(), ED25519);
        let hashed = key("/pk/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN");
        assert!(signer.public_key(&hashed).unwrap_err().message.contains("neither in its id"));
    }
}
