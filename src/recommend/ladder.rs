//! The cold-start ladder: whose medoids stand for a user.

use super::Interests;
use crate::model::{Medoid, PinId};

/// The step of the ladder on which medoids were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The user's profile.
    Profile,
    /// The popular medoids over all users.
    Popular,
}

/// Why the user's own profile was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The user has no profile.
    UnknownUser,
    /// The user has one, but the catalogue has none of its medoids.
    ProfileNotInCatalog,
}

/// Medoids to sample from.
#[derive(Debug)]
pub(super) struct Found {
    /// In the catalogue, by falling importance; empty when nobody has any.
    pub(super) medoids: Vec<Medoid>,
    pub(super) origin: Origin,
    pub(super) fallback: Option<Fallback>,
    /// Whether some medoids of the profile had to be left out.
    pub(super) medoids_missing: bool,
}

/// The first step of the ladder that holds a medoid of the catalogue:
/// the profile, else the popular medoids.
pub(super) fn climb(interests: Interests<'_>, in_catalog: impl Fn(PinId) -> bool) -> Found {
    let known = |medoids: &[Medoid]| -> Vec<Medoid> {
        medoids
            .iter()
            .copied()
            .filter(|medoid| in_catalog(medoid.pin))
            .collect()
    };
    let own = interests.profile.map(known);
    let fallback = match &own {
        Some(medoids) if !medoids.is_empty() => {
            return Found {
                medoids_missing: medoids.len() < interests.profile.map_or(0, <[Medoid]>::len),
                medoids: own.unwrap_or_default(),
                origin: Origin::Profile,
                fallback: None,
            };
        }
        Some(_) => Fallback::ProfileNotInCatalog,
        None => Fallback::UnknownUser,
    };
    Found {
        medoids: known(interests.popular),
        origin: Origin::Popular,
        fallback: Some(fallback),
        medoids_missing: false,
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
        let climb = |profile, in_catalog: &dyn Fn(u64) -> bool| {
            climb(
                Interests {
                    profile,
                    popular: &popular,
                },
                |pin| in_catalog(pin.0),
            )
        };
        let found = climb(Some(&own), &|_| true);
        assert_eq!(
            (found.origin, found.fallback, found.medoids_missing),
            (Origin::Profile, None, false)
        );
        assert_eq!(found.medoids, own);

        let found = climb(Some(&own), &|pin| pin == 2);
        assert!(found.medoids_missing);
        assert_eq!(found.medoids, own[1..]);

        let found = climb(Some(&own), &|pin| pin > 2);
        assert_eq!(found.fallback, Some(Fallback::ProfileNotInCatalog));
        assert_eq!(found.medoids, popular);

        let found = climb(None, &|pin| pin != 7);
        assert_eq!(
            (found.origin, found.fallback),
            (Origin::Popular, Some(Fallback::UnknownUser))
        );
        assert_eq!(found.medoids, popular[1..]);
        assert!(climb(None, &|_| false).medoids.is_empty());
    }
}
