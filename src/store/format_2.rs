//! The format of profiles before this one, which is still read: it has no identities of
//! actions and no hidden pins.

use std::collections::BTreeMap;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

use super::files::UserRecord;
use crate::model::{Timestamp, UserId};
use crate::snapshot::ManifestFacts;

/// Facts in a manifest of format 2. Their order is that of the file, by which its version
/// is checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestOfFormat2 {
    pub(super) embedding_version: String,
    pub(super) dimension: usize,
    pub(super) catalog_version: String,
    pub(super) as_of: Timestamp,
    pub(super) window_days: f64,
    pub(super) alpha: f64,
    pub(super) lambda_per_day: f64,
    pub(super) max_actions: usize,
    pub(super) action_weights: BTreeMap<String, f64>,
    pub(super) history_false_positive_rate: Option<f64>,
    pub(super) users: u64,
    pub(super) medoids: u64,
    pub(super) actions: CountsOfFormat2,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CountsOfFormat2 {
    pub(super) used: u64,
    pub(super) cut: u64,
    pub(super) unknown_pin: u64,
    pub(super) before_window: u64,
    pub(super) after_as_of: u64,
    pub(super) unknown_action: BTreeMap<String, u64>,
    pub(super) unknown_action_unlisted: u64,
}

impl ManifestFacts for ManifestOfFormat2 {
    const FORMAT: &'static str = "pinnersage-profiles/2";

    type Before = Self;
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

#[cfg(test)]
mod tests {
    use super::super::files::{HISTORY, MEDOIDS, POPULAR, POPULARITY, USERS};
    use super::*;
    use crate::model::{Medoid, PinId};
    use crate::snapshot::Writer;
    use crate::store::ProfileStore;

    #[test]
    fn profiles_of_this_format_are_read_as_complete_and_without_identities() {
        let directory = tempfile::tempdir().expect("a directory");
        let as_of = Timestamp::from_micros(86_400_000_000);
        let medoid = Medoid {
            pin: PinId(3),
            importance: 1.0,
            last_action_time: Timestamp::from_micros(5),
            size: 2,
            dislikes: 0,
        };
        let user = |id| UserOfFormat2 {
            user: UserId(id),
            medoids: 1,
            history: 0,
        };
        let mut snapshot = Writer::create(directory.path()).expect("a version");
        let (users, medoids) = ([user(7), user(9)], [medoid; 2]);
        let files: [(&str, &[u8]); 5] = [
            (USERS, bytemuck::cast_slice(&users)),
            (MEDOIDS, bytemuck::cast_slice(&medoids)),
            (HISTORY, &[]),
            (POPULAR, bytemuck::bytes_of(&medoid)),
            (POPULARITY, &[]),
        ];
        for (name, bytes) in files {
            snapshot.write(name, bytes).expect("a file");
        }
        let facts = ManifestOfFormat2 {
            embedding_version: "model".to_owned(),
            dimension: 8,
            catalog_version: "0123456789abcdef".to_owned(),
            as_of,
            window_days: 90.0,
            alpha: 1.0,
            lambda_per_day: 0.0,
            max_actions: 10,
            action_weights: [("save".to_owned(), 1.0)].into(),
            history_false_positive_rate: None,
            users: 2,
            medoids: 2,
            actions: CountsOfFormat2 {
                used: 4,
                cut: 0,
                unknown_pin: 0,
                before_window: 0,
                after_as_of: 0,
                unknown_action: BTreeMap::new(),
                unknown_action_unlisted: 0,
            },
        };
        snapshot.finish(facts).expect("a version");
        let store = ProfileStore::open(directory.path()).expect("profiles");
        let facts = &store.manifest().facts;
        assert_eq!(
            (facts.complete_through, facts.identified_from),
            (as_of, as_of)
        );
        assert_eq!(facts.actions.read(), 4);
        let profile = store.get(UserId(9)).expect("a profile");
        assert_eq!(profile.medoids, [medoid]);
        assert!(profile.identities.is_empty() && profile.hidden.is_empty());
    }
}
