//! Profiles in memory.

use std::path::Path;

use dashmap::{DashMap, ReadOnlyView};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::files::{
    HIDDEN, HISTORY, IDENTITIES, MEDOIDS, POPULAR, POPULARITY, USER_KEY_ENDS, USER_KEYS, USERS,
    UserRecord,
};
use super::format_2::{ManifestOfFormat2, UserOfFormat2};
use super::history::HistoryFilter;
use super::popularity::PinActions;
use super::profile_manifest::ProfileManifest;
use super::profile_spans::{FileLengths, ProfileSpan, profile_spans};
use crate::model::{ActionIdentity, Medoid, PinId, UserId};
use crate::snapshot::{ManifestFacts, Reader, SnapshotError, SnapshotManifest, Texts};

/// The contents of the files of one version, checked, by ascending user id.
#[derive(Debug)]
pub struct ProfilesReader {
    manifest: SnapshotManifest<ProfileManifest>,
    users: Vec<UserRecord>,
    /// One for each user.
    spans: Vec<ProfileSpan>,
    columns: Columns,
    /// One for each user; none where they are called by numbers.
    keys: Option<Texts>,
    popular: Vec<Medoid>,
    pin_actions: Vec<PinActions>,
}

/// What profiles point into, each one user after the other.
#[derive(Debug)]
struct Columns {
    medoids: Vec<Medoid>,
    /// History filters.
    history: Vec<u8>,
    identities: Vec<ActionIdentity>,
    hidden: Vec<PinId>,
}

/// What is known of one user.
#[derive(Clone, Copy, Debug)]
pub struct Profile<'a> {
    /// By falling importance; none for a user of whom only negative actions are known.
    pub medoids: &'a [Medoid],
    /// Ascending: identities of actions in the profile. It has those of all negative ones,
    /// and of the positive ones since `identified_from`.
    pub identities: &'a [ActionIdentity],
    /// Ascending: pins on which the user acted negatively.
    pub hidden: &'a [PinId],
    history: &'a [u8],
}

impl<'a> Profile<'a> {
    /// The pins that the user acted on; none when the profiles have no history filters.
    pub fn history(&self) -> Option<HistoryFilter<'a>> {
        (!self.history.is_empty()).then(|| HistoryFilter::decode(self.history))
    }

    /// Whether the action with this identity is in the profile.
    pub fn has_action(&self, identity: ActionIdentity) -> bool {
        self.identities.binary_search(&identity).is_ok()
    }

    /// Whether the user acted negatively on `pin`.
    pub fn hides(&self, pin: PinId) -> bool {
        self.hidden.binary_search(&pin).is_ok()
    }
}

impl ProfilesReader {
    /// Reads and checks the profiles in `path`, of this format or the one before.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let reader = Reader::<ProfileManifest>::open(path)?;
        check_marks(&reader)?;
        let users = read_users(&reader)?;
        let columns = Columns::read(&reader)?;
        let popular: Vec<Medoid> = reader.read_all_records(POPULAR)?;
        let pin_actions: Vec<PinActions> = reader.read_all_records(POPULARITY)?;
        check_order(&reader, &users, &pin_actions)?;
        check_importances(&reader, MEDOIDS, &columns.medoids)?;
        check_importances(&reader, POPULAR, &popular)?;
        let spans = profile_spans(&users);
        check_spans(&reader, &users, &spans, &columns)?;
        check_profiles(&reader, &spans, &columns)?;
        let keys = read_keys(&reader, users.len())?;
        Ok(Self {
            manifest: reader.into_manifest(),
            users,
            spans,
            columns,
            keys,
            popular,
            pin_actions,
        })
    }

    /// The manifest of the profiles.
    pub fn manifest(&self) -> &SnapshotManifest<ProfileManifest> {
        &self.manifest
    }

    /// What the caller calls the user at `position` in [`ProfilesReader::iter`]; none for one
    /// who is called by a number.
    pub fn key(&self, position: usize) -> Option<&str> {
        let key = self.keys.as_ref()?.get(position);
        Some(key).filter(|key| !key.is_empty())
    }

    /// All profiles, by ascending user id.
    pub fn iter(&self) -> impl Iterator<Item = (UserId, Profile<'_>)> {
        self.users
            .iter()
            .zip(&self.spans)
            .map(|(user, &span)| (user.user, self.columns.profile(span)))
    }
}

impl Columns {
    fn read(reader: &Reader<ProfileManifest>) -> Result<Self, SnapshotError> {
        let is_before = is_format_2(reader);
        Ok(Self {
            medoids: reader.read_all_records(MEDOIDS)?,
            history: reader.read_all_records(HISTORY)?,
            identities: if is_before {
                Vec::new()
            } else {
                reader.read_all_records(IDENTITIES)?
            },
            hidden: if is_before {
                Vec::new()
            } else {
                reader.read_all_records(HIDDEN)?
            },
        })
    }

    fn profile(&self, span: ProfileSpan) -> Profile<'_> {
        Profile {
            medoids: &self.medoids[span.medoids.range()],
            identities: &self.identities[span.identities.range()],
            hidden: &self.hidden[span.hidden.range()],
            history: &self.history[span.history.range()],
        }
    }

    fn lengths(&self) -> FileLengths {
        FileLengths {
            medoids: self.medoids.len(),
            history: self.history.len(),
            identities: self.identities.len(),
            hidden: self.hidden.len(),
        }
    }
}

fn is_format_2(reader: &Reader<ProfileManifest>) -> bool {
    reader.manifest().format == ManifestOfFormat2::FORMAT
}

fn read_users(reader: &Reader<ProfileManifest>) -> Result<Vec<UserRecord>, SnapshotError> {
    if is_format_2(reader) {
        let users: Vec<UserOfFormat2> = reader.read_all_records(USERS)?;
        return Ok(users.into_iter().map(UserRecord::from).collect());
    }
    reader.read_all_records(USERS)
}

/// Checks the keys of all users, and maps them: a server has no use for them.
fn read_keys(
    reader: &Reader<ProfileManifest>,
    users: usize,
) -> Result<Option<Texts>, SnapshotError> {
    if !reader.manifest().facts.string_user_ids {
        return Ok(None);
    }
    reader.check(USER_KEY_ENDS)?;
    reader.check(USER_KEYS)?;
    Texts::map(reader, USER_KEY_ENDS, USER_KEYS, users).map(Some)
}

/// Refuses moments that cannot be those of one batch.
fn check_marks(reader: &Reader<ProfileManifest>) -> Result<(), SnapshotError> {
    let facts = &reader.manifest().facts;
    let marks = [facts.identified_from, facts.complete_through, facts.as_of];
    if !marks.is_sorted() {
        let reason = "identified_from, complete_through and as_of do not ascend";
        return Err(reader.invalid_facts(reason));
    }
    Ok(())
}

/// Refuses users or pins that do not ascend.
fn check_order(
    reader: &Reader<ProfileManifest>,
    users: &[UserRecord],
    pin_actions: &[PinActions],
) -> Result<(), SnapshotError> {
    if !users.is_sorted_by(|a, b| a.user < b.user) {
        return Err(reader.damaged(USERS, "the ids do not ascend"));
    }
    if !pin_actions.is_sorted_by(|a, b| a.pin < b.pin) {
        return Err(reader.damaged(POPULARITY, "the ids do not ascend"));
    }
    Ok(())
}

/// Refuses a medoid without a positive importance, in the file `name`.
fn check_importances(
    reader: &Reader<ProfileManifest>,
    name: &str,
    medoids: &[Medoid],
) -> Result<(), SnapshotError> {
    let is_valid = |medoid: &Medoid| medoid.importance.is_finite() && medoid.importance > 0.0;
    if !medoids.iter().all(is_valid) {
        return Err(reader.damaged(name, "an importance is not above 0"));
    }
    Ok(())
}

/// Refuses users whose profiles do not fill their files exactly, or of whom nothing is
/// known.
fn check_spans(
    reader: &Reader<ProfileManifest>,
    users: &[UserRecord],
    spans: &[ProfileSpan],
    columns: &Columns,
) -> Result<(), SnapshotError> {
    let ends = spans
        .last()
        .map_or(FileLengths::default(), ProfileSpan::ends);
    let is_nobody = |user: &UserRecord| user.medoids == 0 && user.hidden == 0;
    let lengths = columns.lengths();
    let misfit = if ends.medoids != lengths.medoids || users.iter().any(is_nobody) {
        "does not fit the medoids"
    } else if ends.history != lengths.history {
        "does not fit the history filters"
    } else if ends != lengths {
        "does not fit the identities and hidden pins"
    } else {
        return Ok(());
    };
    Err(reader.damaged(USERS, misfit))
}

/// Refuses malformed history filters, in which lookups would read out of bounds, and
/// identities and hidden pins that do not ascend, among which lookups would fail.
fn check_profiles(
    reader: &Reader<ProfileManifest>,
    spans: &[ProfileSpan],
    columns: &Columns,
) -> Result<(), SnapshotError> {
    for &span in spans {
        let profile = columns.profile(span);
        if !profile.history.is_empty() {
            HistoryFilter::check(profile.history)
                .map_err(|invalid| reader.damaged(HISTORY, invalid.to_string()))?;
        }
        if !profile.identities.is_sorted_by(|a, b| a < b) {
            return Err(reader.damaged(IDENTITIES, "the identities of a user do not ascend"));
        }
        if !profile.hidden.is_sorted_by(|a, b| a < b) {
            return Err(reader.damaged(HIDDEN, "the hidden pins of a user do not ascend"));
        }
    }
    Ok(())
}

/// All profiles of one version, by user.
///
/// The map is filled by all cores at once, which dashmap's shards allow, and
/// then frozen to its read-only view: lookups take no lock at all. Medoids and
/// filters stay where their files put them, in one allocation each.
#[derive(Debug)]
pub struct ProfileStore {
    files: ProfilesReader,
    spans: ReadOnlyView<UserId, ProfileSpan>,
}

impl ProfileStore {
    /// Reads and checks the profiles in `path`.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let mut files = ProfilesReader::open(path)?;
        let users = std::mem::take(&mut files.users);
        let spans = std::mem::take(&mut files.spans);
        let map = DashMap::with_capacity(users.len());
        (0..users.len()).into_par_iter().for_each(|at| {
            map.insert(users[at].user, spans[at]);
        });
        Ok(Self {
            files,
            spans: map.into_read_only(),
        })
    }

    /// The manifest of the profiles.
    pub fn manifest(&self) -> &SnapshotManifest<ProfileManifest> {
        &self.files.manifest
    }

    /// All medoids, those of every user and the popular ones.
    pub fn medoids(&self) -> impl Iterator<Item = &Medoid> {
        self.files.columns.medoids.iter().chain(&self.files.popular)
    }

    /// What is known of `user`, which may be hidden pins alone.
    pub fn get(&self, user: UserId) -> Option<Profile<'_>> {
        let span = self.spans.get(&user);
        span.map(|&span| self.files.columns.profile(span))
    }

    /// Whether `user` has an interest.
    pub fn has_medoids(&self, user: UserId) -> bool {
        let profile = self.get(user);
        profile.is_some_and(|profile| !profile.medoids.is_empty())
    }

    /// Takes the numbers of actions of all users on pins, by ascending id. They are not
    /// kept here, as most servers have no use for them.
    pub fn take_pin_actions(&mut self) -> Vec<PinActions> {
        std::mem::take(&mut self.files.pin_actions)
    }

    /// The most important medoids over all users, by falling importance.
    pub fn popular(&self) -> &[Medoid] {
        &self.files.popular
    }
}
