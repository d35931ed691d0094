//! Settings of recorded actions: for how long and how many of them count.

use std::time::Duration;

use humantime_serde::re::humantime::format_duration;
use serde::Deserialize;

use crate::model::{ActionWeights, Timestamp};
use crate::setting_rules::{
    InvalidSetting, days, in_days, require, require_duration_in_range, require_in_range,
};

/// Settings of recorded actions.
#[derive(Clone, Debug)]
pub struct ActionParams {
    /// Kind and weight of actions by their names.
    pub weights: ActionWeights,
    /// For how long and how many of them count.
    pub limits: ActionLimits,
}

/// The section `actions` of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionLimits {
    /// Actions are refused when they are older, and forgotten when their day has ended
    /// before; negative ones are not forgotten.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
    /// How far ahead of the server's clock an action may be.
    #[serde(with = "humantime_serde")]
    pub max_ahead: Duration,
    /// Most recent actions of a user that are clustered with the profile.
    pub clustered: usize,
    /// Most recent positive actions of a user that are held in memory.
    pub positive: usize,
    /// Most recent negative actions of a user that lower importance; all of them hide
    /// their pins.
    pub negative: usize,
    /// Negative actions that silence an interest; 0 for never.
    pub silenced_by: usize,
    /// Pins last shown to a user that are not recommended again.
    pub seen: usize,
    /// For how long such a pin is not recommended again.
    #[serde(with = "humantime_serde")]
    pub seen_life: Duration,
    /// Medoids of a user whose engagement is counted.
    pub engaged: usize,
}

/// The section `feedback` of the settings: medoids are drawn by engagement as well as
/// by importance.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedbackParams {
    /// Whether engagement counts.
    pub enabled: bool,
    /// Number of impressions that the average over all users counts as.
    pub prior: f64,
}

impl ActionParams {
    /// The first moment that is not forgotten at `now`: days are forgotten as a whole.
    pub(super) fn oldest(&self, now: Timestamp) -> Timestamp {
        now.minus_days(self.limits.retention_days()).day_start()
    }
}

impl ActionLimits {
    /// Limits that few tests exceed.
    #[cfg(test)]
    pub(crate) const SAMPLE: Self = Self {
        retention: Duration::from_secs(10 * 86_400),
        max_ahead: Duration::ZERO,
        clustered: 20,
        positive: 20,
        negative: 20,
        silenced_by: 2,
        seen: 20,
        seen_life: Duration::from_secs(7 * 86_400),
        engaged: 20,
    };

    /// Refuses values that break their rules, by key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        require_in_range("actions.clustered", self.clustered, 0..=200)?;
        require_in_range("actions.positive", self.positive, self.clustered..=1_000)?;
        require_in_range("actions.negative", self.negative, 0..=1_000)?;
        require_in_range("actions.silenced_by", self.silenced_by, 0..=self.negative)?;
        require_in_range("actions.seen", self.seen, 0..=10_000)?;
        require_in_range("actions.engaged", self.engaged, 0..=1_000)?;
        require_duration_in_range("actions.retention", self.retention, days(1)..=days(366))?;
        require(
            "actions.seen_life",
            format_duration(self.seen_life),
            self.seen_life <= self.retention,
            "at most actions.retention",
        )?;
        require_duration_in_range("actions.max_ahead", self.max_ahead, days(0)..=days(1))
    }

    /// [`Self::retention`] in days.
    #[must_use]
    pub fn retention_days(&self) -> f64 {
        in_days(self.retention)
    }

    /// [`Self::max_ahead`] in days.
    #[must_use]
    pub fn max_ahead_days(&self) -> f64 {
        in_days(self.max_ahead)
    }

    /// [`Self::seen_life`] in days.
    #[must_use]
    pub fn seen_days(&self) -> f64 {
        in_days(self.seen_life)
    }
}

impl FeedbackParams {
    /// Refuses values that break their rules, by key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        require_in_range("feedback.prior", self.prior, 1e-3..=1e9)
    }

    /// The prior; none where engagement does not count.
    #[must_use]
    pub fn enabled_prior(&self) -> Option<f64> {
        self.enabled.then_some(self.prior)
    }
}
