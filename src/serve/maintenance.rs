//! Work that goes on beside calls while a server serves.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::ServeError;
use super::state::{Live, Loaded, VersionManager};
use crate::actions::Actions;
use crate::model::Timestamp;

/// Interval at which actions that are too old are forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(3_600);

/// Checks the files that are only mapped. Ends when one of them is damaged.
pub(super) async fn check_mapped<E>(loaded: Arc<Loaded>) -> Result<(), ServeError<E>> {
    match spawn_blocking(move || loaded.check_mapped()).await? {
        Ok(()) => pending().await,
        Err(damage) => Err(ServeError::Damaged(damage)),
    }
}

/// Serves new versions as they are published, looking at every `interval`. Never ends;
/// without an interval it does nothing.
pub(super) async fn watch_versions(versions: &VersionManager, interval: Option<Duration>) {
    match interval {
        Some(interval) => versions.watch(interval).await,
        None => pending().await,
    }
}

/// Forgets recorded actions that are too old, every hour. Never ends; on a server that
/// takes no actions it does nothing.
pub(super) async fn forget_old_actions(live: &Live, clock: fn() -> Timestamp) {
    let Some(actions) = live.actions() else {
        return pending().await;
    };
    let mut ticks = tokio::time::interval(FORGET_INTERVAL);
    // The first tick is at once, when the actions have just been opened.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        forget(actions.clone(), clock()).await;
    }
}

async fn forget(actions: Arc<Actions>, now: Timestamp) {
    match spawn_blocking(move || actions.forget(now)).await {
        Ok(Ok(forgotten)) => tracing::info!(forgotten, "forgot actions that are too old"),
        Ok(Err(error)) => tracing::warn!(%error, "old actions could not be forgotten"),
        // A panic is in the log already.
        Err(_) => {}
    }
}
