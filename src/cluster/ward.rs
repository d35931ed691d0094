//! Ward's clustering by the nearest-neighbour chain, cut at a distance.
//!
//! The distance of two points is d(i, j) = ||P_i - P_j||^2; that of a merged
//! cluster follows by Lance-Williams:
//! d(i+j, k) = ((n_i+n_k) d(i,k) + (n_j+n_k) d(j,k) - n_k d(i,j)) / (n_i+n_j+n_k),
//! which is SciPy's `linkage(X, 'ward')` height squared. Two clusters are merged
//! when their distance is at most alpha, so the result equals
//! `fcluster(Z, sqrt(alpha), 'distance')`: pins that never merge are clusters of
//! one, where the text of the paper would lose them.
//!
//! O(m^2) time and memory. Ward's distance is reducible: a merge never brings a
//! cluster nearer to a third one than its parts were. Two things follow. Merging
//! mutual nearest neighbours in any order gives the clusters of the greedy
//! order; and a cluster whose nearest neighbour is farther than alpha is final,
//! so it is retired at once, and no tree is built above the cut.

use crate::kernel;

/// Memory that is used again for the next user.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Distances of all pairs of points or of the clusters they head: m x m.
    distances: Vec<f64>,
    /// Points that head a cluster which may still merge, ascending.
    active: Vec<usize>,
    /// Number of members of the cluster that each point heads.
    sizes: Vec<f64>,
    /// For each point the one into whose cluster its own was merged, or itself.
    parents: Vec<usize>,
    chain: Vec<usize>,
}

/// The clusters of the rows of `dimension` in `rows`, cut at `alpha`: positions
/// of the members, ascending; clusters by their first member.
pub(super) fn partition(
    rows: &[f32],
    dimension: usize,
    alpha: f64,
    scratch: &mut Scratch,
) -> Vec<Vec<usize>> {
    let count = rows.len() / dimension;
    let Scratch {
        distances,
        active,
        sizes,
        parents,
        chain,
    } = scratch;
    kernel::pairwise_squared_l2(rows, dimension, distances);
    active.clear();
    active.extend(0..count);
    sizes.clear();
    sizes.resize(count, 1.0);
    parents.clear();
    parents.extend(0..count);
    chain.clear();

    while let Some(&start) = chain.last().or(active.first()) {
        if chain.is_empty() {
            chain.push(start);
        }
        let before = chain.len().checked_sub(2).map(|at| chain[at]);
        match nearest(start, before, active, &distances[start * count..][..count]) {
            Some((other, distance)) if distance <= alpha => {
                if before == Some(other) {
                    chain.truncate(chain.len() - 2);
                    let (head, tail) = (start.min(other), start.max(other));
                    merge(head, tail, distances, active, sizes);
                    parents[tail] = head;
                } else {
                    chain.push(other);
                }
            }
            _ => {
                // Only near neighbours were put on the chain, so it is its start.
                active.retain(|&point| point != start);
                chain.clear();
            }
        }
    }
    members(parents)
}

/// The active point nearest to `point`, and its distance. Of equally near ones
/// the point `before` in the chain, so that the chain cannot run in a circle,
/// and then the first.
fn nearest(
    point: usize,
    before: Option<usize>,
    active: &[usize],
    distances: &[f64],
) -> Option<(usize, f64)> {
    let mut best = before.map(|before| (before, distances[before]));
    for &other in active {
        let distance = distances[other];
        if other != point && best.is_none_or(|(_, least)| distance < least) {
            best = Some((other, distance));
        }
    }
    best
}

/// Merges the cluster of `tail` into that of `head`.
fn merge(
    head: usize,
    tail: usize,
    distances: &mut [f64],
    active: &mut Vec<usize>,
    sizes: &mut [f64],
) {
    let count = sizes.len();
    let between = distances[head * count + tail];
    active.retain(|&point| point != tail);
    for &other in active.iter().filter(|&&other| other != head) {
        let (n_head, n_tail, n_other) = (sizes[head], sizes[tail], sizes[other]);
        let distance = ((n_head + n_other) * distances[head * count + other]
            + (n_tail + n_other) * distances[tail * count + other]
            - n_other * between)
            / (n_head + n_tail + n_other);
        distances[head * count + other] = distance;
        distances[other * count + head] = distance;
    }
    sizes[head] += sizes[tail];
}

/// Groups the points by the head of their cluster. A head is the first member,
/// because a merge always keeps the lower position.
fn members(parents: &mut [usize]) -> Vec<Vec<usize>> {
    let mut clusters: Vec<Vec<usize>> = Vec::new();
    let mut cluster_of = vec![0; parents.len()];
    for point in 0..parents.len() {
        // A parent comes before its child, so its own parent is its head by now.
        parents[point] = parents[parents[point]];
        if parents[point] == point {
            cluster_of[point] = clusters.len();
            clusters.push(Vec::new());
        }
        clusters[cluster_of[parents[point]]].push(point);
    }
    clusters
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn squared(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum()
    }

    /// O(m^3): merge the two nearest clusters, by the closed form over their
    /// centroids, until the nearest are farther than alpha.
    fn greedy(rows: &[f32], dimension: usize, alpha: f64) -> Vec<Vec<usize>> {
        let row = |r: &[f32]| r.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let mut clusters: Vec<(Vec<usize>, Vec<f64>)> = rows
            .chunks(dimension)
            .enumerate()
            .map(|(i, r)| (vec![i], row(r)))
            .collect();
        loop {
            let mut best = (alpha, None);
            for (i, (a, mu_a)) in clusters.iter().enumerate() {
                for (j, (b, mu_b)) in clusters.iter().enumerate().skip(i + 1) {
                    let (n_a, n_b) = (a.len() as f64, b.len() as f64);
                    let distance = 2.0 * n_a * n_b / (n_a + n_b) * squared(mu_a, mu_b);
                    if distance < best.0 {
                        best = (distance, Some((i, j)));
                    }
                }
            }
            let (_, Some((i, j))) = best else { break };
            let (tail, mu_tail) = clusters.remove(j);
            let (head, mu) = &mut clusters[i];
            let (n_head, n_tail) = (head.len() as f64, tail.len() as f64);
            for (x, y) in mu.iter_mut().zip(mu_tail) {
                *x = (*x * n_head + y * n_tail) / (n_head + n_tail);
            }
            head.extend(tail);
            head.sort_unstable();
        }
        let mut clusters: Vec<Vec<usize>> = clusters.into_iter().map(|(c, _)| c).collect();
        clusters.sort_unstable();
        clusters
    }

    proptest! {
        #[test]
        fn equals_the_greedy_twin(
            rows in prop::collection::vec(-1.0f32..1.0, 4..160),
            repeats in prop::collection::vec(0usize..40, 0..20),
            alpha in 0.01f64..6.0,
        ) {
            // Copies of a row are at distance 0, whatever the order of merging.
            let mut rows = rows[..rows.len() / 4 * 4].to_vec();
            for repeat in repeats {
                let at = repeat % (rows.len() / 4) * 4;
                rows.extend_from_within(at..at + 4);
            }
            let clusters = partition(&rows, 4, alpha, &mut Scratch::default());
            prop_assert_eq!(clusters, greedy(&rows, 4, alpha));
        }

        #[test]
        fn equal_distances_neither_panic_nor_lose_a_point(
            rows in prop::collection::vec(prop::sample::select(vec![0.0f32, 1.0]), 2..90),
            alpha in prop::sample::select(vec![0.0, 1.0, 4.0 / 3.0, 2.0, 100.0]),
        ) {
            let count = rows.len() / 2;
            let clusters = partition(&rows[..count * 2], 2, alpha, &mut Scratch::default());
            let mut all: Vec<usize> = clusters.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_point_and_a_single_point_are_no_special_case() {
        let scratch = &mut Scratch::default();
        assert!(partition(&[], 2, 4.0, scratch).is_empty());
        assert_eq!(partition(&[1.0, 0.0], 2, 4.0, scratch), [[0]]);
        // A threshold of 0 still joins copies.
        let rows = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0];
        assert_eq!(partition(&rows, 2, 0.0, scratch), [vec![0, 2], vec![1]]);
    }
}
