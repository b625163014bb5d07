//! Unsigned LEB128 varints, at most 10 bytes, as protobuf and multiformats use them.

use alloc::vec::Vec;

/// Why no varint could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarintError {
    /// The bytes ended inside it.
    Truncated,
    /// More than 64 bits.
    Overflow,
}

/// Reads a varint and returns it with the bytes after it.
///
/// Errors: [`VarintError`]. Padded (non-minimal) varints are accepted, as protobuf parsers do.
#[inline]
pub fn read(bytes: &[u8]) -> Result<(u64, &[u8]), VarintError> {
    // Nearly all tags and most lengths are one byte.
    match bytes {
        [byte @ 0..0x80, rest @ ..] => Ok((u64::from(*byte), rest)),
        _ => read_long(bytes),
    }
}

#[inline(never)]
fn read_long(bytes: &[u8]) -> Result<(u64, &[u8]), VarintError> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if index == 9 && bits > 1 {
            return Err(VarintError::Overflow);
        }
        value |= bits << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[index + 1..]));
        }
    }
    Err(if bytes.len() < 10 { VarintError::Truncated } else { VarintError::Overflow })
}

/// Appends `value`.
pub fn write(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80); // the low seven bits
        value >>= 7;
    }
    out.push(value as u8); // below 0x80
}

/// Bytes that [`write()`] appends: `1..=10`.
pub const fn len(value: u64) -> usize {
    ((70 - (value | 1).leading_zeros()) / 7) as usize // ceil(bits / 7), bits in 1..=64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn malformed_varints_are_refused() {
        assert_eq!(read(&[]), Err(VarintError::Truncated));
        assert_eq!(read(&[0x80; 9]), Err(VarintError::Truncated));
        assert_eq!(read(&[0x80; 10]), Err(VarintError::Overflow));
        assert_eq!(
            read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]),
            Err(VarintError::Overflow)
        );
    }

    proptest! {
        #[test]
        fn round_trips(value: u64, tail: Vec<u8>) {
            let mut bytes = Vec::new();
            write(&mut bytes, value);
            prop_assert_eq!(bytes.len(), len(value));
            bytes.extend(&tail);
            prop_assert_eq!(read(&bytes), Ok((value, tail.as_slice())));
        }
    }
}
