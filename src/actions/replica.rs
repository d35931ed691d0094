//! A replica: it keeps a checkpoint of a log that it shares with others, and follows it.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::checkpoint_writer::CheckpointWriter;
use super::lag::{Lag, LagClock};
use super::shared_state::SharedState;
use super::tail_sink::{TailSignals, TailSink};
use crate::durable::{Condition, Log, LogError, PinChange, Positions, SharedLog, Tail};

/// What a replica has beside its checkpoint.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) log: Arc<dyn SharedLog>,
    signals: Arc<TailSignals>,
    lag: Mutex<LagClock>,
    /// Brings what is appended, until it is dropped.
    tail: Option<Tail>,
    /// Writes what the tail has brought.
    writer: CheckpointWriter,
}

/// A log that is shared with other replicas, and who wants to know of changed pins.
pub struct SharedParts {
    /// The log.
    pub log: Arc<dyn SharedLog>,
    /// Called with changes of pins as they come, in their order.
    pub take_pins: Box<dyn Fn(Vec<PinChange>) + Send + Sync>,
}

impl fmt::Debug for SharedParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = f.debug_struct("SharedParts");
        parts.field("log", &self.log).finish_non_exhaustive()
    }
}

impl Replica {
    /// Reads on where the checkpoint ends.
    pub(super) fn start(
        checkpoint: &Arc<Log>,
        shared: &Arc<SharedState>,
        signals: &Arc<TailSignals>,
        parts: SharedParts,
    ) -> Result<Self, LogError> {
        let SharedParts { log, take_pins } = parts;
        let sink = TailSink {
            checkpoint: checkpoint.clone(),
            shared: shared.clone(),
            signals: signals.clone(),
            take_pins,
        };
        let tail = log.tail(checkpoint.positions()?, Box::new(sink))?;
        let writer = CheckpointWriter::start(checkpoint.clone())?;
        Ok(Self {
            log,
            signals: signals.clone(),
            lag: Mutex::default(),
            tail: Some(tail),
            writer,
        })
    }

    /// How far this replica, which has read up to `visible`, is behind the log, as the engine
    /// told it last; none before it did.
    pub(super) fn lag(&self, visible: &Positions) -> Option<Lag> {
        let Condition { newest, told, .. } = self.log.condition();
        // A panic leaves a clock that is as good as before.
        let mut lag = self.lag.lock().unwrap_or_else(PoisonError::into_inner);
        told?;
        Some(lag.measure(visible, newest, Instant::now()))
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // Who waits for the checkpoint gives up, so that the tail can end.
        self.signals.is_over.store(true, Ordering::Release);
        // What it has brought is written once it has ended.
        drop(self.tail.take());
        self.writer.end();
    }
}
