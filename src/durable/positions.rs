//! How far a log was read: a number for each of its streams.

/// Most streams that a log may have, the control stream included.
pub const MAX_STREAMS: usize = 16;

/// Where one message stands in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The stream, from 0.
    pub stream: u8,
    /// Its number in the stream, from 1; numbers may be left out.
    pub sequence: u64,
}

/// For each stream of a log the number of a message: that one and all before it are meant.
/// 0 stands for none. Streams that are not listed have 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(Vec<u64>);

impl Positions {
    /// These numbers, by stream; none if there are more than [`MAX_STREAMS`].
    #[must_use]
    pub fn new(sequences: Vec<u64>) -> Option<Self> {
        (sequences.len() <= MAX_STREAMS).then_some(Self(sequences))
    }

    /// The number of `stream`.
    #[must_use]
    pub fn of(&self, stream: u8) -> u64 {
        self.0.get(usize::from(stream)).copied().unwrap_or(0)
    }

    /// The numbers, by stream.
    #[must_use]
    pub fn sequences(&self) -> &[u64] {
        &self.0
    }

    /// Means the message at `position` as well, and all before it in its stream.
    ///
    /// # Panics
    ///
    /// In a debug build, where the stream is none that a log may have.
    pub fn advance(&mut self, position: Position) {
        let stream = usize::from(position.stream);
        debug_assert!(stream < MAX_STREAMS, "{position:?}");
        if self.0.len() <= stream {
            self.0.resize(stream + 1, 0);
        }
        self.0[stream] = self.0[stream].max(position.sequence);
    }

    /// Means all that `others` mean as well.
    pub fn extend(&mut self, others: &Self) {
        for (stream, &sequence) in (0..).zip(&others.0) {
            self.advance(Position { stream, sequence });
        }
    }

    /// Whether the message at `position` is meant.
    #[must_use]
    pub fn have(&self, position: Position) -> bool {
        position.sequence <= self.of(position.stream)
    }

    /// Those of the first `streams` streams, each listed.
    #[must_use]
    pub fn of_first(&self, streams: u8) -> Self {
        Self((0..streams).map(|stream| self.of(stream)).collect())
    }

    /// Whether these mean all that `others` do.
    #[must_use]
    pub fn cover(&self, others: &Self) -> bool {
        (0..)
            .zip(&others.0)
            .all(|(at, &sequence)| self.of(at) >= sequence)
    }

    /// Number of messages that `newest` means beyond these.
    #[must_use]
    pub fn behind(&self, newest: &Self) -> u64 {
        let missing = |(at, &sequence): (u8, &u64)| sequence.saturating_sub(self.of(at));
        (0..).zip(&newest.0).map(missing).sum()
    }
}

impl FromIterator<Position> for Positions {
    fn from_iter<T: IntoIterator<Item = Position>>(positions: T) -> Self {
        let mut all = Self::default();
        positions
            .into_iter()
            .for_each(|position| all.advance(position));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(sequences: &[u64]) -> Positions {
        Positions::new(sequences.to_vec()).expect("few streams")
    }

    #[test]
    fn positions_advance_by_stream_and_never_fall() {
        let at = |stream, sequence| Position { stream, sequence };
        let all: Positions = [at(2, 5), at(0, 1), at(2, 4)].into_iter().collect();
        assert_eq!(all, positions(&[1, 0, 5]));
        assert_eq!((all.of(2), all.of(9)), (5, 0));
        assert!(all.have(at(2, 5)) && !all.have(at(2, 6)) && !all.have(at(9, 1)));
        assert_eq!(all.of_first(2), positions(&[1, 0]));
        assert_eq!(all.of_first(4), positions(&[1, 0, 5, 0]));
        assert_eq!(Positions::new(vec![0; MAX_STREAMS + 1]), None);
    }

    #[test]
    fn covering_and_lag_are_by_stream() {
        let visible = positions(&[4, 7]);
        assert!(visible.cover(&positions(&[4])) && visible.cover(&positions(&[1, 7])));
        assert!(!visible.cover(&positions(&[5])) && !visible.cover(&positions(&[0, 0, 1])));
        assert!(visible.cover(&positions(&[4, 7, 0])));
        assert_eq!(visible.behind(&positions(&[6, 3, 2])), 4);
    }
}
