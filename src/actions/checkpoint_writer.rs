//! The thread that writes what a replica has read of a shared log to its checkpoint.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::durable::{Log, LogError};

/// Interval at which it writes, unless much comes: the more is written at once, the less is merged
/// later. A replica that is killed reads so much again.
const INTERVAL: Duration = Duration::from_secs(10);

/// Interval at which a write that has failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Writes until it is ended.
#[derive(Debug)]
pub(super) struct CheckpointWriter {
    checkpoint: Arc<Log>,
    thread: Option<JoinHandle<()>>,
}

impl CheckpointWriter {
    /// Starts the thread.
    pub(super) fn start(checkpoint: Arc<Log>) -> Result<Self, LogError> {
        let named = std::thread::Builder::new().name("action-checkpoint".to_owned());
        let of_thread = checkpoint.clone();
        let thread = named.spawn(move || write(&of_thread));
        let failed = |error: io::Error| LogError::io(checkpoint.path())(error);
        let thread = Some(thread.map_err(failed)?);
        Ok(Self { checkpoint, thread })
    }

    /// Writes all that was taken, and ends.
    pub(super) fn end(&mut self) {
        self.checkpoint.end_taking();
        if let Some(thread) = self.thread.take() {
            // One that panicked has reported that itself.
            let _ = thread.join();
        }
    }
}

fn write(checkpoint: &Log) {
    let mut said = false;
    loop {
        let goes_on = checkpoint.wait_for_unwritten(INTERVAL);
        let written = checkpoint.write_out();
        match &written {
            Err(error) if !said => {
                tracing::warn!(%error, "the checkpoint cannot be written: what is read waits in memory");
            }
            Err(_) | Ok(()) => {}
        }
        said = written.is_err();
        if !goes_on {
            return;
        }
        if said {
            std::thread::sleep(RETRY);
            // Does nothing where it is only closed for a moment.
            let _ = checkpoint.reopen();
        }
    }
}
