//! Importance of a cluster: how much, and how lately, the user acted on it.

use super::decay::Decay;
use super::point::Point;

/// Minimum importance. Far below any that a lambda of practice leaves, and far
/// enough above the least f64 to be divided by.
pub(super) const MIN_IMPORTANCE: f64 = 1e-150;

/// Sum over `members` of weight * exp(-lambda * age in days) (section 4.3 of the paper).
/// Importance is a sampling weight, so it is at least [`MIN_IMPORTANCE`], even where the
/// sum underflows.
pub(super) fn compute_importance(points: &[Point], members: &[usize], decay: Decay) -> f64 {
    members
        .iter()
        .map(|&member| &points[member])
        .map(|point| decay.apply(point.weight, point.time))
        .sum::<f64>()
        .max(MIN_IMPORTANCE)
}
