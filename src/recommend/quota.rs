//! Quotas: the number of candidates that each target, a sampled medoid or a seed, may bring.

/// Number of candidates that quotas are a share of. Further candidates come in further
/// rounds of the same quotas, and fewer are the head of the first, so that a shorter answer
/// is the head of a longer one. It is the number of candidates of a usual request.
pub(super) const ROUND: usize = 400;

/// The share of one target in the candidates.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuotaShare {
    /// In proportion to weight, with a fraction.
    exact: f64,
    /// In whole candidates.
    pub(super) quota: usize,
}

impl QuotaShare {
    /// The part of the exact share that the quota leaves unmet.
    fn remainder(&self) -> f64 {
        self.exact - self.quota as f64
    }
}

/// Splits `limit` in proportion to the weights, by the largest remainder, with at
/// least one for each target. When `limit` is too small for that, those of the greatest
/// weight get one each. The quotas, which replace the contents of
/// `shares`, add up to `limit`; equal remainders are settled in favor of the
/// earlier target.
pub(super) fn split(
    weights: impl Iterator<Item = f64> + Clone,
    limit: usize,
    shares: &mut Vec<QuotaShare>,
) {
    let total: f64 = weights.clone().sum();
    shares.clear();
    shares.extend(weights.map(|weight| {
        let exact = weight / total * limit as f64;
        let quota = (exact as usize).max(1);
        QuotaShare { exact, quota }
    }));
    let given: usize = shares.iter().map(|share| share.quota).sum();
    // Each round moves one candidate, so there are at most as many as targets.
    for _ in given..limit {
        raise_one(shares);
    }
    for _ in limit..given {
        lower_one(shares);
    }
}

/// Adds a candidate to the quota with the greatest remainder.
fn raise_one(shares: &mut [QuotaShare]) {
    let greater = |a: &QuotaShare, b: &QuotaShare| b.remainder() > a.remainder();
    let taker = shares
        .iter_mut()
        .reduce(|a, b| if greater(a, b) { b } else { a });
    if let Some(taker) = taker {
        taker.quota += 1;
    }
}

/// Takes a candidate from the quotas above one first, then from the least remainder.
fn lower_one(shares: &mut [QuotaShare]) {
    let key = |share: &QuotaShare| (share.quota <= 1, share.remainder());
    let givers = shares.iter_mut().filter(|share| share.quota > 0);
    let giver = givers.reduce(|a, b| if key(b) <= key(a) { b } else { a });
    if let Some(giver) = giver {
        giver.quota -= 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quotas(importances: &[f64], limit: usize) -> Vec<usize> {
        let mut shares = vec![QuotaShare {
            exact: 9.0,
            quota: 9,
        }];
        split(importances.iter().copied(), limit, &mut shares);
        shares.iter().map(|share| share.quota).collect()
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
