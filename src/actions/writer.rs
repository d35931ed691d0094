//! The one thread that writes. Whatever waits for it is written together: one sync
//! for all, so that the rate grows with the load while each waits for two syncs at
//! most.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::{FreshnessToken, Shared};
use crate::durable::{Log, LogError};
use crate::model::{Action, ActionId, ActionKind};

/// Calls that may wait for the writer.
const WAITING: usize = 256;
/// Actions that are written together, unless a single call has more.
const TOGETHER: usize = 16_384;

/// What became of one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable, and counts.
    Accepted,
    /// One with this id is there already.
    Duplicate,
}

/// Actions that were taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What became of each, in their order.
    pub outcomes: Vec<Outcome>,
    /// Stands for all of them.
    pub token: FreshnessToken,
}

/// Why actions were not taken. All can be sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// More calls are waiting than can be served.
    #[error("too many calls wait for the action log")]
    Busy,
    /// It is not known whether they are durable; after such a failure the log takes no
    /// more until it is opened again.
    #[error("the action log cannot be written: {0}")]
    Failed(String),
}

type Done = Box<dyn FnOnce(Result<Recorded, RecordError>) + Send>;

struct Call {
    actions: Vec<Action>,
    done: Done,
}

/// The writing thread. It ends, after what waits is written, when this is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    calls: Option<SyncSender<Call>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(log: Arc<Log>, shared: Arc<Shared>) -> io::Result<Self> {
        let (calls, waiting) = sync_channel(WAITING);
        let named = std::thread::Builder::new().name("action-log".to_owned());
        let thread = named.spawn(move || write(&log, &shared, &waiting))?;
        Ok(Self {
            calls: Some(calls),
            thread: Some(thread),
        })
    }

    pub(super) fn submit(&self, actions: Vec<Action>, done: Done) {
        let call = Call { actions, done };
        let sent = match &self.calls {
            Some(calls) => calls.try_send(call),
            None => Err(TrySendError::Disconnected(call)),
        };
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(call)) => (call.done)(Err(RecordError::Busy)),
            Err(TrySendError::Disconnected(call)) => {
                let stopped = RecordError::Failed("its thread has stopped".to_owned());
                (call.done)(Err(stopped));
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.calls.take());
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

fn write(log: &Log, shared: &Shared, waiting: &Receiver<Call>) {
    while let Ok(first) = waiting.recv() {
        let mut count = first.actions.len();
        let mut calls = vec![first];
        while count < TOGETHER
            && let Ok(call) = waiting.try_recv()
        {
            count += call.actions.len();
            calls.push(call);
        }
        match write_together(log, shared, &calls) {
            Ok(outcomes) => {
                let token = shared.token();
                for (call, outcomes) in calls.into_iter().zip(outcomes) {
                    (call.done)(Ok(Recorded { outcomes, token }));
                }
            }
            Err(error) => {
                tracing::error!(error = %error, actions = count, "actions could not be written");
                for call in calls {
                    (call.done)(Err(error.clone()));
                }
            }
        }
    }
}

/// Writes what is new in `calls`, makes it known to readers, and tells what became
/// of each action.
fn write_together(
    log: &Log,
    shared: &Shared,
    calls: &[Call],
) -> Result<Vec<Vec<Outcome>>, RecordError> {
    let failed = |error: LogError| RecordError::Failed(error.to_string());
    let mut met: HashSet<ActionId> = HashSet::new();
    let mut new: Vec<&Action> = Vec::new();
    let mut outcomes = Vec::with_capacity(calls.len());
    for call in calls {
        let mut of_call = Vec::with_capacity(call.actions.len());
        for action in &call.actions {
            let is_new = met.insert(action.id) && !log.contains(action.id).map_err(failed)?;
            of_call.push(match is_new {
                true => Outcome::Accepted,
                false => Outcome::Duplicate,
            });
            if is_new {
                new.push(action);
            }
        }
        outcomes.push(of_call);
    }
    if !new.is_empty() {
        let is_negative = |action: &Action| {
            let kind = shared.params.weights.kind(&action.name);
            matches!(kind, Some(ActionKind::Negative(_)))
        };
        log.append(&new, is_negative).map_err(failed)?;
        new.into_iter().for_each(|action| shared.apply(action));
        shared.accepted.store(log.accepted(), Ordering::Release);
    }
    Ok(outcomes)
}
