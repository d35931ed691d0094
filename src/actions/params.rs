//! Settings of recorded actions.

use super::user_state::StateParams;
use crate::model::{ActionWeights, Timestamp};

/// Settings of recorded actions.
#[derive(Clone, Debug)]
pub struct ActionParams {
    /// Kind and weight of actions by their names.
    pub weights: ActionWeights,
    /// Limits of the state of one user.
    pub state: StateParams,
    /// Age in days from which actions are refused. An action is forgotten when its whole
    /// day is older than this; negative ones are never forgotten.
    pub retention_days: f64,
}

impl ActionParams {
    /// The first moment that is not forgotten at `now`: days are forgotten as a whole.
    pub(super) fn oldest(&self, now: Timestamp) -> Timestamp {
        now.minus_days(self.retention_days).day_start()
    }
}
