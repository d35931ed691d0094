//! Rules for the values of settings, shared by the modules that own settings.
//!
//! Each module has a params struct for its section of the settings, whose
//! `validate()` applies these rules. A value that breaks one is refused with the key,
//! the value and the rule.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use humantime_serde::re::humantime::format_duration;
use serde::{Deserialize, Deserializer};

/// Number of seconds in a day.
const SECONDS_PER_DAY: u64 = 86_400;

/// A setting whose value breaks its rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {value}, but must be {rule}")]
pub struct InvalidSetting {
    /// The key, with its section.
    pub key: Cow<'static, str>,
    /// The refused value.
    pub value: String,
    /// What is allowed.
    pub rule: String,
}

/// Refuses `value` unless `is_met`; `rule` says what is allowed.
pub fn require(
    key: impl Into<Cow<'static, str>>,
    value: impl Display,
    is_met: bool,
    rule: &str,
) -> Result<(), InvalidSetting> {
    if is_met {
        return Ok(());
    }
    Err(InvalidSetting {
        key: key.into(),
        value: value.to_string(),
        rule: rule.to_owned(),
    })
}

/// Refuses a value outside of `allowed`, both ends of which are allowed. NaN is
/// outside of every range.
pub fn require_in_range<T: PartialOrd + Display>(
    key: impl Into<Cow<'static, str>>,
    value: T,
    allowed: RangeInclusive<T>,
) -> Result<(), InvalidSetting> {
    let rule = format!("from {} to {}", allowed.start(), allowed.end());
    let is_met = allowed.contains(&value);
    require(key, value, is_met, &rule)
}

/// Refuses a duration outside of `allowed`, both ends of which are allowed.
pub fn require_duration_in_range(
    key: impl Into<Cow<'static, str>>,
    value: Duration,
    allowed: RangeInclusive<Duration>,
) -> Result<(), InvalidSetting> {
    let rule = format!(
        "from {} to {}",
        format_duration(*allowed.start()),
        format_duration(*allowed.end())
    );
    require(key, format_duration(value), allowed.contains(&value), &rule)
}

/// Refuses a negative number, an infinite one and NaN.
pub fn require_not_negative(
    key: impl Into<Cow<'static, str>>,
    value: f64,
) -> Result<(), InvalidSetting> {
    let is_met = value.is_finite() && value >= 0.0;
    require(key, value, is_met, "at least 0")
}

/// A duration of `days` days.
#[must_use]
pub fn days(days: u64) -> Duration {
    Duration::from_secs(days * SECONDS_PER_DAY)
}

/// The length of `duration` in days.
#[must_use]
pub fn in_days(duration: Duration) -> f64 {
    duration.as_secs_f64() / SECONDS_PER_DAY as f64
}

/// Reads a duration, such as `30min`, of which 0 stands for never.
pub fn zero_as_never<'de, D>(deserializer: D) -> Result<Option<Duration>, D::Error>
where
    D: Deserializer<'de>,
{
    let duration: Duration = humantime_serde::deserialize(deserializer)?;
    Ok(Some(duration).filter(|duration| !duration.is_zero()))
}

/// Reads a path, of which the empty one stands for no file.
pub fn empty_as_no_file<'de, D>(deserializer: D) -> Result<Option<PathBuf>, D::Error>
where
    D: Deserializer<'de>,
{
    let path = PathBuf::deserialize(deserializer)?;
    Ok(Some(path).filter(|path| !path.as_os_str().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(outcome: Result<(), InvalidSetting>) -> String {
        outcome.expect_err("a refusal").to_string()
    }

    #[test]
    fn both_ends_of_a_range_are_allowed_and_what_is_beyond_is_named() {
        for allowed in [1, 5, 9] {
            assert_eq!(require_in_range("a.b", allowed, 1..=9), Ok(()));
        }
        for refused in [0, 10] {
            assert_eq!(
                refusal(require_in_range("a.b", refused, 1..=9)),
                format!("a.b is {refused}, but must be from 1 to 9")
            );
        }
        assert_eq!(
            refusal(require_in_range("a.b", f64::NAN, 0.0..=1.0)),
            "a.b is NaN, but must be from 0 to 1"
        );
    }

    #[test]
    fn durations_are_written_as_in_the_file_of_settings() {
        let allowed = Duration::from_millis(1)..=days(1);
        let check = |value| require_duration_in_range("a.b", value, allowed.clone());
        assert_eq!(check(Duration::from_millis(1)), Ok(()));
        assert_eq!(check(days(1)), Ok(()));
        for (refused, written) in [(Duration::ZERO, "0s"), (days(2), "2days")] {
            assert_eq!(
                refusal(check(refused)),
                format!("a.b is {written}, but must be from 1ms to 1day")
            );
        }
    }

    #[test]
    fn negative_and_unordered_numbers_are_refused() {
        assert_eq!(require_not_negative("a.b", 0.0), Ok(()));
        for refused in [-1e-9, f64::NAN, f64::INFINITY] {
            assert!(refusal(require_not_negative("a.b", refused)).ends_with("at least 0"));
        }
    }

    #[test]
    fn days_are_converted_both_ways() {
        assert_eq!(in_days(days(3)), 3.0);
        assert_eq!(in_days(Duration::from_secs(43_200)), 0.5);
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Optional {
        #[serde(deserialize_with = "zero_as_never")]
        every: Option<Duration>,
        #[serde(deserialize_with = "empty_as_no_file")]
        file: Option<PathBuf>,
    }

    #[test]
    fn zero_is_never_and_an_empty_path_is_no_file() {
        let read = |text| serde_json::from_str::<Optional>(text).expect("settings");
        let none = read(r#"{"every": "0s", "file": ""}"#);
        let some = read(r#"{"every": "2s", "file": "a.pem"}"#);
        assert_eq!((none.every, none.file), (None, None));
        assert_eq!(some.every, Some(Duration::from_secs(2)));
        assert_eq!(some.file, Some(PathBuf::from("a.pem")));
    }
}
