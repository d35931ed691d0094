//! What the replay of every user reads, and the coverage that it adds to.

use super::coverage::CoveredPins;
use super::outcome::{Block, DetailLines};
use super::shapes::Shapes;
use crate::evaluation::models::ModelContext;
use crate::evaluation::params::EvaluateParams;
use crate::model::Timestamp;

/// Replays users.
#[derive(Clone, Copy)]
pub(super) struct Replayer<'a> {
    pub(super) params: &'a EvaluateParams,
    pub(super) context: ModelContext<'a>,
    /// What models retrieve from, and how their answers are reranked.
    pub(super) shapes: &'a Shapes<'a>,
    /// By the slot of the pin, its position in the order of ids.
    pub(super) categories: &'a [u32],
    /// First moments of the days that are judged.
    pub(super) days: &'a [Timestamp],
    pub(super) lines: DetailLines,
    /// By model: every pin that is recommended is added.
    pub(super) covered: &'a [CoveredPins],
}

impl Replayer<'_> {
    /// Adds the pins that were recommended to the users of `block`.
    pub(super) fn merge_coverage(&self, block: &Block) {
        for (covered, words) in self.covered.iter().zip(&block.covered) {
            covered.merge(words);
        }
    }
}
