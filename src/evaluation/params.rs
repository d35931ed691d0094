//! The files and the parameters of a replay.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::models::{FoldInLimits, Model};
use crate::cluster::Params;
use crate::model::Timestamp;

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
}
