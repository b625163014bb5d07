//! What a person sees while something runs: a few lines, refreshed in place on standard error.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the lines are refreshed on a terminal.
const REFRESH_EVERY: Duration = Duration::from_millis(200);
/// How often the first line is printed where lines cannot be refreshed.
const PRINT_EVERY: Duration = Duration::from_secs(10);
/// Cells of a progress bar.
const BAR: u64 = 24;

/// Lines on standard error.
pub(crate) struct Live {
    is_terminal: bool,
    shown: Option<Instant>,
    /// Lines on the screen that the next ones replace.
    lines: usize,
}

impl Live {
    /// Nothing is shown yet.
    pub(crate) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), shown: None, lines: 0 }
    }

    /// Shows what `lines` makes, unless something was shown a moment ago.
    pub(crate) fn show(&mut self, lines: impl FnOnce() -> Vec<String>) {
        let every = if self.is_terminal { REFRESH_EVERY } else { PRINT_EVERY };
        if self.shown.is_some_and(|at| at.elapsed() < every) {
            return;
        }
        self.shown = Some(Instant::now());
        self.write(&lines());
    }

    /// Takes the lines off the screen.
    pub(crate) fn clear(&mut self) {
        if self.is_terminal {
            self.write(&[]);
        }
    }

    fn write(&mut self, lines: &[String]) {
        let mut text = String::new();
        if self.is_terminal {
            text = refresh(self.lines, lines);
            self.lines = lines.len();
        } else if let Some(line) = lines.first() {
            text = format!("{line}\n");
        }
        // A closed standard error has no reader, and losing progress is no failure.
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

/// Up over the old lines, then the new ones, each to its end, and nothing below.
fn refresh(old: usize, lines: &[String]) -> String {
    let up = if old > 0 { format!("\x1b[{old}A\r") } else { "\r".into() };
    let new: String = lines.iter().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("{up}{new}\x1b[J")
}

/// `[########----------------]  33 %`
pub(crate) fn bar(done: u64, of: u64) -> String {
    let of = of.max(1);
    let done = done.min(of);
    let filled = done * BAR / of;
    let cells: String = (0..BAR).map(|cell| if cell < filled { '#' } else { '-' }).collect();
    format!("[{cells}] {:>3} %", done * 100 / of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_full_at_the_end_and_never_beyond() {
        assert_eq!(bar(0, 10), "[------------------------]   0 %");
        assert_eq!(bar(5, 10), "[############------------]  50 %");
        assert_eq!(bar(12, 10), "[########################] 100 %");
        assert_eq!(bar(0, 0), "[------------------------]   0 %");
    }

    #[test]
    fn new_lines_replace_old_ones() {
        let lines = ["a".to_string(), "b".to_string()];
        assert_eq!(refresh(0, &lines), "\ra\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(refresh(2, &lines[..1]), "\x1b[2A\ra\x1b[K\n\x1b[J");
        assert_eq!(refresh(1, &[]), "\x1b[1A\r\x1b[J");
    }
}
