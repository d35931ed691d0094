//! The one thread that writes. All requests that wait for it are written together: one
//! sync for all, so that the rate grows with the load while each waits for two syncs at
//! most.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::freshness_token::FreshnessToken;
use super::shared_state::SharedState;
use crate::durable::{Log, LogError};
use crate::model::{Action, ActionId, ActionKind, Timestamp};

/// Requests that may wait for the writer.
const MAX_WAITING: usize = 256;
/// Actions that are written together, unless a single request has more.
const MAX_GROUP: usize = 16_384;

/// Outcome of one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionOutcome {
    /// It is durable, and counts.
    Accepted,
    /// One with this id is there already.
    Duplicate,
}

/// Outcome of the actions of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedActions {
    /// The outcome of each action, in their order.
    pub outcomes: Vec<ActionOutcome>,
    /// Stands for all of them.
    pub token: FreshnessToken,
}

/// Why actions were not recorded. All can be sent again.
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

/// Called once with the outcome of a request.
type Completion = Box<dyn FnOnce(Result<RecordedActions, RecordError>) + Send>;

/// Actions that wait for the writer.
struct WriteRequest {
    actions: Vec<Action>,
    /// The time at which they came.
    now: Timestamp,
    complete: Completion,
}

/// The writing thread. It ends, after the waiting requests are written, when this is
/// dropped.
#[derive(Debug)]
pub(super) struct Writer {
    requests: Option<SyncSender<WriteRequest>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(log: Arc<Log>, shared: Arc<SharedState>) -> io::Result<Self> {
        let (requests, waiting) = sync_channel(MAX_WAITING);
        let named = std::thread::Builder::new().name("action-log".to_owned());
        let thread = named.spawn(move || serve_requests(&log, &shared, &waiting))?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    /// Passes `actions`, which came at `now`, to the thread, which calls `complete`.
    pub(super) fn submit(&self, actions: Vec<Action>, now: Timestamp, complete: Completion) {
        let request = WriteRequest {
            actions,
            now,
            complete,
        };
        let sent = match &self.requests {
            Some(requests) => requests.try_send(request),
            None => Err(TrySendError::Disconnected(request)),
        };
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(request)) => (request.complete)(Err(RecordError::Busy)),
            Err(TrySendError::Disconnected(request)) => {
                let stopped = RecordError::Failed("its thread has stopped".to_owned());
                (request.complete)(Err(stopped));
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has reported that itself.
            let _ = thread.join();
        }
    }
}

/// Writes requests until no sender is left.
fn serve_requests(log: &Log, shared: &SharedState, waiting: &Receiver<WriteRequest>) {
    while let Ok(first) = waiting.recv() {
        let (requests, count) = take_group(first, waiting);
        match write_group(log, shared, &requests) {
            Ok(outcomes) => {
                let token = shared.token();
                for (request, outcomes) in requests.into_iter().zip(outcomes) {
                    (request.complete)(Ok(RecordedActions { outcomes, token }));
                }
            }
            Err(error) => {
                tracing::error!(error = %error, actions = count, "actions could not be written");
                for request in requests {
                    (request.complete)(Err(error.clone()));
                }
            }
        }
    }
}

/// The requests that are written together, beginning with `first`, and the number of
/// their actions.
fn take_group(first: WriteRequest, waiting: &Receiver<WriteRequest>) -> (Vec<WriteRequest>, usize) {
    let mut count = first.actions.len();
    let mut requests = vec![first];
    while count < MAX_GROUP
        && let Ok(request) = waiting.try_recv()
    {
        count += request.actions.len();
        requests.push(request);
    }
    (requests, count)
}

/// Writes the new actions of `requests`, makes them visible to readers, and returns the
/// outcomes of each request.
fn write_group(
    log: &Log,
    shared: &SharedState,
    requests: &[WriteRequest],
) -> Result<Vec<Vec<ActionOutcome>>, RecordError> {
    let failed = |error: LogError| RecordError::Failed(error.to_string());
    let mut ids: HashSet<ActionId> = HashSet::new();
    let mut new: Vec<&Action> = Vec::new();
    let mut outcomes = Vec::with_capacity(requests.len());
    for request in requests {
        let mut of_request = Vec::with_capacity(request.actions.len());
        for action in &request.actions {
            let is_new = ids.insert(action.id) && !log.contains(action.id).map_err(failed)?;
            if is_new {
                new.push(action);
                of_request.push(ActionOutcome::Accepted);
            } else {
                of_request.push(ActionOutcome::Duplicate);
            }
        }
        outcomes.push(of_request);
    }
    if !new.is_empty() {
        let is_negative = |action: &Action| {
            let kind = shared.params.weights.kind(&action.name);
            matches!(kind, Some(ActionKind::Negative(_)))
        };
        let now = requests.iter().map(|request| request.now).max();
        let now = now.expect("a group has requests");
        log.append(&new, now, is_negative).map_err(failed)?;
        new.into_iter().for_each(|action| shared.apply(action));
        shared.set_accepted(log.accepted());
    }
    Ok(outcomes)
}
