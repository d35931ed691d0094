//! The format of profiles before this one, which is still read: it has no identities of
//! actions and no hidden pins.

use std::collections::BTreeMap;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

use super::files::UserRecord;
use super::profile_manifest::{ActionCounts, ProfileManifest};
use crate::model::{Timestamp, UserId};
use crate::snapshot::ManifestFacts;

/// Facts in a manifest of format 2. Their order is that of the file, by which its version
/// is checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestOfFormat2 {
    embedding_version: String,
    dimension: usize,
    catalog_version: String,
    as_of: Timestamp,
    window_days: f64,
    alpha: f64,
    lambda_per_day: f64,
    max_actions: usize,
    action_weights: BTreeMap<String, f64>,
    history_false_positive_rate: Option<f64>,
    users: u64,
    medoids: u64,
    actions: CountsOfFormat2,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CountsOfFormat2 {
    used: u64,
    cut: u64,
    unknown_pin: u64,
    before_window: u64,
    after_as_of: u64,
    unknown_action: BTreeMap<String, u64>,
    unknown_action_unlisted: u64,
}

impl ManifestFacts for ManifestOfFormat2 {
    const FORMAT: &'static str = "pinnersage-profiles/2";

    type Before = Self;
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
            window_days: facts.window_days,
            alpha: facts.alpha,
            lambda_per_day: facts.lambda_per_day,
            max_actions: facts.max_actions,
            action_weights: facts.action_weights,
            history_false_positive_rate: facts.history_false_positive_rate,
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

/// One record of the file of users.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct UserOfFormat2 {
    user: UserId,
    medoids: u32,
    history: u32,
}

impl From<UserOfFormat2> for UserRecord {
    fn from(record: UserOfFormat2) -> Self {
        Self {
            user: record.user,
            medoids: record.medoids,
            history: record.history,
            identities: 0,
            hidden: 0,
        }
    }
}
