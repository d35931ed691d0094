//! What becomes of actions that are submitted.

use std::collections::HashMap;

use super::freshness_token::FreshnessToken;
use crate::model::{Action, ActionId};

/// Outcome of one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionOutcome {
    /// It is durable, and counts.
    Accepted,
    /// One with this id is there already.
    Duplicate,
    /// Its user was erased after it.
    Erased,
}

/// Outcome of the actions of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedActions {
    /// The outcome of each action, in their order.
    pub outcomes: Vec<ActionOutcome>,
    /// Stands for all of them.
    pub token: FreshnessToken,
}

/// Why actions were not recorded. All can be sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// More calls are waiting than can be served.
    #[error("too many calls wait for the action log")]
    Busy,
    /// It is not known whether they are durable; after such a failure the log takes no
    /// more until [`super::Actions::reopen`] has opened it again.
    #[error("the action log cannot be written: {0}")]
    Failed(String),
}

/// Puts what became of `actions` in the place of what was foreseen: another replica may have
/// taken one with the same id, or erased its user, at the same time.
pub(super) fn correct<'a>(
    outcomes: &mut [Vec<ActionOutcome>],
    actions: impl Iterator<Item = &'a [Action]>,
    found: &HashMap<ActionId, ActionOutcome>,
) {
    for (outcomes, actions) in outcomes.iter_mut().zip(actions) {
        for (outcome, action) in outcomes.iter_mut().zip(actions) {
            if *outcome == ActionOutcome::Accepted
                && let Some(found) = found.get(&action.id)
            {
                *outcome = *found;
            }
        }
    }
}
