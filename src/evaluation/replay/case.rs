//! What a user's day asks of every model: pins to leave out, targets, and negatives.

use rand::RngExt;

use crate::cluster::Point;
use crate::evaluation::history::{History, pins_of};
use crate::evaluation::params::EvaluateParams;
use crate::evaluation::seeds::{Purpose, Seeds};
use crate::index::PinTable;
use crate::model::{PinId, Timestamp, UserId};

/// Number of negatives that a target is ranked against.
const NEGATIVES: usize = 20;
/// Maximum number of draws for each of them. Most pins can be a negative.
const DRAWS: usize = 10;

/// One user on one day, the same for all models.
pub(super) struct EvaluationCase {
    pub(super) user: UserId,
    pub(super) day: Timestamp,
    pub(super) seeds: Seeds,
    /// Pins that must not be recommended, ascending.
    blocked: Vec<PinId>,
    /// Slots of the pins of the target actions, then of their negatives. A slot is the
    /// position of a pin in the order of ids.
    pub(super) slots: Vec<u32>,
    targets: usize,
}

impl EvaluationCase {
    /// The case of `user` on `day`; none where there is nothing to judge by.
    pub(super) fn new(
        user: UserId,
        history: &History,
        day: Timestamp,
        params: &EvaluateParams,
        pins: &PinTable,
    ) -> Option<Self> {
        let window = history.window(day);
        if window.is_empty() {
            return None;
        }
        let blocked = if params.repeats {
            Vec::new()
        } else {
            pins_of(window)
        };
        let end = day.minus_days(-f64::from(params.horizon_days));
        let is_target = |point: &&Point| blocked.binary_search(&point.pin).is_err();
        let targets = history.between(day, end).iter().filter(is_target);
        let targets = targets.filter_map(|point| pins.position(point.pin));
        let slots: Vec<u32> = targets.map(|slot| slot as u32).collect();
        if slots.is_empty() {
            return None;
        }
        let mut case = Self {
            user,
            day,
            seeds: Seeds::new(params.seed, user, day),
            blocked,
            targets: slots.len(),
            slots,
        };
        let count = pins.ids().len() as u32;
        case.draw_negatives(pins, count, |slot| slot);
        Some(case)
    }

    /// The same case among the pins in `selected` slots, ascending: no others are targets or
    /// negatives. There may be no target.
    pub(super) fn among(&self, selected: &[u32], pins: &PinTable) -> Self {
        let targets = self.targets().iter().copied();
        let is_selected = |slot: &u32| selected.binary_search(slot).is_ok();
        let slots: Vec<u32> = targets.filter(is_selected).collect();
        let mut case = Self {
            user: self.user,
            day: self.day,
            seeds: self.seeds,
            blocked: self.blocked.clone(),
            targets: slots.len(),
            slots,
        };
        let count = selected.len() as u32;
        case.draw_negatives(pins, count, |drawn| selected[drawn as usize]);
        case
    }

    /// Whether `pin` must not be recommended.
    pub(super) fn is_blocked(&self, pin: PinId) -> bool {
        self.blocked.binary_search(&pin).is_ok()
    }

    /// Slots of the pins of the target actions.
    pub(super) fn targets(&self) -> &[u32] {
        &self.slots[..self.targets]
    }

    /// Slots of the negatives: equally many for each target, in the order of the targets.
    pub(super) fn negatives(&self) -> &[u32] {
        &self.slots[self.targets..]
    }

    /// Appends pins that the user could have acted on and did not, of `count` pins, whose
    /// slots are those of `slot_of`. There are fewer than [`NEGATIVES`] for each target where
    /// hardly any pin can be one.
    fn draw_negatives(&mut self, pins: &PinTable, count: u32, slot_of: impl Fn(u32) -> u32) {
        let rng = &mut self.seeds.rng(Purpose::Negatives);
        for _ in 0..self.targets {
            let mut drawn = 0;
            for _ in 0..NEGATIVES * DRAWS {
                let slot = slot_of(rng.random_range(0..count));
                let pin = pins.ids()[slot as usize];
                if !self.targets().contains(&slot) && !self.is_blocked(pin) {
                    self.slots.push(slot);
                    drawn += 1;
                    if drawn == NEGATIVES {
                        break;
                    }
                }
            }
        }
    }
}
