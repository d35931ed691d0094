//! Ward's clustering by the nearest-neighbor chain, cut at a distance.
//!
//! The distance of clusters of the sizes n and m with the centroids a and b is
//! 2 n m / (n + m) |a - b|^2: |a - b|^2 for two points, and else what
//! Lance-Williams makes of it, d(i+j, k) = ((n_i+n_k) d(i,k) + (n_j+n_k) d(j,k) -
//! n_k d(i,j)) / (n_i+n_j+n_k). It is SciPy's `linkage(X, 'ward')` height squared.
//! Two clusters are merged when their distance is at most alpha, so the result
//! equals `fcluster(Z, sqrt(alpha), 'distance')`: pins that never merge are
//! clusters of one, where the text of the paper would lose them.
//!
//! O(m^2) time and memory. Ward's distance is reducible: a merge never brings a
//! cluster nearer to a third one than its parts were. Two things follow. Merging
//! mutual nearest neighbors in any order gives the clusters of the greedy
//! order; and a cluster whose nearest neighbor is farther than alpha is final,
//! so it is retired at once, and no tree is built above the cut.

use super::distances::{Clusters, Points};

/// Memory that is used again for the next user.
#[derive(Debug, Default)]
pub(super) struct WardScratch {
    /// A hash that equal points share, and the point.
    keys: Vec<(u32, u32)>,
    /// By point: the point into whose cluster it was merged, or itself.
    parents: Vec<usize>,
    /// Points that are not a copy of one before, ascending: the rows.
    firsts: Vec<usize>,
    /// Their vectors times their weights, where that is not what was given.
    weighted: Vec<f32>,
    /// Rows, each with the next as its nearest neighbor.
    chain: Vec<usize>,
    clusters: Clusters,
}

/// Partitions into clusters the rows of `dimension` in `rows`, cut at `alpha`: positions
/// of the members, ascending; clusters by their first member. Each row stands for
/// as many points at its place as `sizes` says, at least one.
pub(super) fn partition(
    rows: &[f32],
    sizes: &[u32],
    dimension: usize,
    alpha: f64,
    scratch: &mut WardScratch,
) -> Vec<Vec<usize>> {
    let WardScratch {
        keys,
        parents,
        firsts,
        weighted,
        chain,
        clusters,
    } = scratch;
    join_copies(rows, dimension, keys, parents);
    firsts.clear();
    firsts.extend((0..sizes.len()).filter(|&point| parents[point] == point));
    let points = Points {
        rows,
        dimension,
        firsts,
    };
    clusters.reset(&points, sizes, parents, weighted);

    chain.clear();
    merge_along_chains(clusters, &points, alpha, chain, parents);
    group_members(parents)
}

/// Merges mutual nearest neighbors until no two clusters are within `alpha`. Sets the
/// parent of each point whose cluster is merged into another.
fn merge_along_chains(
    clusters: &mut Clusters,
    points: &Points<'_>,
    alpha: f64,
    chain: &mut Vec<usize>,
    parents: &mut [usize],
) {
    let firsts = points.firsts;
    while let Some(start) = chain.last().copied().or_else(|| clusters.chain_start()) {
        if chain.is_empty() {
            chain.push(start);
        }
        let before = chain.len().checked_sub(2).map(|at| chain[at]);
        match (clusters.nearest(start, before, alpha, points), before) {
            // A chain that would run in a circle has come to distances that are equal
            // but for rounding, so the one before is as near.
            (Some(other), Some(before)) if other == before || chain.contains(&other) => {
                chain.truncate(chain.len() - 2);
                let (head, tail) = (start.min(before), start.max(before));
                clusters.merge(head, tail);
                parents[firsts[tail]] = firsts[head];
            }
            (Some(other), _) => chain.push(other),
            (None, _) => {
                // Only near neighbors were put on the chain, so it is its start.
                clusters.retire(start);
                chain.clear();
            }
        }
    }
}

/// Sets each point's parent to the first point that is equal to it. A point may
/// miss it if others share their key; then they meet at distance 0 later.
fn join_copies(
    rows: &[f32],
    dimension: usize,
    keys: &mut Vec<(u32, u32)>,
    parents: &mut Vec<usize>,
) {
    let row = |point: usize| &rows[point * dimension..][..dimension];
    let key = |row: &[f32]| row[0].to_bits() ^ row[dimension - 1].to_bits().rotate_left(16);
    keys.clear();
    keys.extend(rows.chunks_exact(dimension).map(key).zip(0..));
    keys.sort_unstable();
    parents.clear();
    parents.extend(0..keys.len());
    for same in keys.chunk_by(|a, b| a.0 == b.0) {
        let mut first = same[0].1 as usize;
        for &(_, point) in &same[1..] {
            let point = point as usize;
            if row(point) != row(first) {
                first = point;
            }
            parents[point] = first;
        }
    }
}

/// Groups the points by the head of their cluster. A head is the first member,
/// because a merge always keeps the lower position.
fn group_members(parents: &mut [usize]) -> Vec<Vec<usize>> {
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

    fn wide(row: &[f32]) -> Vec<f64> {
        row.iter().map(|&x| f64::from(x)).collect()
    }

    /// [`partition`] of single points.
    fn clusters(rows: &[f32], dimension: usize, alpha: f64) -> Vec<Vec<usize>> {
        let sizes = vec![1; rows.len() / dimension];
        partition(rows, &sizes, dimension, alpha, &mut WardScratch::default())
    }

    /// O(m^3 d): merge the two nearest clusters, by the closed form over their
    /// centroids, until the nearest are farther than alpha.
    fn greedy(rows: &[f32], sizes: &[u32], dimension: usize, alpha: f64) -> Vec<Vec<usize>> {
        let mut clusters: Vec<(Vec<usize>, f64, Vec<f64>)> = rows
            .chunks(dimension)
            .enumerate()
            .map(|(i, row)| (vec![i], f64::from(sizes[i]), wide(row)))
            .collect();
        loop {
            let mut best = (alpha, None);
            for (i, (_, n_a, mu_a)) in clusters.iter().enumerate() {
                for (j, (_, n_b, mu_b)) in clusters.iter().enumerate().skip(i + 1) {
                    let distance = 2.0 * n_a * n_b / (n_a + n_b) * squared(mu_a, mu_b);
                    if distance < best.0 {
                        best = (distance, Some((i, j)));
                    }
                }
            }
            let (_, Some((i, j))) = best else { break };
            let (tail, n_tail, mu_tail) = clusters.remove(j);
            let (head, n_head, mu) = &mut clusters[i];
            for (x, y) in mu.iter_mut().zip(mu_tail) {
                *x = (*x * *n_head + y * n_tail) / (*n_head + n_tail);
            }
            *n_head += n_tail;
            head.extend(tail);
            head.sort_unstable();
        }
        let mut clusters: Vec<Vec<usize>> = clusters.into_iter().map(|(c, _, _)| c).collect();
        clusters.sort_unstable();
        clusters
    }

    /// O(m^3): the same by Lance-Williams over a matrix of distances in f64.
    fn greedy_by_update(rows: &[f32], dimension: usize, alpha: f64) -> Vec<Vec<usize>> {
        let points: Vec<Vec<f64>> = rows.chunks(dimension).map(wide).collect();
        let to_all = |a: &Vec<f64>| points.iter().map(|b| squared(a, b)).collect::<Vec<f64>>();
        let mut distances: Vec<Vec<f64>> = points.iter().map(to_all).collect();
        let mut clusters: Vec<Vec<usize>> = (0..points.len()).map(|i| vec![i]).collect();
        loop {
            let mut best = (alpha, None);
            for (i, row) in distances.iter().enumerate() {
                for (j, &distance) in row.iter().enumerate().skip(i + 1) {
                    if distance < best.0 {
                        best = (distance, Some((i, j)));
                    }
                }
            }
            let (between, Some((i, j))) = best else { break };
            let sizes: Vec<f64> = clusters.iter().map(|c| c.len() as f64).collect();
            for (k, size) in sizes.iter().enumerate() {
                let distance = ((sizes[i] + size) * distances[i][k]
                    + (sizes[j] + size) * distances[j][k]
                    - size * between)
                    / (sizes[i] + sizes[j] + size);
                distances[i][k] = distance;
                distances[k][i] = distance;
            }
            distances.remove(j);
            for row in &mut distances {
                row.remove(j);
            }
            let tail = clusters.remove(j);
            clusters[i].extend(tail);
            clusters[i].sort_unstable();
        }
        clusters.sort_unstable();
        clusters
    }

    /// Points about centers, of about unit length, with some copies and some that
    /// are all but copies.
    fn clustered() -> impl Strategy<Value = Vec<f32>> {
        let row = |spread: f32| prop::collection::vec(-spread..spread, 256);
        let centers = prop::collection::vec(row(0.1), 1..8);
        let points = prop::collection::vec((0usize..8, row(0.06), 0u8..8), 1..150);
        (centers, points).prop_map(|(centers, points)| {
            let mut rows: Vec<f32> = Vec::new();
            for (at, offset, kind) in points {
                let center = &centers[at % centers.len()];
                match (kind, rows.len().checked_sub(256)) {
                    (0, Some(last)) => rows.extend_from_within(last..),
                    (1, Some(last)) => {
                        rows.extend_from_within(last..);
                        rows[last + 256..].iter_mut().for_each(|x| *x *= 1.000_001);
                    }
                    _ => rows.extend(center.iter().zip(offset).map(|(c, o)| c + o)),
                }
            }
            rows
        })
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
            let sizes = vec![1; rows.len() / 4];
            prop_assert_eq!(clusters(&rows, 4, alpha), greedy(&rows, &sizes, 4, alpha));
        }

        #[test]
        fn weighted_points_equal_the_greedy_twin_and_their_copies(
            points in prop::collection::vec((prop::array::uniform4(-1.0f32..1.0), 1u32..9), 1..40),
            alpha in 0.01f64..20.0,
        ) {
            let rows: Vec<f32> = points.iter().flat_map(|(row, _)| *row).collect();
            let sizes: Vec<u32> = points.iter().map(|&(_, size)| size).collect();
            let found = partition(&rows, &sizes, 4, alpha, &mut WardScratch::default());
            prop_assert_eq!(&found, &greedy(&rows, &sizes, 4, alpha));

            let copies: Vec<f32> = points
                .iter()
                .flat_map(|(row, size)| row.repeat(*size as usize))
                .collect();
            let of: Vec<usize> = (0..points.len())
                .flat_map(|at| vec![at; sizes[at] as usize])
                .collect();
            let mut of_copies = clusters(&copies, 4, alpha);
            for cluster in &mut of_copies {
                cluster.iter_mut().for_each(|copy| *copy = of[*copy]);
                cluster.dedup();
            }
            prop_assert_eq!(found, of_copies);
        }

        #[test]
        fn equal_distances_neither_panic_nor_lose_a_point(
            rows in prop::collection::vec(prop::sample::select(vec![0.0f32, 1.0]), 2..300),
            dimension in 2usize..8,
            alpha in prop::sample::select(vec![0.0, 1.0, 4.0 / 3.0, 2.0, 100.0]),
        ) {
            let count = rows.len() / dimension;
            let clusters = clusters(&rows[..count * dimension], dimension, alpha);
            let mut all: Vec<usize> = clusters.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn many_dimensions_equal_the_greedy_twin(rows in clustered(), alpha in 0.1f64..60.0) {
            // The same memory for other points must change nothing.
            let mut scratch = WardScratch::default();
            for rows in [&rows[..], &rows[..rows.len() / 512 * 256], &rows[..]] {
                let sizes = vec![1; rows.len() / 256];
                let found = partition(rows, &sizes, 256, alpha, &mut scratch);
                prop_assert_eq!(found, greedy_by_update(rows, 256, alpha));
            }
        }
    }

    #[test]
    fn points_too_near_for_f32_are_told_apart() {
        // Distances of the order of 1e-10 between vectors of length 1, where the
        // products know no more than 1e-7.
        let near = |step: u16| [1.0, f32::from(step) * 1e-5];
        let rows: Vec<f32> = [0, 3, 4, 9, 7, 20].into_iter().flat_map(near).collect();
        assert_eq!(
            clusters(&rows, 2, 1.5e-10),
            [vec![0], vec![1, 2], vec![3], vec![4], vec![5]]
        );
        assert_eq!(
            clusters(&rows, 2, 4.5e-10),
            [vec![0], vec![1, 2], vec![3, 4], vec![5]]
        );
    }

    #[test]
    fn no_point_and_a_single_point_are_no_special_case() {
        assert!(clusters(&[], 2, 4.0).is_empty());
        assert_eq!(clusters(&[1.0, 0.0], 2, 4.0), [[0]]);
        // A threshold of 0 still joins copies.
        let rows = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0];
        assert_eq!(clusters(&rows, 2, 0.0), [vec![0, 2], vec![1]]);
    }
}
