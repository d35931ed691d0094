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
use crate::model::{Action, ActionId, ActionKind, Timestamp, UserId};

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
    /// Its user was erased after it.
    Erased,
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
    /// more until [`super::Actions::reopen`] has opened it again.
    #[error("the action log cannot be written: {0}")]
    Failed(String),
}

/// Called once with the outcome of a request.
type Completion = Box<dyn FnOnce(Result<RecordedActions, RecordError>) + Send>;

/// Work that must not be done while actions are written.
type Exclusive = Box<dyn FnOnce(&mut LogWriter) + Send>;

/// Actions that wait for the writer.
struct WriteRequest {
    actions: Vec<Action>,
    /// The time at which they came.
    now: Timestamp,
    complete: Completion,
}

/// What the writer does next.
enum Job {
    Write(WriteRequest),
    Exclusive(Exclusive),
}

/// The writing thread. It ends, after the waiting requests are written, when this is
/// dropped.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// What the writing thread has.
pub(super) struct LogWriter {
    pub(super) log: Arc<Log>,
    pub(super) shared: Arc<SharedState>,
    /// Actions whose write failed: they may be in the log or not.
    unconfirmed: Vec<Action>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(log: Arc<Log>, shared: Arc<SharedState>) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel(MAX_WAITING);
        let named = std::thread::Builder::new().name("action-log".to_owned());
        let mut writer = LogWriter {
            log,
            shared,
            unconfirmed: Vec::new(),
        };
        let thread = named.spawn(move || writer.work(&waiting))?;
        Ok(Self {
            jobs: Some(jobs),
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
        let sent = match &self.jobs {
            Some(jobs) => jobs.try_send(Job::Write(request)),
            None => Err(TrySendError::Disconnected(Job::Write(request))),
        };
        let (job, error) = match sent {
            Ok(()) => return,
            Err(TrySendError::Full(job)) => (job, RecordError::Busy),
            Err(TrySendError::Disconnected(job)) => (job, stopped()),
        };
        if let Job::Write(request) = job {
            (request.complete)(Err(error));
        }
    }

    /// Lets the thread do `work` between two writes, and returns its result. Waits for it.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut LogWriter) -> T + Send + 'static,
    ) -> Result<T, RecordError> {
        let (give, taken) = sync_channel(1);
        let job = Job::Exclusive(Box::new(move |writer| {
            // Whoever asked waits for it, but for one that panicked.
            let _ = give.send(work(writer));
        }));
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(job).map_err(|_| stopped())?;
        taken.recv().map_err(|_| stopped())
    }
}

/// The error of a writer that has ended.
fn stopped() -> RecordError {
    RecordError::Failed("its thread has stopped".to_owned())
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has reported that itself.
            let _ = thread.join();
        }
    }
}

impl LogWriter {
    /// Does what is waiting until no sender is left.
    fn work(&mut self, waiting: &Receiver<Job>) {
        let mut next = waiting.recv().ok();
        while let Some(job) = next {
            let following = match job {
                Job::Write(first) => {
                    let group = take_group(first, waiting);
                    self.write(group.requests);
                    group.following
                }
                Job::Exclusive(work) => {
                    work(self);
                    None
                }
            };
            next = following.or_else(|| waiting.recv().ok());
        }
    }

    /// Writes `requests` and completes them.
    fn write(&mut self, requests: Vec<WriteRequest>) {
        match self.write_group(&requests) {
            Ok(outcomes) => {
                let token = self.shared.token();
                for (request, outcomes) in requests.into_iter().zip(outcomes) {
                    (request.complete)(Ok(RecordedActions { outcomes, token }));
                }
            }
            Err(error) => {
                for request in requests {
                    (request.complete)(Err(error.clone()));
                }
            }
        }
    }

    /// Writes the new actions of `requests`, makes them visible to readers, and returns
    /// the outcomes of each request.
    fn write_group(
        &mut self,
        requests: &[WriteRequest],
    ) -> Result<Vec<Vec<ActionOutcome>>, RecordError> {
        let failed = |error: LogError| RecordError::Failed(error.to_string());
        let (new, outcomes) = self.new_actions(requests).map_err(failed)?;
        if !new.is_empty() {
            let weights = &self.shared.params.weights;
            let is_negative = |action: &Action| {
                matches!(weights.kind(&action.name), Some(ActionKind::Negative(_)))
            };
            let was_writable = self.log.failure().is_none();
            let now = requests.iter().map(|request| request.now).max();
            let now = now.expect("a group has requests");
            if let Err(error) = self.log.append(&new, now, is_negative) {
                if was_writable {
                    let actions = new.len();
                    tracing::error!(%error, actions, "actions could not be written");
                    self.unconfirmed.extend(new.into_iter().cloned());
                }
                return Err(failed(error));
            }
            new.into_iter().for_each(|action| self.shared.apply(action));
            self.shared.set_accepted(self.log.accepted());
        }
        Ok(outcomes)
    }

    /// The actions of `requests` that are to be written, and the outcomes of each request
    /// once they are.
    fn new_actions<'r>(
        &self,
        requests: &'r [WriteRequest],
    ) -> Result<(Vec<&'r Action>, Vec<Vec<ActionOutcome>>), LogError> {
        let mut ids: HashSet<ActionId> = HashSet::new();
        let mut new: Vec<&Action> = Vec::new();
        let mut outcomes = Vec::with_capacity(requests.len());
        for request in requests {
            let mut of_request = Vec::with_capacity(request.actions.len());
            for action in &request.actions {
                let outcome = if !ids.insert(action.id) {
                    ActionOutcome::Duplicate
                } else {
                    self.outcome(action)?
                };
                if outcome == ActionOutcome::Accepted {
                    new.push(action);
                }
                of_request.push(outcome);
            }
            outcomes.push(of_request);
        }
        Ok((new, outcomes))
    }

    /// What becomes of `action` once it is written, if it is to be.
    fn outcome(&self, action: &Action) -> Result<ActionOutcome, LogError> {
        let erased_at = self.shared.erased_at(action.user);
        Ok(if self.log.contains(action.id)? {
            ActionOutcome::Duplicate
        } else if erased_at.is_some_and(|erased_at| action.time < erased_at) {
            ActionOutcome::Erased
        } else {
            ActionOutcome::Accepted
        })
    }

    /// Declares durably that `user` is erased at `erased_at`, and forgets the user in memory.
    pub(super) fn begin_erasure(
        &mut self,
        user: UserId,
        erased_at: Timestamp,
    ) -> Result<(), LogError> {
        self.log.erase(user, erased_at)?;
        self.unconfirmed.retain(|action| action.user != user);
        self.shared.erase(user, erased_at);
        Ok(())
    }

    /// Opens the log again after a failed write, and makes visible what that write has
    /// left there.
    pub(super) fn reopen(&mut self) -> Result<(), LogError> {
        self.log.reopen()?;
        let mut found = 0;
        for action in std::mem::take(&mut self.unconfirmed) {
            if self.log.contains(action.id)? {
                self.shared.apply(&action);
                found += 1;
            }
        }
        self.shared.set_accepted(self.log.accepted());
        tracing::info!(found, "the action log takes writes again");
        Ok(())
    }
}

/// Requests that are written together.
struct Group {
    requests: Vec<WriteRequest>,
    /// What was waiting behind them, and must be done next.
    following: Option<Job>,
}

/// The requests that are written together, beginning with `first`.
fn take_group(first: WriteRequest, waiting: &Receiver<Job>) -> Group {
    let mut count = first.actions.len();
    let mut requests = vec![first];
    let mut following = None;
    while count < MAX_GROUP
        && let Ok(job) = waiting.try_recv()
    {
        match job {
            Job::Write(request) => {
                count += request.actions.len();
                requests.push(request);
            }
            Job::Exclusive(_) => {
                following = Some(job);
                break;
            }
        }
    }
    Group {
        requests,
        following,
    }
}
