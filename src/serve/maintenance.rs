//! Work that goes on beside calls while a server serves.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio::task::spawn_blocking;

use super::ServeError;
use super::health::ServiceHealth;
use super::state::{Live, Loaded, VersionManager};
use crate::actions::Actions;
use crate::metrics as names;
use crate::model::Timestamp;

/// Interval at which actions that are too old are forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(3_600);
/// Interval at which the log is looked at, and opened again once a write has failed.
const LOG_INTERVAL: Duration = Duration::from_millis(500);

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

/// Opens the log again when a write has failed, as on a full disk, until that succeeds;
/// health says meanwhile that nothing is recorded. Never ends.
pub(super) async fn keep_recording(live: &Arc<Live>, health: &ServiceHealth) {
    let Some(actions) = live.actions() else {
        return pending().await;
    };
    let mut ticks = tokio::time::interval(LOG_INTERVAL);
    loop {
        gauge!(names::LOG_WRITABLE).set(1.0);
        let reason = loop {
            ticks.tick().await;
            let actions = actions.clone();
            if let Ok(Some(reason)) = spawn_blocking(move || actions.check()).await {
                break reason;
            }
        };
        gauge!(names::LOG_WRITABLE).set(0.0);
        health.stop_recording().await;
        tracing::error!(%reason, "nothing is recorded until the log can be written again");
        reopen_log(live).await;
        health.record().await;
    }
}

/// Opens the log again, as often as it takes.
async fn reopen_log(live: &Arc<Live>) {
    let mut ticks = tokio::time::interval(LOG_INTERVAL);
    let mut said = None;
    loop {
        ticks.tick().await;
        let live = live.clone();
        match spawn_blocking(move || live.reopen_log()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                // Each kind of reason once, not twice a second.
                let kind = std::mem::discriminant(&error);
                if said.replace(kind) != Some(kind) {
                    tracing::warn!(%error, "the log cannot be opened again yet");
                }
            }
            // A panic is in the log already.
            Err(_) => {}
        }
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
