//! The time by which actions are forgotten: that of the clock, unless it has jumped ahead.
//!
//! One start with a wrong clock must not forget what was recorded. So the log keeps the
//! last time at which it was used, and a clock that is more than a day ahead of it is not
//! believed: nothing is forgotten by it. After a real pause of the server the kept time
//! runs twice as fast as the clock while the server runs, until both agree.

use std::time::Duration;

use crate::model::Timestamp;
use crate::setting_rules::in_days;

/// How far the clock may be ahead of the kept time and be believed, in days.
const MAX_AHEAD_DAYS: f64 = 1.0;
/// How fast the kept time follows a clock that is not believed.
const CATCH_UP: f64 = 2.0;

/// The last time at which the log was used, beside which the clock is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockGuard {
    kept: Timestamp,
}

/// What a clock is worth beside the kept time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ClockReading {
    /// It is believed.
    Steady,
    /// It has jumped ahead, and is not believed.
    Ahead,
    /// It is more than a day behind. It is believed, as it forgets nothing too early.
    Behind,
}

impl ClockGuard {
    /// A guard with the time that the log has kept.
    pub(super) fn new(kept: Timestamp) -> Self {
        Self { kept }
    }

    /// The time to keep.
    pub(super) fn kept(self) -> Timestamp {
        self.kept
    }

    /// Judges a clock that says `now`, a time `elapsed` after the last judgement in this
    /// process. Returns the time by which to forget as well.
    pub(super) fn judge(&mut self, now: Timestamp, elapsed: Duration) -> (Timestamp, ClockReading) {
        let elapsed = in_days(elapsed);
        let ahead = now.days_since(self.kept);
        if ahead > MAX_AHEAD_DAYS + elapsed {
            self.kept = self.kept.minus_days(-elapsed * CATCH_UP);
            return (self.kept, ClockReading::Ahead);
        }
        // A clock that falls back was ahead before, or is wrong now; the later of both
        // times is kept, so that it is no jump when it is set right.
        self.kept = self.kept.max(now);
        let reading = if ahead < -MAX_AHEAD_DAYS {
            ClockReading::Behind
        } else {
            ClockReading::Steady
        };
        (now, reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn hour(hours: i64) -> Timestamp {
        Timestamp::from_seconds(hours * 3_600).expect("a time")
    }

    #[test]
    fn a_clock_that_goes_on_is_believed() {
        let mut guard = ClockGuard::new(hour(1_000));
        // A night off, and a day of use.
        assert_eq!(
            guard.judge(hour(1_012), Duration::ZERO),
            (hour(1_012), ClockReading::Steady)
        );
        for now in 1_013..1_040 {
            assert_eq!(
                guard.judge(hour(now), HOUR),
                (hour(now), ClockReading::Steady)
            );
        }
        assert_eq!(guard.kept(), hour(1_039));
    }

    #[test]
    fn a_clock_that_jumped_forgets_nothing_and_one_set_right_is_believed() {
        let mut guard = ClockGuard::new(hour(1_000));
        let jumped = hour(1_000 + 240);
        assert_eq!(
            guard.judge(jumped, Duration::ZERO),
            (hour(1_000), ClockReading::Ahead)
        );
        assert_eq!(
            guard.judge(hour(1_241), HOUR),
            (hour(1_002), ClockReading::Ahead)
        );
        assert_eq!(
            guard.judge(hour(1_002), HOUR),
            (hour(1_002), ClockReading::Steady)
        );
    }

    #[test]
    fn after_a_pause_the_kept_time_catches_up() {
        let mut guard = ClockGuard::new(hour(0));
        let readings = (0..500).map(|at| guard.judge(hour(240 + at), HOUR).1);
        let jumped = readings
            .filter(|reading| *reading == ClockReading::Ahead)
            .count();
        assert!((200..=230).contains(&jumped), "{jumped}");
        assert_eq!(guard.kept(), hour(739));
    }

    #[test]
    fn a_clock_that_is_behind_is_told_and_keeps_the_later_time() {
        let mut guard = ClockGuard::new(hour(1_000));
        assert_eq!(guard.judge(hour(5), HOUR), (hour(5), ClockReading::Behind));
        assert_eq!(
            guard.judge(hour(1_001), HOUR),
            (hour(1_001), ClockReading::Steady)
        );
    }
}
