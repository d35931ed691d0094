//! The answer to one request, with the reasons for it.

use super::fallback::Fallback;
use super::user::Origin;
use crate::model::{Candidate, Medoid, PinId};

/// A medoid that was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampledMedoid {
    /// The medoid.
    pub medoid: Medoid,
    /// The weight that it was drawn in proportion to.
    pub weight: f64,
    /// How many times its importance it counts for the context of the request; 1 without.
    pub context_factor: f64,
    /// Probability with which a draw of this size includes it.
    pub inclusion_probability: f64,
}

/// Why there are fewer candidates than were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// None of the further candidates may stand at the next place.
    Spacing,
    /// Further pins have lower scores than the request allows.
    MinScore,
    /// The index has no further eligible pins.
    Eligible,
}

/// The answer to one request, with the reasons for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// Best first, no pin twice.
    pub candidates: Vec<Candidate>,
    /// In the order in which they were drawn.
    pub sampled: Vec<SampledMedoid>,
    /// Where in `sampled` a new round of pages begins; none while the present one goes on.
    pub new_round: Option<usize>,
    /// Where the medoids come from.
    pub origin: Origin,
    /// Why the medoids are not those of the user's profile.
    pub fallback: Option<Fallback>,
    /// Why there are fewer candidates than were asked for; none where there are as many, and
    /// where the deadline passed.
    pub shortage: Option<Shortage>,
    /// Whether medoids of the profile are missing from the catalog.
    pub medoids_missing: bool,
    /// Whether searches ran with less than the usual effort, or the last places go by the
    /// merged order because time was up.
    pub with_less_effort: bool,
    /// Number of seeds and sampled medoids that were answered, when the deadline passed
    /// before all were. The candidates come from these alone, and may be fewer.
    pub answered_in_time: Option<usize>,
}

impl Recommendation {
    /// The medoids that are drawn in the present round, ascending, where earlier pages of it
    /// have drawn those `before`.
    #[must_use]
    pub fn drawn(&self, before: &[PinId]) -> Vec<PinId> {
        let (before, begin) = self.new_round.map_or((before, 0), |begin| (&[][..], begin));
        let sampled = self.sampled.iter().skip(begin);
        let sampled = sampled.map(|sampled| sampled.medoid.pin);
        let mut drawn: Vec<PinId> = before.iter().copied().chain(sampled).collect();
        drawn.sort_unstable();
        drawn.dedup();
        drawn
    }
}
