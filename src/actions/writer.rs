//! The one thread that writes. All requests that wait for it are written together: one
//! sync for all, so that the rate grows with the load while each waits for two syncs at
//! most.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::outcomes::{ActionOutcome, RecordError, RecordedActions, correct};
use super::shared_state::SharedState;
use super::tail_sink::TailSignals;
use crate::durable::{ActionBatch, ActionLog, Appended, Entry, FrameId, Log, LogError, Positions};
use crate::model::{Action, ActionId, ActionKind, Timestamp, UserId};

/// Requests that may wait for the writer.
const MAX_WAITING: usize = 256;
/// Actions that are written together, unless a single request has more.
const MAX_GROUP: usize = 16_384;

/// How long the writer waits for the tail of a shared log to bring back what it has appended.
/// It is durable by then, and what it says may be late.
const TAIL_WAIT: Duration = Duration::from_millis(250);

/// The same for an erasure, which is only done once the tail has brought it.
const ERASURE_WAIT: Duration = Duration::from_secs(5);

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

/// What the writing thread writes to.
#[derive(Clone)]
pub(super) struct WriterParts {
    /// What is known here: the log itself, or a checkpoint of it.
    pub(super) store: Arc<Log>,
    /// The log.
    pub(super) log: Arc<dyn ActionLog>,
    pub(super) shared: Arc<SharedState>,
    pub(super) signals: Arc<TailSignals>,
    /// Whether a tail makes visible what is appended.
    pub(super) is_shared: bool,
}

/// What the writing thread has.
pub(super) struct LogWriter {
    pub(super) parts: WriterParts,
    /// Random bytes of this process, and the number of appends.
    process: u64,
    appends: u64,
    /// Actions whose write failed: they may be in the log or not.
    unconfirmed: Vec<Action>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(parts: WriterParts) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel(MAX_WAITING);
        let named = std::thread::Builder::new().name("action-log".to_owned());
        let mut writer = LogWriter {
            parts,
            process: rand::random(),
            appends: 0,
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
            Ok((outcomes, positions)) => {
                let token = self.parts.shared.token(positions);
                for (request, outcomes) in requests.into_iter().zip(outcomes) {
                    let token = token.clone();
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
    /// the outcomes of each request, and the positions that stand for all.
    fn write_group(
        &mut self,
        requests: &[WriteRequest],
    ) -> Result<(Vec<Vec<ActionOutcome>>, Positions), RecordError> {
        let failed = |error: LogError| RecordError::Failed(error.to_string());
        let (new, mut outcomes) = self.new_actions(requests).map_err(failed)?;
        if new.is_empty() {
            let positions = self.parts.store.taken_positions().map_err(failed)?;
            return Ok((outcomes, positions));
        }
        let now = requests.iter().map(|request| request.now).max();
        let now = now.expect("a group has requests");
        let positions = match self.append(&new, now).map_err(failed)? {
            Appended::Here => {
                let shared = &self.parts.shared;
                new.into_iter().for_each(|action| shared.apply(action));
                shared.set_visible(&self.parts.store.accepted_position());
                shared.visible()
            }
            Appended::Sent(mut positions) => {
                if let Some(found) = self.wait_for(&positions, TAIL_WAIT) {
                    let actions = requests.iter().map(|request| &request.actions[..]);
                    correct(&mut outcomes, actions, &found);
                }
                if outcomes
                    .iter()
                    .flatten()
                    .any(|o| *o == ActionOutcome::Duplicate)
                {
                    // They stand anywhere before: what is kept may not be visible yet.
                    positions.extend(&self.parts.store.taken_positions().map_err(failed)?);
                }
                positions
            }
        };
        Ok((outcomes, positions))
    }

    /// Appends `actions`, which came by `now`.
    fn append(&mut self, actions: &[&Action], now: Timestamp) -> Result<Appended, LogError> {
        let weights = &self.parts.shared.params.weights;
        let is_negative =
            |action: &Action| matches!(weights.kind(&action.name), Some(ActionKind::Negative(_)));
        self.appends += 1;
        let frame = FrameId::new(self.process, self.appends);
        self.parts.signals.own.expect(frame);
        let batch = ActionBatch {
            frame,
            actions,
            recorded_at: now,
            is_kept: &is_negative,
        };
        let was_writable = self.parts.store.failure().is_none();
        let appended = self.parts.log.append(&Entry::Actions(batch));
        if let Err(error) = &appended
            && was_writable
        {
            tracing::error!(%error, actions = actions.len(), "actions could not be written");
            if !self.parts.is_shared {
                self.unconfirmed.extend(actions.iter().copied().cloned());
            }
        }
        appended
    }

    /// Waits until the tail has brought all up to `positions`, at most for `limit`, and returns
    /// what became of the actions that were appended; none in vain.
    fn wait_for(
        &self,
        positions: &Positions,
        limit: Duration,
    ) -> Option<HashMap<ActionId, ActionOutcome>> {
        let parts = &self.parts;
        let is_visible = || parts.shared.visible().cover(positions);
        parts.signals.own.wait(limit, is_visible)
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
                    self.outcome(action, request.now)?
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
    fn outcome(&self, action: &Action, now: Timestamp) -> Result<ActionOutcome, LogError> {
        let WriterParts { store, shared, .. } = &self.parts;
        let is_erased = match self.parts.is_shared {
            true => shared.is_erased(action, now),
            false => shared
                .erased_at(action.user)
                .is_some_and(|at| action.time < at),
        };
        Ok(if store.contains(action.id)? {
            ActionOutcome::Duplicate
        } else if is_erased {
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
        let WriterParts {
            store, log, shared, ..
        } = &self.parts;
        let erasure = Entry::Erasure {
            user: store.digest(user),
            erased_at,
        };
        match log.append(&erasure)? {
            Appended::Here => shared.erase(user, erased_at),
            Appended::Sent(positions) => {
                let seen = self.wait_for(&positions, ERASURE_WAIT);
                seen.ok_or(LogError::NotRead)?;
            }
        }
        self.unconfirmed.retain(|action| action.user != user);
        Ok(())
    }

    /// Opens the log again after a failed write, and makes visible what that write has
    /// left there.
    pub(super) fn reopen(&mut self) -> Result<(), LogError> {
        let WriterParts { store, log, .. } = &self.parts;
        store.reopen()?;
        if let Some(reason) = log.condition().failure {
            return Err(LogError::NotReached(reason));
        }
        if !self.parts.is_shared {
            self.show_unconfirmed()?;
        }
        tracing::info!("the action log takes writes again");
        Ok(())
    }

    /// Makes visible what a failed write has left in an embedded log.
    fn show_unconfirmed(&mut self) -> Result<(), LogError> {
        let WriterParts { store, shared, .. } = &self.parts;
        let mut found = 0;
        for action in std::mem::take(&mut self.unconfirmed) {
            if store.contains(action.id)? {
                shared.apply(&action);
                found += 1;
            }
        }
        shared.set_visible(&store.accepted_position());
        tracing::info!(found, "found actions that were not acknowledged");
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
