//! Estimates of how long searches take and wait, from those that ended.

use std::time::{Duration, Instant};

/// Weight of the latest search in the means.
const LATEST_WEIGHT: f64 = 1.0 / 16.0;
/// Estimated duration of a search before one has ended.
const INITIAL_DURATION: Duration = Duration::from_millis(1);
/// Factor of the expected time that must be left in a call's budget: the expected wait
/// and duration are means, and half of all searches take longer.
const SAFETY_FACTOR: u32 = 2;

/// Times of a search that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct SearchTimes {
    /// From its admission until it got a core.
    pub(super) wait: Duration,
    /// On its core.
    pub(super) run: Duration,
}

/// Estimated load of the cores that search.
#[derive(Debug)]
pub(super) struct LoadEstimate {
    /// Number of cores that search.
    workers: usize,
    /// Mean duration of a search on its core.
    pub(super) search_duration: Duration,
    /// Mean time from the end of one search to the end of the next while all cores were
    /// busy. It is longer than `search_duration / workers` when other programs use the cores.
    interval: Duration,
    /// End of the last search, if all cores were busy then.
    last_end: Option<Instant>,
}

impl LoadEstimate {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            workers,
            search_duration: INITIAL_DURATION,
            interval: Duration::ZERO,
            last_end: None,
        }
    }

    /// Records a search that ended `now` after it ran for so long, and left that many
    /// `calls` searching or waiting.
    pub(super) fn record(&mut self, run: Duration, calls: usize, now: Instant) {
        self.search_duration = moving_mean(self.search_duration, run);
        if let Some(last) = self.last_end {
            self.interval = moving_mean(self.interval, now.saturating_duration_since(last));
        }
        let all_busy = calls >= self.workers;
        self.last_end = all_busy.then_some(now);
        if !all_busy {
            // An interval under load says nothing about the next load.
            self.interval = Duration::ZERO;
        }
    }

    /// Returns the expected wait for a core of a call that comes after that many `calls`.
    pub(super) fn expected_wait(&self, calls: usize) -> Duration {
        let ends = (calls + 1).saturating_sub(self.workers) as f64;
        let interval = self
            .interval
            .max(self.search_duration / self.workers as u32);
        interval.mul_f64(ends)
    }

    /// Returns the budget that a call must have left when it comes after that many
    /// `calls`.
    pub(super) fn required_budget(&self, calls: usize) -> Duration {
        (self.expected_wait(calls) + self.search_duration) * SAFETY_FACTOR
    }
}

fn moving_mean(mean: Duration, latest: Duration) -> Duration {
    mean.mul_f64(1.0 - LATEST_WEIGHT) + latest.mul_f64(LATEST_WEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_call_waits_for_those_before_it_once_all_cores_are_busy() {
        let load = LoadEstimate::new(2);
        let waits = [0, 1, 2, 3].map(|calls| load.expected_wait(calls));
        let per_search = INITIAL_DURATION / 2;
        assert_eq!(
            waits,
            [Duration::ZERO, Duration::ZERO, per_search, 2 * per_search]
        );
        let required = load.required_budget(2);
        assert_eq!(required, (per_search + INITIAL_DURATION) * SAFETY_FACTOR);
    }

    #[test]
    fn slow_ends_under_load_lengthen_the_wait_until_a_core_is_free() {
        let mut load = LoadEstimate::new(2);
        let begun = Instant::now();
        for n in 1..=200 {
            load.record(MS, 2, begun + n * 10 * MS);
        }
        let wait = load.expected_wait(2);
        assert!((9 * MS..=10 * MS).contains(&wait), "{wait:?}");
        load.record(MS, 1, begun + 2_010 * MS);
        assert!(load.expected_wait(2) < MS);
    }
}
