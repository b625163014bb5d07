//! Durations and sizes as people write them: `22h`, `1h30m`, `500ms`; `4MiB`, `64KiB`, `1024`.

use std::fmt;
use std::time::Duration;

use kadmos_core::health::Limits;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

/// A duration in a configuration file or flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        duration(text).map(Self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpanVisitor;
        impl Visitor<'_> for SpanVisitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration in quotes such as \"22h\" or \"500ms\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(SpanVisitor)
    }
}

/// A number of bytes in a configuration file or flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) usize);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        size(text).map(Self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"4MiB\" or a number of bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                usize::try_from(bytes).map(Size).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                usize::try_from(bytes).map(Size).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

/// Two limits of a health rule, in per cent: `75/25`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Levels(pub(crate) Limits);

impl std::str::FromStr for Levels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("read {text:?}, expected two percentages such as 75/25");
        let (degraded, unhealthy) = text.split_once('/').ok_or_else(wrong)?;
        let percent = |text: &str| text.trim().trim_end_matches('%').parse().map_err(|_| wrong());
        Ok(Self(Limits::new(percent(degraded)?, percent(unhealthy)?)))
    }
}

impl<'de> Deserialize<'de> for Levels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LevelsVisitor;
        impl Visitor<'_> for LevelsVisitor {
            type Value = Levels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("two percentages in quotes such as \"75/25\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Levels, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(LevelsVisitor)
    }
}

/// Units with their length in milliseconds, longest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// One or more numbers with units, longest unit first: `1h30m`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        |why: &str| format!("read {text:?}, expected a duration such as 22h, 1h30m, 10s or 500ms ({why})");
    let mut rest = text;
    let mut millis: u64 = 0;
    let mut shorter_than = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| wrong("a number is missing or too large"))?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = &rest[..letters];
        rest = &rest[letters..];
        let Some((_, length)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(wrong("units are d, h, m, s and ms"));
        };
        if *length >= shorter_than {
            return Err(wrong("longer units come first"));
        }
        shorter_than = *length;
        let part = number.checked_mul(*length).ok_or_else(|| wrong("too long"))?;
        millis = millis.checked_add(part).ok_or_else(|| wrong("too long"))?;
    }
    if text.is_empty() { Err(wrong("it is empty")) } else { Ok(Duration::from_millis(millis)) }
}

fn size(text: &str) -> Result<usize, String> {
    let wrong = || format!("read {text:?}, expected a size such as 4MiB, 64KiB or a number of bytes");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: usize = text[..digits].parse().map_err(|_| wrong())?;
    let unit = match text[digits..].trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in [
            ("22h", 79_200_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("43m13s", 2_593_000),
            ("2d", 172_800_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "22", "h", "22 h", "1m1h", "1s1s", "22y", "-1s", "99999999999999999999d", "1.5h"] {
            let error = duration(text).unwrap_err();
            assert!(error.contains("expected a duration"), "{error}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("4MiB", 4 << 20), ("64 KiB", 64 << 10), ("1024", 1_024), ("2MB", 2_000_000)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "4mib", "4XB", "-4", "99999999999999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
