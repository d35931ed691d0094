//! The recorded actions of one directory: opened, submitted, read and forgotten.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use metrics::gauge;

use super::clock_guard::{ClockGuard, ClockReading};
use super::engagement::Engagement;
use super::freshness_token::FreshnessToken;
use super::params::ActionParams;
use super::shared_state::SharedState;
use super::user_state::UserState;
use super::writer::{LogWriter, RecordError, RecordedActions, Writer};
use crate::durable::{Log, LogError, PlacedAction};
use crate::metrics as names;
use crate::model::{Action, ActionId, Timestamp, UserId};

const SECONDS_PER_DAY: f64 = 86_400.0;

/// The recorded actions of one directory. It has one writer, this process.
#[derive(Debug)]
pub struct Actions {
    log: Arc<Log>,
    shared: Arc<SharedState>,
    writer: Writer,
    clock: Mutex<JudgedClock>,
    /// One erasure at a time.
    erasing: Mutex<()>,
    /// In microseconds: days are forgotten as a whole, so it changes once a day.
    forgotten_before: AtomicI64,
}

/// The guard of the clock, and when it was asked last.
#[derive(Debug)]
struct JudgedClock {
    guard: ClockGuard,
    judged_at: Instant,
}

/// Number of actions that were found when the log was replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplaySummary {
    /// Actions that were replayed.
    pub actions: u64,
    /// Actions that were forgotten because they are too old.
    pub forgotten: u64,
}

/// What was erased of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasedActions {
    /// Actions that were removed from the log.
    pub actions: u64,
    /// Actions of before are refused.
    pub erased_at: Timestamp,
}

/// That a user was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserErasure {
    /// The log that the user was erased from.
    pub log_id: u64,
    /// Nothing of before counts.
    pub erased_at: Timestamp,
}

impl Actions {
    /// Replays the actions in `log`, which this process alone writes to. Those that are
    /// too old at `now` are forgotten first.
    pub fn open(
        log: Arc<Log>,
        params: ActionParams,
        now: Timestamp,
    ) -> Result<(Self, ReplaySummary), LogError> {
        let shared = SharedState::new(params, log.store_id(), log.accepted());
        let mut clock = JudgedClock {
            guard: ClockGuard::new(log.kept_time()?.unwrap_or(now)),
            judged_at: Instant::now(),
        };
        let oldest = shared.params.oldest(clock.judge(now));
        log.keep_time(clock.guard.kept())?;
        for (user, erasure) in log.erasures()? {
            shared.set_erased(user, erasure.erased_at);
        }
        if log.has_unfinished_erasures()? {
            let actions = end_erasures(&log, || log.empty_journals())?;
            tracing::info!(actions, "ended an erasure that was begun before");
        }
        let mut summary = ReplaySummary {
            actions: 0,
            forgotten: log.forget_before(oldest)?,
        };
        shared.forget_before(oldest);
        log.for_each(|action| {
            summary.actions += 1;
            shared.apply(&action);
        })?;
        let shared = Arc::new(shared);
        let writer = Writer::start(log.clone(), shared.clone());
        let opened = Self {
            writer: writer.map_err(LogError::io(log.path()))?,
            log,
            shared,
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
            (clock.judge(now), clock.guard.kept())
        };
        self.log.keep_time(kept)?;
        let oldest = self.shared.params.oldest(now);
        let forgotten_before = &self.forgotten_before;
        if forgotten_before.load(Ordering::Relaxed) >= oldest.micros() {
            return Ok(0);
        }
        let forgotten = self.log.forget_before(oldest)?;
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
        self.log.failure()
    }

    /// The same, but looks whether the log can be written. May wait for a write in progress.
    pub fn check(&self) -> Option<Arc<String>> {
        self.log.check()
    }

    /// Opens the log again after a failed write, once there is space. Waits for writes in
    /// progress. It can be called again when it fails.
    pub fn reopen(&self) -> Result<(), LogError> {
        self.run(LogWriter::reopen)
    }

    /// Erases all recorded of `user` up to `now`: from memory at once, and from the files
    /// of the log before this returns. Actions of before are refused from now on. Waits for
    /// other erasures. Later ones are never earlier, so no clock should tell `now` that
    /// [`Self::last_use_before_jump`] finds ahead.
    ///
    /// # Errors
    ///
    /// When the log cannot be written. What is left on the disk is erased by the next call,
    /// or at the next start.
    pub fn erase(&self, user: UserId, now: Timestamp) -> Result<ErasedActions, LogError> {
        // A panic leaves an erasure that is not done, which the next one does.
        let _one = self.erasing.lock().unwrap_or_else(PoisonError::into_inner);
        let erased_at = self.log.next_erasure(now)?;
        self.run(move |writer| writer.begin_erasure(user, erased_at))?;
        let empty_journals = || self.run(|writer| writer.log.empty_journals());
        let actions = end_erasures(&self.log, empty_journals)?;
        Ok(ErasedActions { actions, erased_at })
    }

    /// The erasure of `user`; none for others.
    pub fn erasure(&self, user: UserId) -> Option<UserErasure> {
        Some(UserErasure {
            log_id: self.log.store_id(),
            erased_at: self.shared.erased_at(user)?,
        })
    }

    /// Lets the writer do `work` between two writes.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut LogWriter) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        match self.writer.run(work) {
            Ok(done) => done,
            Err(error) => Err(LogError::io(self.log.path())(io::Error::other(error))),
        }
    }

    /// Whether an action with this id was accepted, and not forgotten since.
    pub fn contains(&self, id: ActionId) -> Result<bool, LogError> {
        self.log.contains(id)
    }

    /// The random number that tells the log from others.
    pub fn store_id(&self) -> u64 {
        self.log.store_id()
    }

    /// The greatest number that a recorded action can have so far.
    pub fn last_sequence(&self) -> u64 {
        self.log.accepted()
    }

    /// The recorded actions that have numbers from `first` on, by ascending number; the
    /// first `max` of them.
    pub fn actions_from(&self, first: u64, max: usize) -> Result<Vec<PlacedAction>, LogError> {
        self.log.actions_from(first, max)
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
    pub fn reflects(&self, token: FreshnessToken) -> bool {
        let visible = self.shared.token();
        token.store_id == visible.store_id && token.accepted <= visible.accepted
    }
}

/// Ends the erasures that are begun in `log`: removes their actions from its files, and
/// returns their number. `empty_journals` empties its journals while nobody writes.
fn end_erasures(
    log: &Log,
    empty_journals: impl FnOnce() -> Result<(), LogError>,
) -> Result<u64, LogError> {
    let actions = log.remove_erased()?;
    log.compact()?;
    empty_journals()?;
    log.finish_erasures()?;
    Ok(actions)
}

impl JudgedClock {
    /// The time by which to forget when the clock says `now`. A jump is reported.
    fn judge(&mut self, now: Timestamp) -> Timestamp {
        let last_used = self.guard.kept();
        let elapsed = self.judged_at.elapsed();
        self.judged_at = Instant::now();
        let (time, reading) = self.guard.judge(now, elapsed);
        let jump = match reading {
            ClockReading::Steady => 0.0,
            ClockReading::Ahead => {
                tracing::warn!(
                    %now, %last_used,
                    "the clock is more than a day ahead of the last use of the log: \
                     no action is forgotten by it"
                );
                now.days_since(last_used)
            }
            ClockReading::Behind => {
                tracing::warn!(%now, %last_used, "the clock is behind the last use of the log");
                now.days_since(last_used)
            }
        };
        gauge!(names::CLOCK_JUMP).set(jump * SECONDS_PER_DAY);
        time
    }
}
