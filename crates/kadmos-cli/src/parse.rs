//! From what people type to what the network needs: content, peers, record keys, addresses.
//!
//! Pure functions. Every error says what was read, what was expected and shows an example.

use std::fmt;
use std::str::FromStr;

use cid::Cid;
use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use libp2p_identity::PeerId;

/// Multicodec of `libp2p-key`: CIDs that name a peer or an IPNS name.
pub(crate) const LIBP2P_KEY_CODEC: u64 = 0x72;

/// A multihash with room for 64 bytes of digest, the most that IPFS uses.
pub(crate) type Multihash = multihash::Multihash<64>;

/// Text that is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParseError {
    read: String,
    expected: &'static str,
    reason: String,
}

impl ParseError {
    fn new(read: &str, expected: &'static str, reason: impl fmt::Display) -> Self {
        Self { read: shown(read), expected, reason: reason.to_string() }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read {:?}, expected {} ({})", self.read, self.expected, self.reason)
    }
}

impl std::error::Error for ParseError {}

/// The first 80 characters: enough to recognise what was typed, little enough for one line.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(80).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// Content as the DHT knows it: the multihash, whichever CID it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// The multihash's bytes: the key of provider records.
    pub(crate) multihash: Multihash,
}

const CONTENT: &str = "a CID such as bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e, or a multihash in hexadecimal or multibase";

impl FromStr for Content {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let trimmed = text.strip_prefix("ipfs://").or_else(|| text.strip_prefix("/ipfs/")).unwrap_or(text);
        if trimmed.contains('/') {
            return Err(ParseError::new(
                text,
                CONTENT,
                "a path below a CID is not announced itself; resolve it first",
            ));
        }
        match Cid::try_from(trimmed) {
            Ok(cid) => Ok(Self { multihash: *cid.hash() }),
            Err(cid_error) => multihash_from_text(trimmed)
                .map(|multihash| Self { multihash })
                .ok_or_else(|| ParseError::new(text, CONTENT, cid_error)),
        }
    }
}

/// A whole multihash in hexadecimal or multibase, nothing before or after it.
fn multihash_from_text(text: &str) -> Option<Multihash> {
    let hex = bytes_from_hex(text);
    let multibase = multibase::decode(text).ok().map(|(_, bytes)| bytes);
    hex.into_iter().chain(multibase).find_map(|bytes| exact_multihash(&bytes))
}

/// A multihash that ends where `bytes` end and whose digest is not empty.
pub(crate) fn exact_multihash(bytes: &[u8]) -> Option<Multihash> {
    Multihash::from_bytes(bytes).ok().filter(|multihash| multihash.size() > 0)
}

/// Hexadecimal, with or without `0x`.
pub(crate) fn bytes_from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.is_empty()
        || !digits.len().is_multiple_of(2)
        || !digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return None;
    }
    multibase::Base::Base16Lower.decode(digits.to_ascii_lowercase()).ok()
}

/// A peer, and the addresses that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerRef {
    /// Who.
    pub(crate) id: PeerId,
    /// Where, without `/p2p`; empty when only an id was given.
    pub(crate) addr: Option<Multiaddr>,
}

const PEER: &str = "a peer id such as 12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA, its k51… form, or an address that ends in /p2p/<peer id>";

impl FromStr for PeerRef {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if let Some(name) = text.strip_prefix("/ipns/") {
            return Ok(Self { id: peer_id(name, text)?, addr: None });
        }
        if !text.starts_with('/') {
            return Ok(Self { id: peer_id(text, text)?, addr: None });
        }
        let mut addr = Multiaddr::from_str(text).map_err(|error| ParseError::new(text, PEER, error))?;
        match addr.pop() {
            Some(Protocol::P2p(id)) => {
                checked(id, text)?;
                Ok(Self { id, addr: (!addr.is_empty()).then_some(addr) })
            }
            _ => Err(ParseError::new(text, PEER, "the address does not end in /p2p/<peer id>")),
        }
    }
}

fn peer_id(text: &str, whole: &str) -> Result<PeerId, ParseError> {
    let base58 = PeerId::from_str(text);
    let id = match base58 {
        Ok(id) => id,
        Err(base58_error) => match Cid::try_from(text) {
            Ok(cid) if cid.codec() == LIBP2P_KEY_CODEC => {
                // The two crates share the multihash type, so only its code can be wrong.
                PeerId::from_bytes(&cid.hash().to_bytes())
                    .map_err(|error| ParseError::new(whole, PEER, error))?
            }
            Ok(cid) => {
                return Err(ParseError::new(
                    whole,
                    PEER,
                    format_args!("it is a CID of codec 0x{:x}, and peers have 0x72", cid.codec()),
                ));
            }
            Err(_) => return Err(ParseError::new(whole, PEER, base58_error)),
        },
    };
    checked(id, whole)?;
    Ok(id)
}

/// Only the two shapes of peer id that the network uses; see [`kadmos_core::PeerId::from_bytes`].
fn checked(id: PeerId, whole: &str) -> Result<(), ParseError> {
    kadmos_core::PeerId::from_bytes(&id.to_bytes())
        .map(|_| ())
        .map_err(|error| ParseError::new(whole, PEER, error))
}

/// Parses a peer id as people type it.
pub(crate) fn peer(text: &str) -> Result<PeerRef, ParseError> {
    text.parse()
}

/// The key of a value record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordKey {
    /// As the network knows it: `/namespace/` and raw bytes.
    pub(crate) bytes: Vec<u8>,
    /// The peer that the key names, for `/ipns` and `/pk`.
    pub(crate) peer: Option<PeerId>,
}

const RECORD_KEY: &str = "a record key such as /ipns/k51qzi5uqu5d… or /pk/<peer id>";

impl FromStr for RecordKey {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        for namespace in ["/ipns/", "/pk/"] {
            if let Some(name) = text.strip_prefix(namespace) {
                let id = peer_id(name, text)?;
                return Ok(Self { bytes: [namespace.as_bytes(), &id.to_bytes()].concat(), peer: Some(id) });
            }
        }
        match kadmos_core::record::namespace(text.as_bytes()) {
            Some(_) => Ok(Self { bytes: text.as_bytes().to_vec(), peer: None }),
            None => Err(ParseError::new(text, RECORD_KEY, "it has no /namespace/")),
        }
    }
}

/// A point to look up: whatever can be hashed into the keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LookupKey {
    /// What the network hashes.
    pub(crate) bytes: Vec<u8>,
}

const LOOKUP_KEY: &str = "a CID, a multihash, a peer id, or a record key such as /ipns/k51qzi5uqu5d…";

impl FromStr for LookupKey {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.starts_with("/ipns/") || text.starts_with("/pk/") {
            return RecordKey::from_str(text).map(|key| Self { bytes: key.bytes });
        }
        if let Ok(peer) = PeerRef::from_str(text) {
            return Ok(Self { bytes: peer.id.to_bytes() });
        }
        match Content::from_str(text) {
            Ok(content) => Ok(Self { bytes: content.multihash.to_bytes() }),
            // Any other namespace is a key too, but a mistyped address or path is not.
            Err(_) if kadmos_core::record::namespace(text.as_bytes()).is_some_and(is_unreserved) => {
                Ok(Self { bytes: text.as_bytes().to_vec() })
            }
            Err(error) => Err(ParseError { expected: LOOKUP_KEY, ..error }),
        }
    }
}

/// Whether a first path component is neither IPFS's nor a multiaddress protocol.
fn is_unreserved(namespace: &str) -> bool {
    !matches!(
        namespace,
        "dns" | "dns4" | "dns6" | "dnsaddr" | "ip4" | "ip6" | "ipfs" | "memory" | "p2p" | "unix"
    )
}

const ADDRESS: &str = "a multiaddress such as /ip4/0.0.0.0/tcp/4010";

/// Parses a multiaddress to listen on.
pub(crate) fn listen_addr(text: &str) -> Result<Multiaddr, ParseError> {
    let addr = Multiaddr::from_str(text).map_err(|error| ParseError::new(text, ADDRESS, error))?;
    let has_port = addr.iter().any(|part| matches!(part, Protocol::Tcp(_) | Protocol::Udp(_)));
    if has_port { Ok(addr) } else { Err(ParseError::new(text, ADDRESS, "it has neither /tcp nor /udp")) }
}

const BOOTSTRAP: &str = "an address that ends in /p2p/<peer id>, such as /ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ, or /dnsaddr/<name>";

/// Parses the address of a bootstrap peer; it must say who is there, so that nobody else can answer. `/dnsaddr/<name>`
/// alone stands for all whom the name's records list, each with an id.
pub(crate) fn bootstrap_addr(text: &str) -> Result<Multiaddr, ParseError> {
    let mut addr = Multiaddr::from_str(text).map_err(|error| ParseError::new(text, BOOTSTRAP, error))?;
    let whole = addr.clone();
    if matches!(addr.iter().collect::<Vec<_>>()[..], [Protocol::Dnsaddr(_)]) {
        return Ok(whole);
    }
    match addr.pop() {
        Some(Protocol::P2p(id)) if !addr.is_empty() => checked(id, text).map(|()| whole),
        Some(Protocol::P2p(_)) => Err(ParseError::new(text, BOOTSTRAP, "there is no address before /p2p")),
        _ => Err(ParseError::new(text, BOOTSTRAP, "it does not end in /p2p/<peer id>")),
    }
}

#[cfg(test)]
mod tests {
    use kadmos_records::ipns;

    use super::*;

    const RAW_V1: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    const ED25519: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
    const V0: &str = "QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN";

    #[test]
    fn content_is_read_in_every_form() {
        let multihash = Content::from_str(RAW_V1).unwrap().multihash;
        let hex = multibase::Base::Base16Lower.encode(multihash.to_bytes());
        assert!(hex.starts_with("1220"));
        let forms = [
            format!("/ipfs/{RAW_V1}"),
            format!("ipfs://{RAW_V1}"),
            hex.clone(),
            hex.to_uppercase(),
            format!("0x{hex}"),
            multibase::encode(multibase::Base::Base64Url, multihash.to_bytes()),
            multibase::encode(multibase::Base::Base58Btc, multihash.to_bytes()),
            multibase::encode(multibase::Base::Base16Lower, multihash.to_bytes()),
        ];
        for form in forms {
            assert_eq!(Content::from_str(&form).unwrap().multihash, multihash, "{form}");
        }
        assert_eq!(Content::from_str(V0).unwrap().multihash.code(), 0x12);
    }

    #[test]
    fn other_text_is_no_content() {
        for text in ["", "hello", "bafkreifzjut3te2", "1220ab", "/ipfs/", "/ipfs/a/b", "12200000"] {
            let error = Content::from_str(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("read {text:?}, expected a CID")), "{error}");
        }
    }

    #[test]
    fn peers_are_read_in_every_form() {
        let id = PeerId::from_str(ED25519).unwrap();
        let cid = ipns::format_name(&id);
        assert!(cid.starts_with("k51"), "{cid}");
        for form in [ED25519.to_string(), cid.clone(), format!("/ipns/{cid}"), format!("/p2p/{ED25519}")] {
            assert_eq!(peer(&form).unwrap(), PeerRef { id, addr: None }, "{form}");
        }
        let with_addr = peer(&format!("/ip4/127.0.0.1/tcp/4001/p2p/{ED25519}")).unwrap();
        assert_eq!(with_addr, PeerRef { id, addr: Some("/ip4/127.0.0.1/tcp/4001".parse().unwrap()) });
        assert_eq!(peer(V0).unwrap().id.to_base58(), V0);
    }

    #[test]
    fn other_text_is_no_peer() {
        for (text, reason) in [
            ("x", "read \"x\""),
            (RAW_V1, "peers have 0x72"),
            ("/ip4/127.0.0.1/tcp/1", "does not end in /p2p"),
            ("/ip4/999.0.0.1/tcp/1", "expected a peer id"),
        ] {
            let error = peer(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn record_keys_carry_raw_peer_ids() {
        let id = PeerId::from_str(ED25519).unwrap();
        for text in [format!("/ipns/{ED25519}"), format!("/ipns/{}", ipns::format_name(&id))] {
            let key = RecordKey::from_str(&text).unwrap();
            assert_eq!(key.bytes, [b"/ipns/".as_slice(), &id.to_bytes()].concat());
            assert_eq!(key.peer, Some(id));
        }
        assert_eq!(RecordKey::from_str("/mine/abc").unwrap().bytes, b"/mine/abc");
        assert!(RecordKey::from_str("/pk/nobody").is_err());
        assert!(RecordKey::from_str("abc").unwrap_err().to_string().contains("no /namespace/"));
    }

    #[test]
    fn lookup_keys_take_all_of_them() {
        let id = PeerId::from_str(ED25519).unwrap();
        assert_eq!(LookupKey::from_str(ED25519).unwrap().bytes, id.to_bytes());
        assert_eq!(LookupKey::from_str(&format!("/p2p/{ED25519}")).unwrap().bytes, id.to_bytes());
        assert_eq!(LookupKey::from_str(RAW_V1).unwrap().bytes.len(), 34);
        assert_eq!(LookupKey::from_str(&format!("/ipfs/{RAW_V1}")).unwrap().bytes.len(), 34);
        assert!(LookupKey::from_str(&format!("/pk/{ED25519}")).unwrap().bytes.starts_with(b"/pk/"));
        assert_eq!(LookupKey::from_str("/mine/abc").unwrap().bytes, b"/mine/abc");
        assert!(LookupKey::from_str("nonsense").is_err());
        assert!(LookupKey::from_str("/ip4/127.0.0.1/tcp/1").is_err());
    }

    #[test]
    fn bootstrap_addresses_name_a_peer() {
        assert!(bootstrap_addr(&format!("/ip4/127.0.0.1/tcp/4001/p2p/{ED25519}")).is_ok());
        assert!(bootstrap_addr("/ip4/127.0.0.1/tcp/4001").unwrap_err().to_string().contains("does not end"));
        assert!(bootstrap_addr(&format!("/p2p/{ED25519}")).unwrap_err().to_string().contains("no address"));
        assert!(bootstrap_addr("/dnsaddr/bootstrap.libp2p.io").is_ok());
        assert!(bootstrap_addr("/dnsaddr/a.example/tcp/1").is_err());
        assert!(listen_addr("/ip4/127.0.0.1").is_err());
        assert!(listen_addr("/ip4/127.0.0.1/udp/0/quic-v1").is_ok());
    }

    #[test]
    fn long_input_is_cut_in_errors() {
        let error = peer(&"x".repeat(1_000)).unwrap_err().to_string();
        assert!(error.len() < 400, "{}", error.len());
    }
}
