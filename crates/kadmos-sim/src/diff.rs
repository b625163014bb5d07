//! Where two runs part.

use std::cell::RefCell;
use std::fmt;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::run::{RunConfig, RunError, run_observed};

/// The first event in which two runs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// How many events were equal before it.
    pub index: u64,
    /// The last of these, oldest first.
    pub before: Vec<String>,
    /// The first run's event and a few more; empty when that run had ended.
    pub first: Vec<String>,
    /// The second run's event and a few more; empty when that run had ended.
    pub second: Vec<String>,
}

/// Equal lines shown before the difference.
const BEFORE: usize = 8;
/// Lines shown of each run from the difference on.
const AFTER: usize = 3;
/// Lines that are sent and compared at once.
const CHUNK_LINES: usize = 4_096;

/// Runs both at once, line by line, and returns where they part; `None` when they are the same to the end.
///
/// Errors: [`RunError`] of either. Cost: both runs, on two threads, and about as much again for the lines; memory for
/// a few thousand lines.
pub fn diff(first: &RunConfig, second: &RunConfig) -> Result<Option<Divergence>, RunError> {
    thread::scope(|scope| {
        let start = |config| {
            let (lines, received) = sync_channel(1);
            let hash = scope.spawn(move || trace_lines(config, lines));
            (received, hash)
        };
        let (first, first_hash) = start(first);
        let (second, second_hash) = start(second);
        let (index, last, divergence) = compare(&first, &second);
        // A run whose lines nobody takes any more ends at its next line.
        drop((first, second));
        let join = |hash: thread::ScopedJoinHandle<'_, Result<String, RunError>>| {
            hash.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let (first_hash, second_hash) = (join(first_hash)?, join(second_hash)?);
        Ok(match divergence {
            None if first_hash != second_hash => Some(Divergence {
                index,
                before: last,
                first: vec![format!("all lines are equal, but the trace hash is {first_hash}")],
                second: vec![format!("all lines are equal, but the trace hash is {second_hash}")],
            }),
            divergence => divergence,
        })
    })
}

/// Runs, sends every line of the trace, and returns its hash.
fn trace_lines(config: &RunConfig, lines: SyncSender<String>) -> Result<String, RunError> {
    struct Chunk {
        text: String,
        lines: usize,
        to: SyncSender<String>,
    }
    impl Chunk {
        fn flush(&mut self) -> ControlFlow<()> {
            self.lines = 0;
            match self.to.send(std::mem::take(&mut self.text)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()), // nobody listens: the difference is found
            }
        }
    }
    let chunk = Rc::new(RefCell::new(Chunk { text: String::new(), lines: 0, to: lines }));
    let observed = Rc::clone(&chunk);
    let observer = Box::new(move |event: &crate::trace::TraceEvent<'_>| {
        let mut chunk = observed.borrow_mut();
        use fmt::Write;
        // Writing to a string does not fail.
        let _ = writeln!(chunk.text, "{event}");
        chunk.lines += 1;
        if chunk.lines < CHUNK_LINES { ControlFlow::Continue(()) } else { chunk.flush() }
    });
    let report = run_observed(config, Some(observer), &mut |_| {})?;
    let _ = chunk.borrow_mut().flush(); // whoever does not listen has found the difference
    Ok(report.trace_hash)
}

/// Compares chunks until one differs or both runs have ended; also returns how many lines were equal, and the last
/// of them.
fn compare(first: &Receiver<String>, second: &Receiver<String>) -> (u64, Vec<String>, Option<Divergence>) {
    let mut index = 0;
    let mut before: Vec<String> = Vec::new();
    loop {
        let (mut a, mut b) = (first.recv().unwrap_or_default(), second.recv().unwrap_or_default());
        if a == b {
            if a.is_empty() {
                return (index, before, None);
            }
            index += a.lines().count() as u64;
            before
                .extend(a.lines().rev().take(BEFORE).map(String::from).collect::<Vec<_>>().into_iter().rev());
            before.drain(..before.len().saturating_sub(BEFORE));
            continue;
        }
        // The lines to show may lie in the next chunk.
        a.push_str(&first.recv().unwrap_or_default());
        b.push_str(&second.recv().unwrap_or_default());
        let equal = a.lines().zip(b.lines()).take_while(|(a, b)| a == b).count();
        before.extend(a.lines().take(equal).map(String::from));
        before.drain(..before.len().saturating_sub(BEFORE));
        index += equal as u64;
        let rest = |text: &str| text.lines().skip(equal).take(AFTER).map(String::from).collect();
        let divergence = Divergence { index, before: before.clone(), first: rest(&a), second: rest(&b) };
        return (index, before, Some(divergence));
    }
}

/// Equal lines with two spaces before them, those of the first run with `-`, those of the second with `+`.
impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the runs part after {} equal events", self.index)?;
        self.before.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        for (sign, lines) in [("-", &self.first), ("+", &self.second)] {
            if lines.is_empty() {
                writeln!(f, "{sign} the run has ended")?;
            }
            lines.iter().try_for_each(|line| writeln!(f, "{sign} {line}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&str]) -> Receiver<String> {
        let (sender, receiver) = sync_channel(chunks.len());
        chunks.iter().for_each(|chunk| sender.send((*chunk).to_string()).expect("there is room"));
        receiver
    }

    #[test]
    fn first_difference_is_found_across_chunks() {
        let (index, _, divergence) =
            compare(&lines(&["a\nb\n", "c\nd\n"]), &lines(&["a\nb\n", "c\nx\n", "y\n"]));
        let divergence = divergence.expect("they differ");
        assert_eq!((index, divergence.index), (3, 3));
        assert_eq!(divergence.before, ["a", "b", "c"]);
        assert_eq!(divergence.first, ["d"]);
        assert_eq!(divergence.second, ["x", "y"]);
        assert_eq!(
            divergence.to_string(),
            "the runs part after 3 equal events\n  a\n  b\n  c\n- d\n+ x\n+ y\n"
        );
    }

    #[test]
    fn a_run_that_ends_first_differs_there() {
        let (_, _, divergence) = compare(&lines(&["a\n"]), &lines(&["a\n", "b\n"]));
        let divergence = divergence.expect("they differ");
        assert_eq!(divergence.index, 1);
        assert!(divergence.first.is_empty());
        assert_eq!(divergence.second, ["b"]);
        assert!(compare(&lines(&["a\n", "b\n"]), &lines(&["a\n", "b\n"])).2.is_none());
    }
}
