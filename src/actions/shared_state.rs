//! State of all users, which the writer fills and readers read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use dashmap::DashMap;
use tokio::sync::watch;

use super::engagement::Engagement;
use super::freshness_token::FreshnessToken;
use super::params::ActionParams;
use super::user_state::UserState;
use crate::durable::{Positions, UserDigest};
use crate::model::{Action, ActionKind, Timestamp, UserId};

/// State of all users.
#[derive(Debug)]
pub(super) struct SharedState {
    pub(super) params: ActionParams,
    /// The log that holds the actions.
    log_id: u64,
    users: DashMap<UserId, Arc<UserState>>,
    /// Users that were erased, and when.
    erased: DashMap<UserDigest, Timestamp>,
    /// Whether there are any.
    has_erased: AtomicBool,
    /// In microseconds: actions before it are forgotten, but for negative ones.
    oldest: AtomicI64,
    /// Up to where what was recorded can be seen by readers.
    visible: watch::Sender<Positions>,
    /// Engagement of all users with what was recommended.
    shown: AtomicU64,
    engaged: AtomicU64,
}

impl SharedState {
    /// State without users, of a log of which all up to `visible` will be applied first.
    pub(super) fn new(params: ActionParams, log_id: u64, visible: Positions) -> Self {
        Self {
            params,
            log_id,
            users: DashMap::new(),
            erased: DashMap::new(),
            has_erased: AtomicBool::new(false),
            oldest: AtomicI64::new(i64::MIN),
            visible: watch::Sender::new(visible),
            shown: AtomicU64::new(0),
            engaged: AtomicU64::new(0),
        }
    }

    /// Makes `action` visible to readers, unless such an old one is forgotten already: an
    /// imported one, or one that the log keeps until it is archived.
    pub(super) fn apply(&self, action: &Action) {
        let is_kept = |kind: &ActionKind| {
            let is_negative = matches!(kind, ActionKind::Negative(_));
            is_negative || action.time.micros() >= self.oldest.load(Ordering::Relaxed)
        };
        let kind = self.params.weights.kind(&action.name);
        if let Some(kind) = kind.filter(is_kept) {
            let mut state = self.users.entry(action.user).or_default();
            let limits = &self.params.limits;
            let state = Arc::make_mut(&mut state);
            state.record(action, kind, limits);
            if let Some(medoid) = action.medoid {
                let before = state.total_engagement();
                state.record_engagement(medoid, action.time, kind, limits);
                self.replace_engagement(before, state.total_engagement());
            }
        }
    }

    /// Declares that readers can see all that was recorded up to `visible`.
    pub(super) fn set_visible(&self, visible: &Positions) {
        self.visible.send_modify(|all| all.extend(visible));
    }

    /// Forgets actions before `oldest`, and users of whom nothing is left.
    pub(super) fn forget_before(&self, oldest: Timestamp) {
        self.oldest.fetch_max(oldest.micros(), Ordering::Relaxed);
        self.users.retain(|_, state| {
            if state.has_before(oldest) {
                let before = state.total_engagement();
                let state = Arc::make_mut(state);
                state.forget_before(oldest);
                self.replace_engagement(before, state.total_engagement());
            }
            !state.is_empty()
        });
    }

    /// Forgets all of `user`, who is erased at `erased_at`.
    pub(super) fn erase(&self, user: UserId, erased_at: Timestamp) {
        self.set_erased(self.digest(user), erased_at);
        if let Some((_, state)) = self.users.remove(&user) {
            self.replace_engagement(state.total_engagement(), Engagement::default());
        }
    }

    /// Forgets all of the user of this digest, who is erased at `erased_at`. Looks at all
    /// users: which one it is nobody has told.
    pub(super) fn erase_digest(&self, user: UserDigest, erased_at: Timestamp) {
        self.set_erased(user, erased_at);
        let found = self.users.iter().map(|entry| *entry.key());
        let found: Vec<UserId> = found.filter(|&id| self.digest(id) == user).collect();
        found
            .into_iter()
            .for_each(|user| self.erase(user, erased_at));
    }

    /// Whether `action`, which was recorded at `recorded_at`, is of before the erasure of its
    /// user.
    pub(super) fn is_erased(&self, action: &Action, recorded_at: Timestamp) -> bool {
        let erased_at = self.erased_at(action.user);
        erased_at.is_some_and(|at| action.time < at || recorded_at <= at)
    }

    /// Declares that a user was erased at `erased_at`.
    pub(super) fn set_erased(&self, user: UserDigest, erased_at: Timestamp) {
        self.erased.insert(user, erased_at);
        self.has_erased.store(true, Ordering::Release);
    }

    /// When `user` was erased; none for others.
    pub(super) fn erased_at(&self, user: UserId) -> Option<Timestamp> {
        // Most logs have no erased users, and digests take time.
        if !self.has_erased.load(Ordering::Acquire) {
            return None;
        }
        self.erased
            .get(&self.digest(user))
            .map(|erased_at| *erased_at)
    }

    /// Replaces the engagement `before` of one user by `after` in the sums of all.
    fn replace_engagement(&self, before: Engagement, after: Engagement) {
        // The differences may wrap around, and so do the sums: they come out right.
        let shown = after.shown.wrapping_sub(before.shown);
        let engaged = after.engaged.wrapping_sub(before.engaged);
        self.shown.fetch_add(shown, Ordering::Relaxed);
        self.engaged.fetch_add(engaged, Ordering::Relaxed);
    }

    /// State of one user; none when there is none.
    pub(super) fn user(&self, user: UserId) -> Option<Arc<UserState>> {
        self.users.get(&user).map(|state| state.clone())
    }

    /// Number of users that have a state.
    pub(super) fn user_count(&self) -> usize {
        self.users.len()
    }

    /// Engagement of all users.
    pub(super) fn engagement(&self) -> Engagement {
        Engagement {
            shown: self.shown.load(Ordering::Relaxed),
            engaged: self.engaged.load(Ordering::Relaxed),
        }
    }

    /// Tells `user` to those who know the log.
    fn digest(&self, user: UserId) -> UserDigest {
        UserDigest::new(self.log_id, user)
    }

    /// Up to where readers can see what was recorded.
    pub(super) fn visible(&self) -> Positions {
        self.visible.borrow().clone()
    }

    /// The token of what was recorded up to `positions`.
    pub(super) fn token(&self, positions: Positions) -> FreshnessToken {
        FreshnessToken {
            log_id: self.log_id,
            positions,
        }
    }

    /// Whether readers can see all that `token` stands for.
    pub(super) fn reflects(&self, token: &FreshnessToken) -> bool {
        token.log_id == self.log_id && self.visible.borrow().cover(&token.positions)
    }

    /// Waits until readers can see all that `token` stands for, at most until `deadline`.
    /// Does not wait for a token of another log.
    pub(super) async fn wait_for(&self, token: &FreshnessToken, deadline: Instant) {
        if token.log_id != self.log_id {
            return;
        }
        let mut visible = self.visible.subscribe();
        let seen = visible.wait_for(|visible| visible.cover(&token.positions));
        // Whoever asked looks again whether it can be seen.
        let _ = tokio::time::timeout_at(deadline.into(), seen).await;
    }
}
