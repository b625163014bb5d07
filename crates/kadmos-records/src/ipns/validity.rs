//! The expiry date of an IPNS record: RFC 3339 text with nanoseconds.

use kadmos_core::UnixTime;

/// The last second that RFC 3339 can write, 9999-12-31T23:59:59Z.
pub(super) const UNTIL_MAX: UnixTime = UnixTime::from_secs(253_402_300_799);

const SECONDS_PER_DAY: i64 = 86_400;

/// `until` as text, with nine decimals: the specification's form. Go reads any number of decimals, older
/// JavaScript readers want some.
pub(super) fn format(until: UnixTime) -> String {
    let mut text = until.to_string();
    text.pop(); // the Z that `UnixTime` ends with
    text.push_str(".000000000Z");
    text
}

/// Reads `2026-11-24T10:25:12.123456789Z`: seconds since 1970 and nanoseconds.
///
/// Any number of decimals from none, those after the ninth count nothing; `Z` or an offset. A date before 1970 is
/// read as the start of 1970: both are over. `None` for everything that Go's `time.RFC3339Nano` does not read, leap
/// seconds included: a record must not be valid here and invalid there.
pub(super) fn parse(text: &[u8]) -> Option<(UnixTime, u32)> {
    let (date, rest) = text.split_at_checked(19)?;
    for (at, separator) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        if date[at] != separator {
            return None;
        }
    }
    let year = number(&date[..4])?;
    let month = number(&date[5..7])?;
    let day = number(&date[8..10])?;
    let (hour, minute, second) = (number(&date[11..13])?, number(&date[14..16])?, number(&date[17..])?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    let (nanos, zone) = decimals(rest)?;
    let local = days_since_epoch(year, month, day) * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second
        - offset(zone)?;
    Some(match u64::try_from(local) {
        Ok(secs) => (UnixTime::from_secs(secs), nanos),
        Err(_) => (UnixTime::default(), 0),
    })
}

/// Reads ASCII digits, at most four of them.
fn number(digits: &[u8]) -> Option<i64> {
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

/// Reads `.123`, if it is there: nanoseconds, and what follows.
fn decimals(text: &[u8]) -> Option<(u32, &[u8])> {
    let Some(text) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let nanos = (0..9).fold(0, |nanos, at| {
        let digit = if at < len { text[at] - b'0' } else { 0 };
        nanos * 10 + u32::from(digit)
    });
    (len > 0).then(|| (nanos, &text[len..]))
}

/// Reads `Z` or `+hh:mm`: seconds east of Greenwich.
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match zone {
        b"Z" => return Some(0),
        [b'+', h1, h2, b':', m1, m2] => (1, [*h1, *h2], [*m1, *m2]),
        [b'-', h1, h2, b':', m1, m2] => (-1, [*h1, *h2], [*m1, *m2]),
        _ => return None,
    };
    let (hours, minutes) = (number(&hours)?, number(&minutes)?);
    (hours < 24 && minutes < 60).then(|| sign * (hours * 3_600 + minutes * 60))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the date; negative before.
///
/// Counts years from March, so that the leap day is a year's last: 400 such years have 146,097 days, and the months
/// before month m of them (March = 0) have (153 m + 2) / 5. 719,468 days separate 0000-03-01 and 1970-01-01.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let year = year.rem_euclid(400);
    era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<(u64, u32)> {
        parse(text.as_bytes()).map(|(until, nanos)| (until.as_secs(), nanos))
    }

    #[test]
    fn dates_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("1970-01-01T00:00:00.000000001Z", (0, 1)),
            ("1970-01-01T00:00:01Z", (1, 0)),
            ("2000-02-29T00:00:00Z", (951_782_400, 0)),
            ("2000-03-01T00:00:00Z", (951_868_800, 0)),
            ("2024-02-29T23:59:59.5Z", (1_709_251_199, 500_000_000)),
            ("2026-11-24T10:25:12.123456789Z", (1_795_515_912, 123_456_789)),
            ("2026-11-24T10:25:12.1234567899999Z", (1_795_515_912, 123_456_789)),
            ("2026-11-24T12:25:12+02:00", (1_795_515_912, 0)),
            ("2026-11-24T04:55:12.25-05:30", (1_795_515_912, 250_000_000)),
            ("2026-12-31T23:00:00-01:00", (1_798_761_600, 0)),
            ("2100-02-28T00:00:00Z", (4_107_456_000, 0)),
            ("9999-12-31T23:59:59Z", (253_402_300_799, 0)),
            ("9999-12-31T23:59:59-23:59", (253_402_387_139, 0)),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn dates_before_1970_are_over() {
        for text in ["1969-12-31T23:59:59.9Z", "0000-01-01T00:00:00Z", "1970-01-01T00:00:00.5+00:01"] {
            assert_eq!(read(text), Some((0, 0)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "2026-11-24",
            "2026-11-24T10:25:12",
            "2026-11-24T10:25Z",
            "2026-11-24 10:25:12Z",
            "2026-11-24t10:25:12Z",
            "2026-11-24T10:25:12z",
            "2026-11-24T10:25:12.Z",
            "2026-11-24T10:25:12,5Z",
            "2026-11-24T10:25:12ZZ",
            "2026-11-24T10:25:12Z ",
            " 2026-11-24T10:25:12Z",
            "2026-11-24T10:25:12+0200",
            "2026-11-24T10:25:12+02:0",
            "2026-11-24T10:25:12+24:00",
            "2026-11-24T10:25:12+02:60",
            "2026-11-24T10:25:12+0a:00",
            "2026-11-24T10:25:12*02:00",
            "2026/11-24T10:25:12Z",
            "2026-11/24T10:25:12Z",
            "2026-11-24T10.25:12Z",
            "2026-11-24T10:25.12Z",
            "-026-11-24T10:25:12Z",
            "+026-11-24T10:25:12Z",
            "202a-11-24T10:25:12Z",
            "2026-00-24T10:25:12Z",
            "2026-13-24T10:25:12Z",
            "2026-11-00T10:25:12Z",
            "2026-11-31T10:25:12Z",
            "2026-01-32T10:25:12Z",
            "2025-02-29T10:25:12Z",
            "2100-02-29T10:25:12Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T10:60:12Z",
            "2026-11-24T23:59:60Z",
            "2026-11-24T1\u{661}:25:12Z",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(parse(&[0xff; 20]), None);
        assert_eq!(parse(&[b'9'; 10_000]), None);
    }

    #[test]
    fn the_specifications_form_is_written() {
        assert_eq!(format(UnixTime::from_secs(1_795_515_912)), "2026-11-24T10:25:12.000000000Z");
        assert_eq!(format(UNTIL_MAX), "9999-12-31T23:59:59.000000000Z");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(secs in 0..=UNTIL_MAX.as_secs()) {
            let until = UnixTime::from_secs(secs);
            prop_assert_eq!(parse(format(until).as_bytes()), Some((until, 0)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&text);
        }

        #[test]
        fn any_digits_are_read_or_refused(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\\.[0-9]{0,12})?[-+Z][0-9:]{0,5}") {
            if let Some((until, nanos)) = parse(text.as_bytes()) {
                prop_assert!(until.as_secs() <= UNTIL_MAX.as_secs() + 86_400);
                prop_assert!(nanos < 1_000_000_000);
            }
        }
    }
}
