//! The interests that a model derives for one user on one day.

use super::model::Quota;
use super::query_vectors::QueryVector;
use crate::cluster::{Cluster, Point, summarize_cluster};
use crate::model::{Medoid, PinId, Timestamp};

/// The interests of a user on one day, as one model sees them.
#[derive(Debug, Default)]
pub(crate) struct ModelInterests<'a> {
    /// All interests, by falling importance.
    pub(crate) all: Vec<Medoid>,
    /// The same interests with the importance that quotas follow.
    pub(crate) sampled_from: Vec<Medoid>,
    /// Factors of the weights in the draw, by ascending pin.
    pub(crate) factors: Vec<(PinId, f64)>,
    /// The queries behind the first of the free ids.
    pub(crate) queries: Vec<QueryVector<'a>>,
}

impl ModelInterests<'_> {
    /// Interests in pins, by falling importance.
    pub(super) fn from_medoids(all: Vec<Medoid>) -> Self {
        Self {
            all,
            ..Self::default()
        }
    }

    /// Fills what is sampled from `all`.
    pub(super) fn with_quota(mut self, quota: Quota) -> Self {
        self.sampled_from = self.all.clone();
        if quota == Quota::Equal {
            self.equalize();
        }
        self
    }

    /// Moves importance into the factors. Quotas follow importance alone, while draws
    /// follow the product of both.
    fn equalize(&mut self) {
        let medoids = self.sampled_from.iter();
        self.factors = medoids.map(|m| (m.pin, m.importance)).collect();
        self.factors.sort_unstable_by_key(|&(pin, _)| pin);
        for medoid in &mut self.sampled_from {
            medoid.importance = 1.0;
        }
    }
}

/// The medoids of `clusters`, by falling importance.
pub(super) fn medoids(clusters: &[Cluster], points: &[Point]) -> Vec<Medoid> {
    let medoids = clusters
        .iter()
        .map(|cluster| summarize_cluster(cluster, points));
    let mut medoids: Vec<Medoid> = medoids.collect();
    medoids.sort_unstable_by(Medoid::by_descending_importance);
    medoids
}

/// The only interest of a user.
pub(super) fn single_medoid(pin: PinId, last_action_time: Timestamp) -> Medoid {
    Medoid {
        pin,
        importance: 1.0,
        last_action_time,
        size: 1,
        dislikes: 0,
    }
}
