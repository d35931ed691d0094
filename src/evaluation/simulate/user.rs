//! What a user does: sessions of a few actions, each about one or two interests.

use std::collections::HashSet;

use rand::{Rng, RngExt};

use super::draws::{Wheel, dot, exponential, normal, normalize};
use super::interests::{Interest, interests};
use super::topics::{Style, World, style};
use super::{Action, WorldParams};
use crate::model::{PinId, Timestamp};

/// Median number of actions of a user, the spread of it, and its bounds.
const ACTIONS: f64 = 130.0;
const ACTIVITY_SPREAD: f64 = 0.95;
const ACTIONS_WITHIN: [f64; 2] = [30.0, 3_000.0];
/// Actions of a session after the first, on average.
const MORE_A_SESSION: f64 = 3.0;
/// Seconds between the actions of a session, on average.
const PAUSE_SECONDS: f64 = 60.0;
/// Spread of the time of day around that of the user, in days.
const TIME_OF_DAY_SPREAD: f64 = 0.12;
/// Share of sessions that are about two interests, unless chance makes them the same.
const TWO_INTERESTS: f64 = 0.3;
/// How much pins near the taste of a user are preferred within a topic.
const TASTE: f64 = 4.0;
/// How far a taste drifts in a day, on its unit sphere.
const DRIFT: f64 = 0.05;
/// Share of draws of a pin that the user acted on before which are kept.
const REPEATED: f64 = 0.01;
/// Draws by taste, and of these and of any pin of the topic, before one is kept.
const TRIES_OF_TASTE: usize = 10;
const TRIES: usize = 30;
/// Share of saves among actions out of interest, and among the others; the rest are
/// clicks.
const SAVES: f64 = 0.5;
const SAVES_OF_NOISE: f64 = 0.2;

const MICROS_PER_SECOND: f64 = 1e6;
const MICROS_PER_DAY: f64 = 86_400.0 * MICROS_PER_SECOND;

/// What a user is interested in, and what she did, in order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// At least one.
    pub interests: Vec<Interest>,
    /// By rising time.
    pub actions: Vec<Action>,
}

impl User {
    /// Draws a user. `popular` draws topics.
    pub(super) fn draw(
        world: &World,
        params: &WorldParams,
        popular: &Wheel,
        rng: &mut impl Rng,
    ) -> Self {
        let days = f64::from(params.days);
        let activity = normal(rng);
        let count = ACTIONS * libm::exp(ACTIVITY_SPREAD * activity);
        let count = count.round().clamp(ACTIONS_WITHIN[0], ACTIONS_WITHIN[1]) as usize;
        let interests = interests(world, days, activity, popular, rng);
        let mut acting = Acting {
            world,
            params,
            tastes: interests.iter().map(|_| Taste::any(rng)).collect(),
            interests,
            seen: HashSet::new(),
            actions: Vec::with_capacity(count),
        };
        for (day, size) in sessions(count, days, rng) {
            acting.session(day, size, rng);
        }
        let Acting {
            interests,
            mut actions,
            ..
        } = acting;
        // A session may begin before the one before it has ended.
        actions.sort_by_key(|action| action.time);
        Self { interests, actions }
    }
}

/// A user between two sessions.
struct Acting<'a> {
    world: &'a World,
    params: &'a WorldParams,
    interests: Vec<Interest>,
    /// One for each interest.
    tastes: Vec<Taste>,
    /// Pins that she acted on.
    seen: HashSet<u32>,
    actions: Vec<Action>,
}

impl Acting<'_> {
    /// `size` actions about one or two interests.
    fn session(&mut self, day: f64, size: usize, rng: &mut impl Rng) {
        let interests = self.interests.iter().zip(&self.tastes);
        let strengths = Wheel::of(interests.map(|(interest, taste)| {
            // What a user has seen much of has less to offer.
            interest.strength(day) * taste.unseen_share(self.world, interest.topic)
        }));
        // The first interest is steady, so that one is always active.
        let first = strengths.draw(rng).unwrap_or(0);
        let second = match rng.random::<f64>() < TWO_INTERESTS {
            true => strengths.draw(rng).unwrap_or(first),
            false => first,
        };
        let about = [first, second];
        let wheels = about.map(|interest| {
            let topic = self.interests[interest].topic;
            self.tastes[interest].wheel(self.world, topic, day, rng)
        });
        let mut micros = day * MICROS_PER_DAY;
        for _ in 0..size {
            let time = moment(self.params, micros);
            if rng.random::<f64>() < self.params.noise {
                let pin = rng.random_range(0..self.world.pins());
                self.act(time, pin, true, rng);
            } else {
                let at = usize::from(rng.random::<bool>());
                let pin = self.choose(self.interests[about[at]].topic, &wheels[at], rng);
                let new = self.act(time, pin, false, rng);
                self.tastes[about[at]].seen += usize::from(new);
            }
            micros += MICROS_PER_SECOND * (1.0 + PAUSE_SECONDS * exponential(rng));
        }
    }

    /// A pin of a topic that the user has seldom acted on before.
    fn choose(&self, topic: u32, wheel: &Wheel, rng: &mut impl Rng) -> u32 {
        let pins = &self.world.topics()[topic as usize].pins;
        let mut pin = pins[0];
        for draw in 0..TRIES {
            // Who has seen what is to her taste looks around.
            let place = match draw < TRIES_OF_TASTE {
                true => wheel.draw(rng).unwrap_or(0),
                false => rng.random_range(0..pins.len() as u32) as usize,
            };
            pin = pins[place];
            if !self.seen.contains(&pin) || rng.random::<f64>() < REPEATED {
                break;
            }
        }
        pin
    }

    /// Whether the pin was new to the user.
    fn act(&mut self, time: Timestamp, pin: u32, noise: bool, rng: &mut impl Rng) -> bool {
        let new = self.seen.insert(pin);
        let saves = if noise { SAVES_OF_NOISE } else { SAVES };
        self.actions.push(Action {
            time,
            pin: PinId(u64::from(pin)),
            save: rng.random::<f64>() < saves,
            noise,
            repeated: !new,
        });
        new
    }
}

/// Where a user is within a topic.
struct Taste {
    /// She prefers pins near this style, which moves.
    style: Style,
    /// When it was moved last.
    day: f64,
    /// Number of pins of the topic that she acted on.
    seen: usize,
}

impl Taste {
    fn any(rng: &mut impl Rng) -> Self {
        Self {
            style: style(rng),
            day: 0.0,
            seen: 0,
        }
    }

    /// About that; above 0.
    fn unseen_share(&self, world: &World, topic: u32) -> f64 {
        let pins = world.topics()[topic as usize].pins.len();
        1.0 - self.seen as f64 / (pins + 1) as f64
    }

    /// Moves the taste on to `day`, and draws pins of the topic by it.
    fn wheel(&mut self, world: &World, topic: u32, day: f64, rng: &mut impl Rng) -> Wheel {
        let step = DRIFT * (day - self.day).max(0.0).sqrt();
        self.style.iter_mut().for_each(|x| *x += step * normal(rng));
        normalize(&mut self.style);
        self.day = day;
        let topic = &world.topics()[topic as usize];
        let pins = topic.pins.iter().zip(topic.popularity());
        Wheel::of(pins.map(|(&pin, popularity)| {
            popularity * libm::exp(TASTE * dot(&self.style, world.style(pin)))
        }))
    }
}

/// The day, with the time of day, and the size of each session, in order of time;
/// `count` actions in all.
fn sessions(count: usize, days: f64, rng: &mut impl Rng) -> Vec<(f64, usize)> {
    let usual = rng.random::<f64>();
    let mut sessions = Vec::new();
    let mut rest = count;
    while rest > 0 {
        let more = (MORE_A_SESSION * exponential(rng)).round() as usize;
        let size = rest.min(1 + more);
        let day = (days * rng.random::<f64>()).floor();
        let time = usual + TIME_OF_DAY_SPREAD * normal(rng);
        sessions.push((day + (time - time.floor()), size));
        rest -= size;
    }
    sessions.sort_by(|a, b| a.0.total_cmp(&b.0));
    sessions
}

/// The whole second so many microseconds after the begin, before the end.
fn moment(params: &WorldParams, micros: f64) -> Timestamp {
    let begin = params.from().micros();
    let seconds = (micros / MICROS_PER_SECOND) as i64;
    let micros = begin + seconds * MICROS_PER_SECOND as i64;
    Timestamp::from_micros(micros.min(params.until.micros() - MICROS_PER_SECOND as i64))
}
