//! The protobuf envelope of an IPNS record.

use super::RECORD_BYTES_MAX;
use super::data::Document;
use super::error::IpnsError;

/// `IpnsEntry`. Unknown fields are ignored, as the specification wants; absent ones are `None`, and the getters that
/// the derive macro adds read those as empty or 0.
///
/// Source: specs.ipfs.tech/ipns/ipns-record, "Record Serialization Format".
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Entry {
    /// Copy of `data[Value]` for old readers, as are the next five.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(super) value: Option<Vec<u8>>,
    /// Signs too little to be trusted: never verified, but its presence demands that the copies agree.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) signature_v1: Option<Vec<u8>>,
    #[prost(int32, optional, tag = "3")]
    pub(super) validity_type: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub(super) validity: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "5")]
    pub(super) sequence: Option<u64>,
    #[prost(uint64, optional, tag = "6")]
    pub(super) ttl: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "7")]
    pub(super) public_key: Option<Vec<u8>>,
    /// Over `ipns-signature:` and `data`.
    #[prost(bytes = "vec", optional, tag = "8")]
    pub(super) signature_v2: Option<Vec<u8>>,
    /// The record itself, as DAG-CBOR.
    #[prost(bytes = "vec", optional, tag = "9")]
    pub(super) data: Option<Vec<u8>>,
}

impl Entry {
    /// Reads the envelope only.
    ///
    /// Errors: [`IpnsError::TooLarge`] before anything is parsed, [`IpnsError::Malformed`].
    pub(super) fn read(record: &[u8]) -> Result<Self, IpnsError> {
        if record.len() > RECORD_BYTES_MAX {
            return Err(IpnsError::TooLarge { got: record.len(), max: RECORD_BYTES_MAX });
        }
        <Self as prost::Message>::decode(record)
            .map_err(|error| IpnsError::Malformed { reason: error.to_string() })
    }

    /// Whether old readers would use the copies, so that they must agree with `data`.
    pub(super) fn has_v1(&self) -> bool {
        !self.signature_v1().is_empty() || !self.value().is_empty()
    }

    /// Checks every copy against the signed document. An absent copy reads as protobuf's default, as it does in go.
    ///
    /// Errors: [`IpnsError::Mismatch`] names the field.
    pub(super) fn check_copies(&self, data: &Document<'_>) -> Result<(), IpnsError> {
        // spec: ipns-record, "Record Verification", 7
        let fields = [
            ("value", self.value() == data.value),
            ("validity", self.validity() == data.validity),
            ("validityType", i128::from(self.validity_type()) == data.validity_type),
            ("sequence", self.sequence() == data.sequence),
            // A document without TTL fails here, as in go: the specification makes it mandatory.
            ("ttl", Some(i128::from(self.ttl())) == data.ttl),
        ];
        match fields.into_iter().find(|(_, equal)| !equal) {
            Some((field, _)) => Err(IpnsError::Mismatch { field }),
            None => Ok(()),
        }
    }
}
