//! Erasing users from the recorded actions: from memory, from the files here, and from a log that
//! replicas share.

use std::sync::PoisonError;

use super::action_store::Actions;
use super::replica::Replica;
use crate::durable::{LogError, PlacedAction};
use crate::model::{Action, Timestamp, UserId};

/// What was erased of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasedActions {
    /// Actions that were removed from the log.
    pub actions: u64,
    /// Actions of before are refused.
    pub erased_at: Timestamp,
}

/// That a user was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserErasure {
    /// The log that the user was erased from.
    pub log_id: u64,
    /// Nothing of before counts.
    pub erased_at: Timestamp,
}

impl Actions {
    /// Erases all recorded of `user` up to `now`: from memory at once, and from the files
    /// of the log before this returns. Actions of before are refused from now on. Waits for
    /// other erasures. Later ones are never earlier, so no clock should tell `now` that
    /// [`Self::last_use_before_jump`] finds ahead.
    ///
    /// # Errors
    ///
    /// When the log cannot be written. What is left on the disk is erased by the next call,
    /// or at the next start. What is left in a shared log is erased by the next call, or by
    /// [`Self::resume_rewriting`].
    pub fn erase(&self, user: UserId, now: Timestamp) -> Result<ErasedActions, LogError> {
        // A panic leaves an erasure that is not done, which the next one does.
        let _one = self.erasing.lock().unwrap_or_else(PoisonError::into_inner);
        let erased_at = self.store.next_erasure(now)?;
        let has_left = self.store.is_rewriting()?;
        if self.is_shared() {
            self.store.set_rewriting(true)?;
        }
        self.run(move |writer| writer.begin_erasure(user, erased_at))?;
        // Replicas may have erased others meanwhile, and this user a little later.
        let erased_at = self.shared.erased_at(user).ok_or(LogError::NotRead)?;
        let mut actions = self.end_erasures()?;
        if let Some(replica) = &self.replica {
            let is_erased = |action: &Action, recorded_at| {
                action.user == user && self.shared.is_erased(action, recorded_at)
            };
            actions = actions.max(replica.log.erase(&is_erased)?);
            if has_left {
                self.rewrite_left(replica)?;
            }
            self.store.set_rewriting(false)?;
        }
        Ok(ErasedActions { actions, erased_at })
    }

    /// Erases from the shared log what an erasure has left there that failed, or was killed,
    /// and returns the number of actions; none where nothing is left. Blocks.
    ///
    /// # Errors
    ///
    /// When the log cannot be read or written. It can be called again.
    pub fn resume_rewriting(&self) -> Result<Option<u64>, LogError> {
        // As above.
        let _one = self.erasing.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.replica {
            Some(replica) if self.store.is_rewriting()? => {
                let actions = self.rewrite_left(replica)?;
                self.store.set_rewriting(false)?;
                Ok(Some(actions))
            }
            _ => Ok(None),
        }
    }

    /// Erases from the shared log what is left there of any erased user.
    fn rewrite_left(&self, replica: &Replica) -> Result<u64, LogError> {
        let is_erased = |action: &Action, recorded_at| self.shared.is_erased(action, recorded_at);
        replica.log.erase(&is_erased)
    }

    /// Waits until other replicas have erased users whose actions are still in the checkpoint.
    pub async fn wait_for_erasures(&self) {
        self.signals.erasures.notified().await;
    }

    /// Removes the actions of erased users from the files here, and returns their number.
    pub fn finish_erasures(&self) -> Result<u64, LogError> {
        // As above.
        let _one = self.erasing.lock().unwrap_or_else(PoisonError::into_inner);
        self.end_erasures()
    }

    /// Number of erased users whose actions are still in the files here.
    pub fn waiting_erasures(&self) -> Result<usize, LogError> {
        self.store.unfinished_erasures().map(|left| left.len())
    }

    fn end_erasures(&self) -> Result<u64, LogError> {
        let empty_journals = || self.run(|writer| writer.parts.store.empty_journals());
        self.store.end_erasures(empty_journals)
    }

    /// The erasure of `user`; none for others.
    pub fn erasure(&self, user: UserId) -> Option<UserErasure> {
        Some(UserErasure {
            log_id: self.store.store_id(),
            erased_at: self.shared.erased_at(user)?,
        })
    }

    /// Whether another replica has erased the user of `placed`, which is still to be removed here.
    pub fn is_erased(&self, placed: &PlacedAction) -> bool {
        let PlacedAction { place, action } = placed;
        self.is_shared() && self.shared.is_erased(action, place.recorded_at)
    }
}
