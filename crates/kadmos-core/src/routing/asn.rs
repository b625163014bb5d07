//! Which autonomous system announces an address, as a file tells it.

use alloc::collections::BTreeMap;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::Fault;
use crate::limits::ASN_PREFIXES_MAX;

/// Numbers of autonomous systems by network, the most specific network counting.
///
/// Cost: a search in an ordered map for each length of prefix in use, at most 33 or 129 and in practice about 20; some 40
/// bytes a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsnMap {
    /// By length of the prefix, longest last, then by its bits.
    v4: BTreeMap<u8, BTreeMap<u32, u32>>,
    v6: BTreeMap<u8, BTreeMap<u128, u32>>,
    networks: usize,
}

impl AsnMap {
    /// Reads lines of a network and a number, such as `192.0.2.0/24 64496` or `2001:db8::/32 AS64496`. Empty lines and what
    /// follows a `#` do not count; of a network named twice the last holds.
    ///
    /// Errors: [`AsnError`] for the first line that cannot be read, and after [`ASN_PREFIXES_MAX`] networks.
    pub fn parse(text: &str) -> Result<Self, AsnError> {
        let mut map = Self::default();
        for (line, number) in text.lines().zip(1..) {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(network) = words.next() else { continue };
            let asn = words.next().map(|word| word.trim_start_matches("AS"));
            let asn = asn.filter(|_| words.next().is_none()).and_then(|word| word.parse().ok());
            let (Some(asn), Some((ip, len))) = (asn, read_network(network)) else {
                return Err(AsnError::Line { line: number });
            };
            if map.networks >= ASN_PREFIXES_MAX {
                return Err(AsnError::TooMany { line: number });
            }
            map.networks += usize::from(map.insert(ip, len, asn));
        }
        Ok(map)
    }

    /// Networks known.
    pub fn len(&self) -> usize {
        self.networks
    }

    /// Whether no network is known.
    pub fn is_empty(&self) -> bool {
        self.networks == 0
    }

    /// The number of the most specific network that holds `ip`.
    pub fn asn(&self, ip: IpAddr) -> Option<u32> {
        match ip {
            IpAddr::V4(ip) => {
                let bits = ip.to_bits();
                let found = |(len, networks): (&u8, &BTreeMap<u32, u32>)| {
                    networks.get(&masked_v4(bits, *len)).copied()
                };
                self.v4.iter().rev().find_map(found)
            }
            IpAddr::V6(ip) => {
                let bits = ip.to_bits();
                let found = |(len, networks): (&u8, &BTreeMap<u128, u32>)| {
                    networks.get(&masked_v6(bits, *len)).copied()
                };
                self.v6.iter().rev().find_map(found)
            }
        }
    }

    /// Returns whether the network is new.
    fn insert(&mut self, ip: IpAddr, len: u8, asn: u32) -> bool {
        match ip {
            IpAddr::V4(ip) => {
                self.v4.entry(len).or_default().insert(masked_v4(ip.to_bits(), len), asn).is_none()
            }
            IpAddr::V6(ip) => {
                self.v6.entry(len).or_default().insert(masked_v6(ip.to_bits(), len), asn).is_none()
            }
        }
    }
}

fn read_network(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, len) = text.split_once('/')?;
    let len: u8 = len.parse().ok()?;
    if let Ok(ip) = ip.parse::<Ipv4Addr>() {
        return (len <= 32).then_some((IpAddr::V4(ip), len));
    }
    let ip = ip.parse::<Ipv6Addr>().ok()?;
    (len <= 128).then_some((IpAddr::V6(ip), len))
}

fn masked_v4(bits: u32, len: u8) -> u32 {
    bits & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0) // len is at most 32
}

fn masked_v6(bits: u128, len: u8) -> u128 {
    bits & u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0) // len is at most 128
}

/// Why a text is no [`AsnMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AsnError {
    /// A line that is no network and number.
    #[error("line {line}: expected a network and a number, such as 192.0.2.0/24 64496")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// More networks than are kept.
    #[error("line {line}: more than {max} networks", max = ASN_PREFIXES_MAX)]
    TooMany {
        /// Counted from 1.
        line: usize,
    },
}

impl AsnError {
    /// The caller's, who gave the text.
    pub const fn fault(&self) -> Fault {
        Fault::Caller
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Line { .. } => "correct the line, or leave the file out: groups are then IP networks",
            Self::TooMany { .. } => "aggregate the networks, or leave out the most specific ones",
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    fn asn(map: &AsnMap, ip: &str) -> Option<u32> {
        map.asn(ip.parse().expect("an address"))
    }

    #[test]
    fn the_most_specific_network_counts() {
        let text = "# comment\n\n10.0.0.0/8 1\n10.1.0.0/16 AS2 # more\n10.1.2.3/32 3\n2001:db8::/32 4\n0.0.0.0/0 9\n";
        let map = AsnMap::parse(text).expect("well-formed");
        for (ip, expected) in [
            ("10.9.9.9", Some(1)),
            ("10.1.9.9", Some(2)),
            ("10.1.2.3", Some(3)),
            ("11.0.0.1", Some(9)),
            ("2001:db8:1::1", Some(4)),
            ("2001:db9::1", None),
        ] {
            assert_eq!(asn(&map, ip), expected, "{ip}");
        }
        assert_eq!((map.len(), map.is_empty(), AsnMap::default().is_empty()), (5, false, true));
    }

    #[test]
    fn bad_lines_are_named() {
        for text in [
            "10.0.0.0/8",
            "10.0.0.0/33 1",
            "::/129 1",
            "10.0.0.0 1",
            "x/8 1",
            "10.0.0.0/8 1 2",
            "10.0.0.0/8 AS",
        ] {
            let error = AsnMap::parse(&alloc::format!("1.0.0.0/8 1\n{text}")).unwrap_err();
            assert_eq!(error, AsnError::Line { line: 2 }, "{text}");
            assert!(error.to_string().starts_with("line 2") && error.fault() == Fault::Caller);
            assert!(!error.advice().is_empty());
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "[0-9a-f:./ AS#\n]{0,200}") {
            let _ = AsnMap::parse(&text);
        }
    }
}
