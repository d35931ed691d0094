//! The guard of the clock in a running process, which reports jumps.

use std::time::Instant;

use metrics::gauge;

use super::clock_guard::{ClockGuard, ClockReading};
use crate::metrics as names;
use crate::model::Timestamp;

const SECONDS_PER_DAY: f64 = 86_400.0;

/// The guard of the clock, and when it was asked last.
#[derive(Debug)]
pub(super) struct JudgedClock {
    guard: ClockGuard,
    judged_at: Instant,
}

impl JudgedClock {
    /// A clock of a log that was last used at `kept`.
    pub(super) fn new(kept: Timestamp) -> Self {
        Self {
            guard: ClockGuard::new(kept),
            judged_at: Instant::now(),
        }
    }

    /// The last use of the log, to keep.
    pub(super) fn kept(&self) -> Timestamp {
        self.guard.kept()
    }

    /// The time by which to forget when the clock says `now`. A jump is reported.
    pub(super) fn judge(&mut self, now: Timestamp) -> Timestamp {
        let last_used = self.guard.kept();
        let elapsed = self.judged_at.elapsed();
        self.judged_at = Instant::now();
        let (time, reading) = self.guard.judge(now, elapsed);
        let jump = match reading {
            ClockReading::Steady => 0.0,
            ClockReading::Ahead => {
                tracing::warn!(
                    %now, %last_used,
                    "the clock is more than a day ahead of the last use of the log: \
                     no action is forgotten by it"
                );
                now.days_since(last_used)
            }
            ClockReading::Behind => {
                tracing::warn!(%now, %last_used, "the clock is behind the last use of the log");
                now.days_since(last_used)
            }
        };
        gauge!(names::CLOCK_JUMP).set(jump * SECONDS_PER_DAY);
        time
    }
}
