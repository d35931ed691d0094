//! Opens a log in the background, and asks how far it reaches, for ever.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::super::opening::{NotOpen, Opener, Opening, Refusal};
use super::api::{CallError, info_of_leader};
use super::balance::balance;
use super::shared::Shared;
use super::streams::{LOG_ID, ensure, mismatch};

const RETRY_INTERVAL: Duration = Duration::from_millis(200);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The leaders are asked that often.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const POLL_PATIENCE: Duration = Duration::from_millis(900);

/// Opens the log as `opener`, and then follows it.
pub(super) async fn monitor(shared: Arc<Shared>, opener: Opener) {
    tokio::spawn(look(shared.clone()));
    let Some(id) = open(&shared, opener).await else {
        return;
    };
    for stream in shared.names.all() {
        tokio::spawn(poll(shared.clone(), stream, id));
    }
    tokio::spawn(balance(shared));
}

async fn open(shared: &Shared, opener: Opener) -> Option<u64> {
    loop {
        match ensure(shared, opener).await {
            Ok(id) => {
                tracing::info!(url = %shared.url, log = format!("{id:016x}"), "opened the action log");
                shared.opening.send_replace(Opening::Open(id));
                return Some(id);
            }
            Err(NotOpen::Yet(reason)) => {
                let now = Opening::Waiting(reason.clone());
                if shared.opening.send_replace(now.clone()) != now {
                    tracing::warn!(url = %shared.url, reason, "the action log is not open yet");
                }
            }
            Err(NotOpen::Refused(refusal)) => {
                refuse(shared, refusal);
                return None;
            }
        }
        sleep(RETRY_INTERVAL).await;
    }
}

fn refuse(shared: &Shared, refusal: Refusal) {
    let error = refusal.error(&shared.url);
    tracing::error!(%error, "the action log is not used: nothing is read or appended");
    shared.opening.send_replace(Opening::Refused(refusal));
}

async fn look(shared: Arc<Shared>) {
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.look_at_links();
    }
}

async fn poll(shared: Arc<Shared>, stream: u8, id: u64) {
    let expected = format!("{id:016x}");
    let name = shared.names.stream(stream);
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_told = true;
    loop {
        ticks.tick().await;
        match info_of_leader(&shared.links, &name, POLL_PATIENCE).await {
            Ok(info) if info.metadata(LOG_ID) != Some(&expected) => {
                // Somebody has made the stream anew.
                refuse(&shared, mismatch(&shared, stream, LOG_ID, &info, &expected));
                return;
            }
            Ok(info) => {
                shared.state.told(stream, info.state.last_seq);
                is_told = true;
            }
            Err(CallError::Unanswered(reason)) => {
                tracing::debug!(stream = %name, reason, "a stream of the action log has no leader");
            }
            Err(error) => {
                if std::mem::take(&mut is_told) {
                    tracing::warn!(stream = %name, %error, "a stream of the action log does not tell how far it reaches");
                }
            }
        }
    }
}
