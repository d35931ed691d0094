//! One user's actions in the order of time, and the window before a moment.

use crate::batch::ActionRecord;
use crate::cluster::Point;
use crate::index::PinTable;
use crate::model::{PinId, Timestamp};

/// The actions that a window holds.
#[derive(Clone, Debug)]
pub(super) struct HistoryParams {
    /// By the number of the action: what it adds to importance.
    pub(super) weights: Vec<f64>,
    /// Length of the window in days.
    pub(super) window_days: f64,
    /// Maximum number of actions in a window, the most recent ones.
    pub(super) max_actions: usize,
}

/// All actions of one user.
#[derive(Debug)]
pub(super) struct History {
    /// By time, then by pin.
    points: Vec<Point>,
    window_days: f64,
    max_actions: usize,
}

impl History {
    /// The history of `records`, the actions of one user by time and then by pin.
    pub(super) fn new(records: &[ActionRecord], pins: &PinTable, params: &HistoryParams) -> Self {
        let point = |record: &ActionRecord| Point {
            row: pins.node(record.pin as usize),
            pin: pins.ids()[record.pin as usize],
            time: record.time,
            weight: params.weights[record.action as usize],
        };
        Self {
            points: records.iter().map(point).collect(),
            window_days: params.window_days,
            max_actions: params.max_actions,
        }
    }

    /// The actions of a profile as of `moment`: the most recent ones of the window before
    /// it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Pin;
    use crate::model::{ActionIdentity, Embeddings, UserId};

    fn day(day: i64) -> Timestamp {
        Timestamp::from_seconds(day * 86_400).expect("a day")
    }

    #[test]
    fn a_window_is_half_open_and_keeps_its_most_recent_actions() {
        let mut vectors = Embeddings::new(2).expect("a dimension");
        vectors.push(&[1.0, 0.0]).expect("a vector");
        let pin = |id| Pin {
            id: PinId(id),
            node: 0,
            title: String::new(),
            key: None,
        };
        let pins = PinTable::new(&[pin(7), pin(8)], vectors);
        let record = |time: i64| ActionRecord {
            user: UserId(1),
            time: day(time),
            pin: (time % 2) as u32,
            action: 0,
            identity: ActionIdentity::from_content(UserId(1), PinId(0), day(time), "save"),
        };
        let records = [0, 1, 2, 3, 4, 9].map(record);
        let params = HistoryParams {
            weights: vec![0.5],
            window_days: 3.0,
            max_actions: 2,
        };
        let history = History::new(&records, &pins, &params);
        let times =
            |points: &[Point]| -> Vec<i64> { points.iter().map(|p| p.time.day()).collect() };
        assert_eq!(times(history.window(day(4))), [2, 3]);
        assert_eq!(times(history.window(day(1))), [0]);
        assert!(history.window(day(0)).is_empty() && history.window(day(8)).is_empty());
        assert_eq!(times(history.between(day(1), day(4))), [1, 2, 3]);
        assert!(history.between(day(4), day(1)).is_empty());
        assert_eq!(history.window(day(1))[0].weight, 0.5);
        assert_eq!(pins_of(history.between(day(0), day(9))), [7, 8].map(PinId));
    }
}
