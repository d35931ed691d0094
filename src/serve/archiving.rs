//! Archiving what was recorded, beside calls and at the end.

use std::future::pending;
use std::sync::Arc;

use metrics::counter;
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;

use super::state::Live;
use crate::archive::{ArchiveError, Archived, Archiver};
use crate::metrics as names;

/// Whether the last files could be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Well,
    Failing,
}

/// Archives what was recorded, as often as the settings say. Never ends; without an archive
/// it does nothing.
pub(super) async fn archive_actions(live: &Live) {
    let Some(archiver) = live.archiver() else {
        return pending().await;
    };
    let mut ticks = tokio::time::interval(archiver.every());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut health = Health::Well;
    loop {
        ticks.tick().await;
        let before = health;
        match archive(archiver.clone()).await {
            Some(Ok(_)) => health = Health::Well,
            Some(Err(error)) => {
                health = Health::Failing;
                // Once, not at each of many attempts.
                if before == Health::Well {
                    tracing::warn!(%error, "actions cannot be archived; they are recorded all the same");
                }
            }
            // A panic is in the log already.
            None => {}
        }
        if (before, health) == (Health::Failing, Health::Well) {
            tracing::info!("actions are archived again");
        }
    }
}

/// Archives the rest, once nothing is recorded any more.
pub(super) async fn archive_rest(live: &Live) {
    if let Some(archiver) = live.archiver()
        && let Some(Err(error)) = archive(archiver.clone()).await
    {
        tracing::warn!(%error, "the last actions are not archived; the next start goes on there");
    }
}

/// Archives everything so far; none when that panicked.
async fn archive(archiver: Arc<Archiver>) -> Option<Result<Archived, ArchiveError>> {
    let archived = spawn_blocking(move || archiver.archive()).await.ok()?;
    match &archived {
        Ok(Archived { files, actions }) => {
            counter!(names::ARCHIVE_FILES).increment(*files);
            counter!(names::ARCHIVED_ACTIONS).increment(*actions);
        }
        Err(_) => counter!(names::ARCHIVE_FAILURES).increment(1),
    }
    Some(archived)
}
