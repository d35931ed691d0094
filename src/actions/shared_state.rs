//! State of all users, which the writer fills and readers read.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use dashmap::DashMap;

use super::engagement::Engagement;
use super::freshness_token::FreshnessToken;
use super::params::ActionParams;
use super::user_state::UserState;
use crate::durable::UserDigest;
use crate::model::{Action, ActionKind, Timestamp, UserId};

/// State of all users.
#[derive(Debug)]
pub(super) struct SharedState {
    pub(super) params: ActionParams,
    /// The store that holds the actions.
    store_id: u64,
    users: DashMap<UserId, Arc<UserState>>,
    /// Users that were erased, and when.
    erased: DashMap<UserDigest, Timestamp>,
    /// In microseconds: actions before it are forgotten, but for negative ones.
    oldest: AtomicI64,
    /// Actions that were accepted and can be seen by readers.
    accepted: AtomicU64,
    /// Engagement of all users with what was recommended.
    shown: AtomicU64,
    engaged: AtomicU64,
}

impl SharedState {
    /// State without users, of a store that has `accepted` actions.
    pub(super) fn new(params: ActionParams, store_id: u64, accepted: u64) -> Self {
        Self {
            params,
            store_id,
            users: DashMap::new(),
            erased: DashMap::new(),
            oldest: AtomicI64::new(i64::MIN),
            accepted: AtomicU64::new(accepted),
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

    /// Declares that readers can see all of the `accepted` actions.
    pub(super) fn set_accepted(&self, accepted: u64) {
        self.accepted.store(accepted, Ordering::Release);
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
        self.set_erased(UserDigest::new(self.store_id, user), erased_at);
        if let Some((_, state)) = self.users.remove(&user) {
            self.replace_engagement(state.total_engagement(), Engagement::default());
        }
    }

    /// Declares that a user was erased at `erased_at`.
    pub(super) fn set_erased(&self, user: UserDigest, erased_at: Timestamp) {
        self.erased.insert(user, erased_at);
    }

    /// When `user` was erased; none for others.
    pub(super) fn erased_at(&self, user: UserId) -> Option<Timestamp> {
        // Most logs have no erased users, and digests take time.
        if self.erased.is_empty() {
            return None;
        }
        let digest = UserDigest::new(self.store_id, user);
        self.erased.get(&digest).map(|erased_at| *erased_at)
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

    /// The token of all actions that readers can see.
    pub(super) fn token(&self) -> FreshnessToken {
        FreshnessToken {
            store_id: self.store_id,
            accepted: self.accepted.load(Ordering::Acquire),
        }
    }
}
