//! Peers remembered over restarts: a second way into the network when no bootstrap peer answers.

use std::io;
use std::path::Path;

use kadmos_core::UnixTime;
use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use libp2p_identity::PeerId;
use serde::{Deserialize, Serialize};

use crate::data_dir::DataDir;
use crate::exit::Failure;

/// Peers kept: a full table of the public network has about 300; 512 of at most 8 addresses stay below 1 MiB.
pub(crate) const PEERS_MAX: usize = 512;
/// Addresses kept per peer. Servers have one to four that work.
const ADDRS_MAX: usize = 8;
/// A longer file was not written by this program: 512 peers with 8 addresses of some 100 bytes each are 0.4 MiB.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Name and version of the format.
const SCHEMA: &str = "kadmos.remembered-peers/1";

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    schema: String,
    /// Protocol id: peers of one network are strangers in another.
    protocol: String,
    /// When it was written, RFC 3339.
    saved_at: String,
    peers: Vec<RememberedPeer>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RememberedPeer {
    id: String,
    addrs: Vec<Multiaddr>,
}

/// Writes the peers of a table. Peers without an address, and those past [`PEERS_MAX`], are left out.
pub(crate) fn save(
    home: &DataDir,
    protocol: &str,
    now: UnixTime,
    peers: impl IntoIterator<Item = (PeerId, Vec<Multiaddr>)>,
) -> Result<usize, Failure> {
    let peers: Vec<RememberedPeer> = peers
        .into_iter()
        .filter(|(_, addrs)| !addrs.is_empty())
        .take(PEERS_MAX)
        .map(|(id, mut addrs)| {
            addrs.truncate(ADDRS_MAX);
            RememberedPeer { id: id.to_base58(), addrs }
        })
        .collect();
    let count = peers.len();
    let remembered =
        Remembered { schema: SCHEMA.into(), protocol: protocol.into(), saved_at: now.to_string(), peers };
    // Strings, lists and multiaddresses always have a JSON form.
    let json = serde_json::to_vec(&remembered).expect("a tree of strings serialises");
    home.replace(&home.peers(), &json)?;
    Ok(count)
}

/// Reads the peers remembered for `protocol`, as addresses that end in `/p2p/<id>`.
///
/// A damaged file costs no start: it is a warning, and an empty list.
pub(crate) fn load(home: &DataDir, protocol: &str) -> Vec<Multiaddr> {
    let path = home.peers();
    match read(&path, protocol) {
        Ok(addrs) => addrs,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "remembered peers cannot be read; starting without them");
            Vec::new()
        }
    }
}

fn read(path: &Path, protocol: &str) -> Result<Vec<Multiaddr>, String> {
    let length = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    if length > FILE_BYTES_MAX {
        return Err(format!("it has {length} bytes, expected at most {FILE_BYTES_MAX}"));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let remembered: Remembered = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if remembered.schema != SCHEMA {
        return Err(format!("it has the form {:?}, expected {SCHEMA:?}", remembered.schema));
    }
    if remembered.protocol != protocol {
        tracing::info!(
            theirs = remembered.protocol,
            ours = protocol,
            "remembered peers are of another network"
        );
        return Ok(Vec::new());
    }
    let mut addrs = Vec::new();
    for peer in remembered.peers.into_iter().take(PEERS_MAX) {
        let id: PeerId = peer.id.parse().map_err(|error| format!("peer id {:?}: {error}", peer.id))?;
        addrs.extend(peer.addrs.into_iter().take(ADDRS_MAX).map(|addr| addr.with(Protocol::P2p(id))));
    }
    Ok(addrs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, DataDir) {
        let root = tempfile::tempdir().unwrap();
        let home = DataDir::locate(Some(root.path()), |_| None).unwrap();
        (root, home)
    }

    fn peers(count: usize) -> Vec<(PeerId, Vec<Multiaddr>)> {
        (0..count).map(|_| (PeerId::random(), vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()])).collect()
    }

    #[test]
    fn peers_survive_their_file_within_bounds() {
        let (_root, home) = home();
        assert!(read(&home.peers(), "/x").unwrap().is_empty());
        let mut known = peers(2);
        known[0].1 = vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap(); 20];
        known.push((PeerId::random(), Vec::new()));
        assert_eq!(save(&home, "/x", UnixTime::from_secs(0), known.clone()).unwrap(), 2);
        let read_back = read(&home.peers(), "/x").unwrap();
        assert_eq!(read_back.len(), ADDRS_MAX + 1);
        assert_eq!(read_back[ADDRS_MAX], known[1].1[0].clone().with(Protocol::P2p(known[1].0)));
        assert!(read(&home.peers(), "/y").unwrap().is_empty());
        assert_eq!(save(&home, "/x", UnixTime::from_secs(0), peers(600)).unwrap(), PEERS_MAX);
    }

    #[test]
    fn damaged_files_are_a_cold_start() {
        let (_root, home) = home();
        let newer = br#"{"schema":"kadmos.remembered-peers/2","protocol":"/x","saved_at":"","peers":[]}"#;
        for bytes in [&b"{"[..], b"", b"[]", newer] {
            home.replace(&home.peers(), bytes).unwrap();
            assert!(read(&home.peers(), "/x").is_err());
            assert!(load(&home, "/x").is_empty());
        }
    }

    /// The first version's file, byte for byte: later versions must still read it.
    #[test]
    fn the_first_version_is_read() {
        let (_root, home) = home();
        let file = br#"{"schema":"kadmos.remembered-peers/1","protocol":"/ipfs/kad/1.0.0","saved_at":"2026-11-24T10:25:12Z","peers":[{"id":"12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA","addrs":["/ip4/127.0.0.1/tcp/4010"]}]}"#;
        home.replace(&home.peers(), file).unwrap();
        let expected = "/ip4/127.0.0.1/tcp/4010/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
        assert_eq!(read(&home.peers(), "/ipfs/kad/1.0.0").unwrap(), [expected.parse().unwrap()]);
    }
}
