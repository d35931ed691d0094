//! What a ranker takes for features of a user: the vectors of the medoids that can be
//! sampled, and one vector for all of them.

use super::fallback::{self, Fallback};
use super::seeds::Seeds;
use super::user::{MedoidSources, Origin};
use crate::kernel;
use crate::model::{Medoid, PinId};

/// The medoids that can be sampled, with their vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct UserFeatures<'a> {
    /// By descending importance; empty when nobody has any.
    pub medoids: Vec<MedoidVector<'a>>,
    /// Where they come from.
    pub origin: Origin,
    /// Why they are not those of the user's profile.
    pub fallback: Option<Fallback>,
    /// Number of the user's own medoids that have no vector and are left out.
    pub medoids_missing: usize,
}

/// A medoid and its unit vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MedoidVector<'a> {
    /// The medoid.
    pub medoid: Medoid,
    /// The vector of its pin.
    pub vector: &'a [f32],
}

impl<'a> UserFeatures<'a> {
    /// The features of a user with these medoids: of those that a request would sample
    /// from. A catalog has those pins that it has a `vector` of.
    pub fn new(sources: MedoidSources<'_>, vector: impl Fn(PinId) -> Option<&'a [f32]>) -> Self {
        let own = sources.user_medoids.map_or(&[][..], |user| user.medoids);
        let missing = own.iter().filter(|medoid| vector(medoid.pin).is_none());
        let medoids_missing = missing.count();
        let mut in_catalog = Vec::new();
        let contains = |pin: PinId| vector(pin).is_some();
        let selected = fallback::select_medoids(sources, Seeds::NONE, contains, &mut in_catalog);
        let medoids = selected.medoids.iter();
        let with_vectors = medoids.filter_map(|&medoid| {
            let vector = vector(medoid.pin)?;
            Some(MedoidVector { medoid, vector })
        });
        Self {
            medoids: with_vectors.collect(),
            origin: selected.origin,
            fallback: selected.fallback,
            medoids_missing,
        }
    }

    /// One vector for all medoids: see [`mean_by_importance`].
    pub fn aggregate(&self) -> Option<Vec<f32>> {
        mean_by_importance(&self.medoids)
    }
}

/// The mean of the vectors, which have one length, weighted by importance: the sum of
/// importance * vector, divided by the sum of the importances, in f64. It is at most as
/// long as a unit vector, and shorter the more the vectors differ. None without a medoid.
pub fn mean_by_importance(medoids: &[MedoidVector<'_>]) -> Option<Vec<f32>> {
    let importances = medoids.iter().map(|one| one.medoid.importance);
    // Relative to the greatest, importances neither overflow in the sum nor vanish.
    let greatest = importances.clone().fold(0.0, f64::max);
    let total: f64 = importances.map(|importance| importance / greatest).sum();
    let mut sum = vec![0.0; medoids.first()?.vector.len()];
    for MedoidVector { medoid, vector } in medoids {
        let weight = medoid.importance / greatest / total;
        kernel::add_weighted(&mut sum, vector, weight);
    }
    Some(sum.into_iter().map(|component| component as f32).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Timestamp;
    use crate::recommend::user::UserMedoids;

    fn medoid(pin: u64, importance: f64) -> Medoid {
        Medoid {
            pin: PinId(pin),
            importance,
            last_action_time: Timestamp::from_micros(0),
            size: 1,
            dislikes: 0,
        }
    }

    fn sources<'a>(own: Option<&'a [Medoid]>, popular: &'a [Medoid]) -> MedoidSources<'a> {
        MedoidSources {
            user_medoids: own.map(|medoids| UserMedoids {
                medoids,
                origin: Origin::Profile,
            }),
            popular_medoids: popular,
            sampling_factors: &[],
            all_in_catalog: false,
        }
    }

    /// The formula, component by component.
    fn naive_mean(medoids: &[MedoidVector<'_>]) -> Option<Vec<f64>> {
        let total: f64 = medoids.iter().map(|one| one.medoid.importance).sum();
        let components = 0..medoids.first()?.vector.len();
        let mean = components.map(|at| {
            let terms = medoids.iter();
            let terms = terms.map(|one| one.medoid.importance * f64::from(one.vector[at]));
            terms.sum::<f64>() / total
        });
        Some(mean.collect())
    }

    proptest! {
        #[test]
        fn the_mean_is_that_of_the_formula(
            (rows, importances) in (1usize..80, 0usize..30).prop_flat_map(|(dimension, medoids)| (
                prop::collection::vec(prop::collection::vec(-1.0f32..1.0, dimension), medoids),
                prop::collection::vec(1e-150f64..1e6, medoids),
            )),
        ) {
            let medoids: Vec<MedoidVector<'_>> = rows
                .iter()
                .zip(importances)
                .map(|(vector, importance)| MedoidVector { medoid: medoid(1, importance), vector })
                .collect();
            let (mean, expected) = (mean_by_importance(&medoids), naive_mean(&medoids));
            prop_assert_eq!(mean.is_some(), expected.is_some());
            for (found, expected) in mean.iter().flatten().zip(expected.iter().flatten()) {
                prop_assert!((f64::from(*found) - expected).abs() < 1e-6, "{} {}", found, expected);
            }
            prop_assert_eq!(mean.map(|mean| mean.len()), expected.map(|mean| mean.len()));
        }

        #[test]
        fn medoids_are_those_that_a_request_would_sample_from(
            own in prop::option::of(prop::collection::btree_set(0u64..20, 0..8)),
            popular in prop::collection::btree_set(0u64..20, 0..8),
            in_catalog in prop::collection::btree_set(0u64..20, 0..20),
        ) {
            let medoids = |pins: &std::collections::BTreeSet<u64>| -> Vec<Medoid> {
                let importances = (1..).map(|place| 1.0 / f64::from(place));
                pins.iter().zip(importances).map(|(&pin, importance)| medoid(pin, importance)).collect()
            };
            let (own, popular) = (own.as_ref().map(medoids), medoids(&popular));
            let vectors: Vec<[f32; 2]> = (0u8..20).map(|pin| [f32::from(pin), 1.0]).collect();
            let vector = |pin: PinId| {
                in_catalog.contains(&pin.0).then(|| &vectors[pin.0 as usize][..])
            };
            let found = UserFeatures::new(sources(own.as_deref(), &popular), vector);

            let has = |medoid: &&Medoid| in_catalog.contains(&medoid.pin.0);
            let own = own.unwrap_or_default();
            let of_user: Vec<Medoid> = own.iter().filter(has).copied().collect();
            let is_own = !of_user.is_empty();
            let expected = match is_own {
                true => of_user.clone(),
                false => popular.iter().filter(has).copied().collect(),
            };
            let pins: Vec<Medoid> = found.medoids.iter().map(|one| one.medoid).collect();
            prop_assert_eq!(pins, expected);
            for one in &found.medoids {
                prop_assert_eq!(one.vector[0], one.medoid.pin.0 as f32);
            }
            prop_assert_eq!(found.origin == Origin::Popular, !is_own);
            prop_assert_eq!(found.fallback.is_none(), is_own);
            prop_assert_eq!(found.medoids_missing, own.len() - of_user.len());
        }
    }

    #[test]
    fn the_greatest_and_the_least_importances_have_a_mean() {
        let mean = |importances: [f64; 2]| {
            let [x, y] = [[1.0, 0.0], [0.0, 1.0]];
            let vectors = [&x[..], &y[..]];
            let pairs = importances.into_iter().zip(vectors);
            let medoids: Vec<MedoidVector<'_>> = pairs
                .map(|(importance, vector)| MedoidVector {
                    medoid: medoid(1, importance),
                    vector,
                })
                .collect();
            mean_by_importance(&medoids).expect("two medoids")
        };
        assert_eq!(mean([f64::MAX, f64::MAX]), [0.5, 0.5]);
        let least = Medoid::MIN_IMPORTANCE;
        assert_eq!(mean([3.0 * least, least]), [0.75, 0.25]);
        assert_eq!(mean_by_importance(&[]), None);
    }
}
