//! What users did since the last batch: kept durably, and in memory by user.
//!
//! [`Actions::submit`] takes actions; one thread writes them, all that wait with
//! one sync, and only then are they acknowledged. [`Actions::state`] is what is
//! known of one user. What is known is a function of the set of actions that were
//! accepted, whatever their order and however often each came.

mod params;
mod state;
mod writer;

pub use params::{ActionLimits, FeedbackParams};
pub use state::{Engagement, UserState};
pub use writer::{Outcome, RecordError, Recorded};

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use dashmap::DashMap;

use crate::durable::{Log, LogError};
use crate::model::{Action, ActionId, ActionWeights, Timestamp, UserId};
use writer::Writer;

/// Settings of what is kept.
#[derive(Clone, Debug)]
pub struct ActionParams {
    /// What actions say, by name.
    pub weights: ActionWeights,
    /// For how long and how many of them count.
    pub limits: ActionLimits,
}

impl ActionParams {
    /// The first moment that is not forgotten at `now`: days are forgotten as a whole.
    fn oldest(&self, now: Timestamp) -> Timestamp {
        now.minus_days(self.limits.retention_days()).day_start()
    }
}

/// Stands for what was recorded up to some action: who shows it wants an answer
/// that reflects all of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreshnessToken {
    /// The directory that the actions are in.
    store: u64,
    /// Actions that had been accepted there.
    accepted: u64,
}

impl FreshnessToken {
    /// The token as a client sees it.
    pub fn to_bytes(self) -> [u8; 16] {
        let both = u128::from(self.store) << 64 | u128::from(self.accepted);
        both.to_be_bytes()
    }

    /// The token of these bytes; none when they are of another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let both = u128::from_be_bytes(bytes.try_into().ok()?);
        Some(Self {
            store: (both >> 64) as u64,
            accepted: both as u64,
        })
    }
}

/// The recorded actions of one directory. It has one writer, this process.
#[derive(Debug)]
pub struct Actions {
    log: Arc<Log>,
    shared: Arc<Shared>,
    writer: Writer,
    /// In microseconds: days are forgotten as a whole, so it changes once a day.
    forgotten_before: AtomicI64,
}

/// What was found when actions were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Actions that count.
    pub actions: u64,
    /// Actions that were forgotten because they are too old.
    pub forgotten: u64,
}

/// What the writer fills and readers read.
#[derive(Debug)]
struct Shared {
    params: ActionParams,
    store: u64,
    users: DashMap<UserId, Arc<UserState>>,
    /// Actions that were accepted and can be seen by readers.
    accepted: AtomicU64,
    /// Engagement of all users with what was recommended.
    shown: AtomicU64,
    engaged: AtomicU64,
}

impl Actions {
    /// The actions in `log`, which this process alone writes to. `now` decides which
    /// are too old to be read again. Also tells how many were read and forgotten.
    pub fn open(
        log: Arc<Log>,
        params: ActionParams,
        now: Timestamp,
    ) -> Result<(Self, Found), LogError> {
        let shared = Shared {
            store: log.store(),
            users: DashMap::new(),
            accepted: AtomicU64::new(log.accepted()),
            shown: AtomicU64::new(0),
            engaged: AtomicU64::new(0),
            params,
        };
        let oldest = shared.params.oldest(now);
        let mut found = Found {
            actions: 0,
            forgotten: log.forget_before(oldest)?,
        };
        log.for_each(|action| {
            found.actions += 1;
            shared.apply(&action);
        })?;
        let shared = Arc::new(shared);
        let writer = Writer::start(log.clone(), shared.clone());
        let opened = Self {
            writer: writer.map_err(LogError::io(log.path()))?,
            log,
            shared,
            forgotten_before: AtomicI64::new(oldest.micros()),
        };
        Ok((opened, found))
    }

    /// Forgets what is too old at `now`, on disk and in memory, and returns how many
    /// actions that were. Takes a while, once a day; others go on meanwhile.
    pub fn forget(&self, now: Timestamp) -> Result<u64, LogError> {
        let oldest = self.shared.params.oldest(now);
        if self
            .forgotten_before
            .swap(oldest.micros(), Ordering::Relaxed)
            == oldest.micros()
        {
            return Ok(0);
        }
        self.shared.users.retain(|_, state| {
            if state.reaches_before(oldest) {
                let before = state.all_engagement();
                let state = Arc::make_mut(state);
                state.forget_before(oldest);
                self.shared
                    .engagement_changed(before, state.all_engagement());
            }
            !state.is_empty()
        });
        self.log.forget_before(oldest)
    }

    /// Whether an action with this id was accepted, and not forgotten since.
    pub fn contains(&self, id: ActionId) -> Result<bool, LogError> {
        self.log.contains(id)
    }

    /// Engagement of all users with what was recommended to them.
    pub fn engagement(&self) -> Engagement {
        Engagement {
            shown: self.shared.shown.load(Ordering::Relaxed),
            engaged: self.shared.engaged.load(Ordering::Relaxed),
        }
    }

    /// Settings of what is kept.
    pub fn params(&self) -> &ActionParams {
        &self.shared.params
    }

    /// Gives `actions` to the writer, which tells `done` when they are durable and
    /// can be seen, or why they are not. Their names must be known.
    pub fn submit(
        &self,
        actions: Vec<Action>,
        done: impl FnOnce(Result<Recorded, RecordError>) + Send + 'static,
    ) {
        self.writer.submit(actions, Box::new(done));
    }

    /// What is known of `user`; none when that is nothing.
    pub fn state(&self, user: UserId) -> Option<Arc<UserState>> {
        self.shared.users.get(&user).map(|state| state.clone())
    }

    /// Number of users of whom something is known.
    pub fn users(&self) -> usize {
        self.shared.users.len()
    }

    /// Whether all that `token` stands for can be seen.
    pub fn reflects(&self, token: FreshnessToken) -> bool {
        token.store == self.shared.store
            && token.accepted <= self.shared.accepted.load(Ordering::Acquire)
    }
}

impl Shared {
    /// Makes `action` known to readers.
    fn apply(&self, action: &Action) {
        if let Some(kind) = self.params.weights.kind(&action.name) {
            let mut state = self.users.entry(action.user).or_default();
            let limits = &self.params.limits;
            let state = Arc::make_mut(&mut state);
            state.add(action.pin, action.time, kind, limits);
            if let Some(medoid) = action.medoid {
                let before = state.all_engagement();
                state.engage(medoid, action.time, kind, limits);
                self.engagement_changed(before, state.all_engagement());
            }
        }
    }

    /// Takes up that the engagement of one user was `before`, and is `after`.
    fn engagement_changed(&self, before: Engagement, after: Engagement) {
        // Sums wrap around on the way, and come out right.
        let shown = after.shown.wrapping_sub(before.shown);
        let engaged = after.engaged.wrapping_sub(before.engaged);
        self.shown.fetch_add(shown, Ordering::Relaxed);
        self.engaged.fetch_add(engaged, Ordering::Relaxed);
    }

    fn token(&self) -> FreshnessToken {
        FreshnessToken {
            store: self.store,
            accepted: self.accepted.load(Ordering::Acquire),
        }
    }
}
