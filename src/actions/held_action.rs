//! A recorded action as it is held in memory.

use std::cmp::Ordering;

use crate::model::{Action, ActionIdentity, RecordedAction};

/// A recorded action, and the ways in which a batch may know it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeldAction {
    /// The action.
    pub action: RecordedAction,
    /// Its identity in a batch whose input has its id.
    pub by_id: ActionIdentity,
    /// Its identity in a batch whose input has no ids.
    pub by_content: ActionIdentity,
}

impl HeldAction {
    /// `action`, which adds or takes away `weight`.
    pub(super) fn new(action: &Action, weight: f64) -> Self {
        let Action {
            id,
            user,
            pin,
            name,
            time,
            ..
        } = action;
        Self {
            action: RecordedAction {
                time: *time,
                pin: *pin,
                weight,
            },
            by_id: ActionIdentity::from_id(*id),
            by_content: ActionIdentity::from_content(*user, *pin, *time, name),
        }
    }

    /// By [`RecordedAction::by_time`], then by identity: which of equal ones are held must
    /// not depend on the order in which they came.
    pub(super) fn by_time(a: &Self, b: &Self) -> Ordering {
        let identities = |held: &Self| (held.by_id, held.by_content);
        let order = RecordedAction::by_time(&a.action, &b.action);
        order.then_with(|| identities(a).cmp(&identities(b)))
    }
}
