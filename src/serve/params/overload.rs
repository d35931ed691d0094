//! Settings of overload protection: the section `overload`.

use std::time::Duration;

use axum::http::HeaderName;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::setting_rules::{InvalidSetting, require, require_duration_in_range, require_in_range};

/// The section `overload` of the settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverloadParams {
    /// Most calls for recommendations at a time, answered or waiting, whatever they
    /// cost; 0 refuses all.
    pub max_calls: usize,
    /// Fewest searches at a time; 0 for one a core.
    pub min_in_flight: usize,
    /// Most searches at a time.
    pub max_in_flight: usize,
    /// How long an admitted search may wait for a core.
    #[serde(with = "humantime_serde")]
    pub target_wait: Duration,
    /// Most calls that wait for a search.
    pub queue: usize,
    /// Share of the usual effort that searches make at least, above 0 and at most 1.
    pub min_effort: f32,
    /// Calls a second of one caller; 0 for no limit.
    pub rate_limit: u32,
    /// Calls of one caller at once after a silence; at least 1.
    pub rate_burst: u32,
    /// Header that names a caller who is not known by a credential. Callers without it
    /// share one rate.
    #[serde(deserialize_with = "header_name")]
    pub rate_key_header: HeaderName,
}

impl OverloadParams {
    /// Refuses values that break their rules, by key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        require_in_range("overload.max_calls", self.max_calls, 0..=1_000_000)?;
        require_in_range("overload.max_in_flight", self.max_in_flight, 1..=10_000)?;
        let fewest = 0..=self.max_in_flight;
        require_in_range("overload.min_in_flight", self.min_in_flight, fewest)?;
        require_in_range("overload.queue", self.queue, 0..=100_000)?;
        let waits = Duration::from_micros(10)..=Duration::from_secs(1);
        require_duration_in_range("overload.target_wait", self.target_wait, waits)?;
        require(
            "overload.min_effort",
            self.min_effort,
            self.min_effort > 0.0 && self.min_effort <= 1.0,
            "above 0 and at most 1",
        )?;
        let has_burst = self.rate_burst > 0;
        require(
            "overload.rate_burst",
            self.rate_burst,
            has_burst,
            "at least 1",
        )
    }
}

fn header_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderName, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse().map_err(|_| {
        D::Error::custom(InvalidSetting {
            key: "overload.rate_key_header".into(),
            rule: "the name of a header".to_owned(),
            value: name,
        })
    })
}
