//! What all users acted on most, as it was known on each day.

use std::collections::{BTreeMap, HashMap};

use crate::batch::ActionRecord;
use crate::model::Timestamp;
use crate::store::popularity;

const DAY_MICROS: i64 = 86_400_000_000;

/// All pins that have a score, best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ranking {
    /// Places of pins by falling score, then ascending.
    pub(super) places: Vec<u32>,
    /// By place; 0 for pins that are not ranked.
    pub(super) scores: Vec<f32>,
}

impl Ranking {
    /// The ranking by `scores`, of pins with a score above 0.
    pub(super) fn by(scores: Vec<f32>) -> Self {
        let score = |place: &u32| scores[*place as usize];
        let mut places: Vec<u32> = (0..scores.len() as u32)
            .filter(|p| score(p) > 0.0)
            .collect();
        places.sort_unstable_by(|a, b| score(b).total_cmp(&score(a)).then(a.cmp(b)));
        Self { places, scores }
    }
}

/// How often each pin was acted on, day by day.
#[derive(Debug)]
pub(super) struct DayCounts {
    /// A day begins here, and every 24 hours before and after.
    origin: Timestamp,
    days: HashMap<i64, HashMap<u32, u32>>,
}

impl DayCounts {
    pub(super) fn from(origin: Timestamp) -> Self {
        Self {
            origin,
            days: HashMap::new(),
        }
    }

    fn day(&self, time: Timestamp) -> i64 {
        let micros = i128::from(time.micros()) - i128::from(self.origin.micros());
        micros.div_euclid(i128::from(DAY_MICROS)) as i64
    }

    pub(super) fn add(&mut self, action: &ActionRecord) {
        let day = self.day(action.time);
        *self
            .days
            .entry(day)
            .or_default()
            .entry(action.pin)
            .or_default() += 1;
    }

    /// The rankings by the `window` days before each of `moments`, all of which begin
    /// a day, for a catalog of so many `pins`.
    pub(super) fn rankings(
        &self,
        moments: impl IntoIterator<Item = Timestamp>,
        window: i64,
        pins: usize,
    ) -> BTreeMap<Timestamp, Ranking> {
        let moments: BTreeMap<Timestamp, i64> = moments
            .into_iter()
            .map(|moment| (moment, self.day(moment)))
            .collect();
        let mut counts = vec![0u32; pins];
        let mut held = i64::MIN..i64::MIN;
        let mut rankings = BTreeMap::new();
        for (moment, day) in moments {
            let wanted = day.saturating_sub(window)..day;
            if held.end < wanted.start {
                counts.fill(0);
                held = wanted.start..wanted.start;
            }
            // Days that leave the window, then those that enter it.
            self.each(held.start..wanted.start, |place, count| {
                counts[place] -= count
            });
            self.each(held.end..wanted.end, |place, count| counts[place] += count);
            held = wanted;
            let most = counts.iter().copied().max().unwrap_or(0).into();
            let scores = counts
                .iter()
                .map(|&count| popularity(count.into(), most))
                .collect();
            rankings.insert(moment, Ranking::by(scores));
        }
        rankings
    }

    fn each(&self, days: std::ops::Range<i64>, mut apply: impl FnMut(usize, u32)) {
        for day in days {
            let counts = self.days.get(&day).into_iter().flatten();
            counts.for_each(|(&place, &count)| apply(place as usize, count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UserId;

    fn hours(hours: i64) -> Timestamp {
        Timestamp::from_seconds(hours * 3_600).expect("a time")
    }

    #[test]
    fn a_window_holds_the_days_before_a_moment_and_no_later_one() {
        let origin = hours(6);
        let mut counts = DayCounts::from(origin);
        let acts = [(5, 0), (6, 1), (7, 1), (29, 2), (30, 3), (54, 4), (78, 5)];
        for (hour, pin) in acts {
            counts.add(&ActionRecord {
                user: UserId(hour as u64),
                time: hours(hour),
                pin,
                action: 0,
            });
        }
        // Days begin at 6, 30, 54, 78 and so on.
        let moments = [hours(78), hours(30), hours(54), hours(246)];
        let rankings = counts.rankings(moments, 2, 6);
        let places = |moment| rankings[&moment].places.clone();
        assert_eq!(places(hours(30)), [1, 0, 2]);
        assert_eq!(places(hours(54)), [1, 2, 3]);
        assert_eq!(places(hours(78)), [3, 4]);
        assert_eq!(places(hours(246)), [0u32; 0]);
        let once = popularity(1, 2);
        let scores = [once, 1.0, once, 0.0, 0.0, 0.0];
        assert_eq!(rankings[&hours(30)].scores, scores);
    }
}
