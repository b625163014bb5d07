//! The clocks the core is told about, and the one timer that wakes a task for the earliest of many deadlines.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use futures_timer::Delay;
use kadmos_core::{Now, Timestamp, UnixTime};

/// Where the time comes from. Real networks use [`SystemClock`]; tests bring their own.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now. `monotonic` never runs backwards, and its epoch never changes.
    fn now(&self) -> Now;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic epoch is now.
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        // A wall clock before 1970 counts as 1970: records then look fresh, which the next clock step corrects.
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { monotonic: Timestamp::ZERO + self.started.elapsed(), unix: UnixTime::from_secs(unix.as_secs()) }
    }
}

/// Longest sleep at once; a later deadline is slept for in pieces. Keeps `Instant` arithmetic far from its end.
const SLEEP_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Wakes a task for the earliest deadline of a set that changes all the time.
///
/// Moving a timer costs a lock and wakes the timer thread, and most deadlines are pushed back long before they
/// come. So the timer is only ever moved to an earlier time: when it fires too early, it is armed again.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    armed: Option<(Delay, Timestamp)>,
}

impl Timer {
    /// Ready once `deadline` has come; otherwise the task is woken no later than that. `None` never comes.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        now: Timestamp,
        deadline: Option<Timestamp>,
    ) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        if deadline <= now {
            return Poll::Ready(());
        }
        let sleep = deadline.since(now).min(SLEEP_MAX);
        match &mut self.armed {
            None => self.armed = Some((Delay::new(sleep), deadline)),
            Some((delay, armed)) if *armed > deadline => {
                delay.reset(sleep);
                *armed = deadline;
            }
            Some(_) => {}
        }
        if let Some((delay, armed)) = &mut self.armed {
            ready!(Pin::new(&mut *delay).poll(cx));
            delay.reset(sleep);
            *armed = deadline;
            // A fresh sleep is pending, so this registers the task; should it be over already, the next poll tells.
            if Pin::new(delay).poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::future::poll_fn;

    use super::*;

    #[test]
    fn timer_fires_for_the_earliest_deadline_and_again_for_a_later_one() {
        let clock = SystemClock::new();
        let mut timer = Timer::default();
        let start = clock.now().monotonic;
        let far = start + Duration::from_secs(3_600);
        for millis in [20, 40] {
            let near = start + Duration::from_millis(millis);
            let mut polls = 0;
            block_on(poll_fn(|cx| {
                polls += 1;
                // The first poll arms it for the far deadline; the second one must move it.
                if polls == 1 {
                    assert!(timer.poll(cx, clock.now().monotonic, Some(far)).is_pending());
                }
                timer.poll(cx, clock.now().monotonic, Some(near))
            }));
            assert!(clock.now().monotonic >= near);
        }
    }

    #[test]
    fn a_deadline_that_has_come_needs_no_timer() {
        let mut timer = Timer::default();
        let cx = &mut Context::from_waker(futures::task::noop_waker_ref());
        assert!(timer.poll(cx, Timestamp::from_millis(2), Some(Timestamp::from_millis(2))).is_ready());
        assert!(timer.poll(cx, Timestamp::from_millis(2), None).is_pending());
        assert!(timer.armed.is_none());
    }
}
