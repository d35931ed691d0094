//! Quotas: how many candidates each sampled medoid may bring.

/// What one medoid may claim, and what it gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Its exact share.
    share: f64,
    /// Its share in whole candidates.
    pub(super) quota: usize,
}

impl Place {
    fn claim(&self) -> f64 {
        self.share - self.quota as f64
    }
}

/// Splits `limit` in proportion to the importances, by the largest remainder,
/// with at least one for each medoid. When `limit` is too small for that, the
/// most important medoids get one each. The quotas, which replace what is in
/// `places`, add up to `limit`; equal claims are settled in favor of the
/// earlier medoid.
pub(super) fn split(
    importances: impl Iterator<Item = f64> + Clone,
    limit: usize,
    places: &mut Vec<Place>,
) {
    let total: f64 = importances.clone().sum();
    places.clear();
    places.extend(importances.map(|importance| {
        let share = importance / total * limit as f64;
        let quota = (share as usize).max(1);
        Place { share, quota }
    }));
    let mut given: usize = places.iter().map(|place| place.quota).sum();
    // Each round moves one candidate, so there are at most as many as medoids.
    while given < limit {
        let places = places.iter_mut();
        let Some(place) = places.reduce(|a, b| if b.claim() > a.claim() { b } else { a }) else {
            return;
        };
        place.quota += 1;
        given += 1;
    }
    while given > limit {
        // Whoever has more than one gives first, then whoever has the least claim.
        let key = |place: &Place| (place.quota <= 1, place.claim());
        let givers = places.iter_mut().filter(|place| place.quota > 0);
        let Some(place) = givers.reduce(|a, b| if key(b) <= key(a) { b } else { a }) else {
            return;
        };
        place.quota -= 1;
        given -= 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quotas(importances: &[f64], limit: usize) -> Vec<usize> {
        let mut places = vec![Place {
            share: 9.0,
            quota: 9,
        }];
        split(importances.iter().copied(), limit, &mut places);
        places.iter().map(|place| place.quota).collect()
    }

    #[test]
    fn shares_are_proportional_with_a_floor_of_one() {
        assert_eq!(quotas(&[6.0, 3.0, 1.0], 400), [240, 120, 40]);
        assert_eq!(quotas(&[1.0, 1.0, 1.0], 400), [134, 133, 133]);
        assert_eq!(quotas(&[1e9, 1.0, 1.0], 10), [8, 1, 1]);
        assert_eq!(quotas(&[1.0, 5.0, 2.0], 2), [0, 1, 1]);
        assert_eq!(quotas(&[1.0], 7), [7]);
        assert_eq!(quotas(&[], 7), [0usize; 0]);
    }

    proptest! {
        #[test]
        fn quotas_add_up_and_stay_within_one_of_the_share(
            importances in prop::collection::vec(0.5f64..2.0, 1..20),
            limit in 60usize..2000,
        ) {
            let total: f64 = importances.iter().sum();
            let quotas = quotas(&importances, limit);
            prop_assert_eq!(quotas.iter().sum::<usize>(), limit);
            for (importance, quota) in importances.iter().zip(quotas) {
                let share = importance / total * limit as f64;
                prop_assert!(quota >= 1 && (quota as f64 - share).abs() <= 1.0);
            }
        }

        #[test]
        fn quotas_add_up_even_when_medoids_outnumber_the_limit(
            importances in prop::collection::vec(1e-9f64..1e9, 1..20),
            limit in 1usize..30,
        ) {
            let quotas = quotas(&importances, limit);
            prop_assert_eq!(quotas.iter().sum::<usize>(), limit);
            prop_assert!(quotas.iter().all(|&quota| quota >= 1) || limit < importances.len());
        }
    }
}
