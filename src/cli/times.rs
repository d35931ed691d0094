//! Times of answers, for people and for JSON.

use crate::model::Timestamp;

/// Lengths in seconds, from which a unit is used, and the unit.
const UNITS: [(f64, &str); 4] = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s")];

/// The time of a message.
pub(super) fn from_message(time: prost_types::Timestamp) -> Timestamp {
    let micros = time.seconds.saturating_mul(1_000_000);
    Timestamp::from_micros(micros.saturating_add(i64::from(time.nanos) / 1_000))
}

/// A time in RFC 3339; empty where there is none.
pub(super) fn format_time(time: Option<prost_types::Timestamp>) -> String {
    let format = |time| from_message(time).to_string();
    time.map(format).unwrap_or_default()
}

/// A time to the second and how long ago that is; empty where there is none.
pub(super) fn format_with_age(time: Option<prost_types::Timestamp>, now: Timestamp) -> String {
    let Some(time) = time else {
        return String::new();
    };
    let seconds = now.days_since(from_message(time)) * 86_400.0;
    let second = format_time(Some(prost_types::Timestamp { nanos: 0, ..time }));
    if seconds < 0.0 {
        format!("{second} (in {})", format_seconds(-seconds))
    } else {
        format!("{second} ({} ago)", format_seconds(seconds))
    }
}

/// A length of time, rounded down to the greatest unit that it has two of.
fn format_seconds(seconds: f64) -> String {
    let unit = UNITS.iter().find(|(length, _)| seconds >= 2.0 * length);
    let (length, unit) = unit.unwrap_or(&UNITS[3]);
    format!("{} {unit}", (seconds / length) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let cases = [
            (0.4, "0 s"),
            (119.0, "119 s"),
            (120.0, "2 min"),
            (7_199.0, "119 min"),
            (172_799.0, "47 h"),
            (172_800.0, "2 d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(format_seconds(seconds), text);
        }
    }

    #[test]
    fn a_time_that_comes_is_told_as_such() {
        let time = Some(prost_types::Timestamp {
            seconds: 600,
            nanos: 500_000_000,
        });
        let at = |seconds: i64| format_with_age(time, Timestamp::from_micros(seconds * 1_000_000));
        assert_eq!(at(0), "1970-01-01T00:10:00Z (in 10 min)");
        assert_eq!(at(610), "1970-01-01T00:10:00Z (9 s ago)");
        assert_eq!(format_with_age(None, Timestamp::from_micros(0)), "");
        assert_eq!(format_time(time), "1970-01-01T00:10:00.500Z");
    }
}
