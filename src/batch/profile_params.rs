//! Settings of profiles: the section `profiles`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

use crate::actions::ActionLimits;
use crate::cluster::Params;
use crate::model::{IMPRESSION, MAX_ACTION_NAME};
use crate::setting_rules::{
    InvalidSetting, days, require, require_duration_in_range, require_in_range,
    require_not_negative,
};

/// The section `profiles` of the settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileParams {
    /// Greatest Ward distance of a merge, in squared units.
    pub alpha: f64,
    /// Decay of importance a day.
    pub lambda_per_day: f64,
    /// Length of the window in days: `as_of - window <= time < as_of`.
    pub window_days: f64,
    /// Number of most recent actions of a user that are clustered at most.
    pub max_actions: usize,
    /// Whether profiles carry a filter over the pins of the user's history, which are
    /// then left out of the answers.
    pub history_filter: bool,
    /// How long an action may take until the input has it, where actions have ids: so far
    /// before `as_of` the profiles know the ids of the actions in them.
    #[serde(with = "humantime_serde")]
    pub late_actions: Duration,
    /// How long before `as_of` the input may end without a warning.
    #[serde(with = "humantime_serde")]
    pub max_input_lag: Duration,
    /// Bytes of actions and profiles that are in memory at a time, beside the vectors of
    /// the catalog and m^2 numbers a thread for a user of m actions.
    pub memory: ByteSize,
    /// Weight of an action by its name; below 0 for what users do not want.
    pub action_weights: BTreeMap<String, f64>,
}

impl ProfileParams {
    /// Refuses values that break their rules, by key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        require_not_negative("profiles.alpha", self.alpha)?;
        require_not_negative("profiles.lambda_per_day", self.lambda_per_day)?;
        let window = self.window_days;
        let is_positive = window.is_finite() && window > 0.0;
        require("profiles.window_days", window, is_positive, "above 0")?;
        require_in_range("profiles.max_actions", self.max_actions, 1..=20_000)?;
        let lags = days(0)..=days(366);
        require_duration_in_range("profiles.late_actions", self.late_actions, lags.clone())?;
        require_duration_in_range("profiles.max_input_lag", self.max_input_lag, lags)?;
        let is_enough = self.memory >= ByteSize::mib(64);
        require("profiles.memory", self.memory, is_enough, "at least 64MiB")?;
        self.action_weights
            .iter()
            .try_for_each(|(name, &weight)| validate_weight(name, weight))
    }

    /// The part of the settings that shapes clusters.
    #[must_use]
    pub fn cluster(&self) -> Params {
        Params {
            alpha: self.alpha,
            lambda_per_day: self.lambda_per_day,
        }
    }

    /// The weights above 0: those of the actions that are clustered.
    #[must_use]
    pub fn positive_weights(&self) -> BTreeMap<String, f64> {
        self.weights_where(|weight| weight > 0.0)
    }

    /// The weights below 0: those of the actions that hide pins and lower interests.
    #[must_use]
    pub fn negative_weights(&self) -> BTreeMap<String, f64> {
        self.weights_where(|weight| weight < 0.0)
    }

    fn weights_where(&self, is_wanted: impl Fn(f64) -> bool) -> BTreeMap<String, f64> {
        let weights = self.action_weights.iter();
        weights
            .filter(|&(_, &weight)| is_wanted(weight))
            .map(|(name, &weight)| (name.clone(), weight))
            .collect()
    }
}

/// What negative actions do to the interests of a user: settings of the section `actions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NegativeLimits {
    /// Number of most recent negative actions that lower importance; all of them hide their
    /// pins.
    pub most_recent: usize,
    /// Number of negative actions that silence an interest; 0 for never.
    pub silenced_by: usize,
}

impl From<&ActionLimits> for NegativeLimits {
    fn from(limits: &ActionLimits) -> Self {
        Self {
            most_recent: limits.negative,
            silenced_by: limits.silenced_by,
        }
    }
}

fn validate_weight(name: &str, weight: f64) -> Result<(), InvalidSetting> {
    let key = "profiles.action_weights";
    let value = format!("{name} = {weight}");
    let is_allowed = weight != 0.0 && weight.abs() <= 1e6;
    let rule = "from -1000000 to 1000000, and not 0";
    require(key, &value, is_allowed, rule)?;
    let is_allowed = name != IMPRESSION && (1..=MAX_ACTION_NAME).contains(&name.len());
    let rule = "of 1 to 64 bytes and not `impression`, which has no weight";
    require(key, &value, is_allowed, rule)
}
