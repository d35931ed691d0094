//! What a user is interested in, and when: each interest begins, fades, and may come
//! back.

use rand::{Rng, RngExt};

use super::draws::{Wheel, lognormal, normal};
use super::topics::{Topic, World};

/// Fewest and most interests of a user.
const INTERESTS: [f64; 2] = [2.0, 60.0];
/// Their median, and the standard deviations of their logarithm: with the activity of a
/// user, and apart from it.
const MEDIAN_INTERESTS: f64 = 7.0;
const WITH_ACTIVITY: f64 = 0.65;
const APART: f64 = 0.5;
/// Share of interests whose topic has the theme of an earlier one.
const NEAR: f64 = 0.25;
/// Draws of a topic before a user has one interest less.
const TRIES: usize = 20;
/// One in so many interests, and the first of all, neither fades nor ends.
const STEADY: usize = 10;
/// Days in which an interest falls to 1/e, and their spread.
const FADE_DAYS: f64 = 21.0;
const FADE_SPREAD: f64 = 0.5;
/// An interest ends when it has faded so often.
const FADES: f64 = 3.0;
/// Share of interests that come back after they have ended, each time.
const RETURNING: f64 = 0.4;
/// Days until they do, and their spread.
const BREAK_DAYS: f64 = 45.0;
const BREAK_SPREAD: f64 = 0.4;
/// Spread of the weights of interests.
const WEIGHT_SPREAD: f64 = 0.7;

/// An interest of a user: a topic, and the periods in which it is active.
#[derive(Clone, Debug, PartialEq)]
pub struct Interest {
    /// What it is about; no two interests of a user are about the same topic.
    pub topic: u32,
    /// In order of time, at least one, with breaks between them.
    pub periods: Vec<Period>,
}

/// A period in which an interest is active. Times are days since the begin of the
/// simulation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Period {
    /// Its begin, which may lie before that of the simulation.
    pub from: f64,
    /// The first moment after it.
    pub to: f64,
    /// Strength of the interest at the begin.
    pub weight: f64,
    /// Days in which the strength falls to 1/e: infinite when it is steady.
    pub fade_days: f64,
}

impl Interest {
    /// How strong it is on a day: 0 when it is not active.
    pub fn strength(&self, day: f64) -> f64 {
        let active = |period: &&Period| (period.from..period.to).contains(&day);
        let period = self.periods.iter().find(active);
        period.map_or(0.0, |period| {
            period.weight * libm::exp(-(day - period.from) / period.fade_days)
        })
    }
}

/// The interests of a user, more for who is more active: `activity` is a standard
/// normal number.
pub(super) fn interests(
    world: &World,
    days: f64,
    activity: f64,
    popular: &Wheel,
    rng: &mut impl Rng,
) -> Vec<Interest> {
    let logarithm = WITH_ACTIVITY * activity + APART * normal(rng);
    let count = MEDIAN_INTERESTS * libm::exp(logarithm);
    let count = count.round().clamp(INTERESTS[0], INTERESTS[1]) as usize;
    let mut found: Vec<Interest> = Vec::new();
    for number in 0..count {
        let Some(topic) = new_topic(world.topics(), &found, popular, rng) else {
            continue;
        };
        let weight = lognormal(1.0, WEIGHT_SPREAD, rng);
        let periods = match number % STEADY {
            0 => vec![Period {
                from: 0.0,
                to: days,
                weight,
                fade_days: f64::INFINITY,
            }],
            _ => fading(days, weight, rng),
        };
        found.push(Interest { topic, periods });
    }
    found
}

/// A topic that the user is not interested in yet.
fn new_topic(
    topics: &[Topic],
    found: &[Interest],
    popular: &Wheel,
    rng: &mut impl Rng,
) -> Option<u32> {
    let near = match found.is_empty() || rng.random::<f64>() >= NEAR {
        true => None,
        false => {
            let earlier = rng.random_range(0..found.len() as u32) as usize;
            Some(topics[found[earlier].topic as usize].theme)
        }
    };
    // Few topics are of one theme, so that trying takes long.
    let of_theme = near.map(|theme| {
        let weight = |topic: &Topic| match topic.theme == theme {
            true => topic.pins.len() as f64,
            false => 0.0,
        };
        Wheel::of(topics.iter().map(weight))
    });
    let wheel = of_theme.as_ref().unwrap_or(popular);
    let drawn = (0..TRIES).filter_map(|_| wheel.draw(rng).map(|topic| topic as u32));
    // The iterator draws only until a topic is new.
    let mut new = drawn.filter(|&topic| found.iter().all(|other| other.topic != topic));
    new.next()
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
            let interest = Interest { topic: 0, periods };
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
