//! The cold-start ladder: whose medoids stand for a user.

use super::Interests;
use crate::model::{Medoid, PinId};

/// The step of the ladder on which medoids were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The user's profile, with recent actions in it.
    Profile,
    /// The user's recent actions alone.
    Recent,
    /// The popular medoids over all users.
    Popular,
}

/// Why the user's own profile was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The user has no profile.
    UnknownUser,
    /// The user has one, but the catalog has none of its medoids.
    ProfileNotInCatalog,
    /// The user has none, only recent actions, whose clusters are used.
    RecentActionsOnly,
    /// There is nothing that the user has not turned against.
    NothingWanted,
}

/// Medoids to sample from.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// In the catalog, by falling importance; empty when nobody has any.
    pub(super) medoids: &'a [Medoid],
    pub(super) origin: Origin,
    pub(super) fallback: Option<Fallback>,
    /// Whether some medoids of the profile had to be left out.
    pub(super) medoids_missing: bool,
}

/// The first step of the ladder that holds a medoid of the catalog: the user's
/// own medoids, from a profile or from recent actions alone, else the popular ones.
/// `kept` is scratch memory.
pub(super) fn select_medoids<'a>(
    interests: Interests<'a>,
    in_catalog: impl Fn(PinId) -> bool,
    kept: &'a mut Vec<Medoid>,
) -> Found<'a> {
    let (own, step) = interests.own.unwrap_or((&[], Origin::Popular));
    let mut known = |medoids: &'a [Medoid]| -> usize {
        if interests.all_in_catalog {
            return medoids.len();
        }
        kept.clear();
        kept.extend(medoids.iter().filter(|medoid| in_catalog(medoid.pin)));
        kept.len()
    };
    let known_own = known(own);
    let (given, origin, fallback) = if known_own > 0 {
        let fallback = (step == Origin::Recent).then_some(Fallback::RecentActionsOnly);
        (own, step, fallback)
    } else {
        known(interests.popular);
        let fallback = match interests.own {
            None => Fallback::UnknownUser,
            Some(([], _)) => Fallback::NothingWanted,
            Some(_) => Fallback::ProfileNotInCatalog,
        };
        (interests.popular, Origin::Popular, Some(fallback))
    };
    Found {
        medoids: if interests.all_in_catalog {
            given
        } else {
            kept
        },
        origin,
        fallback,
        medoids_missing: origin != Origin::Popular && known_own < own.len(),
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
            reserved: 0,
        }
    }

    #[test]
    fn each_step_is_taken_when_the_one_before_is_empty() {
        let (own, popular) = ([medoid(1), medoid(2)], [medoid(7), medoid(8)]);
        let select_medoids = |own, in_catalog: &dyn Fn(u64) -> bool| {
            let interests = Interests {
                own,
                popular: &popular,
                factors: &[],
                prior: None,
                all_in_catalog: false,
            };
            let mut kept = vec![medoid(9)];
            let found = select_medoids(interests, |pin| in_catalog(pin.0), &mut kept);
            let Found {
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
            let interests = Interests {
                own,
                popular: &popular,
                factors: &[],
                prior: None,
                all_in_catalog: true,
            };
            let mut kept = Vec::new();
            let found = select_medoids(interests, |_| panic!("looked up"), &mut kept);
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
