//! From the actions of one user to a profile: clusters, their medoids, their importance.

use super::decay::Decay;
use super::importance::compute_importance;
use super::medoid::find_medoid;
use super::params::Params;
use super::point::Point;
use super::scratch::ClusterScratch;
use super::ward;
use crate::model::{Embeddings, Medoid, Timestamp};

/// One cluster of a user's actions: what golden vectors and profiles come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Positions of the members among the points, ascending.
    pub members: Vec<usize>,
    /// Position of the medoid among the points.
    pub medoid: usize,
    /// Sum over the members of weight * exp(-lambda * age in days).
    pub importance: f64,
}

/// Builds the profile of one user: medoids by descending importance. `points` are the
/// user's actions before `as_of`, sorted by time and then by pin id.
pub fn build_profile(
    points: &[Point],
    embeddings: &Embeddings,
    params: &Params,
    as_of: Timestamp,
    scratch: &mut ClusterScratch,
) -> Vec<Medoid> {
    let clusters = cluster_points(points, embeddings, params, as_of, scratch);
    let medoids = clusters.iter().map(|c| summarize_cluster(c, points));
    let mut medoids: Vec<Medoid> = medoids.collect();
    medoids.sort_unstable_by(Medoid::by_descending_importance);
    medoids
}

/// Computes the clusters behind [`build_profile`], by their first member.
pub fn cluster_points(
    points: &[Point],
    embeddings: &Embeddings,
    params: &Params,
    as_of: Timestamp,
    scratch: &mut ClusterScratch,
) -> Vec<Cluster> {
    let partition = partition_points(points, embeddings, params.alpha, scratch);
    let decay = Decay {
        lambda_per_day: params.lambda_per_day,
        as_of,
    };
    describe_clusters(partition, points, embeddings, decay, scratch)
}

/// Partitions `points` into Ward's clusters: the positions of the members, ascending;
/// clusters by their first member.
pub fn partition_points(
    points: &[Point],
    embeddings: &Embeddings,
    alpha: f64,
    scratch: &mut ClusterScratch,
) -> Vec<Vec<usize>> {
    gather_rows(points, embeddings, scratch);
    let ClusterScratch { rows, sizes, ward } = scratch;
    ward::partition(rows, sizes, embeddings.dimension(), alpha, ward)
}

/// Finds the medoid and the importance of each part of `partition`, whichever algorithm
/// made it. Each part holds positions among `points`, ascending, and at least one.
pub fn describe_clusters(
    partition: Vec<Vec<usize>>,
    points: &[Point],
    embeddings: &Embeddings,
    decay: Decay,
    scratch: &mut ClusterScratch,
) -> Vec<Cluster> {
    gather_rows(points, embeddings, scratch);
    let ClusterScratch { rows, sizes, .. } = scratch;
    let describe = |members: Vec<usize>| Cluster {
        medoid: find_medoid(rows, sizes, embeddings.dimension(), &members),
        importance: compute_importance(points, &members, decay),
        members,
    };
    partition.into_iter().map(describe).collect()
}

/// Makes the rows of `scratch` the vectors of `points`, each of size 1.
fn gather_rows(points: &[Point], embeddings: &Embeddings, scratch: &mut ClusterScratch) {
    let ClusterScratch { rows, sizes, .. } = scratch;
    rows.clear();
    for point in points {
        rows.extend_from_slice(embeddings.row(point.row));
    }
    sizes.clear();
    sizes.resize(points.len(), 1);
}

/// Summarizes `cluster` as a profile keeps it.
pub fn summarize_cluster(cluster: &Cluster, points: &[Point]) -> Medoid {
    let last = cluster.members.iter().map(|&m| points[m].time).max();
    Medoid {
        pin: points[cluster.medoid].pin,
        importance: cluster.importance,
        last_action_time: last.unwrap_or(points[cluster.medoid].time),
        size: u32::try_from(cluster.members.len()).unwrap_or(u32::MAX),
        dislikes: 0,
    }
}
