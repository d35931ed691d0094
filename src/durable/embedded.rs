//! The embedded log as an [`ActionLog`]: its only writer is this process.

use super::action_log::{ActionBatch, ActionLog, Appended, Condition, Entry};
use super::error::LogError;
use super::log::Log;
use super::positions::Positions;

impl ActionLog for Log {
    fn id(&self) -> u64 {
        self.store_id()
    }

    fn append(&self, entry: &Entry<'_>) -> Result<Appended, LogError> {
        match entry {
            Entry::Actions(ActionBatch {
                actions,
                recorded_at,
                is_kept,
                ..
            }) => Self::append(self, actions, *recorded_at, is_kept)?,
            Entry::Pins(changes) => self.record_pin_changes(changes)?,
            Entry::Erasure { user, erased_at } => self.erase(*user, *erased_at)?,
        }
        Ok(Appended::Here)
    }

    fn newest(&self) -> Result<Positions, LogError> {
        self.positions()
    }

    fn condition(&self) -> Condition {
        Condition {
            failure: self.failure().as_deref().cloned(),
            ..Condition::default()
        }
    }
}
