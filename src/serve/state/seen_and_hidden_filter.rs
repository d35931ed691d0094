//! The filter of pins that must not be recommended to one user: pins of the history,
//! pins that the user hid, pins that were shown a short while ago, and the user's own
//! medoids.

use std::sync::Arc;

use crate::model::{PinId, Timestamp};
use crate::serve::state::recent_interests::RecentInterests;
use crate::store::{HistoryFilter, Profile};

/// Decides about pins for one user at one moment.
#[derive(Debug)]
pub(crate) struct SeenAndHiddenFilter<'a> {
    /// Pins that the user acted on before the profile was made; none where the profiles
    /// do not keep them.
    history: Option<HistoryFilter<'a>>,
    /// Ascending: pins that the user hid before the profile was made.
    hidden: &'a [PinId],
    /// None for a user without recorded actions.
    recent: Option<Arc<RecentInterests>>,
    now: Timestamp,
    /// How many days a pin that was shown is left out.
    seen_days: f64,
}

impl<'a> SeenAndHiddenFilter<'a> {
    /// The filter of a user with this profile, or none, and without recorded actions.
    pub(crate) fn from_profile(profile: Option<Profile<'a>>, now: Timestamp) -> Self {
        Self {
            history: profile.and_then(|profile| profile.history()),
            hidden: profile.map_or(&[], |profile| profile.hidden),
            recent: None,
            now,
            seen_days: 0.0,
        }
    }

    /// The filter with recorded actions, where a pin that was shown is left out for
    /// `seen_days`.
    pub(crate) fn with_recent(self, recent: Arc<RecentInterests>, seen_days: f64) -> Self {
        Self {
            recent: Some(recent),
            seen_days,
            ..self
        }
    }

    /// Whether `pin` must not be recommended.
    pub(crate) fn is_blocked(&self, pin: PinId) -> bool {
        self.is_in_history(pin)
            || self.hidden.binary_search(&pin).is_ok()
            || self.is_blocked_by_recent(pin)
    }

    fn is_in_history(&self, pin: PinId) -> bool {
        let history = self.history.as_ref();
        history.is_some_and(|history| history.contains(pin))
    }

    fn is_blocked_by_recent(&self, pin: PinId) -> bool {
        self.recent.as_deref().is_some_and(|recent| {
            recent.has_blocked_pin(pin) || recent.state().is_blocked(pin, self.now, self.seen_days)
        })
    }

    /// The recorded actions, folded in.
    pub(crate) fn recent(&self) -> Option<&RecentInterests> {
        self.recent.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ActionKind;
    use crate::serve::state::test_world::{
        KNOWN_USER, PROFILE_DAY, TestWorld, UNKNOWN_USER, day, fold, user_state,
    };

    const TODAY: i64 = PROFILE_DAY + 10;

    #[test]
    fn the_history_of_the_profile_is_blocked_and_needs_no_recorded_actions() {
        let world = TestWorld::new();
        let loaded = world.load();
        let profile = loaded.profiles().get(KNOWN_USER).expect("a profile");
        let filter = SeenAndHiddenFilter::from_profile(Some(profile), day(TODAY));
        assert!(
            [1, 2, 3]
                .into_iter()
                .all(|pin| filter.is_blocked(PinId(pin)))
        );
        let others = (4..20).filter(|&pin| filter.is_blocked(PinId(pin)));
        // One in 256 other pins is blocked by mistake.
        assert!(others.count() <= 1);
        let nothing = SeenAndHiddenFilter::from_profile(None, day(TODAY));
        assert!(!nothing.is_blocked(PinId(1)));
    }

    #[test]
    fn a_hidden_pin_stays_blocked_and_a_seen_one_comes_back() {
        let world = TestWorld::new();
        let loaded = world.load();
        let state = user_state(&[
            (10, TODAY, ActionKind::Impression),
            (11, TODAY, ActionKind::Negative(1.0)),
        ]);
        let recent = fold(&loaded, UNKNOWN_USER, state);
        let is_blocked = |pin: u64, today: i64| {
            SeenAndHiddenFilter::from_profile(None, day(today))
                .with_recent(recent.clone(), 7.0)
                .is_blocked(PinId(pin))
        };
        assert!(is_blocked(10, TODAY) && is_blocked(10, TODAY + 6));
        assert!(!is_blocked(10, TODAY + 7));
        assert!(is_blocked(11, TODAY) && is_blocked(11, TODAY + 400));
        assert!(!is_blocked(12, TODAY));
    }

    #[test]
    fn medoids_and_recent_positive_actions_are_blocked() {
        let world = TestWorld::new();
        let loaded = world.load();
        let state = user_state(&[
            (5, PROFILE_DAY - 1, ActionKind::Positive(1.0)),
            (6, PROFILE_DAY, ActionKind::Positive(1.0)),
        ]);
        let recent = fold(&loaded, KNOWN_USER, state);
        // The history is left out, to see what recorded actions block alone.
        let filter = SeenAndHiddenFilter::from_profile(None, day(TODAY)).with_recent(recent, 7.0);
        let blocked: Vec<u64> = (0..20)
            .filter(|&pin| filter.is_blocked(PinId(pin)))
            .collect();
        // Medoids 1 and 2; pin 5 is of a time that the batch has read.
        assert_eq!(blocked, [1, 2, 6]);
    }
}
