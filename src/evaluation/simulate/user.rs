//! The actions of a user: sessions of a few actions, each about one or two interests.

use std::collections::HashSet;

use rand::{Rng, RngExt};

use super::interests::{SimulatedInterest, interests};
use super::params::{Activity, WorldParams};
use super::random::{WeightedIndex, dot, exponential, normal, normalize};
use super::world::{SimulatedWorld, Style, style};
use crate::model::{PinId, Timestamp};

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

/// One action of a user.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimulatedAction {
    /// The moment of the action.
    pub time: Timestamp,
    /// The pin that the user acted on.
    pub pin: PinId,
    /// Whether it is a save; otherwise it is a click.
    pub is_save: bool,
    /// Whether it comes from no interest.
    pub is_noise: bool,
    /// Whether the user had acted on the pin before.
    pub is_repeated: bool,
}

/// Why a user acts on a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Motive {
    Interest,
    Noise,
}

/// A user: her interests, and her actions.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedUser {
    /// At least one.
    pub interests: Vec<SimulatedInterest>,
    /// By rising time.
    pub actions: Vec<SimulatedAction>,
}

impl SimulatedUser {
    /// Draws a user. `popular` draws topics.
    pub(super) fn draw(
        world: &SimulatedWorld,
        params: &WorldParams,
        popular: &WeightedIndex,
        rng: &mut impl Rng,
    ) -> Self {
        let days = f64::from(params.days);
        let activity = normal(rng);
        let count = action_count(&params.activity, activity);
        let interests = interests(world, days, activity, popular, rng);
        let mut acting = Acting {
            world,
            params,
            tastes: interests.iter().map(|_| Taste::any(rng)).collect(),
            interests,
            seen: HashSet::new(),
            actions: Vec::with_capacity(count),
        };
        for session in sessions(count, days, rng) {
            acting.session(session, rng);
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

/// Number of actions of a user of `activity`, a standard normal number.
fn action_count(params: &Activity, activity: f64) -> usize {
    let count = params.median_actions * libm::exp(params.spread * activity);
    let (min, max) = (params.min_actions, params.max_actions);
    count.round().clamp(f64::from(min), f64::from(max)) as usize
}

/// A user between two sessions.
struct Acting<'a> {
    world: &'a SimulatedWorld,
    params: &'a WorldParams,
    interests: Vec<SimulatedInterest>,
    /// One for each interest.
    tastes: Vec<Taste>,
    /// Pins that she acted on.
    seen: HashSet<u32>,
    actions: Vec<SimulatedAction>,
}

impl Acting<'_> {
    /// Acts in a session about one or two interests.
    fn session(&mut self, session: Session, rng: &mut impl Rng) {
        let Session { day, size } = session;
        let interests = self.interests.iter().zip(&self.tastes);
        let strengths = WeightedIndex::new(interests.map(|(interest, taste)| {
            // A topic of which the user has seen much has less to offer.
            interest.strength(day) * taste.unseen_share(self.world, interest.topic)
        }));
        // The first interest is steady, so that there is always an active one.
        let first = strengths.sample(rng).unwrap_or(0);
        let second = if rng.random::<f64>() < TWO_INTERESTS {
            strengths.sample(rng).unwrap_or(first)
        } else {
            first
        };
        let about = [first, second];
        let indexes = about.map(|interest| {
            let topic = self.interests[interest].topic;
            self.tastes[interest].index(self.world, topic, day, rng)
        });
        let mut micros = day * MICROS_PER_DAY;
        for _ in 0..size {
            let time = moment(self.params, micros);
            if rng.random::<f64>() < self.params.noise {
                let pin = rng.random_range(0..self.world.pins());
                self.act(time, pin, Motive::Noise, rng);
            } else {
                let at = usize::from(rng.random::<bool>());
                let pin = self.choose(self.interests[about[at]].topic, &indexes[at], rng);
                let is_new = self.act(time, pin, Motive::Interest, rng);
                self.tastes[about[at]].seen += usize::from(is_new);
            }
            micros += MICROS_PER_SECOND * (1.0 + PAUSE_SECONDS * exponential(rng));
        }
    }

    /// A pin of a topic that the user has seldom acted on before.
    fn choose(&self, topic: u32, index: &WeightedIndex, rng: &mut impl Rng) -> u32 {
        let pins = &self.world.topics()[topic as usize].pins;
        let mut pin = pins[0];
        for draw in 0..TRIES {
            // A user who has seen the pins to her taste looks around in the topic.
            let position = if draw < TRIES_OF_TASTE {
                index.sample(rng).unwrap_or(0)
            } else {
                rng.random_range(0..pins.len() as u32) as usize
            };
            pin = pins[position];
            if !self.seen.contains(&pin) || rng.random::<f64>() < REPEATED {
                break;
            }
        }
        pin
    }

    /// Adds an action. Returns whether the pin was new to the user.
    fn act(&mut self, time: Timestamp, pin: u32, motive: Motive, rng: &mut impl Rng) -> bool {
        let is_new = self.seen.insert(pin);
        let saves = match motive {
            Motive::Interest => SAVES,
            Motive::Noise => SAVES_OF_NOISE,
        };
        self.actions.push(SimulatedAction {
            time,
            pin: PinId(u64::from(pin)),
            is_save: rng.random::<f64>() < saves,
            is_noise: motive == Motive::Noise,
            is_repeated: !is_new,
        });
        is_new
    }
}

/// The taste of a user within a topic.
struct Taste {
    /// She prefers pins near this style, which drifts.
    style: Style,
    /// The day to which it has drifted.
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

    /// About the share of the pins that she has not acted on; above 0.
    fn unseen_share(&self, world: &SimulatedWorld, topic: u32) -> f64 {
        let pins = world.topics()[topic as usize].pins.len();
        1.0 - self.seen as f64 / (pins + 1) as f64
    }

    /// Lets the taste drift to `day`, and weighs the pins of the topic by it.
    fn index(
        &mut self,
        world: &SimulatedWorld,
        topic: u32,
        day: f64,
        rng: &mut impl Rng,
    ) -> WeightedIndex {
        let step = DRIFT * (day - self.day).max(0.0).sqrt();
        self.style.iter_mut().for_each(|x| *x += step * normal(rng));
        normalize(&mut self.style);
        self.day = day;
        let topic = &world.topics()[topic as usize];
        let pins = topic.pins.iter().zip(topic.popularity());
        WeightedIndex::new(pins.map(|(&pin, popularity)| {
            popularity * libm::exp(TASTE * dot(&self.style, world.style(pin)))
        }))
    }
}

/// A few actions in a row.
#[derive(Clone, Copy, Debug)]
struct Session {
    /// Its beginning in days since that of the simulation.
    day: f64,
    /// Number of actions.
    size: usize,
}

/// Sessions with `count` actions in all, in order of time.
fn sessions(count: usize, days: f64, rng: &mut impl Rng) -> Vec<Session> {
    let usual_time = rng.random::<f64>();
    let mut sessions = Vec::new();
    let mut rest = count;
    while rest > 0 {
        let more = (MORE_A_SESSION * exponential(rng)).round() as usize;
        let size = rest.min(1 + more);
        let day = (days * rng.random::<f64>()).floor();
        let time = usual_time + TIME_OF_DAY_SPREAD * normal(rng);
        sessions.push(Session {
            day: day + (time - time.floor()),
            size,
        });
        rest -= size;
    }
    sessions.sort_by(|a, b| a.day.total_cmp(&b.day));
    sessions
}

/// The whole second `micros` microseconds after the beginning of the simulation, but not
/// after its end.
fn moment(params: &WorldParams, micros: f64) -> Timestamp {
    let begin = params.from().micros();
    let seconds = (micros / MICROS_PER_SECOND) as i64;
    let micros = begin + seconds * MICROS_PER_SECOND as i64;
    Timestamp::from_micros(micros.min(params.until.micros() - MICROS_PER_SECOND as i64))
}
