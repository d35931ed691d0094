//! Importance of a cluster: how much, and how lately, the user acted on it.

use super::Point;
use crate::model::Timestamp;

/// Least importance. Far below any that a lambda of practice leaves, and far
/// enough above the least f64 to be divided by.
pub(super) const LEAST: f64 = 1e-150;

/// Sum over `members` of weight * exp(-lambda * (`as_of` - time)), time in days
/// (section 4.3 of the paper), and above 0 even where that underflows, because
/// it is a weight of sampling: no less than [`LEAST`].
pub(super) fn importance(
    points: &[Point],
    members: &[usize],
    lambda_per_day: f64,
    as_of: Timestamp,
) -> f64 {
    members
        .iter()
        .map(|&member| &points[member])
        .map(|point| decayed(point.weight, lambda_per_day, as_of.days_since(point.time)))
        .sum::<f64>()
        .max(LEAST)
}

/// What is left of `importance` after `days`: decay is multiplicative, so a
/// stored importance can be brought to any later moment exactly.
pub fn decayed(importance: f64, lambda_per_day: f64, days: f64) -> f64 {
    // Not that of the platform, whose last bit depends on the processor.
    importance * libm::exp(-lambda_per_day * days)
}
