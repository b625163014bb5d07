//! Medians, ratios and tables.

use serde::Serialize;

/// The median of times, some of which are only known to be longer than a limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Time {
    /// This many seconds.
    Exactly(f64),
    /// Not within this many seconds.
    LongerThan(f64),
}

impl Time {
    fn seconds(self) -> f64 {
        match self {
            Self::Exactly(seconds) | Self::LongerThan(seconds) => seconds,
        }
    }
}

impl core::fmt::Display for Time {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Exactly(seconds) => write!(f, "{seconds:.2} s"),
            Self::LongerThan(seconds) => write!(f, "more than {seconds:.0} s"),
        }
    }
}

/// The median of an odd number of times; of an even number, the greater of the two in the middle. `None` of none.
///
/// All limits must be the same, so that whatever took longer than it sorts behind what did not.
pub(crate) fn median(times: &[Time]) -> Option<Time> {
    let mut times = times.to_vec();
    times.sort_by(|a, b| {
        let late = |time: &Time| matches!(time, Time::LongerThan(_));
        late(a).cmp(&late(b)).then(a.seconds().total_cmp(&b.seconds()))
    });
    times.get(times.len() / 2).copied()
}

/// How one time compares with another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ratio {
    /// Both are known.
    Exactly(f64),
    /// The second is only known to be longer than a limit.
    LessThan(f64),
    /// The first is: nothing can be said.
    Unknown,
}

impl Ratio {
    /// `a / b`.
    pub(crate) fn of(a: Time, b: Time) -> Self {
        match (a, b) {
            (Time::LongerThan(_), _) => Self::Unknown,
            (Time::Exactly(a), Time::Exactly(b)) => Self::Exactly(a / b),
            (Time::Exactly(a), Time::LongerThan(b)) => Self::LessThan(a / b),
        }
    }

    /// Whether it is known to be `max` at most.
    pub(crate) fn is_within(self, max: f64) -> bool {
        match self {
            Self::Exactly(ratio) | Self::LessThan(ratio) => ratio <= max,
            Self::Unknown => false,
        }
    }
}

impl core::fmt::Display for Ratio {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Exactly(ratio) => write!(f, "{ratio:.3}"),
            Self::LessThan(ratio) => write!(f, "less than {ratio:.3}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// Rows as a table in Markdown whose columns are aligned: the first to the left, the others to the right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let width = |column: usize| {
        let cells = core::iter::once(&header).chain(rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<_> = (0..header.len()).map(width).collect();
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!(" {cell:<width$} |"),
            _ => format!(" {cell:>width$} |"),
        });
        format!("|{}\n", cells.collect::<String>())
    };
    let rule = widths.iter().enumerate().map(|(column, width)| match column {
        0 => format!(" {} |", "-".repeat(*width)),
        _ => format!(" {}: |", "-".repeat(*width - 1)),
    });
    let rule = format!("|{}\n", rule.collect::<String>());
    line(&header) + &rule + &rows.iter().map(|row| line(row)).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_knows_what_it_does_not_know() {
        use Time::{Exactly, LongerThan};
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[Exactly(3.0), Exactly(1.0), Exactly(2.0)]), Some(Exactly(2.0)));
        assert_eq!(median(&[Exactly(3.0), Exactly(1.0)]), Some(Exactly(3.0)));
        let limit = LongerThan(9.0);
        assert_eq!(median(&[limit, Exactly(1.0), Exactly(9.5)]), Some(Exactly(9.5)));
        assert_eq!(median(&[limit, Exactly(1.0), limit]), Some(limit));
    }

    #[test]
    fn a_ratio_is_claimed_only_where_it_is_known() {
        use Time::{Exactly, LongerThan};
        let cases = [
            (Exactly(1.0), Exactly(4.0), Ratio::Exactly(0.25), "0.250", true),
            (Exactly(3.0), Exactly(4.0), Ratio::Exactly(0.75), "0.750", false),
            (Exactly(1.0), LongerThan(10.0), Ratio::LessThan(0.1), "less than 0.100", true),
            (LongerThan(10.0), Exactly(4.0), Ratio::Unknown, "unknown", false),
            (LongerThan(10.0), LongerThan(10.0), Ratio::Unknown, "unknown", false),
        ];
        for (a, b, ratio, text, within) in cases {
            assert_eq!(Ratio::of(a, b), ratio);
            assert_eq!(ratio.to_string(), text);
            assert_eq!(ratio.is_within(0.3), within, "{text}");
        }
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "1,000".to_owned()], vec!["long name".to_owned(), "2".to_owned()]];
        let expected = "\
| node      |     n |
| --------- | ----: |
| a         | 1,000 |
| long name |     2 |
";
        assert_eq!(table(&["node", "n"], &rows), expected);
    }
}
