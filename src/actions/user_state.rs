//! State of one user in memory: recent actions, seen and hidden pins, engagement.

use super::engagement::Engagement;
use super::held_action::HeldAction;
use super::params::ActionLimits;
use crate::model::{Action, ActionKind, PinId, Timestamp};

/// Engagement of a user with the pins that one medoid found, on one day.
#[derive(Clone, Copy, Debug, PartialEq)]
struct DailyEngagement {
    medoid: PinId,
    /// Days since the epoch.
    day: i64,
    engagement: Engagement,
}

/// State of one user from single actions. It is a function of their set: the order in
/// which they came leaves no trace.
///
/// 40 bytes for each of the `positive` and `negative` actions that are held, 16 for
/// each of the `seen` pins, 32 a day for each of the `engaged` medoids, 8 for each pin
/// that was ever hidden.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserState {
    positive: Vec<HeldAction>,
    negative: Vec<HeldAction>,
    /// By pin, each with the last time when it was shown.
    seen: Vec<(PinId, Timestamp)>,
    /// Ascending.
    hidden: Vec<PinId>,
    /// By medoid and day.
    engagement: Vec<DailyEngagement>,
}

impl UserState {
    /// Records an action of this `kind`.
    pub fn record(&mut self, action: &Action, kind: ActionKind, limits: &ActionLimits) {
        let (pin, time) = (action.pin, action.time);
        let held = |weight| HeldAction::new(action, weight);
        match kind {
            ActionKind::Positive(weight) => {
                keep_latest(&mut self.positive, held(weight), limits.positive)
            }
            ActionKind::Negative(weight) => {
                keep_latest(&mut self.negative, held(weight), limits.negative);
                if let Err(position) = self.hidden.binary_search(&pin) {
                    self.hidden.insert(position, pin);
                }
            }
            ActionKind::Impression => self.record_impression(pin, time, limits.seen),
        }
    }

    /// Counts an action on a pin that `medoid` found.
    pub fn record_engagement(
        &mut self,
        medoid: PinId,
        time: Timestamp,
        kind: ActionKind,
        limits: &ActionLimits,
    ) {
        let engagement = Engagement::from_kind(kind);
        if engagement == Engagement::default() {
            return;
        }
        let day = time.day();
        let key = |of: &DailyEngagement| (of.medoid, of.day);
        match self.engagement.binary_search_by_key(&(medoid, day), key) {
            Ok(at) => {
                let sum = &mut self.engagement[at].engagement;
                *sum = sum.plus(engagement);
            }
            Err(at) => {
                let new = DailyEngagement {
                    medoid,
                    day,
                    engagement,
                };
                self.engagement.insert(at, new);
                self.limit_medoids(limits.engaged);
            }
        }
    }

    /// Keeps the engagement with `max_medoids` medoids. Those of the lowest ids stay:
    /// which these are does not depend on the order in which they came.
    fn limit_medoids(&mut self, max_medoids: usize) {
        let mut medoids = self.engagement.chunk_by(|a, b| a.medoid == b.medoid);
        if let Some(first_out) = medoids.nth(max_medoids) {
            let medoid = first_out[0].medoid;
            self.engagement.retain(|day| day.medoid < medoid);
        }
    }

    /// Engagement with the pins of all medoids.
    pub fn total_engagement(&self) -> Engagement {
        sum(&self.engagement)
    }

    /// Engagement with the pins of each medoid, by ascending medoid.
    pub fn engagement(&self) -> impl Iterator<Item = (PinId, Engagement)> {
        let medoids = self.engagement.chunk_by(|a, b| a.medoid == b.medoid);
        medoids.map(|days| (days[0].medoid, sum(days)))
    }

    /// Records that `pin` was shown, and keeps the `max_seen` pins that were shown last.
    fn record_impression(&mut self, pin: PinId, time: Timestamp, max_seen: usize) {
        match self.seen.binary_search_by_key(&pin, |&(pin, _)| pin) {
            Ok(at) => self.seen[at].1 = self.seen[at].1.max(time),
            Err(at) => {
                self.seen.insert(at, (pin, time));
                if self.seen.len() > max_seen {
                    let by_time = |&at: &usize| (self.seen[at].1, self.seen[at].0);
                    let oldest = (0..self.seen.len()).min_by_key(by_time);
                    oldest.map(|oldest| self.seen.remove(oldest));
                }
            }
        }
    }

    /// Whether [`Self::forget_before`] would change the state.
    pub fn has_before(&self, oldest: Timestamp) -> bool {
        let first = self.positive.first();
        first.is_some_and(|held| held.action.time < oldest)
            || self.seen.iter().any(|&(_, time)| time < oldest)
            || self.engagement.iter().any(|day| day.day < oldest.day())
    }

    /// Forgets actions before `oldest`, the beginning of a day, but for negative ones.
    pub fn forget_before(&mut self, oldest: Timestamp) {
        self.positive.retain(|held| held.action.time >= oldest);
        self.seen.retain(|&(_, time)| time >= oldest);
        self.engagement.retain(|day| day.day >= oldest.day());
    }

    /// Whether nothing is recorded.
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
    pub fn positive(&self) -> &[HeldAction] {
        &self.positive
    }

    /// The most recent negative actions, by time and then by pin id.
    pub fn negative(&self) -> &[HeldAction] {
        &self.negative
    }

    /// Whether the user has hidden `pin` by a negative action.
    pub fn is_hidden(&self, pin: PinId) -> bool {
        self.hidden.binary_search(&pin).is_ok()
    }

    /// The pins that the user has hidden, ascending.
    pub fn hidden(&self) -> &[PinId] {
        &self.hidden
    }

    /// Whether `pin` must not be recommended: it is hidden, or was shown in the last
    /// `seen_days` before `now`.
    pub fn is_blocked(&self, pin: PinId, now: Timestamp, seen_days: f64) -> bool {
        self.is_hidden(pin) || {
            let position = self.seen.binary_search_by_key(&pin, |&(pin, _)| pin);
            let seen_since = now.minus_days(seen_days);
            position.is_ok_and(|at| self.seen[at].1 > seen_since)
        }
    }
}

fn sum(days: &[DailyEngagement]) -> Engagement {
    let each = days.iter().map(|day| day.engagement);
    each.fold(Engagement::default(), Engagement::plus)
}

/// Inserts `action` and keeps the `max_kept` latest of `actions`.
fn keep_latest(actions: &mut Vec<HeldAction>, action: HeldAction, max_kept: usize) {
    let is_before = |held: &HeldAction| HeldAction::by_time(held, &action).is_lt();
    // Most actions come in their order.
    let rank = match actions.last().is_none_or(is_before) {
        true => actions.len(),
        false => actions.partition_point(is_before),
    };
    if actions.len() < max_kept {
        actions.insert(rank, action);
    } else if rank > 0 {
        // The first makes room.
        actions.copy_within(1..rank, 0);
        actions[rank - 1] = action;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{ActionId, UserId};

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

    fn action(number: u128, pin: u64, at: i64) -> Action {
        Action {
            id: ActionId(number.to_be_bytes()),
            user: UserId(1),
            pin: PinId(pin),
            name: "save".to_owned(),
            time: day(at),
            medoid: None,
            keys: None,
        }
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
            (actions, shuffled) in prop::collection::vec((0u64..9, 0i64..9, 0u8..4, 0u128..9), 0..60)
                .prop_flat_map(|actions| (Just(actions.clone()), Just(actions).prop_shuffle())),
        ) {
            let state = |actions: Vec<(u64, i64, u8, u128)>| {
                let mut state = UserState::default();
                for (pin, time, number, id) in actions {
                    state.record(&action(id, pin, time), kind(number), &LIMITS);
                    state.record_engagement(PinId(pin % 5), day(time), kind(number), &LIMITS);
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
    fn a_pin_that_was_shown_comes_back_and_a_hidden_one_does_not() {
        let mut state = UserState::default();
        state.record(&action(1, 1, 10), ActionKind::Impression, &LIMITS);
        state.record(&action(2, 2, 10), ActionKind::Negative(1.0), &LIMITS);
        let is_blocked = |pin, now| state.is_blocked(PinId(pin), day(now), 7.0);
        assert!(is_blocked(1, 11) && is_blocked(1, 16) && !is_blocked(1, 17));
        assert!(is_blocked(2, 11) && is_blocked(2, 400) && !is_blocked(3, 11));
        assert!(state.is_hidden(PinId(2)) && !state.is_hidden(PinId(1)));
        assert_eq!(state.hidden(), [PinId(2)]);
    }
}
