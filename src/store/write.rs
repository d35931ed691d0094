//! Writing profiles: one user after the other, by ascending id.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::files::{HISTORY, MEDOIDS, POPULAR, POPULARITY, USERS, UserRecord};
use super::popularity::PinActions;
use super::profile_manifest::ProfileManifest;
use crate::model::{Medoid, PinId, UserId};
use crate::snapshot::{FileWriter, SnapshotError, SnapshotManifest, Writer};

/// Number of popular medoids that are kept.
const MAX_POPULAR_MEDOIDS: usize = 100;

/// The profile of one user, on its way to a file.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileRecord {
    /// The user.
    pub user: UserId,
    /// By falling importance; at least one.
    pub medoids: Vec<Medoid>,
    /// The bytes of a [`super::HistoryFilter`]; empty for none.
    pub history: Vec<u8>,
}

/// Writes the profiles of one version.
#[derive(Debug)]
pub struct ProfilesWriter {
    snapshot: Writer,
    users: FileWriter,
    medoids: FileWriter,
    history: FileWriter,
    /// The sum of the medoids of all users, by pin.
    popular: HashMap<PinId, Medoid>,
}

impl ProfilesWriter {
    /// Begins a version in the versioned directory `root`.
    pub fn create(root: &Path) -> Result<Self, SnapshotError> {
        let snapshot = Writer::create(root)?;
        Ok(Self {
            users: snapshot.file(USERS)?,
            medoids: snapshot.file(MEDOIDS)?,
            history: snapshot.file(HISTORY)?,
            snapshot,
            popular: HashMap::new(),
        })
    }

    /// A directory for files that are of use only while the version is written.
    pub fn scratch(&self) -> Result<PathBuf, SnapshotError> {
        self.snapshot.scratch()
    }

    /// Appends a profile. Users must come by ascending id, each once, so that
    /// sums over users do not depend on anything but the profiles.
    pub fn append(&mut self, profile: &ProfileRecord) -> Result<(), SnapshotError> {
        let ProfileRecord {
            user,
            medoids,
            history,
        } = profile;
        // A length that does not fit is caught when the files are opened.
        let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let record = UserRecord {
            user: *user,
            medoids: length(medoids.len()),
            history: length(history.len()),
        };
        for &medoid in medoids {
            self.popular
                .entry(medoid.pin)
                .and_modify(|sum| add_medoid(sum, medoid))
                .or_insert(medoid);
        }
        self.users.append(bytemuck::bytes_of(&record))?;
        self.medoids.append(bytemuck::cast_slice(medoids))?;
        self.history.append(history)
    }

    /// Number of users and of medoids so far.
    pub fn counts(&self) -> (u64, u64) {
        let records = |file: &FileWriter, size: usize| file.bytes() / size as u64;
        (
            records(&self.users, size_of::<UserRecord>()),
            records(&self.medoids, size_of::<Medoid>()),
        )
    }

    /// Makes the version the current one. `pin_actions` are the numbers of actions of all
    /// users on pins, by ascending id.
    pub fn finish(
        self,
        facts: ProfileManifest,
        pin_actions: &[PinActions],
    ) -> Result<SnapshotManifest<ProfileManifest>, SnapshotError> {
        let Self {
            mut snapshot,
            users,
            medoids,
            history,
            popular,
        } = self;
        snapshot.close(users)?;
        snapshot.close(medoids)?;
        snapshot.close(history)?;
        let mut popular: Vec<Medoid> = popular.into_values().collect();
        popular.sort_unstable_by(Medoid::by_descending_importance);
        popular.truncate(MAX_POPULAR_MEDOIDS);
        snapshot.write(POPULAR, bytemuck::cast_slice(&popular))?;
        snapshot.write(POPULARITY, bytemuck::cast_slice(pin_actions))?;
        snapshot.finish(facts)
    }
}

/// Adds `medoid` to the sum of the medoids of its pin.
fn add_medoid(sum: &mut Medoid, medoid: Medoid) {
    sum.importance += medoid.importance;
    sum.size = sum.size.saturating_add(medoid.size);
    sum.last_action_time = sum.last_action_time.max(medoid.last_action_time);
}
