//! Decay of importance with time.

use crate::model::Timestamp;

/// Exponential decay of importance up to one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decay {
    /// Rate per day, lambda in the paper; at least 0.
    pub lambda_per_day: f64,
    /// The moment at which importance is measured.
    pub as_of: Timestamp,
}

impl Decay {
    /// What is left at `as_of` of an importance that held at `time`. Decay is
    /// multiplicative, so an importance can be brought to any later moment exactly.
    pub fn apply(&self, importance: f64, time: Timestamp) -> f64 {
        // Not the `exp` of the platform, whose last bit depends on the processor.
        importance * libm::exp(-self.lambda_per_day * self.as_of.days_since(time))
    }
}
