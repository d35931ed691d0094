//! What calls are answered from: a catalog, profiles, and the pins that changed since.

use std::sync::Arc;

use crate::actions::UserErasure;
use crate::index::{Delta, DeltaView};
use crate::model::{Timestamp, UserId};
use crate::serve::state::answer_params::AnswerParams;
use crate::serve::state::fold_in_cache::FoldInCache;
use crate::serve::state::loaded::Loaded;
use crate::serve::state::recent_interests::FoldInSource;
use crate::serve::state::user_context::{RecordedActions, UserContext};
use crate::store::Profile;

/// One catalog, one set of profiles, and the pins that changed since. A call holds one
/// of these from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) delta: Arc<Delta>,
    /// Shared by all that serve the same `loaded`.
    fold_in_cache: Arc<FoldInCache>,
}

impl Serving {
    /// Serves `loaded` beside the changed pins `delta`, with an empty cache.
    pub(crate) fn new(loaded: Arc<Loaded>, delta: Arc<Delta>) -> Self {
        Self {
            loaded,
            delta,
            fold_in_cache: Arc::new(FoldInCache::new()),
        }
    }

    /// Serves `loaded` without changed pins, with an empty cache.
    pub(crate) fn unchanged(loaded: Arc<Loaded>) -> Self {
        let delta = Delta::new(loaded.catalog().pins.vectors());
        Self::new(loaded, Arc::new(delta))
    }

    /// The same catalog and profiles beside the changed pins `delta`.
    pub(crate) fn with_delta(&self, delta: Arc<Delta>) -> Self {
        Self {
            loaded: self.loaded.clone(),
            delta,
            fold_in_cache: self.fold_in_cache.clone(),
        }
    }

    /// The pins, changes included.
    pub(crate) fn pins(&self) -> DeltaView<'_> {
        DeltaView {
            pins: &self.loaded.catalog().pins,
            delta: &self.delta,
        }
    }

    /// Removes what is cached of `user`, who is erased.
    pub(crate) fn erase(&self, user: UserId) {
        self.fold_in_cache.remove(user);
    }

    /// Removes what is cached of all users: one of them is erased, and which is not known.
    pub(crate) fn forget_cached(&self) {
        self.fold_in_cache.clear();
    }

    /// The profile of `user`; none for one without. That of an erased user may be made of
    /// what was erased, and then there is none.
    pub(crate) fn profile(
        &self,
        user: UserId,
        erasure: Option<UserErasure>,
    ) -> Option<Profile<'_>> {
        let profile = self.loaded.profiles().get(user)?;
        let is_of_later = |UserErasure { log_id, erased_at }| {
            let facts = &self.loaded.profiles().manifest().facts;
            let window_start = facts.as_of.minus_days(facts.window_days);
            // Negative actions are of any time, so nobody knows when the hidden pins were.
            let has_only_later = window_start >= erased_at && profile.hidden.is_empty();
            has_only_later || facts.erased_through.reflects(log_id, erased_at)
        };
        erasure.is_none_or(is_of_later).then_some(profile)
    }

    /// State of `user` at `now`, with the `recorded` actions.
    pub(crate) fn user_context(
        &self,
        user: UserId,
        recorded: RecordedActions,
        params: AnswerParams,
        now: Timestamp,
    ) -> UserContext<'_> {
        let prior = params.feedback.enabled_prior();
        let factors = prior.map(|prior| recorded.engagement_factors(prior));
        let profiles = self.loaded.profiles();
        let profile = self.profile(user, recorded.erasure);
        let context = UserContext::new(profiles, profile, now)
            .with_silenced_by(params.limits.silenced_by)
            .with_engagement_factors(factors);
        let Some(state) = recorded.state else {
            return context;
        };
        let source = FoldInSource {
            profiles,
            pins: &self.loaded.catalog().pins,
            delta: &self.delta,
        };
        let cache = &self.fold_in_cache;
        let recent = cache.get_or_fold(user, state, profile, source, params);
        context.with_recent(recent, params.limits.seen_days())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::FeedbackParams;
    use crate::model::{ActionKind, PinId};
    use crate::serve::state::test_world::{
        ANSWERS, KNOWN_USER, PROFILE_DAY, TestWorld, day, user_state,
    };
    use crate::store::ErasedThrough;

    #[test]
    fn a_new_version_begins_with_an_empty_cache_and_a_new_delta_keeps_it() {
        let loaded = TestWorld::new().load();
        let serving = Serving::unchanged(loaded.clone());
        let changed = serving.with_delta(Arc::new(Delta::new(loaded.catalog().pins.vectors())));
        assert!(Arc::ptr_eq(&serving.fold_in_cache, &changed.fold_in_cache));
        let reloaded = Serving::unchanged(loaded);
        assert!(!Arc::ptr_eq(
            &serving.fold_in_cache,
            &reloaded.fold_in_cache
        ));
    }

    #[test]
    fn a_context_has_the_recorded_actions_and_engagement_only_where_it_counts() {
        let serving = Serving::unchanged(TestWorld::new().load());
        let now = day(PROFILE_DAY + 1);
        let recorded = RecordedActions {
            state: Some(user_state(&[(6, PROFILE_DAY, ActionKind::Positive(1.0))])),
            ..Default::default()
        };
        let context = serving.user_context(KNOWN_USER, recorded.clone(), ANSWERS, now);
        let medoids = context.medoids().expect("medoids").medoids;
        assert_eq!(medoids.len(), 3);
        assert!(!context.counts_engagement());
        let with_feedback = AnswerParams {
            feedback: FeedbackParams {
                enabled: true,
                prior: 10.0,
            },
            ..ANSWERS
        };
        let context = serving.user_context(KNOWN_USER, recorded, with_feedback, now);
        assert!(context.counts_engagement());
    }

    #[test]
    fn an_erased_user_has_no_profile_but_one_of_later_actions() {
        let world = TestWorld::new();
        let serving = Serving::unchanged(world.load());
        let now = day(PROFILE_DAY + 1);
        let has_profile = |serving: &Serving, erased_at| {
            let recorded = RecordedActions {
                erasure: Some(UserErasure {
                    log_id: 1,
                    erased_at,
                }),
                ..Default::default()
            };
            let context = serving.user_context(KNOWN_USER, recorded, ANSWERS, now);
            context.medoids().is_some()
        };
        let window_days = serving.loaded.profiles().manifest().facts.window_days;
        let window_start = day(PROFILE_DAY).minus_days(window_days);
        let in_window = window_start.minus_days(-1.0);
        assert!(!has_profile(&serving, now) && !has_profile(&serving, in_window));
        assert!(has_profile(&serving, window_start));
        // A hidden pin may be of any time, unless the profiles say what they know.
        world.publish_profiles_without(ErasedThrough::default(), &[PinId(3)]);
        let serving = Serving::unchanged(world.load());
        assert!(!has_profile(&serving, window_start));
        let stated = ErasedThrough {
            stated: Some(in_window),
            ..ErasedThrough::default()
        };
        world.publish_profiles_without(stated, &[PinId(3)]);
        let serving = Serving::unchanged(world.load());
        assert!(!has_profile(&serving, now) && has_profile(&serving, in_window));
        assert!(has_profile(&serving, window_start));
    }
}
