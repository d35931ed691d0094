//! Profiles in memory.

use std::ops::Range;
use std::path::Path;

use dashmap::{DashMap, ReadOnlyView};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::files::{HISTORY, MEDOIDS, POPULAR, POPULARITY, USERS, UserRecord};
use super::history::HistoryFilter;
use super::popularity::PinActions;
use super::profile_manifest::ProfileManifest;
use crate::model::{Medoid, UserId};
use crate::snapshot::{Reader, SnapshotError, SnapshotManifest};

/// The contents of the files of one version, checked, by ascending user id.
#[derive(Debug)]
pub struct ProfilesReader {
    manifest: SnapshotManifest<ProfileManifest>,
    users: Vec<UserRecord>,
    /// One for each user.
    spans: Vec<ProfileSpan>,
    medoids: Vec<Medoid>,
    /// History filters, one after the other.
    history: Vec<u8>,
    popular: Vec<Medoid>,
    pin_actions: Vec<PinActions>,
}

/// Where the profile of a user lies.
#[derive(Clone, Copy, Debug)]
struct ProfileSpan {
    medoids: Span,
    /// In bytes.
    history: Span,
}

/// A range that can be copied.
#[derive(Clone, Copy, Debug)]
struct Span {
    begin: usize,
    end: usize,
}

impl Span {
    fn range(self) -> Range<usize> {
        self.begin..self.end
    }
}

/// One user's profile.
#[derive(Clone, Copy, Debug)]
pub struct Profile<'a> {
    /// By falling importance; at least one.
    pub medoids: &'a [Medoid],
    history: &'a [u8],
}

impl<'a> Profile<'a> {
    /// The pins that the user acted on; none when the profiles have no history filters.
    pub fn history(&self) -> Option<HistoryFilter<'a>> {
        (!self.history.is_empty()).then(|| HistoryFilter::decode(self.history))
    }
}

impl ProfilesReader {
    /// Reads and checks the profiles in `path`.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let reader = Reader::<ProfileManifest>::open(path)?;
        let users: Vec<UserRecord> = reader.read_all_records(USERS)?;
        let medoids: Vec<Medoid> = reader.read_all_records(MEDOIDS)?;
        let history: Vec<u8> = reader.read_all_records(HISTORY)?;
        let popular: Vec<Medoid> = reader.read_all_records(POPULAR)?;
        let pin_actions: Vec<PinActions> = reader.read_all_records(POPULARITY)?;
        check_order(&reader, &users, &pin_actions)?;
        check_importances(&reader, MEDOIDS, &medoids)?;
        check_importances(&reader, POPULAR, &popular)?;
        let spans = profile_spans(&users);
        check_spans(
            &reader,
            &users,
            &spans,
            FileLengths {
                medoids: medoids.len(),
                history: history.len(),
            },
        )?;
        check_history(&reader, &spans, &history)?;
        Ok(Self {
            manifest: reader.into_manifest(),
            users,
            spans,
            medoids,
            history,
            popular,
            pin_actions,
        })
    }

    /// The manifest of the profiles.
    pub fn manifest(&self) -> &SnapshotManifest<ProfileManifest> {
        &self.manifest
    }

    /// All profiles, by ascending user id.
    pub fn iter(&self) -> impl Iterator<Item = (UserId, Profile<'_>)> {
        self.users
            .iter()
            .zip(&self.spans)
            .map(|(user, &span)| (user.user, self.profile(span)))
    }

    fn profile(&self, span: ProfileSpan) -> Profile<'_> {
        Profile {
            medoids: &self.medoids[span.medoids.range()],
            history: &self.history[span.history.range()],
        }
    }
}

/// Lengths of the files that profiles point into.
#[derive(Clone, Copy, Debug)]
struct FileLengths {
    /// Number of medoids.
    medoids: usize,
    /// Bytes of history filters.
    history: usize,
}

/// Where the profile of each user lies: one behind the other, in the order of `users`.
fn profile_spans(users: &[UserRecord]) -> Vec<ProfileSpan> {
    let (mut medoid, mut byte) = (0, 0);
    let span = |user: &UserRecord| {
        let (first_medoid, first_byte) = (medoid, byte);
        medoid += user.medoids as usize;
        byte += user.history as usize;
        ProfileSpan {
            medoids: Span {
                begin: first_medoid,
                end: medoid,
            },
            history: Span {
                begin: first_byte,
                end: byte,
            },
        }
    };
    users.iter().map(span).collect()
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

/// Refuses users whose profiles do not fill the files of medoids and history filters
/// exactly, or who have no medoid.
fn check_spans(
    reader: &Reader<ProfileManifest>,
    users: &[UserRecord],
    spans: &[ProfileSpan],
    lengths: FileLengths,
) -> Result<(), SnapshotError> {
    let end_of_medoids = spans.last().map_or(0, |span| span.medoids.end);
    if end_of_medoids != lengths.medoids || users.iter().any(|user| user.medoids == 0) {
        return Err(reader.damaged(USERS, "does not fit the medoids"));
    }
    let end_of_history = spans.last().map_or(0, |span| span.history.end);
    if end_of_history != lengths.history {
        return Err(reader.damaged(USERS, "does not fit the history filters"));
    }
    Ok(())
}

/// Refuses malformed history filters: lookups in them would read out of bounds.
fn check_history(
    reader: &Reader<ProfileManifest>,
    spans: &[ProfileSpan],
    history: &[u8],
) -> Result<(), SnapshotError> {
    let filters = spans.iter().map(|span| &history[span.history.range()]);
    for filter in filters.filter(|filter| !filter.is_empty()) {
        HistoryFilter::check(filter)
            .map_err(|invalid| reader.damaged(HISTORY, invalid.to_string()))?;
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
        self.files.medoids.iter().chain(&self.files.popular)
    }

    /// The profile of `user`.
    pub fn get(&self, user: UserId) -> Option<Profile<'_>> {
        self.spans.get(&user).map(|&span| self.files.profile(span))
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
