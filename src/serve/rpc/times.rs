//! Moments and durations as messages.

use std::time::Duration;

use prost_types::Timestamp as TimestampMessage;

use crate::model::Timestamp;

const NANOS: std::ops::Range<i32> = 0..1_000_000_000;

/// A moment as a message.
pub(crate) fn timestamp(time: Timestamp) -> TimestampMessage {
    let (seconds, nanos) = time.seconds_and_nanos();
    TimestampMessage { seconds, nanos }
}

/// The moment of a message; none for one that is out of range.
pub(crate) fn moment(time: TimestampMessage) -> Option<Timestamp> {
    if !NANOS.contains(&time.nanos) {
        return None;
    }
    let seconds = Timestamp::from_seconds(time.seconds)?;
    let micros = i64::from(time.nanos) / 1_000;
    let micros = seconds.micros().checked_add(micros)?;
    Some(Timestamp::from_micros(micros))
}

/// The length of a message; none for one that is negative or out of range.
pub(crate) fn duration(length: prost_types::Duration) -> Option<Duration> {
    let seconds = u64::try_from(length.seconds).ok()?;
    let nanos = u32::try_from(length.nanos).ok()?;
    NANOS
        .contains(&length.nanos)
        .then(|| Duration::new(seconds, nanos))
}
