//! The filter of pins that must not be recommended to one user: pins of the history,
//! pins that the user hid, pins that were shown a short while ago, and the user's own
//! medoids.

use std::sync::Arc;

use crate::model::{PinId, Timestamp};
use crate::serve::state::recent_interests::RecentInterests;
use crate::store::HistoryFilter;

/// Decides about pins for one user at one moment.
#[derive(Debug)]
pub(crate) struct SeenAndHiddenFilter<'a> {
    /// Pins that the user acted on before the profile was made; none where the profiles
    /// do not keep them.
    history: Option<HistoryFilter<'a>>,
    /// None for a user without recorded actions.
    recent: Option<Arc<RecentInterests>>,
    now: Timestamp,
    /// How many days a pin that was shown is left out.
    seen_days: f64,
}

impl<'a> SeenAndHiddenFilter<'a> {
    /// The filter of a user without recorded actions.
    pub(crate) fn from_history(history: Option<HistoryFilter<'a>>, now: Timestamp) -> Self {
        Self {
            history,
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
        self.is_in_history(pin) || self.is_blocked_by_recent(pin)
    }

    fn is_in_history(&self, pin: PinId) -> bool {
        let history = self.history.as_ref();
        history.is_some_and(|history| history.contains(pin))
    }

    fn is_blocked_by_recent(&self, pin: PinId) -> bool {
        self.recent.as_deref().is_some_and(|recent| {
            recent.has_blocked_pin(pin) || recent.state().bars(pin, self.now, self.seen_days)
        })
    }

    /// The recorded actions, folded in.
    pub(crate) fn recent(&self) -> Option<&RecentInterests> {
        self.recent.as_deref()
    }
}
