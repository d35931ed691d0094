//! Opens a log in the background, and asks how far it reaches, until it is closed.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use super::super::opening::{NotOpen, Opener, Opening};
use super::shared::Shared;
use super::topics::{ensure, warn_of_settings};

const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// The leaders are asked that often.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const POLL_PATIENCE: Duration = Duration::from_millis(900);
const TICK: Duration = Duration::from_millis(50);

/// Opens the log as `opener`, and then follows it.
pub(super) fn monitor(shared: &Shared, opener: Opener) {
    if !open(shared, opener) {
        return;
    }
    std::thread::scope(|scope| {
        // Brokers may be slow to say that they do not tell.
        scope.spawn(|| warn_of_settings(shared));
        while !is_over(shared) {
            ask_all(shared);
            drain(shared);
            pause(shared, POLL_INTERVAL);
        }
    });
}

fn ask_all(shared: &Shared) {
    std::thread::scope(|scope| {
        for stream in shared.names.all() {
            scope.spawn(move || ask(shared, stream));
        }
    });
}

fn is_over(shared: &Shared) -> bool {
    shared.is_over.load(Ordering::Acquire)
}

fn pause(shared: &Shared, length: Duration) {
    let mut left = length;
    while !left.is_zero() && !is_over(shared) {
        let tick = left.min(TICK);
        sleep(tick);
        left -= tick;
    }
}

fn open(shared: &Shared, opener: Opener) -> bool {
    while !is_over(shared) {
        match ensure(shared, opener) {
            Ok(id) => {
                let url = &shared.params.url;
                tracing::info!(%url, log = format!("{id:016x}"), "opened the action log");
                shared.decide(Opening::Open(id));
                return true;
            }
            Err(NotOpen::Yet(reason)) => {
                if shared.decide(Opening::Waiting(reason.clone())) {
                    let url = &shared.params.url;
                    tracing::warn!(%url, reason, "the action log is not open yet");
                }
            }
            Err(NotOpen::Refused(refusal)) => {
                let error = refusal.error(&shared.params.url);
                tracing::error!(%error, "the action log is not used: nothing is read or appended");
                shared.decide(Opening::Refused(refusal));
                return false;
            }
        }
        drain(shared);
        pause(shared, RETRY_INTERVAL);
    }
    false
}

fn ask(shared: &Shared, stream: u8) {
    match shared.ends(stream, POLL_PATIENCE) {
        Ok((_, newest)) => shared.state.told(stream, newest),
        Err(reason) => {
            let stream = shared.names.stream(stream);
            tracing::debug!(
                stream,
                reason,
                "a partition of the action log has no leader"
            );
        }
    }
}

/// Takes the errors that librdkafka has for the consumer that asks.
fn drain(shared: &Shared) {
    while let Some(event) = shared.asker.poll(Duration::ZERO) {
        if let Err(error) = event {
            shared.client.note(&error);
        }
    }
}
