//! The parameters of one request.

use super::context::Context;
use super::deadline::Deadline;
use super::merge_params::MergeStrategy;
use super::rerank::Rerank;
use super::seeds::Seeds;
use crate::model::PinId;

/// Parameters of one request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Number of candidates; at least 1.
    pub limit: usize,
    /// Number of medoids to sample; at least 1.
    pub medoids: usize,
    /// Number of them that are the most important ones, which are not left to chance.
    pub top: usize,
    /// What candidates are retrieved for beside the medoids or in their place.
    pub seeds: Seeds<'a>,
    /// A pin near to which medoids are sampled.
    pub context: Option<Context<'a>>,
    /// How the neighbor lists are merged.
    pub strategy: MergeStrategy,
    /// Pins that must not be returned.
    pub excluded: &'a [PinId],
    /// What counts beside nearness, and how candidates stand beside each other.
    pub rerank: Rerank<'a>,
    /// Ascending: the medoids that earlier pages have drawn in this round. Others come first.
    pub drawn: &'a [PinId],
    /// Share of the usual effort of a search, above 0 and at most 1.
    pub effort: f32,
    /// When retrieval must stop.
    pub deadline: Deadline<'a>,
}
