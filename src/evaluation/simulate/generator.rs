//! The users of a world, one after the other.

use rand::Rng;

use super::params::WorldParams;
use super::random::WeightedIndex;
use super::user::SimulatedUser;
use super::world::SimulatedWorld;

/// Draws the users of a world.
#[derive(Debug)]
pub struct UserGenerator<'a> {
    world: &'a SimulatedWorld,
    params: &'a WorldParams,
    /// Draws topics in proportion to their pins.
    popular: WeightedIndex,
}

impl<'a> UserGenerator<'a> {
    /// The users of `world`, which was made with `params`.
    pub fn new(world: &'a SimulatedWorld, params: &'a WorldParams) -> Self {
        let sizes = world.topics().iter().map(|topic| topic.pins.len() as f64);
        Self {
            world,
            params,
            popular: WeightedIndex::new(sizes),
        }
    }

    /// Draws a user: her interests, and what she did.
    pub fn draw(&self, rng: &mut impl Rng) -> SimulatedUser {
        SimulatedUser::draw(self.world, self.params, &self.popular, rng)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::super::params::Activity;
    use super::super::params::tests::params;
    use super::*;

    fn users() -> (SimulatedWorld, Vec<SimulatedUser>) {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let world = SimulatedWorld::new(&params(), rng);
        let users = (0..100).map(|_| UserGenerator::new(&world, &params()).draw(rng));
        let users = users.collect();
        (world, users)
    }

    #[test]
    fn the_activity_decides_how_uneven_users_are() {
        let uneven = WorldParams {
            activity: Activity {
                median_actions: 20.0,
                spread: 1.7,
                min_actions: 1,
                max_actions: 2_000,
            },
            ..params()
        };
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let world = SimulatedWorld::new(&uneven, rng);
        let generator = UserGenerator::new(&world, &uneven);
        let counts = (0..300).map(|_| generator.draw(rng).actions.len());
        let mut counts: Vec<usize> = counts.collect();
        counts.sort_unstable();
        assert!((14..28).contains(&counts[150]), "{}", counts[150]);
        assert!(counts[0] <= 2 && (400..=2_000).contains(&counts[299]));
    }

    #[test]
    fn everyone_acts_within_the_days_on_2_to_60_interests() {
        let (_, users) = users();
        let (mut fewest, mut most) = (usize::MAX, 0);
        for user in &users {
            assert!((30..=3_000).contains(&user.actions.len()));
            assert!((2..=60).contains(&user.interests.len()));
            fewest = fewest.min(user.interests.len());
            most = most.max(user.interests.len());
            assert!(user.actions.is_sorted_by_key(|action| action.time));
            let within = params().from()..params().until;
            assert!(
                user.actions
                    .iter()
                    .all(|action| within.contains(&action.time))
            );
        }
        assert!(fewest <= 3 && most >= 20, "{fewest} {most}");
    }

    #[test]
    fn actions_are_of_active_interests_but_for_noise_and_seldom_repeated() {
        let (world, users) = users();
        let (mut all, mut noise, mut repeated) = (0.0, 0.0, 0.0);
        for user in &users {
            for action in &user.actions {
                all += 1.0;
                noise += f64::from(action.is_noise);
                repeated += f64::from(action.is_repeated);
                let topic = world.topic_of(action.pin);
                let interest = user.interests.iter().find(|own| own.topic == topic);
                let day = action.time.days_since(params().from());
                // A session that begins in a period may end after it.
                let active = interest
                    .is_some_and(|own| own.strength(day) > 0.0 || own.strength(day - 0.1) > 0.0);
                assert!(action.is_noise || active);
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
                    if action.is_noise || world.topic_of(action.pin) != interest.topic {
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
                .filter(|action| !action.is_noise && !action.is_repeated)
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
}
