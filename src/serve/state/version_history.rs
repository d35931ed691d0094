//! What became of versions: the last change, the last refusal and what is pinned, for
//! operators.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::Timestamp;
use crate::serve::state::pinned_versions::{Persistence, PinnedVersions};
use crate::serve::state::snapshot_source::VersionPair;

/// State of versions, as far as an operator may ask.
#[derive(Clone, Debug)]
pub(crate) struct VersionReport {
    /// When the last change was made.
    pub(crate) since: Timestamp,
    /// The versions that were served before it.
    pub(crate) previous: Option<VersionPair>,
    /// The last versions that were refused since.
    pub(crate) refused: Option<Refusal>,
    /// The versions that stay whatever is published; none while published ones are
    /// followed.
    pub(crate) pinned: Option<PinnedVersions>,
    /// Whether that stays after a restart.
    pub(crate) persistence: Persistence,
}

/// Versions that were refused.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) versions: VersionPair,
    pub(crate) reason: String,
    pub(crate) time: Timestamp,
}

/// The report, shared between changes and those who read it. Its lock is held for
/// moments only, so that a status can be read while versions are opened.
#[derive(Debug)]
pub(crate) struct VersionHistory(Mutex<VersionReport>);

impl VersionHistory {
    /// The history of a server that starts at `now`.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self(Mutex::new(VersionReport {
            since: now,
            previous: None,
            refused: None,
            pinned: None,
            persistence: Persistence::Kept,
        }))
    }

    /// The state of now.
    pub(crate) fn report(&self) -> VersionReport {
        self.lock().clone()
    }

    /// The versions that were served before the last change.
    pub(crate) fn previous(&self) -> Option<VersionPair> {
        self.lock().previous.clone()
    }

    /// Takes down that `versions` took the place of `before` at `now`.
    pub(crate) fn record_change(
        &self,
        before: VersionPair,
        versions: &VersionPair,
        now: Timestamp,
    ) {
        let mut report = self.lock();
        // New neighbor lists of the same versions are no change to go back from.
        if before != *versions {
            report.previous = Some(before);
        }
        report.since = now;
        report.refused = None;
    }

    /// Whether versions are pinned.
    pub(crate) fn is_pinned(&self) -> bool {
        self.lock().pinned.is_some()
    }

    /// Takes down which versions are pinned, if any, and for how long.
    pub(crate) fn record_pinned(&self, pinned: Option<PinnedVersions>, persistence: Persistence) {
        let mut report = self.lock();
        report.pinned = pinned;
        report.persistence = persistence;
    }

    /// Takes down a refusal.
    pub(crate) fn record_refusal(&self, refusal: Refusal) {
        self.lock().refused = Some(refusal);
    }

    fn lock(&self) -> MutexGuard<'_, VersionReport> {
        // A panic leaves a whole report: each of its fields is replaced at once.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(profiles: &str) -> VersionPair {
        VersionPair {
            catalog: "c".to_owned(),
            profiles: profiles.to_owned(),
        }
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn a_change_has_a_way_back_and_clears_the_refusal() {
        let history = VersionHistory::new(at(1));
        assert_eq!(history.previous(), None);
        history.record_refusal(Refusal {
            versions: versions("bad"),
            reason: "damaged".to_owned(),
            time: at(2),
        });
        let refused = history.report().refused.expect("a refusal");
        assert_eq!((refused.reason.as_str(), refused.time), ("damaged", at(2)));
        assert_eq!(history.report().since, at(1));
        history.record_change(versions("a"), &versions("b"), at(3));
        let report = history.report();
        assert_eq!(report.previous, Some(versions("a")));
        assert_eq!(report.since, at(3));
        assert!(report.refused.is_none());
    }

    #[test]
    fn new_lists_of_the_same_versions_leave_the_way_back() {
        let history = VersionHistory::new(at(1));
        history.record_change(versions("a"), &versions("b"), at(2));
        history.record_change(versions("b"), &versions("b"), at(3));
        assert_eq!(history.previous(), Some(versions("a")));
        assert_eq!(history.report().since, at(3));
    }
}
