//! The fold-in cache: interests of users with their recorded actions folded in.
//!
//! Folding in happens at the first read after a write, and the result is kept for the
//! next read: a user who writes much and reads little costs nothing, and one who reads
//! twice costs one fold.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::actions::UserState;
use crate::cluster::ClusterScratch;
use crate::model::UserId;
use crate::pool::Pool;
use crate::serve::state::answer_params::AnswerParams;
use crate::serve::state::recent_interests::{FoldInSource, RecentInterests};
use crate::store::Profile;

/// Number of users in the cache. One of 100 interests takes about 10 kB, and keeps its
/// recorded actions of that time in memory.
const CAPACITY: usize = 4_096;

/// Folded interests by user, for one set of profiles and one catalog.
#[derive(Debug)]
pub(crate) struct FoldInCache {
    users: Cache<UserId, Arc<RecentInterests>>,
    scratches: Pool<ClusterScratch>,
}

impl FoldInCache {
    pub(crate) fn new() -> Self {
        Self {
            users: Cache::new(CAPACITY),
            scratches: Pool::default(),
        }
    }

    /// Removes what is cached of `user`.
    pub(crate) fn remove(&self, user: UserId) {
        self.users.remove(&user);
    }

    /// Removes what is cached of all users.
    pub(crate) fn clear(&self) {
        self.users.clear();
    }

    /// The `profile` of `user`, none for one without, with the actions of `state` folded in. The
    /// profiles and the catalog of `source` must be the same at every call.
    pub(crate) fn get_or_fold(
        &self,
        user: UserId,
        state: Arc<UserState>,
        profile: Option<Profile<'_>>,
        source: FoldInSource<'_>,
        params: AnswerParams,
    ) -> Arc<RecentInterests> {
        if let Some(cached) = self.users.get(&user)
            && cached.is_made_from(&state, source.delta)
        {
            return cached;
        }
        let fold = |scratch: &mut _| RecentInterests::fold(state, profile, source, params, scratch);
        let folded = Arc::new(self.scratches.with(fold));
        self.users.insert(user, folded.clone());
        folded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Delta;
    use crate::model::ActionKind;
    use crate::serve::state::test_world::{
        ANSWERS, PROFILE_DAY, TestWorld, UNKNOWN_USER, user_state,
    };

    #[test]
    fn interests_are_folded_once_for_each_state_and_each_change_of_pins() {
        let loaded = TestWorld::new().load();
        let cache = FoldInCache::new();
        let delta = || Arc::new(Delta::new(loaded.catalog().pins.vectors()));
        let get = |state: &Arc<UserState>, delta: &Arc<Delta>| {
            let source = FoldInSource {
                profiles: loaded.profiles(),
                pins: &loaded.catalog().pins,
                delta,
            };
            cache.get_or_fold(UNKNOWN_USER, state.clone(), None, source, ANSWERS)
        };
        let state = user_state(&[(6, PROFILE_DAY, ActionKind::Positive(1.0))]);
        let unchanged = delta();
        let first = get(&state, &unchanged);
        assert!(Arc::ptr_eq(&first, &get(&state, &unchanged)));
        let after_write = user_state(&[(7, PROFILE_DAY, ActionKind::Positive(1.0))]);
        let second = get(&after_write, &unchanged);
        assert_eq!(second.active()[0].pin.0, 7);
        assert!(!Arc::ptr_eq(&second, &get(&after_write, &delta())));
    }
}
