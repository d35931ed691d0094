//! The parameters that shape a profile.

/// Parameters that shape a profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// Greatest Ward distance (twice the increase of the sum of squared
    /// distances) at which two clusters are merged. At least 0, in squared
    /// units: two single unit vectors merge when 2 (1 - cosine) <= alpha.
    pub alpha: f64,
    /// Decay of importance per day, lambda in the paper; at least 0.
    pub lambda_per_day: f64,
}
