//! Whether a stream still has what was read of it.

use std::time::{Duration, Instant};

/// A leader that was deposed may tell less than there is for so long.
const PATIENCE: Duration = Duration::from_secs(15);
/// Where nobody has answered for longer, one answer is not enough: answers must agree for so
/// long. No longer, as numbers that are given out again soon reach what was read.
const AGREEMENT: Duration = Duration::from_secs(1);

/// Looks at what the leader of a stream tells.
#[derive(Debug, Default)]
pub(super) struct LossWatch {
    /// A number that the stream has had, and since when it is looked for.
    had: Option<(u64, Instant)>,
    /// When the first answer came that is below it.
    below_since: Option<Instant>,
}

/// A stream that ends before what was read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// The number that was read.
    pub(super) had: u64,
    /// Where the stream ends.
    pub(super) told: u64,
}

impl LossWatch {
    /// Takes that the stream was read up to `read` at `now`, and what its leader has `told` last,
    /// and when. Returns a loss where that is less, and has not been more for long.
    pub(super) fn look(
        &mut self,
        read: u64,
        told: Option<(u64, Instant)>,
        now: Instant,
    ) -> Option<Loss> {
        let (had, since) = *self.had.get_or_insert((read, now));
        let (told, at) = told.filter(|&(_, at)| at > since)?;
        if told >= had {
            *self = Self::default();
            return None;
        }
        let below_since = *self.below_since.get_or_insert(at);
        let is_late = at.duration_since(since) > PATIENCE;
        let is_agreed = at.duration_since(below_since) >= AGREEMENT;
        (is_late && is_agreed).then_some(Loss { had, told })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: u64 = 1_613;
    const BELOW: u64 = 1_578;

    /// When a loss is told of where answers come at these times, in milliseconds.
    fn lost_at(answers: impl IntoIterator<Item = (u64, u64)>) -> Option<u64> {
        let begin = Instant::now();
        let mut watch = LossWatch::default();
        // From before that was read.
        assert_eq!(watch.look(READ, Some((9, begin)), begin), None);
        answers.into_iter().find_map(|(millis, told)| {
            let at = begin + Duration::from_millis(millis);
            let loss = watch.look(READ, Some((told, at)), at)?;
            assert_eq!(loss, Loss { had: READ, told });
            Some(millis)
        })
    }

    fn every_half_second(from: u64, through: u64) -> impl Iterator<Item = (u64, u64)> {
        (from..=through).step_by(500).map(|millis| (millis, BELOW))
    }

    #[test]
    fn a_leader_that_tells_less_for_long_has_lost_messages() {
        assert_eq!(lost_at(every_half_second(500, 15_000)), None);
        assert_eq!(lost_at(every_half_second(500, 60_000)), Some(15_500));
    }

    #[test]
    fn after_a_silence_answers_must_agree() {
        assert_eq!(lost_at(every_half_second(60_000, 60_500)), None);
        assert_eq!(lost_at(every_half_second(60_000, 90_000)), Some(61_000));
        let stray = [(60_000, BELOW), (60_500, READ)];
        assert_eq!(lost_at(stray), None);
    }

    #[test]
    fn an_answer_with_all_that_was_read_ends_those_before() {
        let below = every_half_second(500, 15_000);
        let again = every_half_second(16_000, 31_000);
        assert_eq!(lost_at(below.chain([(15_500, READ)]).chain(again)), None);
    }
}
