//! One user's actions in the order of time, and what of them is known at a moment.

use crate::batch::ActionRecord;
use crate::cluster::Point;
use crate::index::PinTable;
use crate::model::{PinId, Timestamp};

/// All actions of one user.
#[derive(Debug)]
pub(super) struct History {
    /// By time, then by pin.
    points: Vec<Point>,
    window_days: f64,
    max_actions: usize,
}

impl History {
    /// The history of `records`, which are those of one user, by time and then by pin.
    /// `weights` are by the number of the action.
    pub(super) fn of(
        records: &[ActionRecord],
        pins: &PinTable,
        weights: &[f64],
        window_days: f64,
        max_actions: usize,
    ) -> Self {
        let point = |record: &ActionRecord| Point {
            row: pins.node(record.pin as usize),
            pin: pins.ids()[record.pin as usize],
            time: record.time,
            weight: weights[record.action as usize],
        };
        Self {
            points: records.iter().map(point).collect(),
            window_days,
            max_actions,
        }
    }

    /// What a profile as of `moment` is made from: the most recent actions of the
    /// window before it.
    pub(super) fn window(&self, moment: Timestamp) -> &[Point] {
        let window = self.between(moment.minus_days(self.window_days), moment);
        &window[window.len().saturating_sub(self.max_actions)..]
    }

    /// Actions from `begin` on and before `end`.
    pub(super) fn between(&self, begin: Timestamp, end: Timestamp) -> &[Point] {
        let before = |moment| self.points.partition_point(|point| point.time < moment);
        let begin = before(begin);
        &self.points[begin..before(end).max(begin)]
    }
}

/// The distinct pins of `points`, ascending.
pub(super) fn pins_of(points: &[Point]) -> Vec<PinId> {
    let mut pins: Vec<PinId> = points.iter().map(|point| point.pin).collect();
    pins.sort_unstable();
    pins.dedup();
    pins
}
