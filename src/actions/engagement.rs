//! Engagement of users with the pins that were recommended to them.

use crate::model::ActionKind;

/// Impressions of recommended pins, and positive actions on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Engagement {
    /// Number of times that a pin was shown.
    pub shown: u64,
    /// Number of positive actions.
    pub engaged: u64,
}

impl Engagement {
    /// The engagement of one action.
    pub(super) fn from_kind(kind: ActionKind) -> Self {
        Self {
            shown: u64::from(matches!(kind, ActionKind::Impression)),
            engaged: u64::from(matches!(kind, ActionKind::Positive(_))),
        }
    }

    /// The sum of both.
    #[must_use]
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            shown: self.shown + other.shown,
            engaged: self.engaged + other.engaged,
        }
    }

    /// Engagement rate relative to that of `all`, above 0; 1 where nothing is known. It is
    /// smoothed towards 1 as by `prior` impressions at the rate of `all`.
    pub fn relative_to(self, all: Self, prior: f64) -> f64 {
        if all.shown == 0 || all.engaged == 0 {
            return 1.0;
        }
        let average = all.engaged as f64 / all.shown as f64;
        let rate = (self.engaged as f64 + prior * average) / (self.shown as f64 + prior);
        rate / average
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engagement_is_smoothed_towards_the_average() {
        let counts = |shown, engaged| Engagement { shown, engaged };
        let all = counts(1_000, 100);
        let relative = |engagement: Engagement| engagement.relative_to(all, 50.0);
        assert_eq!(relative(counts(0, 0)), 1.0);
        assert!((relative(counts(50, 5)) - 1.0).abs() < 1e-12);
        assert!((relative(counts(50, 15)) - 2.0).abs() < 1e-12);
        assert!((relative(counts(50, 0)) - 0.5).abs() < 1e-12);
        assert_eq!(counts(50, 50).relative_to(counts(0, 0), 50.0), 1.0);
        assert_eq!(counts(50, 50).relative_to(counts(50, 0), 50.0), 1.0);
    }
}
