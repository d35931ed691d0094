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
    medoids.sort_unstable_by(Medoid::by_falling_importance);
    medoids
}

/// The clusters behind [`profile_of`], by their first member.
pub fn clusters_of(
    points: &[Point],
    embeddings: &Embeddings,
    params: &Params,
    as_of: Timestamp,
    scratch: &mut Scratch,
) -> Vec<Cluster> {
    let Scratch { rows, sizes, ward } = scratch;
    let dimension = embeddings.dimension();
    rows.clear();
    points
        .iter()
        .for_each(|p| rows.extend_from_slice(embeddings.row(p.row)));
    sizes.clear();
    sizes.resize(points.len(), 1);
    ward::partition(rows, sizes, dimension, params.alpha, ward)
        .into_iter()
        .map(|members| Cluster {
            medoid: medoid::medoid(rows, sizes, dimension, &members),
            importance: importance::importance(points, &members, params.lambda_per_day, as_of),
            members,
        })
        .collect()
}

fn medoid_of(cluster: &Cluster, points: &[Point]) -> Medoid {
    let last = cluster.members.iter().map(|&m| points[m].time).max();
    Medoid {
        pin: points[cluster.medoid].pin,
        importance: cluster.importance,
        last_action_time: last.unwrap_or(points[cluster.medoid].time),
        size: u32::try_from(cluster.members.len()).unwrap_or(u32::MAX),
        reserved: 0,
    }
}
