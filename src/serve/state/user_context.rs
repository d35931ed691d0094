//! State of one user at request time: the profile, the recorded actions folded in, and
//! the pins that must not be recommended.

use std::borrow::Cow;
use std::sync::Arc;

use crate::actions::{Engagement, UserErasure, UserState};
use crate::cluster::FoldInResult;
use crate::model::{Medoid, PinId, Timestamp, UserId};
use crate::recommend::{Origin, UserMedoids};
use crate::serve::state::recent_interests::RecentInterests;
use crate::serve::state::seen_and_hidden_filter::SeenAndHiddenFilter;
use crate::store::{Profile, ProfileStore};

/// Recorded actions, as far as one answer needs them.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordedActions {
    /// Actions of the user; none when there are none.
    pub(crate) state: Option<Arc<UserState>>,
    /// Engagement of all users.
    pub(crate) average: Engagement,
    /// The erasure of the user; none for others.
    pub(crate) erasure: Option<UserErasure>,
}

/// The user of a request, at one moment.
#[derive(Debug)]
pub(crate) struct UserContext<'a> {
    /// The profile as the batch left it; none for a user without one.
    batch_medoids: Option<&'a [Medoid]>,
    /// Those of them that can be sampled.
    active: Cow<'a, [Medoid]>,
    /// Those of them that cannot.
    inactive: Vec<PinId>,
    /// Number of negative actions that silence an interest; 0 for never.
    silenced_by: usize,
    /// The moment at which importances of the profile hold.
    profile_time: Timestamp,
    filter: SeenAndHiddenFilter<'a>,
    /// How the user engages with what a medoid finds, relative to the average, by
    /// ascending medoid. None where only importance counts.
    engagement_factors: Option<Vec<(PinId, f64)>>,
}

impl RecordedActions {
    /// By ascending medoid: how the user engages with what it finds, relative to the
    /// average, which counts as `prior` times shown.
    pub(crate) fn engagement_factors(&self, prior: f64) -> Vec<(PinId, f64)> {
        let engagement = self.state.iter().flat_map(|state| state.engagement());
        engagement
            .map(|(medoid, of_user)| (medoid, of_user.relative_to(self.average, prior)))
            .collect()
    }
}

impl<'a> UserContext<'a> {
    /// State of `user` at `now` from the profile alone.
    pub(crate) fn from_profile(profiles: &'a ProfileStore, user: UserId, now: Timestamp) -> Self {
        Self::new(profiles, profiles.get(user), now)
    }

    /// The same without the interests that negative actions used up, or that so many of
    /// them silence; 0 never silence one.
    pub(crate) fn with_silenced_by(self, silenced_by: usize) -> Self {
        let medoids = self.batch_medoids.unwrap_or_default();
        // Nearly all users have only interests that nobody dislikes.
        if medoids.iter().all(|medoid| medoid.dislikes == 0) {
            return Self {
                silenced_by,
                ..self
            };
        }
        let is_active = |medoid: &&Medoid| medoid.is_active(silenced_by);
        let (active, inactive): (Vec<&Medoid>, Vec<&Medoid>) = medoids.iter().partition(is_active);
        Self {
            active: active.into_iter().copied().collect(),
            inactive: inactive.into_iter().map(|medoid| medoid.pin).collect(),
            silenced_by,
            ..self
        }
    }

    /// State of a user at `now` whose profile is `profile`, one of `profiles`; none for a user
    /// without one.
    pub(crate) fn new(
        profiles: &'a ProfileStore,
        profile: Option<Profile<'a>>,
        now: Timestamp,
    ) -> Self {
        let medoids = profile.map_or(&[][..], |profile| profile.medoids);
        Self {
            batch_medoids: (!medoids.is_empty()).then_some(medoids),
            active: Cow::Borrowed(medoids),
            inactive: Vec::new(),
            silenced_by: 0,
            profile_time: profiles.manifest().facts.as_of,
            filter: SeenAndHiddenFilter::from_profile(profile, now),
            engagement_factors: None,
        }
    }

    /// The same with recorded actions, where a pin that was shown is left out for
    /// `seen_days`.
    pub(crate) fn with_recent(self, recent: Arc<RecentInterests>, seen_days: f64) -> Self {
        Self {
            filter: self.filter.with_recent(recent, seen_days),
            ..self
        }
    }

    /// The same where medoids are drawn by engagement as well as by importance.
    pub(crate) fn with_engagement_factors(self, factors: Option<Vec<(PinId, f64)>>) -> Self {
        Self {
            engagement_factors: factors,
            ..self
        }
    }

    /// The medoids to sample from, and where they come from; none for an unknown user.
    pub(crate) fn medoids(&self) -> Option<UserMedoids<'_>> {
        let origin = match self.batch_medoids {
            Some(_) => Origin::Profile,
            None => Origin::Recent,
        };
        let recent = self.filter.recent();
        let folded = recent.filter(|recent| {
            let folded = recent.folded();
            folded.is_some_and(|folded| !folded.interests.is_empty())
        });
        let active = folded.map(RecentInterests::active);
        let of_batch = self.batch_medoids.map(|_| &*self.active);
        let medoids = active.or(of_batch)?;
        Some(UserMedoids { medoids, origin })
    }

    /// By ascending medoid: how much more often than in proportion to importance it is
    /// drawn.
    pub(crate) fn engagement_factors(&self) -> &[(PinId, f64)] {
        self.engagement_factors.as_deref().unwrap_or_default()
    }

    /// Whether engagement counts beside importance.
    pub(crate) fn counts_engagement(&self) -> bool {
        self.engagement_factors.is_some()
    }

    /// The profile with recent actions in it, where there are any.
    pub(crate) fn folded(&self) -> Option<&FoldInResult> {
        self.filter.recent()?.folded()
    }

    /// Number of interests of the user that cannot be sampled.
    pub(crate) fn silenced_interests(&self) -> usize {
        let folded = self.folded().map(|folded| folded.interests.len());
        let of_batch = self.batch_medoids.map_or(0, <[Medoid]>::len);
        let all = folded
            .filter(|&interests| interests > 0)
            .unwrap_or(of_batch);
        all - self.medoids().map_or(0, |user| user.medoids.len())
    }

    /// The profile as the batch left it.
    pub(crate) fn batch_medoids(&self) -> Option<&[Medoid]> {
        self.batch_medoids
    }

    /// The moment of the newest information about the user, where importances hold.
    pub(crate) fn as_of(&self) -> Timestamp {
        self.folded()
            .map_or(self.profile_time, |folded| folded.as_of)
    }

    /// Whether `pin` must not be recommended to this user.
    pub(crate) fn is_blocked(&self, pin: PinId) -> bool {
        self.filter.is_blocked(pin) || self.inactive.contains(&pin)
    }

    /// Number of negative actions that silence an interest; 0 for never.
    pub(crate) fn silenced_by(&self) -> usize {
        self.silenced_by
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ActionKind;
    use crate::serve::state::test_world::{
        KNOWN_USER, PROFILE_DAY, TestWorld, UNKNOWN_USER, day, fold, user_state,
    };

    fn pins(context: &UserContext<'_>) -> Option<(Vec<u64>, Origin)> {
        let UserMedoids { medoids, origin } = context.medoids()?;
        Some((medoids.iter().map(|medoid| medoid.pin.0).collect(), origin))
    }

    #[test]
    fn a_user_without_actions_has_the_medoids_of_the_profile() {
        let loaded = TestWorld::new().load();
        let now = day(PROFILE_DAY + 10);
        let known = UserContext::from_profile(loaded.profiles(), KNOWN_USER, now);
        assert_eq!(pins(&known), Some((vec![1, 2], Origin::Profile)));
        assert_eq!(known.as_of(), day(PROFILE_DAY));
        assert!(known.folded().is_none() && known.is_blocked(PinId(3)));
        let unknown = UserContext::from_profile(loaded.profiles(), UNKNOWN_USER, now);
        assert_eq!(pins(&unknown), None);
    }

    #[test]
    fn recorded_actions_join_the_profile_or_stand_for_it() {
        let loaded = TestWorld::new().load();
        let now = day(PROFILE_DAY + 10);
        let state = user_state(&[(6, PROFILE_DAY + 5, ActionKind::Positive(1.0))]);
        let context = |user| {
            UserContext::from_profile(loaded.profiles(), user, now)
                .with_recent(fold(&loaded, user, state.clone()), 7.0)
        };
        let known = context(KNOWN_USER);
        let (mut medoids, origin) = pins(&known).expect("medoids");
        medoids.sort_unstable();
        assert_eq!((medoids, origin), (vec![1, 2, 6], Origin::Profile));
        assert_eq!(known.as_of(), day(PROFILE_DAY + 5));
        let unknown = context(UNKNOWN_USER);
        assert_eq!(pins(&unknown), Some((vec![6], Origin::Recent)));
    }

    #[test]
    fn impressions_alone_leave_the_medoids_of_the_profile() {
        let loaded = TestWorld::new().load();
        let now = day(PROFILE_DAY + 10);
        let state = user_state(&[(6, PROFILE_DAY + 9, ActionKind::Impression)]);
        let recent = fold(&loaded, KNOWN_USER, state);
        let context =
            UserContext::from_profile(loaded.profiles(), KNOWN_USER, now).with_recent(recent, 7.0);
        assert_eq!(pins(&context), Some((vec![1, 2], Origin::Profile)));
        assert!(context.folded().is_none());
        assert_eq!(context.as_of(), day(PROFILE_DAY));
        assert!(context.is_blocked(PinId(6)));
    }

    #[test]
    fn a_silenced_interest_is_not_sampled() {
        let loaded = TestWorld::new().load();
        let now = day(PROFILE_DAY + 10);
        let state = user_state(&[
            (1, PROFILE_DAY + 1, ActionKind::Negative(0.1)),
            (1, PROFILE_DAY + 2, ActionKind::Negative(0.1)),
        ]);
        let recent = fold(&loaded, KNOWN_USER, state);
        let of_batch = UserContext::from_profile(loaded.profiles(), KNOWN_USER, now);
        assert_eq!(of_batch.silenced_interests(), 0);
        let context = of_batch.with_recent(recent, 7.0);
        assert_eq!(pins(&context), Some((vec![2], Origin::Profile)));
        assert_eq!(context.silenced_interests(), 1);
        assert_eq!(
            context.folded().map(|folded| folded.interests.len()),
            Some(2)
        );
    }
}
