//! Hands what a tail reads to its sink, on a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tokio::sync::mpsc::Receiver;
use tokio::task::AbortHandle;

use super::super::action_log::{Delivered, Message, Sink};
use super::super::frames::decode;
use super::fetch::Raw;
use super::shared::Shared;

/// Bytes of messages from which on no more are handed over at once.
const ENOUGH_BYTES: usize = 1 << 20;

/// Ends a tail when it is dropped, and waits until its thread has ended: nobody takes anything
/// afterwards.
pub(super) struct Guard {
    pub(super) task: AbortHandle,
    pub(super) is_over: Arc<AtomicBool>,
    /// Taken by the drop.
    pub(super) thread: Option<JoinHandle<()>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // What the thread waits for ends with the task.
        self.task.abort();
        if let Some(thread) = self.thread.take() {
            // A panic there was told when it came.
            let _ = thread.join();
        }
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
    let _told = TellEnd { shared, is_over };
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

/// Tells when the thread of a tail ends although the tail goes on, as after a panic.
struct TellEnd<'a> {
    shared: &'a Shared,
    is_over: &'a AtomicBool,
}

impl Drop for TellEnd<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.is_over.load(Ordering::Acquire) {
            self.shared
                .stop("the thread that reads it has failed".to_owned());
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
                let sequence = position.sequence;
                tracing::error!(
                    stream, sequence, %error,
                    "a message of the action log cannot be read: nothing of its stream is read \
                     from there on"
                );
                shared.stop(format!(
                    "message {sequence} of the stream {stream} cannot be read: {error}"
                ));
                return None;
            }
        },
    };
    Some(Delivered { position, message })
}
