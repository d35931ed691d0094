//! K-means by Lloyd's rounds from k-means++ centers.
//!
//! A baseline of a hundred lines; the crate that has it (linfa-clustering) brings
//! 65 others.

use std::collections::BTreeMap;

use rand::{Rng, RngExt};

use crate::cluster::Point;
use crate::kernel;
use crate::model::Embeddings;

/// Most rounds; a user's few hundred actions settle in about ten.
const MOST_ROUNDS: usize = 50;

/// At most `k` clusters of `points`: positions of the members, ascending; clusters by
/// their first member.
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
    let centers = centers(&rows, k, MOST_ROUNDS, rng);
    grouped(rows.iter().map(|row| nearest_center(row, &centers)))
}

/// Positions by what each belongs to: ascending, groups by their first member.
pub(super) fn grouped(homes: impl Iterator<Item = usize>) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (position, home) in homes.enumerate() {
        groups.entry(home).or_default().push(position);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    groups.sort_unstable();
    groups
}

/// At most `k` centers of `rows`, of which there must be one, after at most so many
/// `rounds`.
pub(super) fn centers(
    rows: &[&[f32]],
    k: usize,
    rounds: usize,
    rng: &mut impl Rng,
) -> Vec<Vec<f64>> {
    let mut centers = first_centers(rows, k, rng);
    let mut nearest = vec![usize::MAX; rows.len()];
    for _ in 0..rounds {
        let mut moved = false;
        let mut sums = vec![(vec![0.0; rows[0].len()], 0.0); centers.len()];
        for (row, nearest) in rows.iter().zip(&mut nearest) {
            let now = nearest_center(row, &centers);
            moved |= now != *nearest;
            *nearest = now;
            let (sum, count) = &mut sums[now];
            kernel::add_weighted(sum, row, 1.0);
            *count += 1.0;
        }
        if !moved {
            break;
        }
        for (center, (sum, count)) in centers.iter_mut().zip(sums) {
            // A center that lost all its members stays where it is.
            if count > 0.0 {
                *center = sum.into_iter().map(|x| x / count).collect();
            }
        }
    }
    centers
}

/// The first one drawn evenly, each next one in proportion to the squared distance
/// from those before; fewer than `k` when there are fewer distinct vectors.
fn first_centers(rows: &[&[f32]], k: usize, rng: &mut impl Rng) -> Vec<Vec<f64>> {
    let wide = |row: &[f32]| -> Vec<f64> { row.iter().map(|&x| f64::from(x)).collect() };
    let mut centers = vec![wide(rows[rng.random_range(0..rows.len())])];
    let mut distances = vec![f64::INFINITY; rows.len()];
    while centers.len() < k {
        let newest = &centers[centers.len() - 1];
        for (row, distance) in rows.iter().zip(&mut distances) {
            *distance = distance.min(kernel::squared_l2_f64(row, newest));
        }
        let mut left = rng.random::<f64>() * distances.iter().sum::<f64>();
        let drawn = distances.iter().position(|&distance| {
            left -= distance;
            distance > 0.0 && left <= 0.0
        });
        // Rounding may leave a little behind the last one.
        let drawn = drawn.or_else(|| distances.iter().rposition(|&distance| distance > 0.0));
        let Some(drawn) = drawn else { break };
        centers.push(wide(rows[drawn]));
    }
    centers
}

/// Of equally near ones the first.
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
