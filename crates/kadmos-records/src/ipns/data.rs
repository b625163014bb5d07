//! The signed document inside an IPNS record: a DAG-CBOR map.
//!
//! The decoder is strict: shortest lengths, sorted keys without duplicates, no indefinite sizes, no tag but a CID's,
//! nothing after the map. Two documents that say the same are then the same bytes.

use std::collections::BTreeMap;
use std::fmt;

use ipld_core::cid::Cid;
use ipld_core::ipld::Ipld;
use kadmos_core::UnixTime;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::error::IpnsError;
use super::validity;

/// How deep lists and maps may nest in fields that this implementation does not know. The specification suggests one
/// level (`data[_namespace][field]`); 32 leave room, and reading them needs little stack.
const EXTRA_DEPTH_MAX: u8 = 32;

/// The fields of the document, borrowed from the record.
///
/// Integers are as wide as CBOR can write them, so that a range is checked once and where its error is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    pub(super) value: &'a [u8],
    pub(super) validity: &'a [u8],
    pub(super) validity_type: i128,
    pub(super) sequence: u64,
    /// Nanoseconds. Mandatory by the specification, but go takes records without it that have no V1 fields either.
    pub(super) ttl: Option<i128>,
}

impl<'a> Document<'a> {
    /// Reads a document.
    ///
    /// Errors: [`IpnsError::Data`]. Cost: linear, no allocation.
    pub(super) fn read(data: &'a [u8]) -> Result<Self, IpnsError> {
        serde_ipld_dagcbor::from_slice(data).map_err(|error| IpnsError::Data { reason: error.to_string() })
    }

    /// The bytes of a new document.
    ///
    /// Errors: what the encoder says; it does not fail on these types.
    pub(super) fn write(
        value: &[u8],
        validity: &str,
        sequence: u64,
        ttl_nanos: u64,
    ) -> Result<Vec<u8>, String> {
        let document = BTreeMap::from([
            ("Sequence".to_string(), Ipld::Integer(i128::from(sequence))),
            ("TTL".to_string(), Ipld::Integer(i128::from(ttl_nanos))),
            ("Validity".to_string(), Ipld::Bytes(validity.as_bytes().to_vec())),
            ("ValidityType".to_string(), Ipld::Integer(EOL)),
            ("Value".to_string(), Ipld::Bytes(value.to_vec())),
        ]);
        // The encoder sorts keys as DAG-CBOR demands, by length and then by bytes.
        serde_ipld_dagcbor::to_vec(&Ipld::Map(document)).map_err(|error| error.to_string())
    }

    /// When the record ends.
    ///
    /// Errors: [`IpnsError::ValidityType`] for another kind than "end of life", [`IpnsError::Validity`] for a date
    /// that cannot be read.
    pub(super) fn valid_until(&self) -> Result<(UnixTime, u32), IpnsError> {
        if self.validity_type != EOL {
            return Err(IpnsError::ValidityType { got: self.validity_type });
        }
        validity::parse(self.validity).ok_or_else(|| IpnsError::Validity {
            // As much as any date has; the rest would only fill a log.
            got: String::from_utf8_lossy(&self.validity[..self.validity.len().min(40)]).into_owned(),
        })
    }
}

/// `ValidityType`: the record is valid until `Validity`. There is no other.
const EOL: i128 = 0;

#[derive(Deserialize)]
#[serde(field_identifier)]
enum Field {
    Sequence,
    #[serde(rename = "TTL")]
    Ttl,
    Validity,
    ValidityType,
    Value,
    #[serde(other)]
    Extra,
}

impl<'de: 'a, 'a> Deserialize<'de> for Document<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DocumentVisitor)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Document<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map with Value, Validity, ValidityType, Sequence and TTL")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut value, mut validity, mut validity_type, mut sequence, mut ttl) =
            (None, None, None, None, None);
        // The decoder refuses duplicate keys, so no field is written twice.
        while let Some(field) = map.next_key()? {
            match field {
                Field::Sequence => sequence = Some(map.next_value()?),
                Field::Ttl => ttl = Some(map.next_value_seed(Integer)?),
                Field::Validity => validity = Some(map.next_value()?),
                Field::ValidityType => validity_type = Some(map.next_value_seed(Integer)?),
                Field::Value => value = Some(map.next_value()?),
                Field::Extra => map.next_value_seed(Extra { depth_left: EXTRA_DEPTH_MAX })?,
            }
        }
        Ok(Document {
            value: value.ok_or_else(|| A::Error::missing_field("Value"))?,
            validity: validity.ok_or_else(|| A::Error::missing_field("Validity"))?,
            validity_type: validity_type.ok_or_else(|| A::Error::missing_field("ValidityType"))?,
            sequence: sequence.ok_or_else(|| A::Error::missing_field("Sequence"))?,
            ttl,
        })
    }
}

/// Reads an integer of either sign; CBOR has them from -2^64 to 2^64 - 1.
struct Integer;

impl<'de> DeserializeSeed<'de> for Integer {
    type Value = i128;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<i128, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Integer {
    type Value = i128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer")
    }

    fn visit_i64<E>(self, value: i64) -> Result<i128, E> {
        Ok(i128::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<i128, E> {
        Ok(i128::from(value))
    }

    fn visit_i128<E>(self, value: i128) -> Result<i128, E> {
        Ok(value)
    }
}

/// Reads a value of any kind and forgets it, within a depth.
struct Extra {
    depth_left: u8,
}

impl Extra {
    fn deeper<E: Error>(&self) -> Result<u8, E> {
        self.depth_left
            .checked_sub(1)
            .ok_or_else(|| E::custom(format_args!("an extra field is nested deeper than {EXTRA_DEPTH_MAX}")))
    }
}

impl<'de> DeserializeSeed<'de> for Extra {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Extra {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a DAG-CBOR value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i128<E>(self, _: i128) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let depth_left = self.deeper()?;
        while seq.next_element_seed(Extra { depth_left })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let depth_left = self.deeper()?;
        while map.next_key::<serde::de::IgnoredAny>()?.is_some() {
            map.next_value_seed(Extra { depth_left })?;
        }
        Ok(())
    }

    /// The decoder's way to give a CID: its bytes, wrapped.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_bytes(Link)
    }
}

struct Link;

impl Visitor<'_> for Link {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CID")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<(), E> {
        Cid::try_from(bytes).map(|_| ()).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `{"TTL": 5, "Value": h'2f', "Sequence": 7, "Validity": h'5a', "ValidityType": 0}`, byte by byte.
    fn golden() -> Vec<u8> {
        let mut bytes = vec![0xa5];
        bytes.extend(b"\x63TTL\x05");
        bytes.extend(b"\x65Value\x41/");
        bytes.extend(b"\x68Sequence\x07");
        bytes.extend(b"\x68Validity\x41Z");
        bytes.extend(b"\x6cValidityType\x00");
        bytes
    }

    /// The golden document with an `_x` before everything else.
    fn with_extra(value: &[u8]) -> Vec<u8> {
        [&[0xa6][..], b"\x62_x", value, &golden()[1..]].concat()
    }

    fn refusal(bytes: &[u8]) -> String {
        match Document::read(bytes) {
            Err(IpnsError::Data { reason }) => reason,
            other => panic!("{other:?} for {bytes:02x?}"),
        }
    }

    #[test]
    fn the_golden_document_is_written_and_read() {
        assert_eq!(Document::write(b"/", "Z", 7, 5).unwrap(), golden());
        let read = Document { value: b"/", validity: b"Z", validity_type: 0, sequence: 7, ttl: Some(5) };
        assert_eq!(Document::read(&golden()), Ok(read));
    }

    #[test]
    fn order_duplicates_and_trailing_bytes_are_refused() {
        let unsorted = [&[0xa5][..], b"\x65Value\x41/", b"\x63TTL\x05", &golden()[1 + 5 + 8..]].concat();
        assert_eq!(unsorted.len(), golden().len());
        assert!(refusal(&unsorted).contains("UnorderedKey"));
        let twice = [&[0xa6][..], b"\x63TTL\x05", &golden()[1..]].concat();
        assert!(refusal(&twice).contains("UnorderedKey"));
        assert!(refusal(&[&golden()[..], &[0]].concat()).contains("TrailingData"));
        assert!(refusal(b"\x80").contains("Mismatch"));
        for len in 0..golden().len() {
            refusal(&golden()[..len]);
        }
    }

    #[test]
    fn every_mandatory_field_is_missed_by_name() {
        for (field, at) in
            [("Value", 6..14), ("Sequence", 14..24), ("Validity", 24..35), ("ValidityType", 35..49)]
        {
            let mut bytes = golden();
            bytes.drain(at);
            bytes[0] = 0xa4;
            assert!(refusal(&bytes).contains(&format!("`{field}`")), "{field}");
        }
        let mut bytes = golden();
        bytes.drain(1..6);
        bytes[0] = 0xa4;
        assert_eq!(Document::read(&bytes).unwrap().ttl, None);
    }

    #[test]
    fn fields_have_their_kind() {
        for (from, to) in [
            (&b"\x65Value\x41/"[..], &b"\x65Value\x61/"[..]),
            (b"\x68Validity\x41Z", b"\x68Validity\x61Z"),
            (b"\x68Sequence\x07", b"\x68Sequence\x26"),
            (b"\x68Sequence\x07", b"\x68Sequence\xf6"),
            (b"\x68Sequence\x07", b"\x68Sequence\x18\x07"),
            (b"\x63TTL\x05", b"\x63TTL\x40"),
            (b"\x63TTL\x05", b"\x63TTL\xfb\x40\x14\x00\x00\x00\x00\x00\x00"),
            (b"\x6cValidityType\x00", b"\x6cValidityType\x60"),
        ] {
            let golden = golden();
            let at = golden.windows(from.len()).position(|window| window == from).unwrap();
            refusal(&[&golden[..at], to, &golden[at + from.len()..]].concat());
        }
    }

    #[test]
    fn integers_span_what_cbor_writes() {
        let integer = |ttl: &[u8]| {
            let bytes = [&[0xa5][..], b"\x63TTL", ttl, &golden()[6..]].concat();
            Document::read(&bytes).unwrap().ttl.unwrap()
        };
        assert_eq!(integer(b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff"), i128::from(u64::MAX));
        assert_eq!(integer(b"\x20"), -1);
        assert_eq!(integer(b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff"), -(1 << 64));
    }

    #[test]
    fn extra_fields_of_every_kind_are_skipped() {
        let cid = b"\xd8\x2a\x45\x00\x01\x55\x00\x00"; // bafkqaaa
        for value in [
            &b"\x05"[..],
            b"\x24",
            b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x43abc",
            b"\x63abc",
            b"\xf4",
            b"\xf5",
            b"\xf6",
            b"\xfb\x40\x14\x00\x00\x00\x00\x00\x00",
            b"\x80",
            b"\xa0",
            b"\x82\x01\xa1\x61a\x81\xa0",
            cid,
        ] {
            assert_eq!(Document::read(&with_extra(value)), Document::read(&golden()), "{value:02x?}");
        }
    }

    #[test]
    fn extra_fields_must_be_dag_cbor_too() {
        for value in [
            &b"\x18\x05"[..],                        // a longer form than needed
            b"\x9f\xff",                             // indefinite
            b"\xf9\x3c\x00",                         // a half-precision float
            b"\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00", // not a number
            b"\xf7",                                 // undefined
            b"\xc1\x00",                             // another tag
            b"\xd8\x2a\x42\x00\x01",                 // half a CID
            b"\xa2\x61b\x00\x61a\x00",               // unsorted
            b"\xa1\x01\x00",                         // a key that is no text
            b"\x61\xff",                             // text that is no UTF-8
        ] {
            refusal(&with_extra(value));
        }
    }

    #[test]
    fn extra_fields_nest_up_to_the_bound() {
        let lists = |depth| with_extra(&[vec![0x81; depth], vec![0x00]].concat());
        let maps = |depth| with_extra(&[b"\xa1\x61a".repeat(depth), vec![0x00]].concat());
        let bound = usize::from(EXTRA_DEPTH_MAX);
        assert!(Document::read(&lists(bound)).is_ok());
        assert!(Document::read(&maps(bound)).is_ok());
        assert!(refusal(&lists(bound + 1)).contains("nested deeper than 32"));
        assert!(refusal(&maps(bound + 1)).contains("nested deeper than 32"));
        refusal(&lists(10_000));
    }

    #[test]
    fn claimed_lengths_allocate_nothing() {
        // Each claims 2^32 - 1 or 2^64 - 1 of something and has none of it.
        for head in [0x5a, 0x7a, 0x9a, 0xba] {
            refusal(&with_extra(&[head, 0xff, 0xff, 0xff, 0xff]));
            refusal(&with_extra(&[head + 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
        }
    }

    #[test]
    fn only_an_end_of_life_is_understood() {
        let mut document = Document { value: b"", validity: b"x", validity_type: 1, sequence: 0, ttl: None };
        assert_eq!(document.valid_until(), Err(IpnsError::ValidityType { got: 1 }));
        document.validity_type = 0;
        assert_eq!(document.valid_until(), Err(IpnsError::Validity { got: "x".into() }));
        document.validity = &[b'9'; 9_000];
        assert_eq!(document.valid_until(), Err(IpnsError::Validity { got: "9".repeat(40) }));
        document.validity = b"1970-01-01T00:00:00.000000001Z";
        assert_eq!(document.valid_until(), Ok((UnixTime::default(), 1)));
    }

    proptest! {
        #[test]
        fn documents_round_trip(
            value in proptest::collection::vec(any::<u8>(), 0..300),
            validity in ".{0,40}",
            sequence: u64,
            ttl: u64,
        ) {
            let bytes = Document::write(&value, &validity, sequence, ttl).unwrap();
            let expected = Document {
                value: &value,
                validity: validity.as_bytes(),
                validity_type: 0,
                sequence,
                ttl: Some(i128::from(ttl)),
            };
            prop_assert_eq!(Document::read(&bytes), Ok(expected));
        }

        /// Whatever is accepted is canonical: writing it again gives the same bytes.
        #[test]
        fn accepted_documents_are_canonical(at in 0usize..49, byte: u8) {
            let mut bytes = golden();
            bytes[at] = byte;
            if let Ok(read) = Document::read(&bytes)
                && let (Some(ttl), Ok(validity), 0) =
                    (read.ttl.and_then(|ttl| u64::try_from(ttl).ok()), std::str::from_utf8(read.validity), read.validity_type)
            {
                let written = Document::write(read.value, validity, read.sequence, ttl).unwrap();
                prop_assert_eq!(written, bytes);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Document::read(&bytes);
            let _ = Document::read(&with_extra(&bytes));
        }
    }
}
