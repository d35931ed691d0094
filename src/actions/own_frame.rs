//! Actions that this process has appended to a shared log, until its tail brings them back.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::outcomes::ActionOutcome;
use crate::durable::FrameId;
use crate::model::ActionId;

/// The append that the writer waits for, and what became of its actions. The writer waits for
/// one at a time.
#[derive(Debug, Default)]
pub(super) struct OwnFrame {
    frame: Mutex<Frame>,
    applied: Condvar,
}

#[derive(Debug, Default)]
struct Frame {
    id: Option<FrameId>,
    outcomes: HashMap<ActionId, ActionOutcome>,
}

impl OwnFrame {
    /// Expects actions of `frame`, which will be appended.
    pub(super) fn expect(&self, frame: FrameId) {
        *self.lock() = Frame {
            id: Some(frame),
            outcomes: HashMap::new(),
        };
    }

    /// Notes what became of actions of `frame`, if that is the expected one. Of copies of an
    /// action, the first tells.
    pub(super) fn note(
        &self,
        frame: FrameId,
        outcomes: impl Iterator<Item = (ActionId, ActionOutcome)>,
    ) {
        let mut expected = self.lock();
        if expected.id == Some(frame) {
            for (id, outcome) in outcomes {
                expected.outcomes.entry(id).or_insert(outcome);
            }
        }
    }

    /// Wakes who waits: readers can see more than before.
    pub(super) fn wake(&self) {
        let _expected = self.lock();
        self.applied.notify_all();
    }

    /// Waits until `is_visible`, at most for `limit`, and returns what became of the expected
    /// actions; none in vain.
    pub(super) fn wait(
        &self,
        limit: Duration,
        is_visible: impl Fn() -> bool,
    ) -> Option<HashMap<ActionId, ActionOutcome>> {
        if !self.wait_until(limit, is_visible) {
            return None;
        }
        let mut expected = self.lock();
        expected.id = None;
        Some(std::mem::take(&mut expected.outcomes))
    }

    /// Waits until `is_visible`, at most for `limit`, and returns whether it is.
    pub(super) fn wait_until(&self, limit: Duration, is_visible: impl Fn() -> bool) -> bool {
        let waiting = self.lock();
        let waited = self
            .applied
            .wait_timeout_while(waiting, limit, |_| !is_visible());
        let (_guard, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }

    /// A panic leaves outcomes that are true.
    fn lock(&self) -> MutexGuard<'_, Frame> {
        self.frame.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
