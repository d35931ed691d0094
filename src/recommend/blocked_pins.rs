//! The pins that no answer to one request may contain.

use super::excluded_pins::ExcludedPins;
use super::pin_set::PinSet;
use super::targets::Targets;
use crate::model::{Medoid, PinId};

/// The user's medoids, what the lists are of, and the pins that the request excludes.
#[derive(Debug, Default)]
pub(super) struct BlockedPins {
    medoids: PinSet,
    /// Not in the set: a caller could choose pins that collide there.
    excluded: ExcludedPins,
}

impl BlockedPins {
    /// Replaces the pins of the request before.
    pub(super) fn reset(
        &mut self,
        user_medoids: &[Medoid],
        targets: Targets<'_>,
        excluded: &[PinId],
    ) {
        self.medoids.reset(user_medoids.len() + targets.len());
        let of_user = user_medoids.iter().map(|medoid| medoid.pin);
        for pin in of_user.chain(targets.pins()) {
            self.medoids.insert(pin);
        }
        self.excluded.reset(excluded);
    }

    /// Whether `pin` must not be returned.
    #[inline]
    pub(super) fn contains(&self, pin: PinId) -> bool {
        self.medoids.contains(pin) || self.excluded.contains(pin)
    }
}
