//! Hands what a tail reads to its sink, on a thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::Receiver;
use tokio::task::AbortHandle;

use super::super::action_log::{Delivered, Message, Sink};
use super::super::frames::decode;
use super::super::tail_thread::{TailThread, TellEnd};
use super::fetch::Raw;
use super::shared::Shared;

/// Bytes of messages from which on no more are handed over at once.
const ENOUGH_BYTES: usize = 1 << 20;

/// Ends a tail when it is dropped: first the task that reads, and then the thread that hands over.
pub(super) struct Guard {
    pub(super) task: AbortHandle,
    pub(super) thread: TailThread,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.thread.end();
        // What the thread waits for ends with the task.
        self.task.abort();
    }
}

/// Decodes what comes and hands it to `sink`, until the tail is over. A stream with a message
/// that cannot be read is not followed further.
pub(super) fn deliver(
    shared: &Shared,
    mut raws: Receiver<Vec<Raw>>,
    mut sink: Box<dyn Sink>,
    is_over: &AtomicBool,
) {
    // Whatever ends this thread before the tail is over is told.
    let _told = TellEnd {
        state: &shared.state,
        is_over,
    };
    let mut has_stopped = vec![false; shared.names.all().count()];
    while let Some(mut batch) = raws.blocking_recv() {
        let mut bytes = encoded_bytes(&batch);
        while bytes < ENOUGH_BYTES {
            let Ok(more) = raws.try_recv() else { break };
            bytes += encoded_bytes(&more);
            batch.extend(more);
        }
        let mut delivered = Vec::with_capacity(batch.len());
        for raw in batch {
            let stream = usize::from(raw.position.stream);
            if has_stopped[stream] {
                continue;
            }
            match read(shared, &raw) {
                Some(message) => delivered.push(message),
                None => has_stopped[stream] = true,
            }
        }
        if is_over.load(Ordering::Acquire) {
            return;
        }
        if !delivered.is_empty() {
            sink.take(delivered);
        }
    }
}

fn encoded_bytes(raws: &[Raw]) -> usize {
    let payloads = raws.iter().filter_map(|raw| raw.payload.as_ref());
    payloads.map(|payload| payload.len()).sum()
}

fn read(shared: &Shared, raw: &Raw) -> Option<Delivered> {
    let position = raw.position;
    let message = match &raw.payload {
        None => Message::Gone,
        Some(payload) => match decode(payload) {
            Ok(message) => message,
            Err(error) => {
                let stream = shared.names.stream(position.stream);
                let state = &shared.state;
                state.stop_unreadable(&stream, position.sequence, &error);
                return None;
            }
        },
    };
    Some(Delivered { position, message })
}
