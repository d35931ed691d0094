//! Popularity of pins over all users.

use std::collections::HashMap;

use bytemuck::{Pod, Zeroable};
use rustc_hash::FxBuildHasher;

use crate::model::PinId;

/// Number of actions of all users on a pin in the window of the profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct PinActions {
    /// The pin.
    pub pin: PinId,
    /// Number of actions, at least 1.
    pub actions: u64,
}

/// The popularity of every pin.
///
/// Pins are data of the operator, so the hash need not withstand an attack.
#[derive(Clone, Debug, Default)]
pub struct Popularity(HashMap<PinId, f32, FxBuildHasher>);

/// The popularity, in [0, 1], of a pin with so many actions, where the most popular one
/// has `max_actions`. It is logarithmic: a tenth more actions weigh the same at any
/// number.
pub fn popularity(actions: u64, max_actions: u64) -> f32 {
    let log = |actions: u64| libm::log1p(actions as f64);
    match max_actions {
        0 => 0.0,
        max => (log(actions.min(max)) / log(max)) as f32,
    }
}

impl Popularity {
    /// The popularity of pins by their numbers of actions.
    pub fn from_actions(pins: &[PinActions]) -> Self {
        let max_actions = pins.iter().map(|pin| pin.actions).max().unwrap_or(0);
        let popularity = |of: &PinActions| (of.pin, popularity(of.actions, max_actions));
        Self(pins.iter().map(popularity).collect())
    }

    /// The popularity of `pin`, in [0, 1]; 0 for a pin on which nobody acted.
    pub fn get(&self, pin: PinId) -> f32 {
        self.0.get(&pin).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_popular_pin_has_one_and_one_that_nobody_knows_none() {
        let acted_on = |(pin, actions)| PinActions {
            pin: PinId(pin),
            actions,
        };
        let popularity = Popularity::from_actions(&[(3, 1), (7, 999), (9, 31)].map(acted_on));
        let of = |pin| popularity.get(PinId(pin));
        assert_eq!((of(7), of(8)), (1.0, 0.0));
        assert!((of(3) - 0.1003).abs() < 1e-3 && (of(9) - 0.5017).abs() < 1e-3);
        assert_eq!(Popularity::from_actions(&[]).get(PinId(3)), 0.0);
    }
}
