//! A list of multiaddresses, one a line, and a file that holds one.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use kadmos_libp2p::PeerAddrs;

use super::Found;

/// A longer one is no list of peers: 4,000 addresses of some 100 bytes are 400 KiB.
pub(crate) const BYTES_MAX: usize = 1 << 20;
/// Peers taken from one list; the node keeps no more.
const PEERS_MAX: usize = kadmos_core::limits::BOOTSTRAP_PEERS_MAX;

/// Reads the file and tells of all its peers at once.
pub(crate) async fn read(path: PathBuf, found: Found) -> Result<(), String> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        let file = File::open(&path).map_err(|error| error.to_string())?;
        let read =
            file.take(BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
        if read > BYTES_MAX {
            return Err(format!("it has more than {BYTES_MAX} bytes"));
        }
        Ok(text)
    });
    let text = reading.await.map_err(|error| error.to_string())??;
    tell(&text, found).await
}

/// Tells of the peers in a list. Errors: there are none, or the first line that is none; the others are told all the same.
pub(crate) async fn tell(text: &str, found: Found) -> Result<(), String> {
    let (peers, mistake) = parse(text);
    if peers.is_empty() {
        return Err(mistake.unwrap_or_else(|| "it names no peer".into()));
    }
    found.tell(peers).await;
    mistake.map_or(Ok(()), Err)
}

/// The peers of a list, and the first of its lines that names none. Lines that are empty or begin with `#` say nothing.
fn parse(text: &str) -> (Vec<PeerAddrs>, Option<String>) {
    let mut peers: Vec<PeerAddrs> = Vec::new();
    let mut mistake = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let peer: PeerAddrs = match line.parse() {
            Ok(peer) => peer,
            Err(error) => {
                mistake.get_or_insert_with(|| format!("line {}: {error}", index + 1));
                continue;
            }
        };
        match peers.iter().position(|known| known.id == peer.id) {
            Some(index) => peers[index].addrs.extend(peer.addrs),
            None if peers.len() < PEERS_MAX => peers.push(peer),
            None => {}
        }
    }
    (peers, mistake)
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
        let (peers, mistake) = parse(&text);
        assert_eq!(mistake, None);
        assert_eq!(
            peers.iter().map(|peer| (peer.id, peer.addrs.len())).collect::<Vec<_>>(),
            [(a, 2), (b, 1)]
        );
        let (peers, mistake) = parse(&format!("\n127.0.0.1:1\n/ip4/127.0.0.1/tcp/1/p2p/{a}\nx"));
        assert!(mistake.unwrap().starts_with("line 2: "));
        assert_eq!(peers[0].id, a, "a mistake costs its line only");
        assert!(parse("/ip4/127.0.0.1/tcp/1").1.unwrap().contains("/p2p/"));
        let many: String =
            (0..PEERS_MAX + 9).map(|_| format!("/ip4/1.2.3.4/tcp/1/p2p/{}\n", PeerId::random())).collect();
        assert_eq!(parse(&many).0.len(), PEERS_MAX);
    }
}
