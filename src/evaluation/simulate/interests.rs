//! The interests of a user over time: each begins, fades, and may come back.

use rand::{Rng, RngExt};

use super::random::{WeightedIndex, lognormal, normal};
use super::world::{SimulatedWorld, Topic};

/// Number of interests of a user: minimum, median and maximum.
const MIN_INTERESTS: f64 = 2.0;
const MEDIAN_INTERESTS: f64 = 7.0;
const MAX_INTERESTS: f64 = 60.0;
/// Standard deviation of the logarithm of that number: the part that goes with the activity
/// of the user, and the part apart from it.
const SPREAD_WITH_ACTIVITY: f64 = 0.65;
const SPREAD_APART: f64 = 0.5;
/// Share of interests whose topic has the theme of an earlier one.
const SAME_THEME: f64 = 0.25;
/// Number of draws of a topic before a user has one interest less.
const TRIES: usize = 20;
/// The first of this many interests neither fades nor ends.
const STEADY_EVERY: usize = 10;
/// Median days in which an interest falls to 1/e, and the spread of their logarithm.
const FADE_DAYS: f64 = 21.0;
const FADE_SPREAD: f64 = 0.5;
/// An interest ends after this many times its fade days.
const FADES: f64 = 3.0;
/// Share of interests that come back after they have ended, each time.
const RETURNING: f64 = 0.4;
/// Median days until they come back, and the spread of their logarithm.
const BREAK_DAYS: f64 = 45.0;
const BREAK_SPREAD: f64 = 0.4;
/// Spread of the logarithm of the weights of interests.
const WEIGHT_SPREAD: f64 = 0.7;

/// An interest of a user: a topic, and the periods in which it is active.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedInterest {
    /// Its topic; no two interests of a user have the same one.
    pub topic: u32,
    /// In order of time, at least one, with breaks between them.
    pub periods: Vec<Period>,
}

/// A period in which an interest is active. Times are days since the beginning of the
/// simulation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Period {
    /// Its beginning, which may lie before that of the simulation.
    pub from: f64,
    /// The first moment after it.
    pub to: f64,
    /// Strength of the interest at the beginning.
    pub weight: f64,
    /// Days in which the strength falls to 1/e; infinite for a steady interest.
    pub fade_days: f64,
}

impl SimulatedInterest {
    /// The strength on `day`; 0 when the interest is not active.
    pub fn strength(&self, day: f64) -> f64 {
        let active = |period: &&Period| (period.from..period.to).contains(&day);
        let period = self.periods.iter().find(active);
        period.map_or(0.0, |period| {
            period.weight * libm::exp(-(day - period.from) / period.fade_days)
        })
    }
}

/// The interests of a user. Users of more `activity`, a standard normal number, have more
/// of them.
pub(super) fn interests(
    world: &SimulatedWorld,
    days: f64,
    activity: f64,
    popular: &WeightedIndex,
    rng: &mut impl Rng,
) -> Vec<SimulatedInterest> {
    let logarithm = SPREAD_WITH_ACTIVITY * activity + SPREAD_APART * normal(rng);
    let count = MEDIAN_INTERESTS * libm::exp(logarithm);
    let count = count.round().clamp(MIN_INTERESTS, MAX_INTERESTS) as usize;
    let mut found: Vec<SimulatedInterest> = Vec::new();
    for number in 0..count {
        let Some(topic) = new_topic(world.topics(), &found, popular, rng) else {
            continue;
        };
        let weight = lognormal(1.0, WEIGHT_SPREAD, rng);
        let periods = if number % STEADY_EVERY == 0 {
            vec![steady(days, weight)]
        } else {
            fading(days, weight, rng)
        };
        found.push(SimulatedInterest { topic, periods });
    }
    found
}

/// A topic that the user is not interested in yet.
fn new_topic(
    topics: &[Topic],
    found: &[SimulatedInterest],
    popular: &WeightedIndex,
    rng: &mut impl Rng,
) -> Option<u32> {
    let theme = earlier_theme(topics, found, rng);
    // Few topics have one theme, so that drawing among all topics would take long.
    let of_theme = theme.map(|theme| {
        let weight = |topic: &Topic| {
            if topic.theme == theme {
                topic.pins.len() as f64
            } else {
                0.0
            }
        };
        WeightedIndex::new(topics.iter().map(weight))
    });
    let index = of_theme.as_ref().unwrap_or(popular);
    let drawn = (0..TRIES).filter_map(|_| index.sample(rng).map(|topic| topic as u32));
    // The iterator draws only until a topic is new.
    let mut new = drawn.filter(|&topic| found.iter().all(|other| other.topic != topic));
    new.next()
}

/// The theme of an interest that was found before, for the share of interests that have the
/// same one.
fn earlier_theme(
    topics: &[Topic],
    found: &[SimulatedInterest],
    rng: &mut impl Rng,
) -> Option<usize> {
    if found.is_empty() || rng.random::<f64>() >= SAME_THEME {
        return None;
    }
    let earlier = rng.random_range(0..found.len() as u32) as usize;
    Some(topics[found[earlier].topic as usize].theme)
}

/// The period of an interest that is active all the time.
fn steady(days: f64, weight: f64) -> Period {
    Period {
        from: 0.0,
        to: days,
        weight,
        fade_days: f64::INFINITY,
    }
}

/// The periods of an interest that begins, fades, and perhaps returns. At least one
/// reaches into the simulation.
fn fading(days: f64, weight: f64, rng: &mut impl Rng) -> Vec<Period> {
    let fade_days = lognormal(FADE_DAYS, FADE_SPREAD, rng);
    let length = FADES * fade_days;
    let mut from = rng.random_range(-0.9 * length..days);
    let mut periods = Vec::new();
    loop {
        let to = from + length;
        if to > 0.0 {
            periods.push(Period {
                from,
                to,
                weight,
                fade_days,
            });
        }
        let pause = lognormal(BREAK_DAYS, BREAK_SPREAD, rng);
        from = to + pause;
        if from >= days || rng.random::<f64>() >= RETURNING {
            return periods;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;

    #[test]
    fn an_interest_begins_fades_ends_and_returns_as_strong() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let mut returned = 0;
        for _ in 0..500 {
            let periods = fading(180.0, 2.0, rng);
            assert!(periods[0].to > 0.0 && periods[0].from < 180.0);
            let interest = SimulatedInterest { topic: 0, periods };
            for period in &interest.periods {
                assert_eq!(interest.strength(period.from), 2.0);
                let later = interest.strength(period.from + period.fade_days);
                assert!((later - 2.0 / std::f64::consts::E).abs() < 1e-9);
                assert!(interest.strength(period.to - 1e-6) < 0.11);
                assert_eq!(interest.strength(period.to), 0.0);
            }
            for pair in interest.periods.windows(2) {
                assert!(pair[1].from > pair[0].to + 5.0);
                returned += 1;
            }
        }
        assert!((50..250).contains(&returned), "{returned}");
    }
}
