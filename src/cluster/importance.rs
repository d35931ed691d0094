//! Importance of a cluster: how much, and how lately, the user acted on it.

use super::decay::Decay;
use super::point::Point;
use crate::model::Medoid;

/// Sum over `members` of weight * exp(-lambda * age in days) (section 4.3 of the paper).
/// Importance is a sampling weight, so it is at least [`Medoid::MIN_IMPORTANCE`], even where the
/// sum underflows.
pub(super) fn compute_importance(points: &[Point], members: &[usize], decay: Decay) -> f64 {
    members
        .iter()
        .map(|&member| &points[member])
        .map(|point| decay.apply(point.weight, point.time))
        .sum::<f64>()
        .max(Medoid::MIN_IMPORTANCE)
}
