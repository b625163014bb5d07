//! Walking the fields of one protobuf message without allocating or recursing.

use super::DecodeError;
use super::varint::{self, VarintError};

/// Deepest nesting of unknown groups that is skipped. Nothing in the schema or in protobuf 3 is a group; a later
/// extension would nest once.
pub(super) const GROUP_DEPTH_MAX: usize = 8;

/// Wire types. Source: protobuf encoding, "Message Structure".
mod wire_type {
    pub(super) const VARINT: u64 = 0;
    pub(super) const FIXED64: u64 = 1;
    pub(super) const BYTES: u64 = 2;
    pub(super) const GROUP_START: u64 = 3;
    pub(super) const GROUP_END: u64 = 4;
    pub(super) const FIXED32: u64 = 5;
}

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) value: Value<'a>,
}

/// The value of a field. A known field with another wire type than the schema's counts as unknown, as go's and C++'s
/// parsers have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// A fixed-width value or a group: no field of ours.
    Other,
}

/// The fields of one message, in order. Every step consumes at least one byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field, or `None` at the end of the message.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.tag()?;
        let value = match wire_type {
            wire_type::GROUP_START => {
                self.skip_group(number)?;
                Value::Other
            }
            wire_type::GROUP_END => return Err(DecodeError::Groups { max: GROUP_DEPTH_MAX }),
            _ => self.value(number, wire_type)?,
        };
        Ok(Some(Field { number, value }))
    }

    fn tag(&mut self) -> Result<(u32, u64), DecodeError> {
        let tag = self.varint()?;
        let number = tag >> 3;
        match u32::try_from(number) {
            Ok(number @ 1..=0x1fff_ffff) => Ok((number, tag & 7)),
            _ => Err(DecodeError::Tag { tag }),
        }
    }

    fn value(&mut self, number: u32, wire_type: u64) -> Result<Value<'a>, DecodeError> {
        Ok(match wire_type {
            wire_type::VARINT => Value::Varint(self.varint()?),
            wire_type::FIXED64 => {
                self.take(8)?;
                Value::Other
            }
            wire_type::BYTES => {
                let len = self.varint()?;
                // A length that does not fit in memory points past the end as well.
                Value::Bytes(self.take(usize::try_from(len).unwrap_or(usize::MAX))?)
            }
            wire_type::FIXED32 => {
                self.take(4)?;
                Value::Other
            }
            _ => return Err(DecodeError::Tag { tag: u64::from(number) << 3 | wire_type }),
        })
    }

    /// Skips to the end of the group `number`, whose start tag was read.
    #[cold]
    fn skip_group(&mut self, number: u32) -> Result<(), DecodeError> {
        let mut open = [0; GROUP_DEPTH_MAX];
        open[0] = number;
        let mut depth = 1;
        while depth > 0 {
            if self.rest.is_empty() {
                return Err(DecodeError::Truncated);
            }
            let (number, wire_type) = self.tag()?;
            match wire_type {
                wire_type::GROUP_START if depth < open.len() => {
                    open[depth] = number;
                    depth += 1;
                }
                wire_type::GROUP_END if open[depth - 1] == number => depth -= 1,
                wire_type::GROUP_START | wire_type::GROUP_END => {
                    return Err(DecodeError::Groups { max: GROUP_DEPTH_MAX });
                }
                _ => {
                    self.value(number, wire_type)?;
                }
            }
        }
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let (value, rest) = varint::read(self.rest).map_err(|error| match error {
            VarintError::Truncated => DecodeError::Truncated,
            VarintError::Overflow => DecodeError::VarintOverflow,
        })?;
        self.rest = rest;
        Ok(value)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn walk(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, DecodeError> {
        let mut fields = Fields::new(bytes);
        let mut all = Vec::new();
        while let Some(field) = fields.next()? {
            all.push((field.number, field.value));
        }
        Ok(all)
    }

    #[test]
    fn every_wire_type_is_read_or_skipped() {
        let bytes = [
            0x08, 0x96, 0x01, // 1: varint 150
            0x11, 1, 2, 3, 4, 5, 6, 7, 8, // 2: fixed64
            0x1a, 2, b'h', b'i', // 3: bytes
            0x23, 0x2b, 0x08, 0x01, 0x2c, 0x24, // 4: group { 5: group { 1: varint 1 } }
            0x35, 1, 2, 3, 4, // 6: fixed32
        ];
        assert_eq!(
            walk(&bytes),
            Ok(alloc::vec![
                (1, Value::Varint(150)),
                (2, Value::Other),
                (3, Value::Bytes(b"hi")),
                (4, Value::Other),
                (6, Value::Other),
            ])
        );
    }

    #[test]
    fn broken_fields_are_refused() {
        let groups = DecodeError::Groups { max: GROUP_DEPTH_MAX };
        let cases: &[(&[u8], DecodeError)] = &[
            (&[0x08], DecodeError::Truncated),
            (&[0x11, 1, 2, 3], DecodeError::Truncated),
            (&[0x35, 1], DecodeError::Truncated),
            (&[0x12, 0x02, 0x01], DecodeError::Truncated),
            // A length of 2^32 - 1, and one of 2^64 - 1.
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f, 1], DecodeError::Truncated),
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], DecodeError::Truncated),
            (
                &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
                DecodeError::VarintOverflow,
            ),
            (&[0x02, 0x00], DecodeError::Tag { tag: 2 }), // field 0
            (&[0x0e, 0x00], DecodeError::Tag { tag: 0x0e }), // wire type 6
            (&[0x80, 0x80, 0x80, 0x80, 0x10, 0x00], DecodeError::Tag { tag: 1 << 32 }),
            (&[0x24], groups),                             // end without a start
            (&[0x23, 0x1c], groups),                       // the end of another group
            (&[0x23, 0x08, 0x01], DecodeError::Truncated), // no end
            (&[0x23; GROUP_DEPTH_MAX + 1], groups),
        ];
        for (bytes, error) in cases {
            assert_eq!(walk(bytes), Err(*error), "{bytes:x?}");
        }
    }

    #[test]
    fn groups_do_not_recurse() {
        let deep: Vec<u8> = core::iter::repeat_n(0x23, 1 << 20).collect();
        assert_eq!(walk(&deep), Err(DecodeError::Groups { max: GROUP_DEPTH_MAX }));
    }
}
