//! What a study came to: tables, figures, checks; for people and for programs.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::stats::Estimate;
use super::{StudyConfig, StudyName};

/// The report of a study. Prints as tables; serialises to JSON.
///
/// Everything but `real_ms` is the same in every run of one configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyReport {
    /// Which study.
    pub study: StudyName,
    /// What it was run with.
    pub config: StudyConfig,
    /// The command that runs it again.
    pub command: String,
    /// What was asked and how, in a few sentences.
    pub method: String,
    /// What was found.
    pub tables: Vec<Table>,
    /// Comparisons with what others have published; a study with one that fails has failed.
    pub checks: Vec<Check>,
    /// Curves of the same data.
    pub figures: Vec<Figure>,
    /// Broken promises between clients and driver; empty in a sound run.
    pub violations: Vec<String>,
    /// Events of all worlds.
    pub events: u64,
    /// Virtual milliseconds of all worlds.
    pub virtual_ms: u64,
    /// Milliseconds that the study took on this machine.
    pub real_ms: u64,
}

/// Numbers by row and column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// What it shows, with the unit.
    pub title: String,
    /// Names of the columns after the first.
    pub columns: Vec<String>,
    /// Rows, each as long as `columns`.
    pub rows: Vec<Row>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Who or what.
    pub name: String,
    /// One for each column.
    pub cells: Vec<Cell>,
}

/// One number of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// Nothing was measured.
    None,
    /// An estimate; `ratio` is its quotient by the reference row's, where there is one.
    Estimate {
        /// The number and its interval.
        #[serde(flatten)]
        estimate: Estimate,
        /// By the first row's number of this column.
        ratio: Option<f64>,
        /// Digits after the point when it is printed.
        digits: u8,
    },
    /// How many of how many.
    Share {
        /// How many.
        part: u64,
        /// Of how many.
        whole: u64,
    },
    /// A plain number.
    Number {
        /// The number.
        value: f64,
        /// Digits after the point when it is printed.
        digits: u8,
    },
}

/// A comparison with a published figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What is compared.
    pub name: String,
    /// What was measured.
    pub measured: f64,
    /// The published range.
    pub published: (f64, f64),
    /// How far outside the range it may lie.
    pub factor: f64,
    /// How far it lies: 1 within the range, else the quotient by the nearer end, or of the nearer end by it.
    pub off_by: f64,
    /// Whether that is near enough.
    pub holds: bool,
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Name of its file, without the ending.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// What the x axis shows, with its unit.
    pub x: String,
    /// What the y axis shows.
    pub y: String,
    /// Whether the x axis is logarithmic.
    pub log_x: bool,
    /// The curves.
    pub series: Vec<Series>,
}

/// One curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Whose.
    pub name: String,
    /// Points in the order of x.
    pub points: Vec<(f64, f64)>,
}

impl Check {
    /// Compares a number with a published range.
    pub(crate) fn new(name: impl Into<String>, measured: f64, published: (f64, f64), factor: f64) -> Self {
        let (low, high) = published;
        let off_by = if measured < low {
            low / measured
        } else if measured > high {
            measured / high
        } else {
            1.0
        };
        Self { name: name.into(), measured, published, factor, off_by, holds: off_by <= factor }
    }
}

impl Figure {
    /// The share of operations that took at most so long, of each named list: its times in order, and of how many
    /// operations they are. A curve of operations that did not all succeed ends below 1.
    pub(crate) fn shares(
        name: &str,
        title: &str,
        x: &str,
        lists: impl IntoIterator<Item = (String, Vec<f64>, usize)>,
    ) -> Self {
        /// Points of a curve: more are not seen.
        const POINTS: usize = 200;
        let series = lists.into_iter().map(|(name, sorted, whole)| {
            let step = sorted.len().div_ceil(POINTS).max(1);
            let last = sorted.len().saturating_sub(1);
            let ranks = (0..sorted.len()).filter(|rank| rank % step == 0 || *rank == last);
            let points = ranks.map(|rank| (sorted[rank], (rank + 1) as f64 / whole as f64)).collect();
            Series { name, points }
        });
        Self {
            name: name.into(),
            title: title.into(),
            x: x.into(),
            y: "share of operations".into(),
            log_x: true,
            series: series.collect(),
        }
    }
}

impl Table {
    pub(crate) fn new<'a>(title: impl Into<String>, columns: impl IntoIterator<Item = &'a str>) -> Self {
        let columns = columns.into_iter().map(String::from).collect();
        Self { title: title.into(), columns, rows: Vec::new() }
    }

    /// Adds a row. Estimates get their ratio to the first row's.
    pub(crate) fn push(&mut self, name: impl Into<String>, mut cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        if let Some(first) = self.rows.first() {
            for (cell, reference) in cells.iter_mut().zip(&first.cells) {
                if let (Cell::Estimate { estimate, ratio, .. }, Cell::Estimate { estimate: reference, .. }) =
                    (cell, reference)
                    && reference.value != 0.0
                {
                    *ratio = Some(estimate.value / reference.value);
                }
            }
        }
        self.rows.push(Row { name: name.into(), cells });
    }
}

impl Cell {
    pub(crate) fn estimate(estimate: Option<Estimate>, digits: u8) -> Self {
        estimate.map_or(Self::None, |estimate| Self::Estimate { estimate, ratio: None, digits })
    }

    pub(crate) fn share(ratio: crate::oracle::Ratio) -> Self {
        Self::Share { part: ratio.part, whole: ratio.whole }
    }
}

impl StudyReport {
    /// Whether every check holds and no promise was broken.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds) && self.violations.is_empty()
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("-"),
            Self::Estimate { estimate: Estimate { value, low, high }, ratio, digits } => {
                let digits = usize::from(*digits);
                let ratio = ratio.map(|ratio| format!(" {ratio:.2}x")).unwrap_or_default();
                f.pad(&format!("{value:.digits$} [{low:.digits$} {high:.digits$}]{ratio}"))
            }
            Self::Share { part, whole } => {
                // Truncated, so that only all of them print as 100.
                let Some(tenths) = (u128::from(*part) * 1_000).checked_div(u128::from(*whole)) else {
                    return f.pad("-");
                };
                f.pad(&format!("{}.{} %", tenths / 10, tenths % 10))
            }
            Self::Number { value, digits } => f.pad(&format!("{value:.*}", usize::from(*digits))),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printed: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.cells.iter().map(Cell::to_string).collect()).collect();
        let width = |column: usize| {
            let cells = printed.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([self.columns[column].chars().count()]).max().unwrap_or(0)
        };
        let names = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        writeln!(f, "{}", self.title)?;
        write!(f, "{:names$}", "")?;
        for (index, column) in self.columns.iter().enumerate() {
            write!(f, "  {column:>width$}", width = width(index))?;
        }
        writeln!(f)?;
        for (row, cells) in self.rows.iter().zip(&printed) {
            write!(f, "{:names$}", row.name)?;
            for (index, cell) in cells.iter().enumerate() {
                write!(f, "  {cell:>width$}", width = width(index))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for StudyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.command)?;
        writeln!(f, "{}", self.method)?;
        writeln!(
            f,
            "[low high] is the 95 % interval of a bootstrap over seeds; 0.50x is the quotient by the first row."
        )?;
        for table in &self.tables {
            write!(f, "\n{table}")?;
        }
        if !self.checks.is_empty() {
            writeln!(f, "\ncalibration: go against what was measured on the public network")?;
        }
        for Check { name, measured, published: (low, high), factor, off_by, holds } in &self.checks {
            let verdict = if *holds { "holds" } else { "FAILS" };
            writeln!(
                f,
                "{name:<24} {measured:>9.0} ms, published {low:.0} to {high:.0}, off by {off_by:.2}x of {factor:.1}x: {verdict}"
            )?;
        }
        let secs = |ms: u64| format!("{}.{:03} s", ms / 1_000, ms % 1_000);
        let per_second = (self.events * 1_000).checked_div(self.real_ms).unwrap_or(0);
        writeln!(
            f,
            "\n{} events, {} virtual, {} real, {per_second} events/s",
            self.events,
            secs(self.virtual_ms),
            secs(self.real_ms)
        )?;
        self.violations.iter().try_for_each(|violation| writeln!(f, "broken promise: {violation}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up_and_rows_are_compared_with_the_first() {
        let estimate =
            |value| Cell::estimate(Some(Estimate { value, low: value - 1.0, high: value + 1.0 }), 0);
        let mut table = Table::new("time, ms", ["p50", "found"]);
        table.push("go", vec![estimate(400.0), Cell::Share { part: 999, whole: 1_000 }]);
        table.push("kadmos", vec![estimate(100.0), Cell::None]);
        assert_eq!(
            table.to_string(),
            "time, ms\n                       p50   found\n\
             go           400 [399 401]  99.9 %\n\
             kadmos  100 [99 101] 0.25x       -\n"
        );
    }

    #[test]
    fn checks_measure_how_far_outside_the_range_a_number_lies() {
        let off_by = |measured| Check::new("p50", measured, (200.0, 400.0), 1.5).off_by;
        assert_eq!((off_by(300.0), off_by(100.0), off_by(600.0)), (1.0, 2.0, 1.5));
        assert!(Check::new("p50", 600.0, (200.0, 400.0), 1.5).holds);
        assert!(!Check::new("p50", 601.0, (200.0, 400.0), 1.5).holds);
        assert!(!Check::new("p50", f64::NAN, (200.0, 400.0), 0.5).holds);
    }

    #[test]
    fn curves_end_at_the_share_that_succeeded() {
        let figure =
            Figure::shares("f", "t", "ms", [("go".into(), (1..=1_000).map(f64::from).collect(), 2_000)]);
        let points = &figure.series[0].points;
        assert!(
            points.len() <= 201
                && points.first() == Some(&(1.0, 0.0005))
                && points.last() == Some(&(1_000.0, 0.5))
        );
    }
}
