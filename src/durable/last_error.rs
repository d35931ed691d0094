//! Why a connection to the engine of a shared log has failed last.

use std::sync::{Arc, Mutex};

use super::lock::lock;

/// Shared by its clones.
#[derive(Clone, Default)]
pub(super) struct LastError(Arc<Mutex<Option<String>>>);

impl LastError {
    /// Notes why something has failed, and says so where it is news.
    pub(super) fn note(&self, failure: String) {
        let mut last = lock(&self.0);
        if last.as_ref() != Some(&failure) {
            tracing::warn!(reason = %failure, "a connection to the action log failed");
            *last = Some(failure);
        }
    }

    pub(super) fn get(&self) -> Option<String> {
        lock(&self.0).clone()
    }
}
