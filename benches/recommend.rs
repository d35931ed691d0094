//! The online core by itself: an index that answers from memory at once, so that
//! what is timed is the lookup, the draw, the filter and the merge.

use std::hint::black_box;

use divan::Bencher;
use pinnersage::model::{Medoid, Neighbor, PinId, Timestamp};
use pinnersage::recommend::{
    Bonus, Deadline, MedoidSources, MergeStrategy, Origin, RecommendScratch, Recommendation,
    Recommender, Request, Rerank, Retrieve, Retrieved, SearchParams, Seeds, Unobserved, User,
    UserMedoids,
};
use pinnersage::store::{PinActions, Popularity};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};
use xorf::{BinaryFuse8, Filter};

/// Candidates that are asked for, and neighbors that are kept of each medoid.
const LIMIT: usize = 400;
/// Users that take turns, so that no answer is learned by heart.
const USERS: usize = 64;
/// Pins that the lists of one user are drawn from.
const NEARBY: usize = 4_000;
const HISTORY: usize = 1_000;
const PINS: u64 = 1 << 20;

/// Sizes of a profile: a usual one and a heavy one.
const PROFILES: [usize; 2] = [14, 100];
/// Profile sizes and medoids to sample.
const DRAWS: [(usize, usize); 7] = [
    (14, 3),
    (100, 3),
    (14, 5),
    (100, 5),
    (14, 10),
    (14, 20),
    (100, 20),
];

fn main() {
    divan::main();
}

/// Medoids are the first pins, and each has a list.
struct Table(Vec<Vec<Neighbor>>);

impl Retrieve for Table {
    fn contains(&self, pin: PinId) -> bool {
        pin.0 < PINS
    }

    fn neighbors(
        &self,
        pin: PinId,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let list = self.0[pin.0 as usize].iter();
        out.clear();
        out.extend(
            list.filter(|neighbor| (params.eligible)(neighbor.pin))
                .take(params.k),
        );
        Retrieved::Complete
    }

    fn nearest_to_vector(
        &self,
        _: &[f32],
        _: &SearchParams<'_>,
        _: &mut Vec<Neighbor>,
    ) -> Retrieved {
        Retrieved::NotCached
    }
}

struct StoredUser {
    profile: Vec<Medoid>,
    history: BinaryFuse8,
}

struct World {
    index: Table,
    users: Vec<StoredUser>,
}

impl World {
    fn new(medoids: usize) -> Self {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let mut index = Table(Vec::new());
        let users = (0..USERS).map(|_| user(medoids, &mut index, rng)).collect();
        Self { index, users }
    }

    fn answer(
        &self,
        call: usize,
        request: &Request<'_>,
        scratch: &mut RecommendScratch,
    ) -> Recommendation {
        let user = &self.users[call % USERS];
        let user = User {
            sources: MedoidSources {
                user_medoids: Some(UserMedoids {
                    medoids: &user.profile,
                    origin: Origin::Profile,
                }),
                popular_medoids: &[],
                sampling_factors: &[],
                all_in_catalog: true,
            },
            is_blocked: |pin: PinId| user.history.contains(&pin.0),
        };
        let recommender = Recommender {
            index: &self.index,
            observer: &Unobserved,
        };
        let rng = &mut ChaCha8Rng::seed_from_u64(call as u64);
        let answer = recommender.recommend(&user, request, rng, scratch);
        answer.expect("every medoid has a list")
    }
}

/// A user with lists that overlap somewhat, and a history near them.
fn user(medoids: usize, index: &mut Table, rng: &mut ChaCha8Rng) -> StoredUser {
    let nearby: Vec<PinId> = (0..NEARBY)
        .map(|_| PinId(rng.random_range(0..PINS)))
        .collect();
    let medoid = |_| {
        let pin = PinId(index.0.len() as u64);
        let mut list: Vec<Neighbor> = (0..LIMIT)
            .map(|_| Neighbor {
                pin: nearby[rng.random_range(0..NEARBY)],
                score: rng.random(),
            })
            .collect();
        list.sort_by_key(|neighbor| neighbor.pin);
        list.dedup_by_key(|neighbor| neighbor.pin);
        list.sort_by(Neighbor::by_descending_score);
        index.0.push(list);
        let importance = libm::exp(rng.random_range(-2.0..3.0));
        Medoid {
            pin,
            importance,
            last_action_time: Timestamp::from_micros(0),
            size: 1,
            dislikes: 0,
        }
    };
    let mut profile: Vec<Medoid> = (0..medoids).map(medoid).collect();
    profile.sort_by(Medoid::by_descending_importance);
    let mut keys: Vec<u64> = nearby[..HISTORY / 5].iter().map(|pin| pin.0).collect();
    keys.extend((keys.len()..HISTORY).map(|_| rng.next_u64()));
    keys.sort_unstable();
    keys.dedup();
    let history = BinaryFuse8::try_from(&keys).expect("distinct keys");
    StoredUser { profile, history }
}

fn time(
    bencher: Bencher<'_, '_>,
    profile: usize,
    (medoids, limit): (usize, usize),
    strategy: MergeStrategy,
    bonus: Option<Bonus<'_>>,
) {
    let world = World::new(profile);
    let request = Request {
        limit,
        medoids,
        top: 0,
        strategy,
        seeds: Seeds::NONE,
        context: None,
        excluded: &[],
        rerank: Rerank {
            bonus,
            ..Rerank::NONE
        },
        drawn: &[],
        effort: 1.0,
        deadline: Deadline::never(),
    };
    let mut scratch = RecommendScratch::default();
    let mut call = 0;
    bencher.bench_local(|| {
        call += 1;
        world.answer(call, black_box(&request), &mut scratch)
    });
}

#[divan::bench(args = DRAWS, sample_size = 64)]
fn interleave(bencher: Bencher<'_, '_>, (profile, medoids): (usize, usize)) {
    let asked = (medoids, LIMIT);
    time(bencher, profile, asked, MergeStrategy::Interleave, None);
}

/// The same, with popularity beside nearness.
#[divan::bench(args = PROFILES, sample_size = 64)]
fn interleave_with_bonus(bencher: Bencher<'_, '_>, profile: usize) {
    let acted_on = |pin| PinActions {
        pin: PinId(pin),
        actions: 1 + pin % 997,
    };
    let popularity = Popularity::from_actions(&(0..PINS).map(acted_on).collect::<Vec<_>>());
    let weight = 0.1;
    let bonus = |pin| weight * popularity.get(pin);
    let bonus = Some(Bonus::new(weight, &bonus));
    let asked = (3, LIMIT);
    time(bencher, profile, asked, MergeStrategy::Interleave, bonus);
}

#[divan::bench(args = PROFILES, sample_size = 64)]
fn global_top(bencher: Bencher<'_, '_>, profile: usize) {
    let asked = (3, LIMIT);
    time(bencher, profile, asked, MergeStrategy::GlobalTop, None);
}

/// One candidate: what remains is nearly the draw alone.
#[divan::bench(args = DRAWS, sample_size = 64)]
fn draw(bencher: Bencher<'_, '_>, (profile, medoids): (usize, usize)) {
    let asked = (medoids, 1);
    time(bencher, profile, asked, MergeStrategy::Interleave, None);
}
