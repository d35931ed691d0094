//! The popularity of pins among all users, as it was known on each day.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::batch::ActionRecord;
use crate::model::Timestamp;
use crate::store::popularity;

const DAY_MICROS: i64 = 86_400_000_000;

/// Pins by their score, best first. A slot is the position of a pin in the order of ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ranking {
    /// Slots of pins with a score above 0, by falling score, then ascending.
    pub(crate) slots: Vec<u32>,
    /// By slot; 0 for pins that are not ranked.
    pub(crate) scores: Vec<f32>,
}

impl Ranking {
    /// Ranks the pins by `scores`, which are by slot.
    pub(crate) fn from_scores(scores: Vec<f32>) -> Self {
        let score = |slot: &u32| scores[*slot as usize];
        let mut slots: Vec<u32> = (0..scores.len() as u32)
            .filter(|slot| score(slot) > 0.0)
            .collect();
        slots.sort_unstable_by(|a, b| score(b).total_cmp(&score(a)).then(a.cmp(b)));
        Self { slots, scores }
    }
}

/// How often users acted on each pin, day by day.
#[derive(Debug)]
pub(crate) struct DayCounts {
    /// A day begins here, and every 24 hours before and after.
    origin: Timestamp,
    /// By day and slot.
    days: HashMap<i64, HashMap<u32, u32>>,
}

impl DayCounts {
    /// No counts yet. Days begin at `origin`.
    pub(crate) fn new(origin: Timestamp) -> Self {
        Self {
            origin,
            days: HashMap::new(),
        }
    }

    fn day(&self, time: Timestamp) -> i64 {
        let micros = i128::from(time.micros()) - i128::from(self.origin.micros());
        micros.div_euclid(i128::from(DAY_MICROS)) as i64
    }

    /// Counts an action.
    pub(crate) fn add(&mut self, action: &ActionRecord) {
        let day = self.day(action.time);
        let counts = self.days.entry(day).or_default();
        *counts.entry(action.pin).or_default() += 1;
    }

    /// The rankings by the `window` days before each of `moments`, all of which begin a
    /// day, for a catalog of `pins` pins.
    pub(crate) fn rankings(
        &self,
        moments: impl IntoIterator<Item = Timestamp>,
        window: i64,
        pins: usize,
    ) -> BTreeMap<Timestamp, Ranking> {
        let moments: BTreeMap<Timestamp, i64> = moments
            .into_iter()
            .map(|moment| (moment, self.day(moment)))
            .collect();
        let mut counts = WindowCounts {
            by_slot: vec![0; pins],
            days: i64::MIN..i64::MIN,
        };
        let mut rankings = BTreeMap::new();
        for (moment, day) in moments {
            counts.move_to(self, day.saturating_sub(window)..day);
            rankings.insert(moment, counts.ranking());
        }
        rankings
    }

    fn for_each(&self, days: Range<i64>, mut apply: impl FnMut(usize, u32)) {
        for day in days {
            let counts = self.days.get(&day).into_iter().flatten();
            counts.for_each(|(&slot, &count)| apply(slot as usize, count));
        }
    }
}

/// Sums of the counts of some days in a row.
struct WindowCounts {
    by_slot: Vec<u32>,
    days: Range<i64>,
}

impl WindowCounts {
    /// Moves the window to `days`, which do not begin or end earlier than its days.
    fn move_to(&mut self, counts: &DayCounts, days: Range<i64>) {
        if self.days.end < days.start {
            self.by_slot.fill(0);
            self.days = days.start..days.start;
        }
        // Days that leave the window, then those that enter it.
        counts.for_each(self.days.start..days.start, |slot, count| {
            self.by_slot[slot] -= count;
        });
        counts.for_each(self.days.end..days.end, |slot, count| {
            self.by_slot[slot] += count;
        });
        self.days = days;
    }

    fn ranking(&self) -> Ranking {
        let max = self.by_slot.iter().copied().max().unwrap_or(0).into();
        let scores = self.by_slot.iter();
        let scores = scores.map(|&count| popularity(count.into(), max));
        Ranking::from_scores(scores.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ActionIdentity, PinId, UserId};

    fn hours(hours: i64) -> Timestamp {
        Timestamp::from_seconds(hours * 3_600).expect("a time")
    }

    #[test]
    fn a_window_holds_the_days_before_a_moment_and_no_later_one() {
        let origin = hours(6);
        let mut counts = DayCounts::new(origin);
        let acts = [(5, 0), (6, 1), (7, 1), (29, 2), (30, 3), (54, 4), (78, 5)];
        for (hour, pin) in acts {
            let (user, time) = (UserId(hour as u64), hours(hour));
            counts.add(&ActionRecord {
                user,
                time,
                pin,
                action: 0,
                identity: ActionIdentity::from_content(user, PinId(0), time, "save"),
            });
        }
        // Days begin at 6, 30, 54, 78 and so on.
        let moments = [hours(78), hours(30), hours(54), hours(246)];
        let rankings = counts.rankings(moments, 2, 6);
        let slots = |moment| rankings[&moment].slots.clone();
        assert_eq!(slots(hours(30)), [1, 0, 2]);
        assert_eq!(slots(hours(54)), [1, 2, 3]);
        assert_eq!(slots(hours(78)), [3, 4]);
        assert_eq!(slots(hours(246)), [0u32; 0]);
        let once = popularity(1, 2);
        let scores = [once, 1.0, once, 0.0, 0.0, 0.0];
        assert_eq!(rankings[&hours(30)].scores, scores);
    }
}
