//! IPNS names as people write them.

use cid::Cid;
use cid::multibase::Base;
use kadmos_core::error::Fault;
use libp2p_identity::PeerId;

/// Multicodec of a libp2p public key.
const LIBP2P_KEY: u64 = 0x72;

/// The name as text: a CIDv1 of the key in base 36, `k51qzi5uqu5d…` for Ed25519.
///
/// Source: specs.ipfs.tech/ipns/ipns-record, "String Representation".
pub fn format_name(name: &PeerId) -> String {
    let cid = Cid::new_v1(LIBP2P_KEY, *name.as_ref());
    // The encoder fails for CIDv0 in another base than 58 only. Base 16 is the same CID if that ever changes.
    cid.to_string_of_base(Base::Base36Lower).unwrap_or_else(|_| Base::Base16Lower.encode(cid.to_bytes()))
}

/// Reads a name: `/ipns/` or nothing, then a CIDv1 of a libp2p key in any base, or a peer id in base 58.
///
/// Errors: [`NameError`]. Text that names a host (DNSLink) is no name of a key.
pub fn parse_name(text: &str) -> Result<PeerId, NameError> {
    let error = || NameError { got: text.chars().take(100).collect() };
    let name = text.strip_prefix("/ipns/").unwrap_or(text);
    if name.starts_with('1') || name.starts_with("Qm") {
        return name.parse().map_err(|_| error());
    }
    let cid = Cid::try_from(name).map_err(|_| error())?;
    if cid.codec() != LIBP2P_KEY {
        return Err(error());
    }
    let id = PeerId::from_multihash(*cid.hash()).map_err(|_| error())?;
    // libp2p-identity takes SHA-256 multihashes of any length; core has the one shape that exists.
    kadmos_core::PeerId::from_bytes(&id.to_bytes()).map(|_| id).map_err(|_| error())
}

/// Text that is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{got:?} is no IPNS name: expected a key such as k51qzi5uqu5d…, bafzaaj… or 12D3KooW…, with or without /ipns/"
)]
pub struct NameError {
    /// The first 100 characters of what was read.
    pub got: String,
}

impl NameError {
    /// Always the caller's.
    pub const fn fault(&self) -> Fault {
        Fault::Caller
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        "copy the whole name; a host name such as example.com is resolved through DNS instead"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // An Ed25519 id and its three usual forms, as Kubo prints them.
    const BASE58: &str = "12D3KooWLQzUv2FHWGVPXTXSZpdHs7oHbXub2G5WC8Tx4NQhyd2d";

    #[test]
    fn every_form_reads_as_the_same_name() {
        let name: PeerId = BASE58.parse().unwrap();
        let cid = Cid::new_v1(LIBP2P_KEY, *name.as_ref());
        let base36 = format_name(&name);
        assert!(base36.starts_with("k51qzi5uqu5d"), "{base36}");
        assert_eq!(base36.len(), 62);
        let base32 = cid.to_string();
        assert!(base32.starts_with("bafzaaj"), "{base32}");
        for text in [BASE58, &base36, &base32] {
            assert_eq!(parse_name(text), Ok(name), "{text}");
            assert_eq!(parse_name(&format!("/ipns/{text}")), Ok(name), "{text}");
        }
        let hashed: PeerId = "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3".parse().unwrap();
        assert_eq!(parse_name("QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3"), Ok(hashed));
        assert_eq!(parse_name(&format_name(&hashed)), Ok(hashed));
    }

    #[test]
    fn other_text_is_refused() {
        let raw = Cid::new_v1(0x55, *BASE58.parse::<PeerId>().unwrap().as_ref()).to_string();
        let short = cid::multihash::Multihash::wrap(0x12, &[7; 20]).unwrap();
        let short = Cid::new_v1(LIBP2P_KEY, short).to_string();
        let blake = cid::multihash::Multihash::wrap(0xb220, &[7; 32]).unwrap();
        let blake = Cid::new_v1(LIBP2P_KEY, blake).to_string();
        for text in ["", "/ipns/", "example.com", "k51", "1", "Qm", "/ipfs/k51", &raw, &short, &blake] {
            let error = parse_name(text).unwrap_err();
            assert_eq!(error.got, text);
        }
        assert_eq!(parse_name(&"x".repeat(5_000)).unwrap_err().got.len(), 100);
    }
}
