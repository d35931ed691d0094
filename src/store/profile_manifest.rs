//! The manifest of a set of profiles: its catalog, its parameters and its counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;
use crate::snapshot::ManifestFacts;

/// Facts in the manifest of a set of profiles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileManifest {
    /// Name of the model whose vectors were clustered. Profiles and a catalog are served
    /// together only when they name the same model.
    pub embedding_version: String,
    /// Length of those vectors.
    pub dimension: usize,
    /// Version of the catalog whose vectors were clustered.
    pub catalog_version: String,
    /// The moment at which importances hold and the window ends.
    pub as_of: Timestamp,
    /// Length of the window in days: as_of - window <= time < as_of.
    pub window_days: f64,
    /// Greatest Ward distance of a merge, in squared units.
    pub alpha: f64,
    /// Decay of importance a day.
    pub lambda_per_day: f64,
    /// Number of most recent actions of a user that were clustered at most.
    pub max_actions: usize,
    /// Weight of an action by its name.
    pub action_weights: BTreeMap<String, f64>,
    /// Rate at which a pin that the user never acted on is taken for one of the
    /// user's history; none when there are no history filters.
    pub history_false_positive_rate: Option<f64>,
    /// Number of users with a profile.
    pub users: u64,
    /// Number of medoids of all users.
    pub medoids: u64,
    /// Outcomes of the actions that were read.
    pub actions: ActionCounts,
}

impl ManifestFacts for ProfileManifest {
    const FORMAT: &'static str = "pinnersage-profiles/2";
}

/// Most names of unknown actions that are counted separately.
const MAX_NAMES_LISTED: usize = 100;

/// Outcomes of the actions that were read: each is counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionCounts {
    /// Clustered.
    pub used: u64,
    /// Left out: more than the most recent actions that a user may have.
    pub cut: u64,
    /// Left out: repeats of another action of the same user. Manifests of older versions
    /// do not count them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub duplicates: u64,
    /// Refused: the pin is not in the catalog.
    pub unknown_pin: u64,
    /// Refused: before the window.
    pub before_window: u64,
    /// Refused: at `as_of` or later.
    pub after_as_of: u64,
    /// Refused: the action has no weight; by its name, for the first names.
    pub unknown_action: BTreeMap<String, u64>,
    /// Refused: the action has no weight, and there were too many names to list.
    pub unknown_action_unlisted: u64,
}

/// Whether a count is left out of the manifest: one that was written before the count
/// existed must have the same bytes, because its version is made from them.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl ActionCounts {
    /// Number of actions that were read.
    pub fn read(&self) -> u64 {
        self.used + self.cut + self.duplicates + self.refused()
    }

    /// Number of actions that were refused, for whatever reason.
    pub fn refused(&self) -> u64 {
        let unknown_action: u64 = self.unknown_action.values().sum();
        let unknown_action = unknown_action + self.unknown_action_unlisted;
        self.unknown_pin + self.before_window + self.after_as_of + unknown_action
    }

    /// Counts an action that has no weight. Names come from the input, so only the first
    /// `MAX_NAMES_LISTED` are kept.
    pub fn refuse_action(&mut self, name: &str) {
        if let Some(count) = self.unknown_action.get_mut(name) {
            *count += 1;
        } else if self.unknown_action.len() < MAX_NAMES_LISTED {
            self.unknown_action.insert(name.to_owned(), 1);
        } else {
            self.unknown_action_unlisted += 1;
        }
    }
}
