//! The clocks and counts of a join's phases.

use core::time::Duration;

use super::report::{Phase, PhaseOutcome, PhaseReport};
use crate::machine::{Context, Effect};
use crate::time::Timestamp;

/// Where the first three phases stand; the fourth is the node's, after the machine's end.
#[derive(Clone, Debug, Default)]
pub(super) struct Phases {
    joined_at: Timestamp,
    states: [State; 3],
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    began: Option<Timestamp>,
    ended: Option<(Timestamp, PhaseOutcome)>,
    tried: usize,
    answered: usize,
}

impl Phases {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { joined_at: now, states: Default::default() }
    }

    /// Since when a phase runs that has not ended.
    pub(super) fn running_since(&self, phase: Phase) -> Option<Timestamp> {
        self.state(phase).filter(|state| state.ended.is_none()).and_then(|state| state.began)
    }

    pub(super) fn tried(&self, phase: Phase) -> usize {
        self.state(phase).map_or(0, |state| state.tried)
    }

    pub(super) fn answers(&self, phase: Phase) -> usize {
        self.state(phase).map_or(0, |state| state.answered)
    }

    /// Somebody is asked in a phase, which begins with the first.
    pub(super) fn asks(&mut self, phase: Phase, now: Timestamp) {
        if let Some(state) = self.states.get_mut(phase as usize) {
            state.began.get_or_insert(now);
            state.tried += 1;
        }
    }

    /// One of those asked has answered, be it after the end.
    pub(super) fn answer(&mut self, phase: Phase) {
        if let Some(state) = self.states.get_mut(phase as usize) {
            state.answered += 1;
        }
    }

    pub(super) fn set_tried(&mut self, phase: Phase, tried: usize) {
        if let Some(state) = self.states.get_mut(phase as usize) {
            state.tried = tried;
        }
    }

    pub(super) fn begin(&mut self, phase: Phase, now: Timestamp) {
        if let Some(state) = self.states.get_mut(phase as usize) {
            state.began.get_or_insert(now);
        }
    }

    /// Ends a phase that runs, and tells so. Nothing left to do and nobody has answered is a failure.
    pub(super) fn end(&mut self, cx: &mut Context<'_>, phase: Phase, is_complete: bool) {
        if self.running_since(phase).is_none() {
            return;
        }
        if let Some(state) = self.states.get_mut(phase as usize) {
            let outcome = match (is_complete, state.answered) {
                (_, 0) => PhaseOutcome::Failed,
                (true, _) => PhaseOutcome::Done,
                (false, _) => PhaseOutcome::Cut,
            };
            state.ended = Some((cx.now.monotonic, outcome));
        }
        cx.emit(Effect::PhaseEnded(self.report(phase, cx.now.monotonic)));
    }

    pub(super) fn report(&self, phase: Phase, now: Timestamp) -> PhaseReport {
        let Some((state, began)) = self.state(phase).and_then(|state| Some((state, state.began?))) else {
            return PhaseReport::skipped(phase);
        };
        let (ended, outcome) = state.ended.unwrap_or((now, PhaseOutcome::Cut));
        PhaseReport {
            phase,
            outcome,
            tried: state.tried,
            answered: state.answered,
            began: began.since(self.joined_at),
            elapsed: ended.since(began),
        }
    }

    fn state(&self, phase: Phase) -> Option<&State> {
        self.states.get(phase as usize)
    }
}

/// Whether a phase that began at `since` has used up its budget.
pub(super) fn is_over(since: Timestamp, budget: Duration, now: Timestamp) -> bool {
    since + budget <= now
}
