//! What a request makes of neighbors beside merging their lists: which are near enough, what
//! counts beside nearness, and how candidates stand beside each other.

use std::fmt;

use super::bonus::Bonus;
use crate::model::PinId;

/// How the candidates of a request are chosen and ordered, beside nearness.
#[derive(Clone, Copy, Debug)]
pub struct Rerank<'a> {
    /// Least cosine of a candidate to what found it; none for all.
    pub min_score: Option<f32>,
    /// What counts beside nearness; none ranks by nearness alone, as in the paper.
    pub bonus: Option<Bonus<'a>>,
    /// What must hold of candidates that stand near to each other.
    pub spacing: &'a [Spacing<'a>],
    /// What candidates lose that are like those before them; none for nothing.
    pub diversity: Option<Diversity<'a>>,
}

/// A rule: at most `max` candidates of one value in any `places` places in a row.
#[derive(Clone, Copy)]
pub struct Spacing<'a> {
    /// The value of a pin; the rule does not bind pins that have none.
    pub value: &'a dyn Fn(PinId) -> Option<u64>,
    /// At least 1.
    pub max: usize,
    /// Above `max`.
    pub places: usize,
}

/// The vectors of pins.
pub trait PinVectors {
    /// The unit vector of `pin`; none where there is no such pin.
    fn vector(&self, pin: PinId) -> Option<&[f32]>;
}

/// Maximal marginal relevance (Carbonell and Goldstein, 1998): each place goes to the
/// candidate of the medoid whose turn it is with the greatest
/// (1 - strength) * rank - strength * greatest cosine to a candidate before it, at least 0.
#[derive(Clone, Copy)]
pub struct Diversity<'a> {
    /// The vectors of pins. One that has none is like no other.
    pub vectors: &'a dyn PinVectors,
    /// Above 0 and at most 1.
    pub strength: f32,
    /// Number of candidates, the next ones of the merged list that may stand at a place,
    /// that are compared for it; at least 1.
    pub among: usize,
}

impl Rerank<'_> {
    /// By nearness alone, and all that is near, as in the paper.
    pub const NONE: Self = Self {
        min_score: None,
        bonus: None,
        spacing: &[],
        diversity: None,
    };

    /// Whether candidates keep the order of the merged list.
    pub(super) fn keeps_order(&self) -> bool {
        self.spacing.is_empty() && self.diversity.is_none()
    }
}

impl fmt::Debug for Spacing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spacing")
            .field("max", &self.max)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Diversity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Diversity")
            .field("strength", &self.strength)
            .field("among", &self.among)
            .finish_non_exhaustive()
    }
}
