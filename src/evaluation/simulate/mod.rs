//! A world in which users act on pins, with a known truth.
//!
//! [`World`] has pins in topics and topics in themes, with cosines as in real
//! embeddings: about 0.75 to 0.9 within a topic, 0.3 to 0.5 within a theme, about 0
//! beyond, in 32 dimensions or more. In [`Users`], everyone has 2 to 60 interests in
//! topics, mostly of different themes. An interest begins, fades over weeks, and may
//! come back after a break; within its topic the user drifts around a taste of her own.
//! She acts in sessions about one or two interests, in proportion to how strong they
//! are then, and now and then on any pin.
//!
//! What is drawn is a function of [`WorldParams`] and the generators alone. Each user
//! may be drawn by herself, with a generator of her own.

mod draws;
mod files;
mod interests;
mod topics;
mod user;

pub use files::{SimulateError, SimulateParams, Simulated, write_world};
pub use interests::{Interest, Period};
pub use topics::World;
pub use user::User;

use rand::Rng;

use crate::model::{EmbeddingError, PinId, Timestamp, check_dimension};
use draws::Wheel;

/// What a world is like.
#[derive(Clone, Debug)]
pub struct WorldParams {
    /// Number of pins.
    pub pins: u32,
    /// Number of topics.
    pub topics: u32,
    /// Dimension of the embeddings.
    pub dimension: usize,
    /// How many days users act.
    pub days: u32,
    /// The first moment after them.
    pub until: Timestamp,
    /// Share of actions on any pin, from 0 to 1.
    pub noise: f64,
}

/// Why there can be no such world.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum WorldError {
    /// Some topics would be empty, or there is none.
    #[error("{pins} pins cannot be in {topics} topics: each has at least one, and one there is")]
    Topics {
        /// Number of pins.
        pins: u32,
        /// Number of topics.
        topics: u32,
    },
    /// Nobody could act.
    #[error("there must be at least one day")]
    Days,
    /// The share is none.
    #[error("the noise must be a share from 0 to 1, not {0}")]
    Noise(f64),
    /// No catalog would have such vectors.
    #[error(transparent)]
    Dimension(#[from] EmbeddingError),
}

impl WorldParams {
    /// Refuses what cannot be; nothing behind it checks again.
    pub fn check(&self) -> Result<(), WorldError> {
        let &Self { pins, topics, .. } = self;
        if topics == 0 || pins < topics {
            return Err(WorldError::Topics { pins, topics });
        }
        if self.days == 0 {
            return Err(WorldError::Days);
        }
        if !(0.0..=1.0).contains(&self.noise) {
            return Err(WorldError::Noise(self.noise));
        }
        Ok(check_dimension(self.dimension)?)
    }

    /// The first moment at which users act.
    pub fn from(&self) -> Timestamp {
        self.until.minus_days(f64::from(self.days))
    }
}

/// What a user did once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Action {
    /// When.
    pub time: Timestamp,
    /// On what.
    pub pin: PinId,
    /// Whether it was a save; else a click.
    pub save: bool,
    /// Whether it was out of no interest.
    pub noise: bool,
    /// Whether the user had acted on the pin before.
    pub repeated: bool,
}

/// Draws the users of a world.
#[derive(Debug)]
pub struct Users<'a> {
    world: &'a World,
    params: &'a WorldParams,
    /// Draws topics in proportion to their pins.
    popular: Wheel,
}

impl<'a> Users<'a> {
    /// The users of `world`, which was made with `params`.
    pub fn of(world: &'a World, params: &'a WorldParams) -> Self {
        let sizes = world.topics().iter().map(|topic| topic.pins.len() as f64);
        Self {
            world,
            params,
            popular: Wheel::of(sizes),
        }
    }

    /// Draws a user: her interests, and what she did.
    pub fn draw(&self, rng: &mut impl Rng) -> User {
        User::draw(self.world, self.params, &self.popular, rng)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;

    pub(super) fn params() -> WorldParams {
        WorldParams {
            pins: 20_000,
            topics: 200,
            dimension: 64,
            days: 180,
            until: "2026-01-01".parse().expect("a date"),
            noise: 0.1,
        }
    }

    fn users() -> (World, Vec<User>) {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let world = World::new(&params(), rng);
        let users = (0..100).map(|_| Users::of(&world, &params()).draw(rng));
        let users = users.collect();
        (world, users)
    }

    #[test]
    fn everyone_acts_within_the_days_on_2_to_60_interests() {
        let (_, users) = users();
        let (mut least, mut most) = (usize::MAX, 0);
        for user in &users {
            assert!((30..=3_000).contains(&user.actions.len()));
            assert!((2..=60).contains(&user.interests.len()));
            least = least.min(user.interests.len());
            most = most.max(user.interests.len());
            assert!(user.actions.is_sorted_by_key(|action| action.time));
            let within = params().from()..params().until;
            assert!(
                user.actions
                    .iter()
                    .all(|action| within.contains(&action.time))
            );
        }
        assert!(least <= 3 && most >= 20, "{least} {most}");
    }

    #[test]
    fn actions_are_of_active_interests_but_for_noise_and_seldom_repeated() {
        let (world, users) = users();
        let (mut all, mut noise, mut repeated) = (0.0, 0.0, 0.0);
        for user in &users {
            for action in &user.actions {
                all += 1.0;
                noise += f64::from(action.noise);
                repeated += f64::from(action.repeated);
                let topic = world.topic_of(action.pin);
                let interest = user.interests.iter().find(|own| own.topic == topic);
                let day = action.time.days_since(params().from());
                // A session that begins in a period may end after it.
                let active = interest
                    .is_some_and(|own| own.strength(day) > 0.0 || own.strength(day - 0.1) > 0.0);
                assert!(action.noise || active);
            }
        }
        assert!((0.09..0.11).contains(&(noise / all)));
        assert!(repeated / all < 0.15, "{}", repeated / all);
    }

    #[test]
    fn what_returns_was_away() {
        let (world, users) = users();
        let (mut before, mut between, mut after) = (0, 0, 0);
        for user in &users {
            for interest in &user.interests {
                let [first, second, ..] = interest.periods[..] else {
                    continue;
                };
                for action in &user.actions {
                    if action.noise || world.topic_of(action.pin) != interest.topic {
                        continue;
                    }
                    let day = action.time.days_since(params().from());
                    before += u32::from(day < first.to);
                    between += u32::from(day > first.to + 0.1 && day < second.from - 0.001);
                    after += u32::from(day >= second.from - 0.001);
                }
            }
        }
        assert!(before > 300 && after > 300, "{before} {after}");
        assert_eq!(between, 0);
    }

    #[test]
    fn pins_near_past_ones_are_likelier() {
        let (world, users) = users();
        let embed = |pin| {
            let mut vector = Vec::new();
            world.embed(pin, &mut vector);
            vector
        };
        let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        let (mut own, mut others, mut pairs) = (0.0, 0.0, 0.0);
        let mut last: Vec<Option<Vec<f32>>> = vec![None; params().topics as usize];
        for user in &users {
            let mut own_last: Vec<Option<Vec<f32>>> = vec![None; params().topics as usize];
            for action in user
                .actions
                .iter()
                .filter(|action| !action.noise && !action.repeated)
            {
                let topic = world.topic_of(action.pin) as usize;
                let vector = embed(action.pin);
                if let (Some(mine), Some(another)) = (&own_last[topic], &last[topic]) {
                    own += cosine(&vector, mine);
                    others += cosine(&vector, another);
                    pairs += 1.0;
                }
                own_last[topic] = Some(vector);
            }
            for (last, own) in last.iter_mut().zip(own_last) {
                *last = own.or(last.take());
            }
        }
        let (own, others) = (own / pairs, others / pairs);
        assert!(own > others + 0.02 && others > 0.7, "{own} {others}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |params: WorldParams| params.check().expect_err("a bad world").to_string();
        let topics = refused(WorldParams {
            topics: 20_001,
            ..params()
        });
        assert!(topics.contains("20000 pins") && topics.contains("20001 topics"));
        assert!(
            refused(WorldParams {
                topics: 0,
                ..params()
            })
            .contains("0 topics")
        );
        assert!(
            refused(WorldParams {
                days: 0,
                ..params()
            })
            .contains("one day")
        );
        assert!(
            refused(WorldParams {
                dimension: 1,
                ..params()
            })
            .contains("dimension 1")
        );
        assert!(
            refused(WorldParams {
                noise: f64::NAN,
                ..params()
            })
            .contains("NaN")
        );
        assert_eq!(params().check(), Ok(()));
    }
}
