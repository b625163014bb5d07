//! Validators and signers of DHT records: public keys under `/pk`, mutable names under `/ipns`.
//!
//! Everything here is a pure function of its arguments: the time is one of them, there is no key store and no
//! network. The core decides with [`PkValidator`] and [`IpnsValidator`] through its `Validator` trait; publishers
//! make records with [`pk::value`] and [`ipns::create`].
//!
//! ```
//! use std::time::Duration;
//!
//! use kadmos_core::UnixTime;
//! use kadmos_records::{amino_validators, ipns};
//! use libp2p_identity::Keypair;
//!
//! let keypair = Keypair::generate_ed25519();
//! let now = UnixTime::from_secs(1_800_000_000);
//! let key = ipns::key(&keypair.public().to_peer_id());
//! let record = ipns::create(&keypair, b"/ipfs/bafkqaaa", 1, now + ipns::LIFETIME, ipns::TTL)?;
//!
//! amino_validators().validate(&key, &record, now)?;
//! assert_eq!(ipns::decode(&record)?.value, "/ipfs/bafkqaaa");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod ipns;
pub mod pk;
pub mod public_key;

use kadmos_core::Validators;

pub use ipns::IpnsValidator;
pub use pk::PkValidator;

/// Every stable code with which a value can be refused, sorted. `docs/records.md` has a paragraph for each.
pub const CODES: [&str; 19] = [
    "ipns_data",
    "ipns_expired",
    "ipns_key",
    "ipns_malformed",
    "ipns_mismatch",
    "ipns_no_data",
    "ipns_no_public_key",
    "ipns_no_signature",
    "ipns_public_key",
    "ipns_rsa_size",
    "ipns_signature",
    "ipns_too_large",
    "ipns_ttl",
    "ipns_validity",
    "ipns_wrong_key",
    "pk_key",
    "pk_mismatch",
    "pk_public_key",
    "pk_rsa_size",
];

/// The validators of the public IPFS network: `pk` and `ipns`.
///
/// Source: go-libp2p-kad-dht, where a protocol under `/ipfs` must have exactly these two.
pub fn amino_validators() -> Validators {
    Validators::new().with("ipns", IpnsValidator).with("pk", PkValidator)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use kadmos_core::UnixTime;
    use kadmos_core::error::Fault;
    use kadmos_core::record::InvalidRecord;

    use super::*;
    use crate::ipns::{IpnsError, SignError};
    use crate::pk::PkError;
    use crate::public_key::PublicKeyError;

    #[test]
    fn amino_has_exactly_the_two_namespaces() {
        let validators = amino_validators();
        assert_eq!(validators.namespaces().collect::<Vec<_>>(), ["ipns", "pk"]);
        let refused = validators.validate(b"/v/x", b"", UnixTime::default());
        assert_eq!(refused, Err(InvalidRecord::UnknownNamespace { namespace: "v".into() }));
    }

    fn public_key_errors() -> [PublicKeyError; 3] {
        [
            PublicKeyError::TooLarge { got: 9, max: 8 },
            PublicKeyError::Malformed { reason: "why".into() },
            PublicKeyError::RsaSize { bits: 1 },
        ]
    }

    fn ipns_errors() -> Vec<IpnsError> {
        let mut errors = vec![
            IpnsError::Key { len: 1 },
            IpnsError::TooLarge { got: 9, max: 8 },
            IpnsError::Malformed { reason: "why".into() },
            IpnsError::NoSignature,
            IpnsError::NoData,
            IpnsError::Data { reason: "why".into() },
            IpnsError::Mismatch { field: "ttl" },
            IpnsError::ValidityType { got: 1 },
            IpnsError::Validity { got: "tomorrow".into() },
            IpnsError::Expired { valid_until: UnixTime::default(), now: UnixTime::default() },
            IpnsError::NegativeTtl { got: -1 },
            IpnsError::NoPublicKey,
            IpnsError::WrongKey,
            IpnsError::Signature,
        ];
        errors.extend(public_key_errors().map(IpnsError::PublicKey));
        errors
    }

    fn pk_errors() -> Vec<PkError> {
        let mut errors = vec![PkError::Key { len: 1 }, PkError::Mismatch];
        errors.extend(public_key_errors().map(PkError::PublicKey));
        errors
    }

    #[test]
    fn the_list_of_codes_is_what_errors_give() {
        let given: BTreeSet<_> =
            ipns_errors().iter().map(IpnsError::code).chain(pk_errors().iter().map(PkError::code)).collect();
        assert_eq!(given, BTreeSet::from(CODES));
    }

    #[test]
    fn errors_say_whose_fault_and_what_to_do() {
        for error in ipns_errors() {
            let caller = matches!(error, IpnsError::Key { .. });
            assert_eq!(error.fault(), if caller { Fault::Caller } else { Fault::Peer }, "{error}");
            assert!(error.advice().len() > 10 && error.to_string().len() > 10, "{error:?}");
            let refused = InvalidRecord::Refused { code: error.code(), reason: error.to_string() };
            assert_eq!(InvalidRecord::from(error), refused);
        }
        for error in pk_errors() {
            let caller = matches!(error, PkError::Key { .. });
            assert_eq!(error.fault(), if caller { Fault::Caller } else { Fault::Peer }, "{error}");
            assert!(error.advice().len() > 10 && error.to_string().len() > 10, "{error:?}");
        }
        for (error, fault) in [
            (SignError::Value, Fault::Caller),
            (SignError::Sequence { got: 1 }, Fault::Caller),
            (SignError::ValidUntil { got: UnixTime::default() }, Fault::Caller),
            (SignError::Ttl { got: Duration::ZERO }, Fault::Caller),
            (SignError::TooLarge { got: 9, max: 8 }, Fault::Caller),
            (SignError::PublicKey(PublicKeyError::RsaSize { bits: 1 }), Fault::Caller),
            (SignError::Encoding { reason: "why".into() }, Fault::Us),
        ] {
            assert_eq!(error.fault(), fault, "{error}");
            assert!(error.advice().len() > 8 && error.to_string().len() > 10, "{error:?}");
        }
        let name = ipns::parse_name("x").unwrap_err();
        assert_eq!(name.fault(), Fault::Caller);
        assert!(name.to_string().contains("\"x\"") && name.advice().len() > 10);
    }

    #[test]
    fn every_code_is_documented_and_sorted() {
        assert!(CODES.is_sorted());
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/records.md");
        let text = std::fs::read_to_string(page).unwrap();
        for code in CODES {
            assert!(
                text.contains(&format!("\n### `{code}`\n")),
                "docs/records.md has no paragraph for {code}"
            );
        }
    }
}
