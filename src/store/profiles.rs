//! Profiles in memory.

use std::path::Path;

use dashmap::{DashMap, ReadOnlyView};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::{
    HISTORY, HistoryFilter, MEDOIDS, POPULAR, POPULARITY, PinActions, ProfileManifest, USERS,
    UserRecord,
};
use crate::model::{Medoid, UserId};
use crate::snapshot::{Reader, SnapshotError, SnapshotManifest};

/// The contents of the files of one version, checked, by ascending user id.
#[derive(Debug)]
pub struct ProfilesReader {
    manifest: SnapshotManifest<ProfileManifest>,
    users: Vec<UserRecord>,
    places: Vec<Place>,
    medoids: Vec<Medoid>,
    history: Vec<u8>,
    popular: Vec<Medoid>,
    acted_on: Vec<PinActions>,
}

/// Where the profile of a user lies: ends are those of the next user's begin.
#[derive(Clone, Copy, Debug)]
struct Place {
    medoids: (usize, usize),
    history: (usize, usize),
}

/// One user's profile.
#[derive(Clone, Copy, Debug)]
pub struct Profile<'a> {
    /// By falling importance; at least one.
    pub medoids: &'a [Medoid],
    history: &'a [u8],
}

/// All profiles of one version, by user.
///
/// The map is filled by all cores at once, which dashmap's shards allow, and
/// then frozen to its read-only view: lookups take no lock at all. Medoids and
/// filters stay where their files put them, in one allocation each.
#[derive(Debug)]
pub struct ProfileStore {
    files: ProfilesReader,
    places: ReadOnlyView<UserId, Place>,
}

impl ProfilesReader {
    /// Reads and checks the profiles in `path`.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let reader = Reader::<ProfileManifest>::open(path)?;
        let users: Vec<UserRecord> = reader.read_all_records(USERS)?;
        let medoids: Vec<Medoid> = reader.read_all_records(MEDOIDS)?;
        let history: Vec<u8> = reader.read_all_records(HISTORY)?;
        let popular: Vec<Medoid> = reader.read_all_records(POPULAR)?;
        let acted_on: Vec<PinActions> = reader.read_all_records(POPULARITY)?;
        if !users.is_sorted_by(|a, b| a.user < b.user) {
            return Err(reader.damaged(USERS, "the ids do not ascend"));
        }
        if !acted_on.is_sorted_by(|a, b| a.pin < b.pin) {
            return Err(reader.damaged(POPULARITY, "the ids do not ascend"));
        }
        for (name, medoids) in [(MEDOIDS, &medoids), (POPULAR, &popular)] {
            let good = |medoid: &Medoid| medoid.importance.is_finite() && medoid.importance > 0.0;
            if !medoids.iter().all(good) {
                return Err(reader.damaged(name, "an importance is not above 0"));
            }
        }
        let places = places(&users);
        let end = places.last().copied().unwrap_or(Place {
            medoids: (0, 0),
            history: (0, 0),
        });
        if end.medoids.1 != medoids.len() || users.iter().any(|user| user.medoids == 0) {
            return Err(reader.damaged(USERS, "does not fit the medoids"));
        }
        if end.history.1 != history.len() {
            return Err(reader.damaged(USERS, "does not fit the history filters"));
        }
        for place in places
            .iter()
            .filter(|place| place.history.0 < place.history.1)
        {
            HistoryFilter::check(&history[place.history.0..place.history.1])
                .map_err(|invalid| reader.damaged(HISTORY, invalid.to_string()))?;
        }
        Ok(Self {
            manifest: reader.into_manifest(),
            users,
            places,
            medoids,
            history,
            popular,
            acted_on,
        })
    }

    /// What the profiles state of themselves.
    pub fn manifest(&self) -> &SnapshotManifest<ProfileManifest> {
        &self.manifest
    }

    /// All profiles, by ascending user id.
    pub fn iter(&self) -> impl Iterator<Item = (UserId, Profile<'_>)> {
        self.users
            .iter()
            .zip(&self.places)
            .map(|(user, &place)| (user.user, self.at(place)))
    }

    fn at(&self, place: Place) -> Profile<'_> {
        Profile {
            medoids: &self.medoids[place.medoids.0..place.medoids.1],
            history: &self.history[place.history.0..place.history.1],
        }
    }
}

fn places(users: &[UserRecord]) -> Vec<Place> {
    let (mut medoid, mut byte) = (0, 0);
    let place = |user: &UserRecord| {
        let (first_medoid, first_byte) = (medoid, byte);
        medoid += user.medoids as usize;
        byte += user.history as usize;
        Place {
            medoids: (first_medoid, medoid),
            history: (first_byte, byte),
        }
    };
    users.iter().map(place).collect()
}

impl<'a> Profile<'a> {
    /// The pins that the user acted on; none when that is not kept.
    pub fn history(&self) -> Option<HistoryFilter<'a>> {
        (!self.history.is_empty()).then(|| HistoryFilter::decode(self.history))
    }
}

impl ProfileStore {
    /// Reads and checks the profiles in `path`.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let mut files = ProfilesReader::open(path)?;
        let users = std::mem::take(&mut files.users);
        let places = std::mem::take(&mut files.places);
        let map = DashMap::with_capacity(users.len());
        (0..users.len()).into_par_iter().for_each(|at| {
            map.insert(users[at].user, places[at]);
        });
        Ok(Self {
            files,
            places: map.into_read_only(),
        })
    }

    /// What the profiles state of themselves.
    pub fn manifest(&self) -> &SnapshotManifest<ProfileManifest> {
        &self.files.manifest
    }

    /// All medoids that there are, of every user and the popular ones.
    pub fn medoids(&self) -> impl Iterator<Item = &Medoid> {
        self.files.medoids.iter().chain(&self.files.popular)
    }

    /// The profile of `user`.
    pub fn get(&self, user: UserId) -> Option<Profile<'_>> {
        self.places.get(&user).map(|&place| self.files.at(place))
    }

    /// How often all users acted on pins, by ascending id; it is not kept here, as most
    /// servers have no use for it.
    pub fn take_acted_on(&mut self) -> Vec<PinActions> {
        std::mem::take(&mut self.files.acted_on)
    }

    /// The most important medoids over all users, by falling importance.
    pub fn popular(&self) -> &[Medoid] {
        &self.files.popular
    }
}
