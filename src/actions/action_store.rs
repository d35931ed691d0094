//! The recorded actions of one log: opened, submitted, read and forgotten.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::engagement::Engagement;
use super::freshness_token::FreshnessToken;
use super::judged_clock::JudgedClock;
use super::lag::Lag;
use super::outcomes::{RecordError, RecordedActions};
use super::params::ActionParams;
use super::replica::{Replica, SharedParts};
use super::shared_state::SharedState;
use super::tail_sink::TailSignals;
use super::user_state::UserState;
use super::writer::{LogWriter, Writer, WriterParts};
use crate::durable::{ActionLog, Appended, Entry, Log, LogError, PinChange, PlacedAction};
use crate::model::{Action, ActionId, Timestamp, UserId};

/// How long a change of pins waits for the tail of a shared log to bring it back.
const PINS_WAIT: Duration = Duration::from_secs(5);

/// The recorded actions of one log. An embedded log has one writer, this process; a shared
/// one is written by all replicas.
#[derive(Debug)]
pub struct Actions {
    /// What is known here: the log itself, or a checkpoint of it.
    pub(super) store: Arc<Log>,
    log: Arc<dyn ActionLog>,
    pub(super) shared: Arc<SharedState>,
    pub(super) signals: Arc<TailSignals>,
    /// Ends before the tail that it waits for.
    writer: Writer,
    /// None where the log is embedded.
    pub(super) replica: Option<Replica>,
    clock: Mutex<JudgedClock>,
    /// One erasure at a time.
    pub(super) erasing: Mutex<()>,
    /// In microseconds: days are forgotten as a whole, so it changes once a day.
    forgotten_before: AtomicI64,
}

/// Number of actions that were found when the log was replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplaySummary {
    /// Actions that were replayed.
    pub actions: u64,
    /// Actions that were forgotten because they are too old.
    pub forgotten: u64,
}

impl Actions {
    /// Replays the actions in `log`, which this process alone writes to. Those that are
    /// too old at `now` are forgotten first.
    pub fn open(
        log: Arc<Log>,
        params: ActionParams,
        now: Timestamp,
    ) -> Result<(Self, ReplaySummary), LogError> {
        Self::open_with(log, None, params, now)
    }

    /// Replays the actions in `checkpoint`, and reads on in the log that it is one of. Returns
    /// before all is read: see [`Self::lag`].
    pub fn open_shared(
        checkpoint: Arc<Log>,
        parts: SharedParts,
        params: ActionParams,
        now: Timestamp,
    ) -> Result<(Self, ReplaySummary), LogError> {
        Self::open_with(checkpoint, Some(parts), params, now)
    }

    fn open_with(
        store: Arc<Log>,
        parts: Option<SharedParts>,
        params: ActionParams,
        now: Timestamp,
    ) -> Result<(Self, ReplaySummary), LogError> {
        let shared = SharedState::new(params, store.store_id(), store.positions()?);
        let mut clock = JudgedClock::new(store.kept_time()?.unwrap_or(now));
        let oldest = shared.params.oldest(clock.judge(now));
        store.keep_time(clock.kept())?;
        let summary = replay(&store, &shared, oldest)?;
        let shared = Arc::new(shared);
        let signals = Arc::new(TailSignals::default());
        let replica = parts.map(|parts| Replica::start(&store, &shared, &signals, parts));
        let replica = replica.transpose()?;
        let log: Arc<dyn ActionLog> = match &replica {
            Some(replica) => replica.log.clone(),
            None => store.clone(),
        };
        let writer = Writer::start(WriterParts {
            store: store.clone(),
            log: log.clone(),
            shared: shared.clone(),
            signals: signals.clone(),
            is_shared: replica.is_some(),
        });
        let opened = Self {
            writer: writer.map_err(LogError::io(store.path()))?,
            store,
            log,
            replica,
            shared,
            signals,
            clock: Mutex::new(clock),
            erasing: Mutex::default(),
            forgotten_before: AtomicI64::new(oldest.micros()),
        };
        Ok((opened, summary))
    }

    /// Forgets actions that are too old at `now`, on disk and in memory, and returns their
    /// number: none by a clock that has jumped ahead. Takes a while, once a day; other calls go on meanwhile.
    pub fn forget(&self, now: Timestamp) -> Result<u64, LogError> {
        let (now, kept) = {
            // A panic leaves a guard that is as good as before.
            let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
            (clock.judge(now), clock.kept())
        };
        self.store.keep_time(kept)?;
        let oldest = self.shared.params.oldest(now);
        let forgotten_before = &self.forgotten_before;
        if forgotten_before.load(Ordering::Relaxed) >= oldest.micros() {
            return Ok(0);
        }
        let forgotten = self.store.forget_before(oldest)?;
        self.shared.forget_before(oldest);
        forgotten_before.fetch_max(oldest.micros(), Ordering::Relaxed);
        Ok(forgotten)
    }

    /// The last time at which the log was used, if a clock that says `now` is more than a day
    /// ahead of it and is not believed; none while it is.
    pub fn last_use_before_jump(&self, now: Timestamp) -> Option<Timestamp> {
        // A panic leaves a guard that is as good as before.
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let believed = clock.judge(now);
        (believed < now).then_some(believed)
    }

    /// Why nothing is recorded at present; none while all is well.
    pub fn failure(&self) -> Option<Arc<String>> {
        let failure = self.store.failure();
        failure.or_else(|| self.log.condition().failure.map(Arc::new))
    }

    /// The same, but looks whether the log can be written. May wait for a write in progress.
    pub fn check(&self) -> Option<Arc<String>> {
        let failure = self.store.check();
        failure.or_else(|| self.log.condition().failure.map(Arc::new))
    }

    /// Opens the log again after a failed write, once there is space. Waits for writes in
    /// progress. It can be called again when it fails.
    pub fn reopen(&self) -> Result<(), LogError> {
        self.run(LogWriter::reopen)
    }

    /// Lets the writer do `work` between two writes.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut LogWriter) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        match self.writer.run(work) {
            Ok(done) => done,
            Err(error) => Err(LogError::io(self.store.path())(io::Error::other(error))),
        }
    }

    /// Whether an action with this id was accepted, and not forgotten since.
    pub fn contains(&self, id: ActionId) -> Result<bool, LogError> {
        self.store.contains(id)
    }

    /// The random number that tells the log from others.
    pub fn store_id(&self) -> u64 {
        self.store.store_id()
    }

    /// The greatest number that a recorded action can have so far. Waits, for 30 seconds at most,
    /// while an erasure has the files closed.
    pub fn last_sequence(&self) -> Result<u64, LogError> {
        self.store.write_out()?;
        self.store.when_open(Log::last_sequence)
    }

    /// The recorded actions that have numbers from `first` on, by ascending number; the
    /// first `max` of them. Of a shared log at least what could be seen when
    /// [`Self::last_sequence`] was asked last. Waits like that.
    pub fn actions_from(&self, first: u64, max: usize) -> Result<Vec<PlacedAction>, LogError> {
        self.store.when_open(|store| store.actions_from(first, max))
    }

    /// Engagement of all users with what was recommended to them.
    pub fn engagement(&self) -> Engagement {
        self.shared.engagement()
    }

    /// Settings of recorded actions.
    pub fn params(&self) -> &ActionParams {
        &self.shared.params
    }

    /// Submits `actions`, whose names must be known, to the writer; they are recorded at
    /// `now`, the server's clock. The writer calls `complete`
    /// when they are durable and can be seen, or with the reason why they are not.
    pub fn submit(
        &self,
        actions: Vec<Action>,
        now: Timestamp,
        complete: impl FnOnce(Result<RecordedActions, RecordError>) + Send + 'static,
    ) {
        self.writer.submit(actions, now, Box::new(complete));
    }

    /// State of `user`; none when nothing is recorded.
    pub fn state(&self, user: UserId) -> Option<Arc<UserState>> {
        self.shared.user(user)
    }

    /// Number of users that have a state.
    pub fn users(&self) -> usize {
        self.shared.user_count()
    }

    /// Whether readers can see all actions that `token` stands for.
    pub fn reflects(&self, token: &FreshnessToken) -> bool {
        self.shared.reflects(token)
    }

    /// Waits until readers can see all that `token` stands for, at most until `deadline`, and
    /// not at all for a token of another log.
    pub async fn wait_for(&self, token: &FreshnessToken, deadline: Instant) {
        if !self.reflects(token) {
            self.shared.wait_for(token, deadline).await;
        }
    }

    /// Appends changes of pins to a shared log, and returns once they can be seen here; or to
    /// an embedded one, and then it is for the caller to make them visible. Returns whether
    /// the log has brought them.
    pub fn append_pins(&self, changes: &[PinChange]) -> Result<bool, LogError> {
        match self.log.append(&Entry::Pins(changes))? {
            Appended::Here => Ok(false),
            Appended::Sent(positions) => {
                let is_visible = || self.shared.visible().cover(&positions);
                let seen = self.signals.own.wait_until(PINS_WAIT, is_visible);
                if seen {
                    Ok(true)
                } else {
                    Err(LogError::NotRead)
                }
            }
        }
    }

    /// Drops changes of pins from a shared log, because catalogs have them.
    pub fn settle_pins(&self, changes: &[PinChange]) -> Result<(), LogError> {
        match &self.replica {
            Some(replica) if !changes.is_empty() => replica.log.settle_pins(changes),
            _ => Ok(()),
        }
    }

    /// How far this replica is behind the log that it shares, as the engine told it last. None
    /// where the log is embedded, and before the engine was asked.
    pub fn lag(&self) -> Option<Lag> {
        self.replica.as_ref()?.lag(&self.shared.visible())
    }

    /// The moment before which recorded actions may be missing from a shared log; none if it has
    /// all, and where the log is embedded. Asks the engine, and blocks.
    pub fn log_begins(&self) -> Result<Option<Timestamp>, LogError> {
        match &self.replica {
            Some(replica) => replica.log.begins(),
            None => Ok(None),
        }
    }

    /// Whether other replicas share the log.
    pub fn is_shared(&self) -> bool {
        self.replica.is_some()
    }
}

/// Applies to `shared` what is in `store`, but for actions before `oldest`, which are forgotten.
fn replay(store: &Log, shared: &SharedState, oldest: Timestamp) -> Result<ReplaySummary, LogError> {
    for (user, erasure) in store.erasures()? {
        shared.set_erased(user, erasure.erased_at);
    }
    if !store.unfinished_erasures()?.is_empty() {
        let actions = store.end_erasures(|| store.empty_journals())?;
        tracing::info!(actions, "ended an erasure that was begun before");
    }
    let mut summary = ReplaySummary {
        actions: 0,
        forgotten: store.forget_before(oldest)?,
    };
    shared.forget_before(oldest);
    store.for_each(|action| {
        summary.actions += 1;
        shared.apply(&action);
    })?;
    Ok(summary)
}
