//! The parameters of a merge.

use serde::Deserialize;

use super::bonus::Bonus;

/// How neighbor lists become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeStrategy {
    /// Lists take turns in proportion to their quotas (smooth weighted
    /// round-robin), so that each fills its quota, and its candidates are spread
    /// evenly. A pin that another list brought already costs no turn.
    Interleave,
    /// All lists as one, by descending score, or by the rank that a
    /// [`Bonus`] gives.
    GlobalTop,
}

/// Parameters of a merge.
#[derive(Clone, Copy, Debug)]
pub(super) struct MergeParams<'a> {
    pub(super) strategy: MergeStrategy,
    /// Number of candidates; at least 1.
    pub(super) limit: usize,
    /// Least score of a neighbor; none for all.
    pub(super) min_score: Option<f32>,
    pub(super) bonus: Option<Bonus<'a>>,
}
