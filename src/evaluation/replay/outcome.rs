//! The outcome of a replay: of one user, of a block of users, of all.

use serde::{Deserialize, Serialize};

use super::coverage::{CoveredPins, CoveredWord};
use crate::evaluation::metrics::MeasureSums;
use crate::model::UserId;

/// Whether answers become lines of details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DetailLines {
    Written,
    Omitted,
}

/// The outcome of one user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReplayedUser {
    pub(super) user: UserId,
    /// Mean number of actions in the window, over the days that are judged.
    pub(super) activity: f64,
    /// By model. Checkpoints call them tallies.
    #[serde(rename = "tallies")]
    pub(crate) sums: Vec<MeasureSums>,
    /// Lines of details.
    pub(super) lines: String,
}

/// The outcome of one block of users, as checkpoints keep it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Block {
    pub(super) users: Vec<ReplayedUser>,
    /// By model: the pins that were recommended to any of them.
    pub(super) covered: Vec<Vec<CoveredWord>>,
}

/// The outcome of all users for whom there was a day to judge.
#[derive(Debug)]
pub(crate) struct Measured {
    /// By rising activity, then by user.
    pub(crate) users: Vec<ReplayedUser>,
    /// By model: the pins that were recommended to anybody.
    pub(crate) covered: Vec<CoveredPins>,
    /// By model: the number of pins that could be recommended.
    pub(crate) pins: Vec<usize>,
    /// Whether any of them has a category.
    pub(crate) has_categories: bool,
    /// Whether a model has a spacing rule.
    pub(crate) has_spacing: bool,
    /// Whether the time of answers was measured.
    pub(crate) has_times: bool,
}
