//! Settings of recommendations.

use serde::Deserialize;

use crate::setting_rules::{InvalidSetting, require_in_range};

/// The section `recommend` of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RankingParams {
    /// Weight of the popularity of a pin beside its nearness, as a difference of
    /// cosines; 0 ranks by nearness alone.
    pub popularity: f32,
}

impl RankingParams {
    /// Refuses values that break their rules, by key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        require_in_range("recommend.popularity", self.popularity, 0.0..=2.0)
    }
}
