//! The medoid of a cluster: argmin over the members m of sum_j w_j ||P_m - P_j||^2,
//! where the weight of a member is the number of actions that it stands for.
//!
//! With the weighted centroid mu, that sum is W ||P_m - mu||^2 + sum_j w_j ||P_j -
//! mu||^2: the medoid is the member nearest to the centroid, found in O(n d).

use crate::kernel;

/// Sums this close, relative to the least, count as equal: the two members of a
/// pair always tie, and rounding must not choose between them.
const TIE: f64 = 1e-5;
/// The same for sums that are zero but for rounding, as in clusters of copies.
const TIE_AT_ZERO: f64 = 1e-8;

/// Finds the position of the medoid of `members` among the rows of `dimension` in `rows`,
/// which stand for as many actions as `sizes` says.
///
/// Ties go to the first member, which is the earliest action. `members` must not
/// be empty.
pub(super) fn find_medoid(
    rows: &[f32],
    sizes: &[u32],
    dimension: usize,
    members: &[usize],
) -> usize {
    match *members {
        [only] => return only,
        [first, second] if sizes[first] == sizes[second] => return first,
        _ => {}
    }
    let row = |member: usize| &rows[member * dimension..(member + 1) * dimension];
    let weight = |member: usize| f64::from(sizes[member]);
    let weight_sum: f64 = members.iter().map(|&member| weight(member)).sum();
    let mut centroid = vec![0.0f64; dimension];
    for &member in members {
        kernel::add_weighted(&mut centroid, row(member), weight(member));
    }
    centroid.iter_mut().for_each(|sum| *sum /= weight_sum);

    let to_centroid = members
        .iter()
        .map(|&member| kernel::squared_l2_f64(row(member), &centroid));
    let to_centroid: Vec<f64> = to_centroid.collect();
    let pairs = to_centroid.iter().zip(members);
    let spread: f64 = pairs
        .map(|(distance, &member)| distance * weight(member))
        .sum();
    let cost = |&distance: &f64| weight_sum * distance + spread;
    members[first_of_least(to_centroid.iter().map(cost))]
}

/// Index of the first cost that ties with the least.
fn first_of_least(costs: impl Iterator<Item = f64> + Clone) -> usize {
    let least = costs.clone().fold(f64::INFINITY, f64::min);
    let limit = least * (1.0 + TIE) + TIE_AT_ZERO;
    let mut costs = costs;
    costs.position(|cost| cost <= limit).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_definition(rows: &[f32], sizes: &[u32], dimension: usize, members: &[usize]) -> usize {
        let row = |m: usize| &rows[m * dimension..(m + 1) * dimension];
        let cost = |m: usize| -> f64 {
            let to = |j: &usize| -> f64 {
                let pairs = row(m).iter().zip(row(*j));
                let squared: f64 = pairs
                    .map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2))
                    .sum();
                squared * f64::from(sizes[*j])
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
            sizes in prop::collection::vec(1u32..9, 20),
            skip in 0usize..3,
        ) {
            let members: Vec<usize> = (skip.min(rows.len() / 3 - 1)..rows.len() / 3).collect();
            for sizes in [&sizes, &vec![1; 20]] {
                let expected = by_definition(&rows, sizes, 3, &members);
                prop_assert_eq!(find_medoid(&rows, sizes, 3, &members), expected);
            }
        }
    }

    #[test]
    fn a_pair_and_a_cluster_of_copies_choose_the_earliest() {
        assert_eq!(find_medoid(&[1.0, 0.0, 0.0, 1.0], &[1; 2], 2, &[0, 1]), 0);
        let copies = [0.6, 0.8, 0.6, 0.8, 0.6, 0.8];
        assert_eq!(find_medoid(&copies, &[1; 3], 2, &[1, 2]), 1);
        assert_eq!(find_medoid(&copies, &[1; 3], 2, &[0, 1, 2]), 0);
    }

    #[test]
    fn the_heavier_of_a_pair_stays() {
        assert_eq!(find_medoid(&[1.0, 0.0, 0.0, 1.0], &[1, 2], 2, &[0, 1]), 1);
    }
}
