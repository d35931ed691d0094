//! Which stream an append goes to: the next one in turn that has not stalled lately.

use std::time::{Duration, Instant};

/// A stream that has stalled is left alone for so long, and then tried again.
const STALLED_FOR: Duration = Duration::from_secs(10);

/// The streams of actions, and which of them have stalled.
#[derive(Debug)]
pub(super) struct Rotation {
    turn: usize,
    stalled_until: Vec<Option<Instant>>,
}

impl Rotation {
    pub(super) fn new(streams: u8) -> Self {
        Self {
            turn: 0,
            stalled_until: vec![None; usize::from(streams)],
        }
    }

    /// The stream for a new append.
    pub(super) fn first(&mut self, now: Instant) -> u8 {
        self.turn = (self.turn + 1) % self.stalled_until.len();
        self.from(self.turn, now)
    }

    /// The stream for another attempt after one on `stream`: another one, if there is any.
    pub(super) fn after(&self, stream: u8, now: Instant) -> u8 {
        self.from(usize::from(stream) + 1, now)
    }

    fn from(&self, begin: usize, now: Instant) -> u8 {
        let count = self.stalled_until.len();
        let mut in_turn = (begin..begin + count).map(|at| at % count);
        let has_stalled = |at: &usize| self.stalled_until[*at].is_some_and(|until| until > now);
        let chosen = in_turn.find(|at| !has_stalled(at));
        chosen.unwrap_or(begin % count) as u8
    }

    /// Takes that `stream` has not answered.
    pub(super) fn stalled(&mut self, stream: u8, now: Instant) {
        self.stalled_until[usize::from(stream)] = Some(now + STALLED_FOR);
    }

    /// Takes that `stream` has answered.
    pub(super) fn answered(&mut self, stream: u8) {
        self.stalled_until[usize::from(stream)] = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stalled_streams_are_left_out_for_a_while() {
        let now = Instant::now();
        let mut rotation = Rotation::new(3);
        let turns: Vec<u8> = (0..4).map(|_| rotation.first(now)).collect();
        assert_eq!(turns, [1, 2, 0, 1]);
        rotation.stalled(2, now);
        assert_eq!((rotation.first(now), rotation.after(1, now)), (0, 0));
        assert_eq!(rotation.after(1, now + STALLED_FOR), 2);
        rotation.answered(2);
        assert_eq!(rotation.after(1, now), 2);
    }

    #[test]
    fn where_all_have_stalled_the_next_is_tried() {
        let now = Instant::now();
        let mut rotation = Rotation::new(2);
        (0..2).for_each(|stream| rotation.stalled(stream, now));
        assert_eq!((rotation.after(0, now), rotation.after(1, now)), (1, 0));
        let mut single = Rotation::new(1);
        single.stalled(0, now);
        assert_eq!((single.first(now), single.after(0, now)), (0, 0));
    }
}
