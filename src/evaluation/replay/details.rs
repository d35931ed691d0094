//! Lines of details: one JSON object for each answer, from which all measures can be
//! computed again.

use serde::Serialize;

use crate::model::{Medoid, PinId};
use crate::recommend::SampledMedoid;

/// The answer of one model to one user on one day.
#[derive(Debug, Serialize)]
pub(super) struct DetailLine<'a> {
    pub(super) user: u64,
    pub(super) day: String,
    pub(super) model: &'a str,
    /// Pins of the target actions, in the order of time.
    pub(super) targets: Vec<u64>,
    /// Number of target actions near a candidate.
    pub(super) relevant: usize,
    /// Number of target actions on a candidate.
    pub(super) recalled: usize,
    pub(super) diversity: f64,
    pub(super) precise: f64,
    pub(super) reciprocal: f64,
    /// All medoids, by falling importance. Ids that no pin has stand for vectors and
    /// rankings.
    pub(super) medoids: Vec<MedoidLine>,
    /// The sampled medoids, in the order of the draw.
    pub(super) sampled: Vec<MedoidLine>,
    pub(super) candidates: usize,
    /// The candidates, best first.
    pub(super) pins: Vec<u64>,
    /// Pins that the targets are ranked against: equally many for each target, in the
    /// order of the targets.
    pub(super) negatives: Vec<u64>,
}

/// A medoid in a line.
#[derive(Debug, Serialize)]
pub(super) struct MedoidLine {
    pin: u64,
    importance: f64,
}

impl From<&Medoid> for MedoidLine {
    fn from(medoid: &Medoid) -> Self {
        Self {
            pin: medoid.pin.0,
            importance: medoid.importance,
        }
    }
}

impl From<&SampledMedoid> for MedoidLine {
    fn from(sampled: &SampledMedoid) -> Self {
        Self {
            pin: sampled.medoid.pin.0,
            // With equal quotas the importance is in the weight.
            importance: sampled.weight,
        }
    }
}

/// The ids of `pins`.
pub(super) fn ids(pins: impl Iterator<Item = PinId>) -> Vec<u64> {
    pins.map(|pin| pin.0).collect()
}

impl DetailLine<'_> {
    /// The object and the end of its line.
    pub(super) fn to_json(&self) -> String {
        let mut text = serde_json::to_string(self).expect("numbers and texts are JSON");
        text.push('\n');
        text
    }
}
