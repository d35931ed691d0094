//! Settings of profiles: the section `profiles`.

use std::collections::BTreeMap;

use bytesize::ByteSize;
use serde::Deserialize;

use crate::cluster::Params;
use crate::model::{IMPRESSION, MAX_ACTION_NAME};
use crate::setting_rules::{InvalidSetting, require, require_in_range, require_not_negative};

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
        let days = self.window_days;
        let is_positive = days.is_finite() && days > 0.0;
        require("profiles.window_days", days, is_positive, "above 0")?;
        require_in_range("profiles.max_actions", self.max_actions, 1..=20_000)?;
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

    /// The weights above 0. A batch clusters only these actions: negative ones are
    /// applied by the server, where they hold for good.
    #[must_use]
    pub fn positive_weights(&self) -> BTreeMap<String, f64> {
        let weights = self.action_weights.iter();
        weights
            .filter(|&(_, &weight)| weight > 0.0)
            .map(|(name, &weight)| (name.clone(), weight))
            .collect()
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
