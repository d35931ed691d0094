//! The manifest of a set of profiles: its catalog, its parameters and its counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::erased_through::ErasedThrough;
use super::format_2::ManifestOfFormat2;
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
    /// All actions before it are in the profiles, as far as they are in the window; at
    /// most `as_of`.
    pub complete_through: Timestamp,
    /// From then on the profiles know the identity of each positive action in them; at
    /// most `complete_through`. They know that of each negative one, whatever its time.
    pub identified_from: Timestamp,
    /// Time of the oldest action of the input; none where that is not known.
    pub oldest_action: Option<Timestamp>,
    /// Time of the newest action of the input; none where that is not known.
    pub newest_action: Option<Timestamp>,
    /// Up to when the input was free of erased users; nothing where that is not known.
    #[serde(default, skip_serializing_if = "ErasedThrough::is_empty")]
    pub erased_through: ErasedThrough,
    /// Length of the window in days: as_of - window <= time < as_of. Negative actions
    /// count at any time before as_of.
    pub window_days: f64,
    /// Greatest Ward distance of a merge, in squared units.
    pub alpha: f64,
    /// Decay of importance a day.
    pub lambda_per_day: f64,
    /// Number of most recent actions of a user that were clustered at most.
    pub max_actions: usize,
    /// Weight of an action by its name; below 0 for a negative one. Format 2 has none of
    /// these: its batch did not read them.
    pub action_weights: BTreeMap<String, f64>,
    /// Rate at which a pin that the user never acted on is taken for one of the
    /// user's history; none when there are no history filters.
    pub history_false_positive_rate: Option<f64>,
    /// Whether users have keys: the caller calls them by strings.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub string_user_ids: bool,
    /// Number of users with a medoid.
    pub users: u64,
    /// Number of medoids of all users.
    pub medoids: u64,
    /// Outcomes of the actions that were read.
    pub actions: ActionCounts,
}

impl ManifestFacts for ProfileManifest {
    const FORMAT: &'static str = "pinnersage-profiles/3";

    type Before = ManifestOfFormat2;
}

impl From<ManifestOfFormat2> for ProfileManifest {
    fn from(facts: ManifestOfFormat2) -> Self {
        Self {
            embedding_version: facts.embedding_version,
            dimension: facts.dimension,
            catalog_version: facts.catalog_version,
            as_of: facts.as_of,
            complete_through: facts.as_of,
            identified_from: facts.as_of,
            oldest_action: None,
            newest_action: None,
            erased_through: ErasedThrough::default(),
            window_days: facts.window_days,
            alpha: facts.alpha,
            lambda_per_day: facts.lambda_per_day,
            max_actions: facts.max_actions,
            action_weights: facts.action_weights,
            history_false_positive_rate: facts.history_false_positive_rate,
            string_user_ids: false,
            users: facts.users,
            medoids: facts.medoids,
            actions: ActionCounts {
                used: facts.actions.used,
                cut: facts.actions.cut,
                unknown_pin: facts.actions.unknown_pin,
                before_window: facts.actions.before_window,
                after_as_of: facts.actions.after_as_of,
                unknown_action: facts.actions.unknown_action,
                unknown_action_unlisted: facts.actions.unknown_action_unlisted,
                ..ActionCounts::default()
            },
        }
    }
}

/// Most names of unknown actions that are counted separately.
const MAX_NAMES_LISTED: usize = 100;

/// Outcomes of the actions that were read: each is counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionCounts {
    /// Clustered.
    pub used: u64,
    /// Negative, and so not clustered: they hide their pins, and lower interests.
    pub negative: u64,
    /// Left out: they say that a pin was shown, which shapes no interest.
    pub impressions: u64,
    /// Left out: more than the most recent actions that a user may have.
    pub cut: u64,
    /// Left out: of users that the batch was told are erased.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub erased: u64,
    /// Left out: rows that are no actions.
    pub bad: u64,
    /// Left out: repeats of another action of the same user.
    pub duplicates: u64,
    /// Refused: the pin is not in the catalog.
    pub unknown_pin: u64,
    /// Refused: before the window, and not negative.
    pub before_window: u64,
    /// Refused: at `as_of` or later.
    pub after_as_of: u64,
    /// Refused: the action has no weight; by its name, for the first names.
    pub unknown_action: BTreeMap<String, u64>,
    /// Refused: the action has no weight, and there were too many names to list.
    pub unknown_action_unlisted: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl ActionCounts {
    /// Number of actions that were read.
    pub fn read(&self) -> u64 {
        let left_out = self.impressions + self.cut + self.duplicates + self.erased;
        self.used + self.negative + left_out + self.refused()
    }

    /// Number of rows that were refused, for whatever reason.
    pub fn refused(&self) -> u64 {
        let unknown_action: u64 = self.unknown_action.values().sum();
        let unknown_action = unknown_action + self.unknown_action_unlisted;
        self.bad + self.unknown_pin + self.before_window + self.after_as_of + unknown_action
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
