//! The node's private key: its file, and the forms in which others keep theirs.
//!
//! The file has two lines: `kadmos identity 1`, and the libp2p private key (protobuf) in base64, which is the same
//! text as `Identity.PrivKey` in a Kubo configuration.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use libp2p_identity::{KeyType, Keypair, PeerId};
use multibase::Base;
use serde::Deserialize;

use crate::data_dir::DataDir;
use crate::exit::{Exit, Failure};

const HEADER: &str = "kadmos identity 1";
/// RSA keys of 8192 bits take 6.3 KiB in base64, Kubo configurations some 10 KiB.
pub(crate) const KEY_FILE_BYTES_MAX: u64 = 256 << 10;
/// DER before the 32-byte seed of an Ed25519 key in PKCS#8, version 1. Source: RFC 8410, section 7.
const ED25519_PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A private key and its libp2p encoding, which for RSA keys cannot be made again from the key.
#[derive(Clone)]
pub(crate) struct Identity {
    keypair: Keypair,
    encoded: Vec<u8>,
}

/// Never shows the private half.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("peer_id", &self.peer_id()).finish_non_exhaustive()
    }
}

/// Types of key that [`Identity::generate`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NewKey {
    /// Short, fast; what everybody uses.
    Ed25519,
    /// As in Bitcoin and Ethereum.
    Secp256k1,
    /// NIST P-256.
    Ecdsa,
}

impl Identity {
    /// A new key from the operating system's randomness.
    pub(crate) fn generate(kind: NewKey) -> Result<Self, Failure> {
        let keypair = match kind {
            NewKey::Ed25519 => Keypair::generate_ed25519(),
            NewKey::Secp256k1 => Keypair::generate_secp256k1(),
            NewKey::Ecdsa => Keypair::generate_ecdsa(),
        };
        let encoded = keypair.to_protobuf_encoding();
        let encoded = encoded
            .map_err(|error| Failure::new(Exit::Failed, format_args!("cannot encode the key: {error}")))?;
        Ok(Self { keypair, encoded })
    }

    /// Reads libp2p's protobuf encoding.
    pub(crate) fn from_protobuf(encoded: Vec<u8>) -> Result<Self, String> {
        let keypair = Keypair::from_protobuf_encoding(&encoded).map_err(|error| error.to_string())?;
        Ok(Self { keypair, encoded })
    }

    /// Reads any form that Kubo or Kadmos writes, except a whole Kubo configuration.
    pub(crate) fn from_any(bytes: &[u8]) -> Result<Self, String> {
        let expected = "expected a private key as `ipfs key export` or `kadmos key new` writes it, in base64, or an Ed25519 key in PEM";
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Self::from_protobuf(bytes.to_vec()).map_err(|error| format!("{expected} ({error})"));
        };
        let text = text.trim();
        if let Some(rest) = text.strip_prefix("-----BEGIN PRIVATE KEY-----") {
            return from_pem(rest);
        }
        let base64 = text.strip_prefix(HEADER).map_or(text, str::trim_start);
        // Binary keys may happen to be text too, so both readings are tried.
        let readings = Base::Base64Pad.decode(base64).ok().into_iter().chain([bytes.to_vec()]);
        let mut last = String::new();
        for encoded in readings {
            match Self::from_protobuf(encoded) {
                Ok(identity) => return Ok(identity),
                Err(error) => last = error,
            }
        }
        Err(format!("{expected} ({last})"))
    }

    /// Reads `Identity` of a Kubo configuration, and checks that key and peer id belong together.
    pub(crate) fn from_kubo_config(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Config {
            identity: KuboIdentity,
        }
        #[derive(Deserialize)]
        struct KuboIdentity {
            #[serde(rename = "PeerID")]
            peer_id: String,
            #[serde(rename = "PrivKey")]
            private_key: String,
        }
        let config: Config = serde_json::from_slice(bytes).map_err(|error| {
            format!("expected a Kubo configuration with Identity.PeerID and Identity.PrivKey ({error})")
        })?;
        let encoded = Base::Base64Pad
            .decode(&config.identity.private_key)
            .map_err(|error| format!("expected base64 in Identity.PrivKey ({error})"))?;
        let identity = Self::from_protobuf(encoded)
            .map_err(|error| format!("expected a libp2p private key in Identity.PrivKey ({error})"))?;
        if identity.peer_id().to_base58() == config.identity.peer_id {
            return Ok(identity);
        }
        Err(format!(
            "expected Identity.PeerID to be {}, whose key Identity.PrivKey holds; read {}",
            identity.peer_id(),
            config.identity.peer_id
        ))
    }

    /// The key of `home`, if there is one.
    ///
    /// Errors: the file is damaged, or everybody can read it.
    pub(crate) fn load(home: &DataDir) -> Result<Option<Self>, Failure> {
        let path = home.identity();
        let read = |error: &io::Error| {
            Failure::io("read the identity", &path, error, "make it readable for this user")
        };
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(read(&error)),
        };
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o007 != 0 {
            return Err(Failure::new(
                Exit::Failed,
                format_args!(
                    "identity {} is open to every user (mode {mode:03o}, expected 600); run `chmod 600 {0}`",
                    path.display()
                ),
            ));
        }
        if mode & 0o070 != 0 {
            tracing::warn!(path = %path.display(), "the identity is open to its group; expected mode 600");
        }
        let bytes = read_bounded(&path).map_err(|error| read(&error))?;
        Self::from_any(&bytes).map(Some).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format_args!(
                    "identity {} is damaged: {error}; restore it, or move it away for a new one",
                    path.display()
                ),
            )
        })
    }

    /// The key of `home`; makes an Ed25519 key when there is none. The caller holds the lock.
    pub(crate) fn load_or_create(home: &DataDir) -> Result<Self, Failure> {
        if let Some(identity) = Self::load(home)? {
            return Ok(identity);
        }
        let identity = Self::generate(NewKey::Ed25519)?;
        home.replace(&home.identity(), identity.file_text().as_bytes())?;
        Ok(identity)
    }

    /// The identity file's text.
    pub(crate) fn file_text(&self) -> String {
        format!("{HEADER}\n{}\n", Base::Base64Pad.encode(&self.encoded))
    }

    /// The key pair.
    pub(crate) fn keypair(&self) -> &Keypair {
        &self.keypair
    }

    /// The peer id.
    pub(crate) fn peer_id(&self) -> PeerId {
        self.keypair.public().to_peer_id()
    }

    /// `ed25519`, `rsa`, …
    pub(crate) fn key_type(&self) -> &'static str {
        key_type_name(self.keypair.key_type())
    }
}

/// A key type as text.
pub(crate) const fn key_type_name(key_type: KeyType) -> &'static str {
    match key_type {
        KeyType::Ed25519 => "ed25519",
        KeyType::RSA => "rsa",
        KeyType::Secp256k1 => "secp256k1",
        KeyType::Ecdsa => "ecdsa",
    }
}

/// Reads a key file, but not more than a key can have.
pub(crate) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;

    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(KEY_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {KEY_FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// PKCS#8 in PEM, after its first line.
fn from_pem(rest: &str) -> Result<Identity, String> {
    let wrong = "expected an Ed25519 key in PEM (PKCS#8); export other keys with `ipfs key export --format=libp2p-protobuf-cleartext`";
    let (base64, _) = rest.split_once("-----END PRIVATE KEY-----").ok_or(wrong)?;
    let base64: String = base64.split_whitespace().collect();
    let mut der = Base::Base64Pad.decode(base64).map_err(|error| format!("{wrong} ({error})"))?;
    match der.strip_prefix(&ED25519_PKCS8) {
        Some(seed) if seed.len() == 32 => {
            let start = der.len() - 32;
            let keypair =
                Keypair::ed25519_from_bytes(&mut der[start..]).map_err(|error| error.to_string())?;
            let encoded = keypair.to_protobuf_encoding().map_err(|error| error.to_string())?;
            Ok(Identity { keypair, encoded })
        }
        _ => Err(wrong.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn home() -> (tempfile::TempDir, DataDir) {
        let root = tempfile::tempdir().unwrap();
        let home = DataDir::locate(Some(&root.path().join("data")), |_| None).unwrap();
        home.create().unwrap();
        (root, home)
    }

    #[test]
    fn an_identity_survives_its_file() {
        let (_root, home) = home();
        assert!(Identity::load(&home).unwrap().is_none());
        let made = Identity::load_or_create(&home).unwrap();
        let mode = fs::metadata(home.identity()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(Identity::load_or_create(&home).unwrap().peer_id(), made.peer_id());
    }

    #[test]
    fn every_type_and_form_is_read() {
        for kind in [NewKey::Ed25519, NewKey::Secp256k1, NewKey::Ecdsa] {
            let identity = Identity::generate(kind).unwrap();
            let base64 = Base::Base64Pad.encode(&identity.encoded);
            for form in [identity.encoded.clone(), base64.into_bytes(), identity.file_text().into_bytes()] {
                assert_eq!(Identity::from_any(&form).unwrap().peer_id(), identity.peer_id());
            }
        }
        let identity = Identity::generate(NewKey::Ed25519).unwrap();
        let seed = identity.keypair().clone().try_into_ed25519().unwrap().secret();
        let der = [ED25519_PKCS8.as_slice(), seed.as_ref()].concat();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            Base::Base64Pad.encode(der)
        );
        assert_eq!(Identity::from_any(pem.as_bytes()).unwrap().peer_id(), identity.peer_id());
    }

    /// Made for this test with `openssl genrsa 2048`; protects nothing.
    #[test]
    fn rsa_identities_of_old_kubo_nodes_are_read_and_kept() {
        let text = include_str!("../tests/data/rsa-2048.key");
        let identity = Identity::from_any(text.as_bytes()).unwrap();
        assert_eq!(identity.key_type(), "rsa");
        assert!(identity.peer_id().to_base58().starts_with("Qm"));
        let (_root, home) = home();
        home.replace(&home.identity(), identity.file_text().as_bytes()).unwrap();
        assert_eq!(Identity::load(&home).unwrap().unwrap().peer_id(), identity.peer_id());
    }

    #[test]
    fn kubo_configurations_are_checked() {
        let identity = Identity::generate(NewKey::Ed25519).unwrap();
        let config = |peer_id: String| {
            serde_json::json!({
                "Identity": { "PeerID": peer_id, "PrivKey": Base::Base64Pad.encode(&identity.encoded) },
                "Datastore": { "StorageMax": "10GB" },
            })
            .to_string()
        };
        let read = Identity::from_kubo_config(config(identity.peer_id().to_base58()).as_bytes()).unwrap();
        assert_eq!(read.peer_id(), identity.peer_id());
        let other = Identity::generate(NewKey::Ed25519).unwrap().peer_id().to_base58();
        let error = Identity::from_kubo_config(config(other).as_bytes()).unwrap_err();
        assert!(error.contains("expected Identity.PeerID to be"), "{error}");
        assert!(Identity::from_kubo_config(b"{}").unwrap_err().contains("Kubo configuration"));
    }

    #[test]
    fn damaged_and_open_files_are_refused_with_advice() {
        let (_root, home) = home();
        home.replace(&home.identity(), b"kadmos identity 1\nnonsense\n").unwrap();
        assert!(Identity::load(&home).unwrap_err().message.contains("is damaged"));
        let identity = Identity::generate(NewKey::Ed25519).unwrap();
        home.replace(&home.identity(), identity.file_text().as_bytes()).unwrap();
        fs::set_permissions(home.identity(), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Identity::load(&home).unwrap_err().message.contains("chmod 600"));
        fs::write(home.identity(), vec![b'a'; KEY_FILE_BYTES_MAX as usize + 1]).unwrap();
        fs::set_permissions(home.identity(), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Identity::load(&home).unwrap_err().message.contains("more than"));
    }

    #[test]
    fn debug_hides_the_key() {
        let identity = Identity::generate(NewKey::Ed25519).unwrap();
        let shown = format!("{identity:?}");
        assert!(shown.contains("peer_id") && !shown.contains("encoded"), "{shown}");
    }
}
