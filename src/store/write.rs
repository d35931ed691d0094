//! Writing profiles: one user after the other, by ascending id.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::files::{
    HIDDEN, HISTORY, IDENTITIES, MEDOIDS, POPULAR, POPULARITY, USER_KEY_ENDS, USER_KEYS, USERS,
    UserRecord,
};
use super::popularity::PinActions;
use super::profile_manifest::ProfileManifest;
use crate::model::{ActionIdentity, Medoid, PinId, UserId};
use crate::snapshot::{FileWriter, SnapshotError, SnapshotManifest, Writer};

/// Number of popular medoids that are kept.
const MAX_POPULAR_MEDOIDS: usize = 100;

/// The profile of one user, on its way to a file.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileRecord {
    /// The user.
    pub user: UserId,
    /// What the caller calls the user; empty where that is the id.
    pub key: String,
    /// By falling importance.
    pub medoids: Vec<Medoid>,
    /// The bytes of a [`super::HistoryFilter`]; empty for none.
    pub history: Vec<u8>,
    /// Ascending: identities of the actions in the profile that a server may know as well.
    pub identities: Vec<ActionIdentity>,
    /// Ascending: pins on which the user acted negatively.
    pub hidden: Vec<PinId>,
}

/// Writes the profiles of one version.
#[derive(Debug)]
pub struct ProfilesWriter {
    snapshot: Writer,
    users: FileWriter,
    medoids: FileWriter,
    history: FileWriter,
    identities: FileWriter,
    hidden: FileWriter,
    /// None while users have no keys.
    keys: Option<KeyFiles>,
    /// Number of users with a medoid.
    users_with_medoids: u64,
    /// Number of negative actions that silence an interest; 0 for never.
    silenced_by: usize,
    /// The sum of the medoids of all users that want them, by pin.
    popular: HashMap<PinId, Medoid>,
}

/// The files of keys.
#[derive(Debug)]
struct KeyFiles {
    ends: FileWriter,
    texts: FileWriter,
}

impl ProfilesWriter {
    /// Begins a version in the versioned directory `root`. Interests that `silenced_by`
    /// negative actions silence, 0 for none, do not make pins popular.
    pub fn create(root: &Path, silenced_by: usize) -> Result<Self, SnapshotError> {
        let snapshot = Writer::create(root)?;
        Ok(Self {
            users: snapshot.file(USERS)?,
            medoids: snapshot.file(MEDOIDS)?,
            history: snapshot.file(HISTORY)?,
            identities: snapshot.file(IDENTITIES)?,
            hidden: snapshot.file(HIDDEN)?,
            keys: None,
            users_with_medoids: 0,
            silenced_by,
            snapshot,
            popular: HashMap::new(),
        })
    }

    /// A directory for files that are of use only while the version is written.
    pub fn scratch(&self) -> Result<PathBuf, SnapshotError> {
        self.snapshot.scratch()
    }

    /// Keeps the keys of users, of whom none was appended yet.
    pub fn keep_keys(&mut self) -> Result<(), SnapshotError> {
        self.keys = Some(KeyFiles {
            ends: self.snapshot.file(USER_KEY_ENDS)?,
            texts: self.snapshot.file(USER_KEYS)?,
        });
        Ok(())
    }

    /// Appends a profile. Users must come by ascending id, each once, so that
    /// sums over users do not depend on anything but the profiles.
    pub fn append(&mut self, profile: &ProfileRecord) -> Result<(), SnapshotError> {
        let ProfileRecord {
            user,
            key,
            medoids,
            history,
            identities,
            hidden,
        } = profile;
        // A length that does not fit is caught when the files are opened.
        let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let record = UserRecord {
            user: *user,
            medoids: length(medoids.len()),
            history: length(history.len()),
            identities: length(identities.len()),
            hidden: length(hidden.len()),
        };
        self.users_with_medoids += u64::from(!medoids.is_empty());
        let silenced_by = self.silenced_by;
        for &medoid in medoids.iter().filter(|m| m.is_active(silenced_by)) {
            self.popular
                .entry(medoid.pin)
                .and_modify(|sum| add_medoid(sum, medoid))
                .or_insert(Medoid {
                    dislikes: 0,
                    ..medoid
                });
        }
        if let Some(KeyFiles { ends, texts }) = &mut self.keys {
            texts.append(key.as_bytes())?;
            ends.append(bytemuck::bytes_of(&texts.bytes()))?;
        }
        self.users.append(bytemuck::bytes_of(&record))?;
        self.medoids.append(bytemuck::cast_slice(medoids))?;
        self.history.append(history)?;
        self.identities.append(bytemuck::cast_slice(identities))?;
        self.hidden.append(bytemuck::cast_slice(hidden))
    }

    /// Number of users with a medoid and of medoids so far.
    pub fn counts(&self) -> (u64, u64) {
        let medoids = self.medoids.bytes() / size_of::<Medoid>() as u64;
        (self.users_with_medoids, medoids)
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
            identities,
            hidden,
            keys,
            popular,
            ..
        } = self;
        snapshot.close(users)?;
        snapshot.close(medoids)?;
        snapshot.close(history)?;
        snapshot.close(identities)?;
        snapshot.close(hidden)?;
        if let Some(KeyFiles { ends, texts }) = keys {
            snapshot.close(ends)?;
            snapshot.close(texts)?;
        }
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
