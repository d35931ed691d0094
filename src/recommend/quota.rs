//! Quotas: how many candidates each sampled medoid may bring.

/// Splits `limit` in proportion to the importances, by the largest remainder,
/// with at least one for each medoid. When `limit` is too small for that, the
/// most important medoids get one each. The quotas add up to `limit`; equal
/// claims are settled in favour of the earlier medoid.
pub(super) fn quotas(importances: impl Iterator<Item = f64>, limit: usize) -> Vec<usize> {
    let importances: Vec<f64> = importances.collect();
    let total: f64 = importances.iter().sum();
    let shares: Vec<f64> = importances
        .iter()
        .map(|i| i / total * limit as f64)
        .collect();
    let mut quotas: Vec<usize> = shares
        .iter()
        .map(|share| (*share as usize).max(1))
        .collect();
    // Each round moves one place, so there are at most as many as medoids.
    loop {
        let given: usize = quotas.iter().sum();
        let places = 0..quotas.len();
        let claim = |at: usize| shares[at] - quotas[at] as f64;
        if given < limit {
            let Some(at) = places.reduce(|a, b| if claim(b) > claim(a) { b } else { a }) else {
                return quotas;
            };
            quotas[at] += 1;
        } else if given > limit {
            // Whoever has more than one gives first, then whoever has the least claim.
            let key = |at: usize| (quotas[at] <= 1, claim(at));
            let Some(at) = places
                .filter(|&at| quotas[at] > 0)
                .reduce(|a, b| if key(b) <= key(a) { b } else { a })
            else {
                return quotas;
            };
            quotas[at] -= 1;
        } else {
            return quotas;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_are_proportional_with_a_floor_of_one() {
        let quotas = |importances: &[f64], limit| quotas(importances.iter().copied(), limit);
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
            let quotas = quotas(importances.iter().copied(), limit);
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
            let quotas = quotas(importances.iter().copied(), limit);
            prop_assert_eq!(quotas.iter().sum::<usize>(), limit);
            prop_assert!(quotas.iter().all(|&quota| quota >= 1) || limit < importances.len());
        }
    }
}
