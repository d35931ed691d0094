//! Cold-start fallback: the medoids of the user, else the popular ones.

use super::seeds::{SeedMode, Seeds};
use super::user::{MedoidSources, Origin, UserMedoids};
use crate::model::{Medoid, PinId};

/// Why the profile of the user was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The user has no profile.
    UnknownUser,
    /// The catalog has none of the medoids of the profile.
    ProfileNotInCatalog,
    /// The user has no profile. The medoids of recent actions are used.
    RecentActionsOnly,
    /// Negative actions silenced every interest of the user.
    NothingWanted,
    /// Seeds should take the place of medoids, and the catalog has none of them.
    SeedsNotInCatalog,
}

/// Medoids to sample from.
#[derive(Debug)]
pub(super) struct SelectedMedoids<'a> {
    /// In the catalog, by descending importance; empty when nobody has any.
    pub(super) medoids: &'a [Medoid],
    pub(super) origin: Origin,
    pub(super) fallback: Option<Fallback>,
    /// Whether some medoids of the profile had to be left out.
    pub(super) medoids_missing: bool,
}

/// Selects the user's medoids, from a profile or from recent actions alone, if the
/// catalog has one of them; else the popular ones. None where `seeds` take their place.
/// `in_catalog` is a buffer for medoids that the catalog `contains`.
pub(super) fn select_medoids<'a>(
    sources: MedoidSources<'a>,
    seeds: Seeds<'_>,
    contains: impl Fn(PinId) -> bool,
    in_catalog: &'a mut Vec<Medoid>,
) -> SelectedMedoids<'a> {
    let mut count_in_catalog = |medoids: &[Medoid]| {
        if sources.all_in_catalog {
            return medoids.len();
        }
        in_catalog.clear();
        in_catalog.extend(medoids.iter().filter(|medoid| contains(medoid.pin)));
        in_catalog.len()
    };
    let own = sources
        .user_medoids
        .filter(|_| seeds.mode == SeedMode::Join);
    let own_medoids = own.map_or(&[][..], |user| user.medoids);
    let own_count = count_in_catalog(own_medoids);
    let (medoids, origin, fallback) = match own {
        Some(user) if own_count > 0 => (user.medoids, user.origin, recent_only(user.origin)),
        own => {
            let reason = reason_for_popular(own, seeds);
            let popular = reason.map_or(&[][..], |_| sources.popular_medoids);
            count_in_catalog(popular);
            (popular, Origin::Popular, reason)
        }
    };
    SelectedMedoids {
        medoids: if sources.all_in_catalog {
            medoids
        } else {
            in_catalog
        },
        origin,
        fallback,
        medoids_missing: origin != Origin::Popular && own_count < own_medoids.len(),
    }
}

fn recent_only(origin: Origin) -> Option<Fallback> {
    (origin == Origin::Recent).then_some(Fallback::RecentActionsOnly)
}

/// Why popular medoids stand for those of the user; none where no medoids are asked for.
fn reason_for_popular(own: Option<UserMedoids<'_>>, seeds: Seeds<'_>) -> Option<Fallback> {
    match seeds.mode {
        SeedMode::Join => Some(match own {
            None => Fallback::UnknownUser,
            Some(UserMedoids { medoids: [], .. }) => Fallback::NothingWanted,
            Some(_) => Fallback::ProfileNotInCatalog,
        }),
        SeedMode::Replace => seeds.list.is_empty().then_some(Fallback::SeedsNotInCatalog),
        SeedMode::Only => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn medoid(pin: u64) -> Medoid {
        Medoid {
            pin: PinId(pin),
            importance: 1.0,
            last_action_time: Timestamp::from_micros(0),
            size: 1,
            dislikes: 0,
        }
    }

    fn sources<'a>(
        user: Option<(&'a [Medoid], Origin)>,
        popular_medoids: &'a [Medoid],
        all_in_catalog: bool,
    ) -> MedoidSources<'a> {
        MedoidSources {
            user_medoids: user.map(|(medoids, origin)| UserMedoids { medoids, origin }),
            popular_medoids,
            sampling_factors: &[],
            all_in_catalog,
        }
    }

    #[test]
    fn each_step_is_taken_when_the_one_before_is_empty() {
        let (own, popular) = ([medoid(1), medoid(2)], [medoid(7), medoid(8)]);
        let select_medoids = |own, in_catalog: &dyn Fn(u64) -> bool| {
            let sources = sources(own, &popular, false);
            let mut buffer = vec![medoid(9)];
            let contains = |pin: PinId| in_catalog(pin.0);
            let found = select_medoids(sources, Seeds::NONE, contains, &mut buffer);
            let SelectedMedoids {
                medoids,
                origin,
                fallback,
                medoids_missing,
            } = found;
            (medoids.to_vec(), origin, fallback, medoids_missing)
        };
        let (profile, everybody) = (Origin::Profile, Origin::Popular);
        assert_eq!(
            select_medoids(Some((&own, profile)), &|_| true),
            (own.to_vec(), profile, None, false)
        );
        assert_eq!(
            select_medoids(Some((&own, profile)), &|pin| pin == 2),
            (own[1..].to_vec(), profile, None, true)
        );
        let recent_only = Some(Fallback::RecentActionsOnly);
        assert_eq!(
            select_medoids(Some((&own, Origin::Recent)), &|pin| pin == 2),
            (own[1..].to_vec(), Origin::Recent, recent_only, true)
        );
        let nothing_wanted = Some(Fallback::NothingWanted);
        assert_eq!(
            select_medoids(Some((&[], profile)), &|_| true),
            (popular.to_vec(), everybody, nothing_wanted, false)
        );
        let not_here = Some(Fallback::ProfileNotInCatalog);
        assert_eq!(
            select_medoids(Some((&own, profile)), &|pin| pin > 2),
            (popular.to_vec(), everybody, not_here, false)
        );
        let unknown = Some(Fallback::UnknownUser);
        assert_eq!(
            select_medoids(None, &|pin| pin != 7),
            (popular[1..].to_vec(), everybody, unknown, false)
        );
        assert!(select_medoids(None, &|_| false).0.is_empty());
    }

    #[test]
    fn medoids_known_to_be_in_the_catalog_are_not_looked_up() {
        let (own, popular) = ([medoid(1), medoid(2)], [medoid(7)]);
        let select_medoids = |own| {
            let sources = sources(own, &popular, true);
            let mut buffer = Vec::new();
            let found = select_medoids(sources, Seeds::NONE, |_| panic!("looked up"), &mut buffer);
            assert!(!found.medoids_missing);
            (found.medoids.to_vec(), found.fallback)
        };
        assert_eq!(
            select_medoids(Some((&own, Origin::Profile))),
            (own.to_vec(), None)
        );
        let unknown = Some(Fallback::UnknownUser);
        assert_eq!(select_medoids(None), (popular.to_vec(), unknown));
    }
}
