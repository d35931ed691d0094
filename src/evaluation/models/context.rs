//! The inputs of models that all users share.

use std::collections::BTreeMap;

use super::global_clusters::GlobalClusters;
use super::popularity::Ranking;
use crate::cluster::Params;
use crate::index::PinTable;
use crate::model::{PinId, Timestamp};

/// How many recent actions are folded into a stale profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoldInLimits {
    /// Maximum number of recent actions, the newest ones.
    pub recent: usize,
    /// How many of them are clustered.
    pub clustered: usize,
}

/// What models read beside the history of a user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelContext<'a> {
    pub(crate) pins: &'a PinTable,
    /// The parameters of clusters where a model does not say.
    pub(crate) cluster: Params,
    pub(crate) fold_in: FoldInLimits,
    /// By the moment before which actions are counted.
    pub(crate) rankings: &'a BTreeMap<Timestamp, Ranking>,
    pub(crate) global_clusters: &'a GlobalClusters,
    /// Ids that no pin has, for queries that are no pins.
    pub(crate) free_ids: &'a [PinId],
}
