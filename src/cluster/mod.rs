//! The offline core: from a user's actions to a profile (Algorithm 2 of the
//! PinnerSage paper, KDD 2020). Pure: `as_of` is passed in, nothing is read.
//!
//! [`profile_of`] is the whole of it: Ward's clusters, the medoid of each, the
//! importance of each. [`fold_in`] brings a profile up to date with what the user
//! did since.

mod distances;
mod fold_in;
mod importance;
mod medoid;
mod ward;

pub use fold_in::{FoldParams, Folded, Interest, fold_in};
pub use importance::decayed;

use crate::model::{Embeddings, Medoid, PinId, Timestamp};

/// What shapes a profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// Greatest Ward distance (twice the increase of the sum of squared
    /// distances) at which two clusters are merged. At least 0, in squared
    /// units: two single unit vectors merge when 2 (1 - cosine) <= alpha.
    pub alpha: f64,
    /// Decay of importance a day, lambda in the paper; at least 0.
    pub lambda_per_day: f64,
}

/// One action, as clustering sees it.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Row of the pin's vector in the embeddings.
    pub row: usize,
    /// The pin acted on.
    pub pin: PinId,
    /// When.
    pub time: Timestamp,
    /// What an action of this kind adds to importance at its own moment; above 0.
    pub weight: f64,
}

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

/// Memory that clustering uses again for the next user: O(m^2 + m d) for m
/// actions of d dimensions.
#[derive(Debug, Default)]
pub struct Scratch {
    rows: Vec<f32>,
    sizes: Vec<u32>,
    ward: ward::Scratch,
}

/// The interests of one user by falling importance, from the user's actions
/// before `as_of`, sorted by time and then by pin id.
pub fn profile_of(
    points: &[Point],
    embeddings: &Embeddings,
    params: &Params,
    as_of: Timestamp,
    scratch: &mut Scratch,
) -> Vec<Medoid> {
    let clusters = clusters_of(points, embeddings, params, as_of, scratch);
    let mut medoids: Vec<Medoid> = clusters.iter().map(|c| medoid_of(c, points)).collect();
    medoids.sort_unstable_by(Medoid::by_descending_importance);
    medoids
}

/// Ward's clusters of `points`: the positions of the members, ascending; clusters
/// by their first member.
pub fn partition_of(
    points: &[Point],
    embeddings: &Embeddings,
    alpha: f64,
    scratch: &mut Scratch,
) -> Vec<Vec<usize>> {
    let Scratch { rows, sizes, ward } = scratch;
    gather(points, embeddings, rows, sizes);
    ward::partition(rows, sizes, embeddings.dimension(), alpha, ward)
}

/// The clusters behind [`profile_of`], by their first member.
pub fn clusters_of(
    points: &[Point],
    embeddings: &Embeddings,
    params: &Params,
    as_of: Timestamp,
    scratch: &mut Scratch,
) -> Vec<Cluster> {
    let partition = partition_of(points, embeddings, params.alpha, scratch);
    clusters_from(
        partition,
        points,
        embeddings,
        params.lambda_per_day,
        as_of,
        scratch,
    )
}

/// The medoid and the importance of each part of `partition`, whoever made it: each
/// part holds positions among `points`, ascending, and at least one.
pub fn clusters_from(
    partition: Vec<Vec<usize>>,
    points: &[Point],
    embeddings: &Embeddings,
    lambda_per_day: f64,
    as_of: Timestamp,
    scratch: &mut Scratch,
) -> Vec<Cluster> {
    let Scratch { rows, sizes, .. } = scratch;
    gather(points, embeddings, rows, sizes);
    let describe = |members: Vec<usize>| Cluster {
        medoid: medoid::medoid(rows, sizes, embeddings.dimension(), &members),
        importance: importance::importance(points, &members, lambda_per_day, as_of),
        members,
    };
    partition.into_iter().map(describe).collect()
}

/// Makes `rows` the vectors of `points`, each of which stands for itself.
fn gather(points: &[Point], embeddings: &Embeddings, rows: &mut Vec<f32>, sizes: &mut Vec<u32>) {
    rows.clear();
    for point in points {
        rows.extend_from_slice(embeddings.row(point.row));
    }
    sizes.clear();
    sizes.resize(points.len(), 1);
}

/// What a profile keeps of `cluster`.
pub fn medoid_of(cluster: &Cluster, points: &[Point]) -> Medoid {
    let last = cluster.members.iter().map(|&m| points[m].time).max();
    Medoid {
        pin: points[cluster.medoid].pin,
        importance: cluster.importance,
        last_action_time: last.unwrap_or(points[cluster.medoid].time),
        size: u32::try_from(cluster.members.len()).unwrap_or(u32::MAX),
        reserved: 0,
    }
}
