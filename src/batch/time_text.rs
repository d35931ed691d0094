//! Times of text files, and of columns that do not say their unit.

use std::borrow::Cow;

use chrono::DateTime;

use super::bad_rows::{Reason, quoted};
use crate::model::Timestamp;

pub(super) const OUT_OF_RANGE: Reason = Cow::Borrowed("is out of range");

/// Seconds from 1970 to 2200: later ones are most likely of another unit.
const LATEST: i128 = 7_258_118_400;

/// The time in a text: RFC 3339 or what databases write for it, a date, or seconds since
/// 1970. Times have a zone.
pub(super) fn parse(text: &str) -> Result<Timestamp, Reason> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return from_seconds(seconds);
    }
    // BigQuery ends a time with " UTC".
    let spelled = match text.strip_suffix("UTC") {
        Some(time) => Cow::Owned(format!("{}Z", time.trim_end())),
        None => Cow::Borrowed(text),
    };
    // A blank instead of the T, an offset of hours only: as PostgreSQL has it.
    let with_blank = || DateTime::parse_from_str(&spelled, "%Y-%m-%d %H:%M:%S%.f%#z");
    let with_t = || DateTime::parse_from_str(&spelled, "%Y-%m-%dT%H:%M:%S%.f%#z");
    if let Ok(time) = spelled.parse() {
        return Ok(time);
    }
    if let Ok(time) = with_blank().or_else(|_| with_t()) {
        return Ok(Timestamp::from_micros(time.timestamp_micros()));
    }
    let has_no_zone = format!("{text}Z")
        .replacen(' ', "T", 1)
        .parse::<Timestamp>();
    Err(match has_no_zone {
        Ok(_) => format!("{} has no zone: write {}", quoted(text), with_zone(text)),
        Err(_) => format!("{} is no time like 2026-03-01T06:00:00Z", quoted(text)),
    }
    .into())
}

fn with_zone(text: &str) -> String {
    format!("{}Z", text.replacen(' ', "T", 1))
}

/// The moment so many seconds after 1970. What is beyond the year 2200 is refused: it is
/// most likely no number of seconds.
pub(super) fn from_seconds(seconds: i128) -> Result<Timestamp, Reason> {
    let units = [
        (1_000, "milliseconds"),
        (1_000_000, "microseconds"),
        (1_000_000_000, "nanoseconds"),
    ];
    if seconds.abs() <= LATEST {
        let seconds = i64::try_from(seconds).ok();
        return seconds
            .and_then(Timestamp::from_seconds)
            .ok_or(OUT_OF_RANGE);
    }
    let unit = units
        .iter()
        .find(|&&(unit, _)| seconds.abs() / unit <= LATEST);
    Err(match unit {
        Some((_, name)) => format!(
            "{seconds} is too large for seconds since 1970 and looks like {name}: \
             give it as a timestamp, or in seconds"
        )
        .into(),
        None => OUT_OF_RANGE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_moment_has_many_spellings() {
        let expected = Timestamp::from_seconds(1_772_344_800).expect("a time");
        for text in [
            "1772344800",
            "2026-03-01T06:00:00Z",
            "2026-03-01T06:00:00.000000+00:00",
            "2026-03-01 06:00:00+00:00",
            "2026-03-01 06:00:00 UTC",
            "2026-03-01 06:00:00.000 UTC",
            "2026-03-01 08:00:00+02",
            "2026-03-01T08:00:00+0200",
            " 2026-03-01T06:00:00Z ",
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        let date = Timestamp::from_seconds(1_772_323_200).expect("a day");
        assert_eq!(parse("2026-03-01"), Ok(date));
    }

    #[test]
    fn a_time_without_a_zone_or_sense_is_refused_with_a_hint() {
        for (text, part) in [
            (
                "2026-03-01T06:00:00",
                "has no zone: write 2026-03-01T06:00:00Z",
            ),
            ("2026-03-01 06:00:00.5", "write 2026-03-01T06:00:00.5Z"),
            ("yesterday", "\"yesterday\" is no time like"),
            ("1772344800000", "looks like milliseconds"),
            ("1772344800000000", "looks like microseconds"),
            ("1772344800000000000", "looks like nanoseconds"),
            ("9223372036854775807", "is out of range"),
        ] {
            let reason = parse(text).expect_err(text);
            assert!(reason.contains(part), "{reason}");
        }
    }
}
