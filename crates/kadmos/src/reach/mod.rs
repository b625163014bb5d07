//! Mode `auto`: a client until others have proven that they reach this node, and again when they no longer do.
//!
//! Two behaviours do the asking and the answering (AutoNAT v2); [`Reach`] decides, from results and times alone.

mod prober;
mod service;

use std::time::Duration;

use kadmos_core::Mode;
use kadmos_core::health::Reachability;

pub(crate) use self::prober::{Prober, Tested};
pub(crate) use self::service::Service;

/// When a node in mode `auto` begins and stops serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoMode {
    /// Tests in a row that must fail before a server becomes a client. Default 3.
    pub failures: u32,
    /// And this much time must have passed since the last that succeeded. Default 10 min.
    pub unreachable_for: Duration,
    /// Tests in a row that must succeed before a node that was no longer reachable serves again. The first time, one
    /// is enough: others have dialled us. Default 2.
    pub successes: u32,
    /// Each address is tested again after this long. Default 15 min.
    pub retest: Duration,
}

impl Default for AutoMode {
    fn default() -> Self {
        Self {
            failures: 3,
            unreachable_for: Duration::from_secs(600),
            successes: 2,
            retest: Duration::from_secs(900),
        }
    }
}

/// What the results of tests come to.
#[derive(Debug)]
pub(crate) struct Reach {
    config: AutoMode,
    mode: Mode,
    /// Results in a row: successes if the last was one, else failures.
    in_a_row: u32,
    last: Option<bool>,
    /// When a test last succeeded, or the first one was made.
    reached_at: Option<Duration>,
    /// Whether it has served before.
    has_served: bool,
}

impl Reach {
    pub(crate) fn new(config: AutoMode) -> Self {
        Self { config, mode: Mode::Client, in_a_row: 0, last: None, reached_at: None, has_served: false }
    }

    /// Takes the result of a test at `now`, a time since any fixed moment. Returns the mode if it changes.
    pub(crate) fn tested(&mut self, reached: bool, now: Duration) -> Option<Mode> {
        self.in_a_row = if self.last == Some(reached) { self.in_a_row.saturating_add(1) } else { 1 };
        self.last = Some(reached);
        if reached || self.reached_at.is_none() {
            self.reached_at = Some(now);
        }
        let mode = match self.mode {
            Mode::Client if reached && (!self.has_served || self.in_a_row >= self.config.successes) => {
                Mode::Server
            }
            Mode::Server if !reached && self.is_out_of_reach(now) => Mode::Client,
            mode => mode,
        };
        self.has_served |= mode == Mode::Server;
        (std::mem::replace(&mut self.mode, mode) != mode).then(|| {
            self.in_a_row = 0;
            mode
        })
    }

    /// What to tell the health rules.
    pub(crate) fn reachability(&self) -> Reachability {
        match (self.mode, self.last) {
            (Mode::Server, _) => Reachability::Reachable,
            (Mode::Client, None) => Reachability::Unknown,
            (Mode::Client, Some(_)) => Reachability::Unreachable,
        }
    }

    fn is_out_of_reach(&self, now: Duration) -> bool {
        let since = self.reached_at.map_or(Duration::ZERO, |at| now.saturating_sub(at));
        self.in_a_row >= self.config.failures && since >= self.config.unreachable_for
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Results by the minute: `+` reached, `-` not, ` ` no test. Returns the modes after each.
    fn modes(results: &str) -> String {
        let mut reach = Reach::new(AutoMode::default());
        let mut mode = Mode::Client;
        let after = |(minute, result): (usize, char)| {
            let now = Duration::from_secs(60 * minute as u64);
            if result != ' '
                && let Some(changed) = reach.tested(result == '+', now)
            {
                assert_ne!(changed, mode);
                mode = changed;
            }
            match mode {
                Mode::Client => 'c',
                Mode::Server => 's',
            }
        };
        results.chars().enumerate().map(after).collect()
    }

    #[test]
    fn the_first_proof_makes_a_server() {
        assert_eq!(modes("  -- +"), "cccccs");
        assert_eq!(modes("------------"), "cccccccccccc");
    }

    #[test]
    fn a_server_stays_one_until_it_is_out_of_reach_for_long() {
        assert_eq!(modes("+-----------"), "sssssssssscc", "ten minutes after the last success");
        assert_eq!(modes("+          --"), "sssssssssssss", "two failures are too few");
        assert_eq!(modes("+          ---"), "sssssssssssssc");
        assert_eq!(modes("+-----+-----+--"), "sssssssssssssss", "any success begins anew");
    }

    #[test]
    fn coming_back_takes_two_successes_in_a_row() {
        assert_eq!(modes("+          ---+-+-++"), "sssssssssssssccccccs");
    }

    #[test]
    fn health_is_told_what_is_known() {
        let mut reach = Reach::new(AutoMode::default());
        assert_eq!(reach.reachability(), Reachability::Unknown);
        reach.tested(false, Duration::ZERO);
        assert_eq!(reach.reachability(), Reachability::Unreachable);
        reach.tested(true, Duration::ZERO);
        assert_eq!(reach.reachability(), Reachability::Reachable);
        reach.tested(false, Duration::ZERO);
        assert_eq!(reach.reachability(), Reachability::Reachable, "one failure is not the end");
    }
}
