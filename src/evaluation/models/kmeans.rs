//! K-means by Lloyd's rounds from k-means++ centers.
//!
//! A baseline in a hundred lines. The crate that offers it, linfa-clustering, brings 65
//! others.

use std::collections::BTreeMap;

use rand::{Rng, RngExt};

use crate::cluster::Point;
use crate::kernel;
use crate::model::Embeddings;

/// Maximum number of rounds. A user's few hundred actions settle in about ten.
const MAX_ROUNDS: usize = 50;

/// At most `k` clusters of `points`. Members are positions, ascending; clusters are ordered
/// by their first member.
pub(super) fn partition(
    points: &[Point],
    embeddings: &Embeddings,
    k: usize,
    rng: &mut impl Rng,
) -> Vec<Vec<usize>> {
    let rows: Vec<&[f32]> = points
        .iter()
        .map(|point| embeddings.row(point.row))
        .collect();
    let centers = centers(&rows, k, MAX_ROUNDS, rng);
    group_by_cluster(rows.iter().map(|row| nearest_center(row, &centers)))
}

/// Groups positions by the cluster that each is assigned to. Positions ascend, and groups
/// are ordered by their first member.
pub(super) fn group_by_cluster(assigned: impl Iterator<Item = usize>) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (position, cluster) in assigned.enumerate() {
        groups.entry(cluster).or_default().push(position);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    groups.sort_unstable();
    groups
}

/// At most `k` centers of `rows` after at most `rounds` rounds. There must be a row.
pub(super) fn centers(
    rows: &[&[f32]],
    k: usize,
    rounds: usize,
    rng: &mut impl Rng,
) -> Vec<Vec<f64>> {
    let mut centers = first_centers(rows, k, rng);
    let mut nearest = vec![usize::MAX; rows.len()];
    for _ in 0..rounds {
        let (means, moved) = assign(rows, &centers, &mut nearest);
        if moved == Moved::None {
            break;
        }
        for (center, mean) in centers.iter_mut().zip(means) {
            // A center that lost all its members stays where it is.
            if mean.count > 0.0 {
                *center = mean.sum.into_iter().map(|x| x / mean.count).collect();
            }
        }
    }
    centers
}

/// Whether any row changed its center.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    None,
    Some,
}

/// The mean of the rows of a center, while they are added.
#[derive(Clone, Debug)]
struct Mean {
    sum: Vec<f64>,
    count: f64,
}

/// Assigns each row to its nearest center, and sums the rows of each.
fn assign(rows: &[&[f32]], centers: &[Vec<f64>], nearest: &mut [usize]) -> (Vec<Mean>, Moved) {
    let empty = Mean {
        sum: vec![0.0; rows[0].len()],
        count: 0.0,
    };
    let mut means = vec![empty; centers.len()];
    let mut moved = Moved::None;
    for (row, nearest) in rows.iter().zip(nearest) {
        let now = nearest_center(row, centers);
        if now != *nearest {
            moved = Moved::Some;
        }
        *nearest = now;
        kernel::add_weighted(&mut means[now].sum, row, 1.0);
        means[now].count += 1.0;
    }
    (means, moved)
}

/// Initial centers by k-means++. The first one is drawn evenly, each next one in
/// proportion to its squared distance from those before. There are fewer than `k` where
/// there are fewer distinct vectors.
fn first_centers(rows: &[&[f32]], k: usize, rng: &mut impl Rng) -> Vec<Vec<f64>> {
    let wide = |row: &[f32]| -> Vec<f64> { row.iter().map(|&x| f64::from(x)).collect() };
    let mut centers = vec![wide(rows[rng.random_range(0..rows.len())])];
    let mut distances = vec![f64::INFINITY; rows.len()];
    while centers.len() < k {
        let newest = &centers[centers.len() - 1];
        for (row, distance) in rows.iter().zip(&mut distances) {
            *distance = distance.min(kernel::squared_l2_f64(row, newest));
        }
        let Some(drawn) = draw_in_proportion(&distances, rng) else {
            break;
        };
        centers.push(wide(rows[drawn]));
    }
    centers
}

/// A position in proportion to its weight; none where all weights are 0.
fn draw_in_proportion(weights: &[f64], rng: &mut impl Rng) -> Option<usize> {
    let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
    let drawn = weights.iter().position(|&weight| {
        left -= weight;
        weight > 0.0 && left <= 0.0
    });
    // Rounding may leave a little behind the last one.
    drawn.or_else(|| weights.iter().rposition(|&weight| weight > 0.0))
}

/// The position of the center nearest to `row`; of equally near ones the first.
pub(super) fn nearest_center(row: &[f32], centers: &[Vec<f64>]) -> usize {
    let mut best = (f64::INFINITY, 0);
    for (at, center) in centers.iter().enumerate() {
        let distance = kernel::squared_l2_f64(row, center);
        if distance < best.0 {
            best = (distance, at);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;
    use crate::model::{PinId, Timestamp};

    fn clusters(vectors: &[[f32; 2]], k: usize) -> Vec<Vec<usize>> {
        let mut embeddings = Embeddings::new(2).expect("a dimension");
        let mut points = Vec::new();
        for (row, vector) in vectors.iter().enumerate() {
            embeddings.push(vector).expect("a vector");
            points.push(Point {
                row,
                pin: PinId(row as u64),
                time: Timestamp::from_micros(0),
                weight: 1.0,
            });
        }
        partition(&points, &embeddings, k, &mut ChaCha8Rng::seed_from_u64(1))
    }

    #[test]
    fn groups_that_lie_apart_are_found() {
        let vectors = [
            [1.0, 0.0],
            [0.0, 1.0],
            [1.0, 0.1],
            [-1.0, 0.0],
            [0.1, 1.0],
            [-1.0, 0.1],
        ];
        assert_eq!(clusters(&vectors, 3), [vec![0, 2], vec![1, 4], vec![3, 5]]);
        assert_eq!(clusters(&vectors, 1), [vec![0, 1, 2, 3, 4, 5]]);
    }

    #[test]
    fn there_are_no_more_clusters_than_distinct_vectors() {
        let vectors = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]];
        assert_eq!(clusters(&vectors, 5), [vec![0, 2], vec![1]]);
    }
}
