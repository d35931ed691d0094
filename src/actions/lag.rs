//! How far a replica is behind the log that it shares.

use std::time::{Duration, Instant};

use crate::durable::Positions;

/// How far a replica is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Whether it has read up to what was the end of the log when it was told first.
    pub has_caught_up: bool,
    /// Messages that it has not read.
    pub messages: u64,
    /// For how long the first of them has waited, as far as is known.
    pub time: Duration,
}

/// Measures lag: since when a position has been known that is not read yet.
#[derive(Debug, Default)]
pub(super) struct LagClock {
    /// The end of the log when it was told first.
    first: Option<Positions>,
    has_caught_up: bool,
    waiting: Option<(Positions, Instant)>,
}

impl LagClock {
    /// The lag at `now` of a replica that has read up to `visible`, of a log that reaches to
    /// `newest`. What is unread counts from the first look at which it was.
    pub(super) fn measure(&mut self, visible: &Positions, newest: Positions, now: Instant) -> Lag {
        let first = self.first.get_or_insert_with(|| newest.clone());
        self.has_caught_up |= visible.cover(first);
        let messages = visible.behind(&newest);
        let is_read = |(waiting, _): &(Positions, Instant)| visible.cover(waiting);
        if messages == 0 {
            self.waiting = None;
        } else if self.waiting.as_ref().is_none_or(is_read) {
            self.waiting = Some((newest, now));
        }
        let since = self.waiting.as_ref().map(|&(_, since)| since);
        Lag {
            has_caught_up: self.has_caught_up,
            messages,
            time: since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_counted_from_when_the_first_unread_message_was_known() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let positions = |sequence| Positions::new(vec![sequence]).expect("few streams");
        let mut clock = LagClock::default();
        let mut measure = |visible, newest, now| {
            let now = at(now);
            let Lag { messages, time, .. } =
                clock.measure(&positions(visible), positions(newest), now);
            (messages, time.as_secs())
        };
        assert_eq!(measure(5, 5, 0), (0, 0));
        // An hour without messages is no lag.
        assert_eq!(measure(5, 7, 3_600), (2, 0));
        assert_eq!(measure(6, 9, 3_602), (3, 2));
        // What was known first is read, and something else waits.
        assert_eq!(measure(7, 9, 3_603), (2, 0));
        assert_eq!(measure(7, 9, 3_604), (2, 1));
        assert_eq!(measure(9, 9, 3_605), (0, 0));
        // A position that was told before what is read meanwhile.
        assert_eq!(measure(9, 8, 3_606), (0, 0));
    }

    #[test]
    fn a_replica_has_caught_up_once_it_has_read_what_was_there_at_its_start() {
        let positions = |sequence| Positions::new(vec![sequence]).expect("few streams");
        let mut clock = LagClock::default();
        let mut caught_up = |visible, newest| {
            let lag = clock.measure(&positions(visible), positions(newest), Instant::now());
            lag.has_caught_up
        };
        assert!(!caught_up(0, 9) && !caught_up(8, 20));
        assert!(caught_up(9, 20) && caught_up(9, 30));
    }
}
