//! What is kept of one user in memory.

use super::ActionLimits;
use crate::model::{ActionKind, Held, PinId, Timestamp};

/// What a user did with what a medoid found, on one day.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Day {
    medoid: PinId,
    day: i64,
    engagement: Engagement,
}

/// What was done with what was recommended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Engagement {
    /// Number of times that a pin was shown.
    pub shown: u64,
    /// Number of positive actions.
    pub engaged: u64,
}

impl Engagement {
    /// What one action counts for.
    fn of(kind: ActionKind) -> Self {
        Self {
            shown: u64::from(matches!(kind, ActionKind::Impression)),
            engaged: u64::from(matches!(kind, ActionKind::Positive(_))),
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            shown: self.shown + other.shown,
            engaged: self.engaged + other.engaged,
        }
    }

    /// Engagement for each time shown, relative to that of `all`, which counts here
    /// as `prior` times shown; 1 where nothing is known. Above 0.
    pub fn relative_to(self, all: Self, prior: f64) -> f64 {
        if all.shown == 0 || all.engaged == 0 {
            return 1.0;
        }
        let average = all.engaged as f64 / all.shown as f64;
        let rate = (self.engaged as f64 + prior * average) / (self.shown as f64 + prior);
        rate / average
    }
}

/// What is known of one user from single actions. It is a function of their set:
/// the order in which they came leaves no trace.
///
/// 24 bytes for each of the `positive` and `negative` actions that are held, 16 for
/// each of the `seen` pins, 32 a day for each of the `engaged` medoids, 8 for each pin
/// that was ever hidden.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserState {
    positive: Vec<Held>,
    negative: Vec<Held>,
    /// By pin, each with the last time when it was shown.
    seen: Vec<(PinId, Timestamp)>,
    /// Ascending.
    hidden: Vec<PinId>,
    /// By medoid and day.
    engagement: Vec<Day>,
}

impl UserState {
    /// Takes an action up.
    pub fn add(&mut self, pin: PinId, time: Timestamp, kind: ActionKind, limits: &ActionLimits) {
        let held = |weight| Held { time, pin, weight };
        match kind {
            ActionKind::Positive(weight) => hold(&mut self.positive, held(weight), limits.positive),
            ActionKind::Negative(weight) => {
                hold(&mut self.negative, held(weight), limits.negative);
                if let Err(place) = self.hidden.binary_search(&pin) {
                    self.hidden.insert(place, pin);
                }
            }
            ActionKind::Impression => self.show(pin, time, limits.seen),
        }
    }

    /// Counts an action on a pin that `medoid` found.
    pub fn engage(
        &mut self,
        medoid: PinId,
        time: Timestamp,
        kind: ActionKind,
        limits: &ActionLimits,
    ) {
        let key = |day: &Day| (day.medoid, day.day);
        let engagement = Engagement::of(kind);
        if engagement == Engagement::default() {
            return;
        }
        match self
            .engagement
            .binary_search_by_key(&(medoid, time.day()), key)
        {
            Ok(place) => {
                let day = &mut self.engagement[place].engagement;
                *day = day.and(engagement);
            }
            Err(place) => {
                let day = time.day();
                let day = Day {
                    medoid,
                    day,
                    engagement,
                };
                self.engagement.insert(place, day);
                // Those of the least ids stay: which these are does not depend on
                // the order in which they came.
                let mut medoids = self.engagement.chunk_by(|a, b| a.medoid == b.medoid);
                if let Some(first_out) = medoids.nth(limits.engaged) {
                    let medoid = first_out[0].medoid;
                    self.engagement.retain(|day| day.medoid < medoid);
                }
            }
        }
    }

    /// What was done with what any medoid found.
    pub fn all_engagement(&self) -> Engagement {
        sum(&self.engagement)
    }

    /// What was done with what each medoid found, by ascending medoid.
    pub fn engagement(&self) -> impl Iterator<Item = (PinId, Engagement)> {
        let medoids = self.engagement.chunk_by(|a, b| a.medoid == b.medoid);
        medoids.map(|days| (days[0].medoid, sum(days)))
    }

    fn show(&mut self, pin: PinId, time: Timestamp, most: usize) {
        match self.seen.binary_search_by_key(&pin, |&(pin, _)| pin) {
            Ok(place) => self.seen[place].1 = self.seen[place].1.max(time),
            Err(place) => {
                self.seen.insert(place, (pin, time));
                if self.seen.len() > most {
                    let by_time = |&at: &usize| (self.seen[at].1, self.seen[at].0);
                    let oldest = (0..self.seen.len()).min_by_key(by_time);
                    oldest.map(|oldest| self.seen.remove(oldest));
                }
            }
        }
    }

    /// Whether something in it would be forgotten.
    pub fn reaches_before(&self, oldest: Timestamp) -> bool {
        let first = self.positive.first();
        first.is_some_and(|held| held.time < oldest)
            || self.seen.iter().any(|&(_, time)| time < oldest)
            || self.engagement.iter().any(|day| day.day < oldest.day())
    }

    /// Forgets what happened before `oldest`, the beginning of a day, but for what the
    /// user does not want.
    pub fn forget_before(&mut self, oldest: Timestamp) {
        self.positive.retain(|held| held.time >= oldest);
        self.seen.retain(|&(_, time)| time >= oldest);
        self.engagement.retain(|day| day.day >= oldest.day());
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        let Self {
            positive,
            negative,
            seen,
            hidden,
            engagement,
        } = self;
        let actions = positive.is_empty() && negative.is_empty();
        actions && seen.is_empty() && hidden.is_empty() && engagement.is_empty()
    }

    /// The most recent positive actions, by time and then by pin id.
    pub fn positive(&self) -> &[Held] {
        &self.positive
    }

    /// The most recent negative actions, by time and then by pin id.
    pub fn negative(&self) -> &[Held] {
        &self.negative
    }

    /// Whether `pin` is one that the user does not want, and how many those are.
    pub fn hides(&self, pin: PinId) -> (bool, usize) {
        (self.hidden.binary_search(&pin).is_ok(), self.hidden.len())
    }

    /// Whether the user does not want `pin`, or was shown it in the last `seen_days`
    /// before `now`.
    pub fn bars(&self, pin: PinId, now: Timestamp, seen_days: f64) -> bool {
        self.hidden.binary_search(&pin).is_ok() || {
            let place = self.seen.binary_search_by_key(&pin, |&(pin, _)| pin);
            let again = now.minus_days(seen_days);
            place.is_ok_and(|place| self.seen[place].1 > again)
        }
    }
}

fn sum(days: &[Day]) -> Engagement {
    let each = days.iter().map(|day| day.engagement);
    each.fold(Engagement::default(), Engagement::and)
}

/// Puts `action` among the `most` latest ones in `actions`.
fn hold(actions: &mut Vec<Held>, action: Held, most: usize) {
    let place = actions.partition_point(|held| Held::by_time(held, &action).is_lt());
    actions.insert(place, action);
    if actions.len() > most {
        actions.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: ActionLimits = ActionLimits {
        retention: Duration::from_secs(10 * 86_400),
        max_ahead: Duration::ZERO,
        clustered: 5,
        positive: 5,
        negative: 3,
        silenced_by: 3,
        seen: 4,
        seen_life: Duration::from_secs(7 * 86_400),
        engaged: 3,
    };

    fn day(day: i64) -> Timestamp {
        Timestamp::from_seconds(day * 86_400).expect("a day")
    }

    fn kind(number: u8) -> ActionKind {
        match number {
            0 => ActionKind::Impression,
            1 => ActionKind::Negative(1.0),
            _ => ActionKind::Positive(f64::from(number)),
        }
    }

    proptest! {
        #[test]
        fn the_order_of_actions_leaves_no_trace(
            (actions, shuffled) in prop::collection::vec((0u64..9, 0i64..9, 0u8..4), 0..60)
                .prop_flat_map(|actions| (Just(actions.clone()), Just(actions).prop_shuffle())),
        ) {
            let state = |actions: Vec<(u64, i64, u8)>| {
                let mut state = UserState::default();
                for (pin, time, number) in actions {
                    state.add(PinId(pin), day(time), kind(number), &LIMITS);
                    state.engage(PinId(pin % 5), day(time), kind(number), &LIMITS);
                }
                state
            };
            let state_of = state(actions);
            prop_assert!(state_of.positive.len() <= LIMITS.positive);
            prop_assert!(state_of.negative.len() <= LIMITS.negative);
            prop_assert!(state_of.seen.len() <= LIMITS.seen);
            prop_assert!(state_of.engagement().count() <= LIMITS.engaged);
            prop_assert_eq!(state_of, state(shuffled));
        }
    }

    #[test]
    fn engagement_is_smoothed_towards_the_average() {
        let of = |shown, engaged| Engagement { shown, engaged };
        let all = of(1_000, 100);
        let relative = |engagement: Engagement| engagement.relative_to(all, 50.0);
        assert_eq!(relative(of(0, 0)), 1.0);
        assert!((relative(of(50, 5)) - 1.0).abs() < 1e-12);
        assert!((relative(of(50, 15)) - 2.0).abs() < 1e-12);
        assert!((relative(of(50, 0)) - 0.5).abs() < 1e-12);
        assert_eq!(of(50, 50).relative_to(of(0, 0), 50.0), 1.0);
        assert_eq!(of(50, 50).relative_to(of(50, 0), 50.0), 1.0);
    }

    #[test]
    fn a_pin_that_was_shown_comes_back_and_a_hidden_one_does_not() {
        let mut state = UserState::default();
        state.add(PinId(1), day(10), ActionKind::Impression, &LIMITS);
        state.add(PinId(2), day(10), ActionKind::Negative(1.0), &LIMITS);
        let bars = |pin, now| state.bars(PinId(pin), day(now), 7.0);
        assert!(bars(1, 11) && bars(1, 16) && !bars(1, 17));
        assert!(bars(2, 11) && bars(2, 400) && !bars(3, 11));
    }
}
