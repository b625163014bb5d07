//! A file of multiaddresses, one a line.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use kadmos_libp2p::PeerAddrs;

use super::Found;

/// A longer file is no list of peers: 4,000 addresses of some 100 bytes are 400 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Peers taken from one file; the node keeps no more.
const PEERS_MAX: usize = kadmos_core::limits::BOOTSTRAP_PEERS_MAX;

/// Reads the file and tells of all its peers at once.
pub(crate) async fn read(path: PathBuf, found: Found) -> Result<(), String> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        let file = File::open(&path).map_err(|error| error.to_string())?;
        let read =
            file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
        if read as u64 > FILE_BYTES_MAX {
            return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
        }
        parse(&text)
    });
    let peers = reading.await.map_err(|error| error.to_string())??;
    found.tell(peers).await;
    Ok(())
}

/// Lines that are empty or begin with `#` say nothing. Errors name the line.
pub(crate) fn parse(text: &str) -> Result<Vec<PeerAddrs>, String> {
    let mut peers: Vec<PeerAddrs> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let peer: PeerAddrs = line.parse().map_err(|error| format!("line {}: {error}", index + 1))?;
        match peers.iter().position(|known| known.id == peer.id) {
            Some(index) => peers[index].addrs.extend(peer.addrs),
            None if peers.len() < PEERS_MAX => peers.push(peer),
            None => {}
        }
    }
    Ok(peers)
}

#[cfg(test)]
mod tests {
    use libp2p::PeerId;

    use super::*;

    #[test]
    fn lines_are_peers_and_mistakes_are_named() {
        let (a, b) = (PeerId::random(), PeerId::random());
        let text = format!(
            "# ours\n\n  /ip4/127.0.0.1/tcp/1/p2p/{a}  \n/ip4/127.0.0.1/tcp/2/p2p/{b}\n/ip4/127.0.0.1/udp/1/quic-v1/p2p/{a}\n"
        );
        let peers = parse(&text).unwrap();
        assert_eq!(
            peers.iter().map(|peer| (peer.id, peer.addrs.len())).collect::<Vec<_>>(),
            [(a, 2), (b, 1)]
        );
        assert!(parse("\n127.0.0.1:1\n").unwrap_err().starts_with("line 2: "));
        assert!(parse("/ip4/127.0.0.1/tcp/1").unwrap_err().contains("/p2p/"));
        let many: String =
            (0..PEERS_MAX + 9).map(|_| format!("/ip4/1.2.3.4/tcp/1/p2p/{}\n", PeerId::random())).collect();
        assert_eq!(parse(&many).unwrap().len(), PEERS_MAX);
    }
}
