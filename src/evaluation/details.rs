//! One line of JSON for each answer: what it takes to compute all measures again.

use serde::Serialize;

use crate::model::{Medoid, PinId};
use crate::recommend::SampledMedoid;

/// The answer of one model to one user on one day.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    pub(super) user: u64,
    pub(super) day: String,
    pub(super) model: &'a str,
    /// Pins of the target actions, in the order of time.
    pub(super) targets: Vec<u64>,
    /// Number of targets near a candidate.
    pub(super) relevant: usize,
    /// Number of targets that are candidates.
    pub(super) recalled: usize,
    pub(super) diversity: f64,
    pub(super) precise: f64,
    pub(super) reciprocal: f64,
    /// All medoids by falling importance. Ids that no pin has stand for vectors and
    /// rankings.
    pub(super) medoids: Vec<Interest>,
    /// Those that were drawn, in their order.
    pub(super) sampled: Vec<Interest>,
    pub(super) candidates: usize,
    /// The candidates, best first.
    pub(super) pins: Vec<u64>,
    /// Pins that the targets are ranked against: as many for each, in their order.
    pub(super) negatives: Vec<u64>,
}

/// A medoid in a line.
#[derive(Debug, Serialize)]
pub(super) struct Interest {
    pin: u64,
    importance: f64,
}

impl From<&Medoid> for Interest {
    fn from(medoid: &Medoid) -> Self {
        Self {
            pin: medoid.pin.0,
            importance: medoid.importance,
        }
    }
}

impl From<&SampledMedoid> for Interest {
    fn from(sampled: &SampledMedoid) -> Self {
        Self {
            pin: sampled.medoid.pin.0,
            // What is handed over with equal quotas has it in its weight.
            importance: sampled.weight,
        }
    }
}

/// Plain numbers of `pins`.
pub(super) fn numbers(pins: impl Iterator<Item = PinId>) -> Vec<u64> {
    pins.map(|pin| pin.0).collect()
}
