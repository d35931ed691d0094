//! Clustering by complete linkage, where the distance of two clusters is that of their
//! farthest members.

use kodama::{Method, linkage};

use crate::cluster::Point;
use crate::kernel;
use crate::model::Embeddings;

/// Where a tree of merges is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cut {
    /// Above this squared distance.
    At(f64),
    /// Where this number of clusters is left.
    Into(usize),
}

/// The clusters of `points`. Members are positions, ascending; clusters are ordered by
/// their first member.
pub(super) fn partition(points: &[Point], embeddings: &Embeddings, cut: Cut) -> Vec<Vec<usize>> {
    let row = |at: usize| embeddings.row(points[at].row);
    let count = points.len();
    let mut distances = Vec::with_capacity(count * count.saturating_sub(1) / 2);
    for i in 0..count {
        distances.extend((i + 1..count).map(|j| kernel::squared_l2(row(i), row(j))));
    }
    let tree = linkage(&mut distances, count, Method::Complete);
    let merges = tree.steps().iter().take_while(|step| match cut {
        Cut::At(max_distance) => f64::from(step.dissimilarity) <= max_distance,
        Cut::Into(_) => true,
    });
    let merges = merges.take(match cut {
        Cut::At(_) => count,
        Cut::Into(clusters) => count.saturating_sub(clusters),
    });
    // Step i of the linkage makes the cluster count + i.
    let mut clusters: Vec<Vec<usize>> = (0..count).map(|point| vec![point]).collect();
    for step in merges {
        let mut merged = std::mem::take(&mut clusters[step.cluster1]);
        merged.append(&mut clusters[step.cluster2]);
        clusters.push(merged);
    }
    clusters.retain(|members| !members.is_empty());
    clusters
        .iter_mut()
        .for_each(|members| members.sort_unstable());
    clusters.sort_unstable();
    clusters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PinId, Timestamp};

    #[test]
    fn a_cut_is_by_the_farthest_members_or_by_count() {
        let mut embeddings = Embeddings::new(2).expect("a dimension");
        let mut points = Vec::new();
        // Degrees on a circle: a chain that single linkage would join first.
        for (row, degrees) in [0.0f32, 20.0, 42.0, 65.0, 180.0].iter().enumerate() {
            let angle = degrees.to_radians();
            embeddings
                .push(&[angle.cos(), angle.sin()])
                .expect("a vector");
            points.push(Point {
                row,
                pin: PinId(row as u64),
                time: Timestamp::from_micros(0),
                weight: 1.0,
            });
        }
        let chord = |degrees: f64| 2.0 - 2.0 * degrees.to_radians().cos();
        let at = |degrees: f64| partition(&points, &embeddings, Cut::At(chord(degrees)));
        assert_eq!(at(24.0), [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!(at(64.0), [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!(at(66.0), [vec![0, 1, 2, 3], vec![4]]);
        assert_eq!(at(0.0).len(), 5);
        let into = |clusters| partition(&points, &embeddings, Cut::Into(clusters));
        assert_eq!(into(3), at(24.0));
        assert_eq!((into(1).len(), into(9).len()), (1, 5));
        assert!(partition(&[], &embeddings, Cut::Into(1)).is_empty());
    }
}
