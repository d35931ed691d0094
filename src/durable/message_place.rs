//! The places of actions in the messages of a shared log: numbers that are the same on all
//! replicas, and ascend within a stream.

use std::ops::RangeInclusive;

use super::positions::{Position, Positions};
use super::records::Place;
use crate::model::Timestamp;

/// Bits of the number of an action for its number in a message, and for that of the message
/// in its stream.
const ACTION_BITS: u32 = 16;
const MESSAGE_BITS: u32 = 44;

/// The greatest number of a message of a stream.
pub(super) const MAX_MESSAGE: u64 = (1 << MESSAGE_BITS) - 1;

impl Place {
    /// The place of action number `at` of the message at `position`.
    #[must_use]
    pub fn in_message(position: Position, at: u16, recorded_at: Timestamp) -> Self {
        Self {
            sequence: first_of(position) | u64::from(at),
            recorded_at,
        }
    }

    /// The message in which an action of a shared log stands.
    #[must_use]
    pub fn message(self) -> Position {
        message(self.sequence)
    }
}

/// The message in which the action of this number stands.
pub(super) fn message(sequence: u64) -> Position {
    Position {
        stream: (sequence >> (ACTION_BITS + MESSAGE_BITS)) as u8,
        sequence: sequence >> ACTION_BITS & MAX_MESSAGE,
    }
}

/// The numbers that actions may have in the messages from `first` to `last` of `stream`.
pub(super) fn numbers(stream: u8, first: u64, last: u64) -> RangeInclusive<u64> {
    let number = |sequence| first_of(Position { stream, sequence });
    number(first)..=number(last) | ((1 << ACTION_BITS) - 1)
}

/// The streams that have messages after `from` and up to `through`, and the numbers that
/// actions may have in these.
pub(super) fn ranges(
    from: &Positions,
    through: &Positions,
) -> impl Iterator<Item = (u8, RangeInclusive<u64>)> {
    let streams = (0..).zip(through.sequences());
    streams.filter_map(|(stream, &last)| {
        let first = from.of(stream) + 1;
        (first <= last).then(|| (stream, numbers(stream, first, last)))
    })
}

/// The number of the first action of the message at `position`.
fn first_of(Position { stream, sequence }: Position) -> u64 {
    (u64::from(stream) << MESSAGE_BITS | sequence & MAX_MESSAGE) << ACTION_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_tells_its_message_and_numbers_of_a_stream_are_its_own() {
        let place = |stream, sequence, at| {
            let position = Position { stream, sequence };
            let place = Place::in_message(position, at, Timestamp::from_micros(0));
            assert_eq!(place.message(), position);
            place.sequence
        };
        let all = numbers(2, 5, 7);
        assert_eq!(all, place(2, 5, 0)..=place(2, 7, u16::MAX));
        assert!(!all.contains(&place(2, 4, u16::MAX)) && !all.contains(&place(2, 8, 0)));
        assert!(!all.contains(&place(1, 6, 0)) && !all.contains(&place(3, 6, 0)));
        let last = numbers(15, 0, MAX_MESSAGE);
        assert_eq!(*last.end(), u64::MAX);
        assert_eq!(*numbers(0, 0, MAX_MESSAGE).end() + 1, place(1, 0, 0));
    }
}
