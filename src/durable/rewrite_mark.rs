//! That messages of a shared log are being written anew without erased users. The replica that
//! was asked for the erasure notes it first, so that one that was killed goes on when it starts.

use fjall::PersistMode;

use super::error::LogError;
use super::log::Log;
use super::store::REWRITING;

impl Log {
    /// Whether messages of erased users may be left in the shared log of this checkpoint.
    pub fn is_rewriting(&self) -> Result<bool, LogError> {
        let store = self.store()?;
        let noted = store.meta.contains_key(REWRITING);
        noted.map_err(|e| store.error(e))
    }

    /// Notes durably that messages are being written anew, or that all are.
    pub fn set_rewriting(&self, is_rewriting: bool) -> Result<(), LogError> {
        let store = self.writable_store()?;
        let batch = store.database.batch();
        let mut batch = batch.durability(Some(PersistMode::SyncAll));
        match is_rewriting {
            true => batch.insert(&store.meta, REWRITING, []),
            false => batch.remove(&store.meta, REWRITING),
        }
        batch.commit().map_err(|e| self.fail(&store, e))
    }
}
