//! The medoid of a cluster: argmin over the members m of sum_j ||P_m - P_j||^2.
//!
//! With the centroid mu, that sum is n ||P_m - mu||^2 + sum_j ||P_j - mu||^2: the
//! medoid is the member nearest to the centroid, found in O(n d).

use crate::kernel;

/// Sums this close, relative to the least, count as equal: the two members of a
/// pair always tie, and rounding must not choose between them.
const TIE: f64 = 1e-5;
/// The same for sums that are zero but for rounding, as in clusters of copies.
const TIE_AT_ZERO: f64 = 1e-8;

/// Position of the medoid of `members` among the rows of `dimension` in `rows`.
///
/// Ties go to the first member, which is the earliest action. `members` must not
/// be empty.
pub(super) fn medoid(rows: &[f32], dimension: usize, members: &[usize]) -> usize {
    if members.len() <= 2 {
        return members[0];
    }
    let row = |member: usize| &rows[member * dimension..(member + 1) * dimension];
    let mut centroid = vec![0.0f64; dimension];
    for &member in members {
        kernel::add_weighted(&mut centroid, row(member), 1.0);
    }
    let count = members.len() as f64;
    centroid.iter_mut().for_each(|sum| *sum /= count);

    let to_centroid: Vec<f64> = members
        .iter()
        .map(|&member| kernel::squared_l2_f64(row(member), &centroid))
        .collect();
    let spread: f64 = to_centroid.iter().sum();
    let cost = |distance: f64| count * distance + spread;
    let least = to_centroid
        .iter()
        .copied()
        .map(cost)
        .fold(f64::INFINITY, f64::min);
    let limit = least * (1.0 + TIE) + TIE_AT_ZERO;
    let first = to_centroid
        .iter()
        .position(|&distance| cost(distance) <= limit);
    members[first.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_definition(rows: &[f32], dimension: usize, members: &[usize]) -> usize {
        let row = |m: usize| &rows[m * dimension..(m + 1) * dimension];
        let cost = |m: usize| -> f64 {
            let to = |j: &usize| -> f64 {
                let pairs = row(m).iter().zip(row(*j));
                pairs
                    .map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2))
                    .sum()
            };
            members.iter().map(to).sum()
        };
        let least = members
            .iter()
            .map(|&m| cost(m))
            .fold(f64::INFINITY, f64::min);
        let tied = |&&m: &&usize| cost(m) <= least * (1.0 + TIE) + TIE_AT_ZERO;
        *members
            .iter()
            .find(tied)
            .expect("the least ties with itself")
    }

    proptest! {
        #[test]
        fn is_the_member_of_the_definition(
            rows in prop::collection::vec(prop::sample::select(vec![-1.0f32, -0.3, 0.2, 0.9]), 3..60),
            skip in 0usize..3,
        ) {
            let members: Vec<usize> = (skip.min(rows.len() / 3 - 1)..rows.len() / 3).collect();
            prop_assert_eq!(medoid(&rows, 3, &members), by_definition(&rows, 3, &members));
        }
    }

    #[test]
    fn a_pair_and_a_cluster_of_copies_choose_the_earliest() {
        assert_eq!(medoid(&[1.0, 0.0, 0.0, 1.0], 2, &[0, 1]), 0);
        assert_eq!(medoid(&[0.6, 0.8, 0.6, 0.8, 0.6, 0.8], 2, &[1, 2]), 1);
        assert_eq!(medoid(&[0.6, 0.8, 0.6, 0.8, 0.6, 0.8], 2, &[0, 1, 2]), 0);
    }
}
