//! Moments in UTC. The core never reads a clock: every moment is passed in.

use std::fmt;
use std::str::FromStr;

use bytemuck::{Pod, Zeroable};
use chrono::{DateTime, NaiveDate, SecondsFormat};
use serde::{Deserialize, Serialize};

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: f64 = 86_400.0 * MICROS_PER_SECOND as f64;

/// A moment in UTC, in microseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable, Serialize, Deserialize,
)]
#[repr(transparent)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

/// A text that is neither an RFC 3339 time nor a date.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a date like 2017-10-01 nor a time like 2017-10-01T06:00:00Z")]
pub struct ParseTimestampError(String);

impl Timestamp {
    /// The moment `micros` microseconds after 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The moment `seconds` after 1970-01-01T00:00:00Z, or none when it lies
    /// more than 292,000 years away.
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        seconds.checked_mul(MICROS_PER_SECOND).map(Self)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Seconds since 1970-01-01T00:00:00Z, to the microsecond where a float can tell them.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / MICROS_PER_SECOND as f64
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down, and the
    /// nanoseconds on top of them.
    pub fn seconds_and_nanos(self) -> (i64, i32) {
        let nanos = self.0.rem_euclid(MICROS_PER_SECOND) * 1_000;
        (
            self.0.div_euclid(MICROS_PER_SECOND),
            i32::try_from(nanos).expect("below 10^9"),
        )
    }

    /// Days from `earlier` to this moment, negative when it is the later one.
    pub fn days_since(self, earlier: Self) -> f64 {
        (i128::from(self.0) - i128::from(earlier.0)) as f64 / MICROS_PER_DAY
    }

    /// Number of the day of this moment, 0 for 1970-01-01.
    pub fn day(self) -> i64 {
        self.0.div_euclid(86_400 * MICROS_PER_SECOND)
    }

    /// The first moment of that day.
    pub fn day_start(self) -> Self {
        Self(self.day().saturating_mul(86_400 * MICROS_PER_SECOND))
    }

    /// The moment `days` before this one, at the earliest possible moment when
    /// that cannot be represented.
    pub fn minus_days(self, days: f64) -> Self {
        // A float that is out of range saturates, as the documentation promises.
        Self(self.0.saturating_sub((days * MICROS_PER_DAY) as i64))
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    /// Reads an RFC 3339 time, or a date, which means its first moment in UTC.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_micros());
        let date = || {
            let midnight = text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?;
            Some(midnight.and_utc().timestamp_micros())
        };
        time.ok()
            .or_else(date)
            .map(Self)
            .ok_or_else(|| ParseTimestampError(text.to_owned()))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = ParseTimestampError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.to_string()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_timestamp_micros(self.0) {
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => write!(f, "{} us since 1970", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_read_and_written_back() {
        let date: Timestamp = "2017-10-01".parse().expect("a date");
        assert_eq!(date.to_string(), "2017-10-01T00:00:00Z");
        let zoned: Timestamp = "2017-10-01T02:00:00.5+02:00".parse().expect("a time");
        assert_eq!(zoned.to_string(), "2017-10-01T00:00:00.500Z");
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn days_are_exact_at_the_ends_of_the_range() {
        let first = Timestamp::from_micros(i64::MIN);
        let last = Timestamp::from_micros(i64::MAX);
        assert!(last.days_since(first) > 2.0e8);
        assert_eq!(first.minus_days(1.0), first);
        assert_eq!(Timestamp::from_seconds(i64::MAX), None);
        assert_eq!(
            Timestamp::from_micros(-1).seconds_and_nanos(),
            (-1, 999_999_000)
        );
    }
}
