//! The files and the parameters of a replay.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::models::{FoldInLimits, Model};
use crate::cluster::Params;
use crate::model::{Filter, RerankRules, Timestamp};

/// The files of a replay.
#[derive(Clone, Copy, Debug)]
pub struct ReplayFiles<'a> {
    /// Parquet files of actions.
    pub actions: &'a [PathBuf],
    /// Directory of the catalog whose pins are recommended.
    pub catalog: &'a Path,
    /// Directory of the checkpoint, where one is kept. Blocks of users are written to it
    /// as they are done, and blocks that are there already are not replayed. The result
    /// is the same to the byte.
    pub checkpoint: Option<&'a Path>,
}

/// The parameters of a replay.
#[derive(Clone, Debug)]
pub struct EvaluateParams {
    /// First moment of the first day.
    pub from: Timestamp,
    /// No day begins at this moment or later.
    pub to: Timestamp,
    /// Days from one day that is judged to the next; at least 1.
    pub every_days: u32,
    /// Days for which the actions of users count; at least 1.
    pub horizon_days: u32,
    /// Length of the window in days.
    pub window_days: f64,
    /// Parameters of clusters where a model does not say.
    pub cluster: Params,
    /// Maximum number of actions of a window that are clustered, the most recent ones.
    pub max_actions: usize,
    /// How many recent actions are folded in.
    pub fold_in: FoldInLimits,
    /// What an action adds to importance at its own moment, by its name.
    pub action_weights: BTreeMap<String, f64>,
    /// Weight of the popularity of a pin beside its nearness, as a difference of cosines,
    /// where a model does not say; 0 for none.
    pub popularity: f32,
    /// Whether pins of a user's own window are recommended and count as targets.
    pub repeats: bool,
    /// The models to compare.
    pub models: Vec<Model>,
    /// Candidates in a list; at least 1.
    pub limit: usize,
    /// Minimum cosine of a relevant candidate to a target.
    pub relevant: f32,
    /// Minimum number of candidates of a graph search; none for the exact scan.
    pub ef_search: Option<usize>,
    /// Maximum number of users, chosen by hash; none for all.
    pub users: Option<usize>,
    /// Seed of all draws.
    pub seed: u64,
    /// Bytes of actions in memory at a time.
    pub memory: u64,
    /// The filters that models may name.
    pub filters: BTreeMap<String, Filter>,
    /// The reranking rules that models may name. Ages count from the day of a list.
    pub rerank: BTreeMap<String, RerankRules>,
    /// Whether the time of answers is measured, which differs from run to run.
    pub timing: bool,
}

impl EvaluateParams {
    /// The reranking rules of `model`.
    pub(crate) fn rules(&self, model: &Model) -> Option<&RerankRules> {
        self.rerank.get(model.rerank.as_ref()?)
    }

    /// What the popularity of a pin is worth to `model`, as a difference of cosines.
    pub(crate) fn popularity_of(&self, model: &Model) -> f32 {
        if model.source.is_ranking() {
            return 0.0;
        }
        let of_rules = self.rules(model).and_then(|rules| rules.popularity_weight);
        of_rules.or(model.popularity).unwrap_or(self.popularity)
    }
}
