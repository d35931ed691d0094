//! The replay of one user: day by day, what would have been recommended, and what the
//! user did then.

use std::sync::atomic::{AtomicU64, Ordering};

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::EvaluateParams;
use super::details::{self, Line};
use super::history::{History, pins_of};
use super::interests::{Asker, Interests, World};
use super::measures::{self, Tally};
use super::models::Model;
use super::query_vectors::WithQueryVectors;
use super::seeds::{Purpose, Seeds};
use crate::cluster::{ClusterScratch, Point};
use crate::index::RetrieveByVector;
use crate::model::{PinId, Timestamp, UserId};
use crate::recommend::{
    Deadline, MedoidSources, Origin, PopularityPrior, RecommendScratch, Recommendation,
    Recommender, Request, Unobserved, User, UserMedoids,
};

/// Pins that a target is ranked against.
const NEGATIVES: usize = 20;
/// Draws for each of them: most pins can be one.
const DRAWS: usize = 10;

/// How a user is replayed.
#[derive(Clone, Copy)]
pub(super) struct Replay<'a> {
    pub(super) params: &'a EvaluateParams,
    pub(super) world: World<'a>,
    pub(super) index: &'a (dyn RetrieveByVector + Sync),
    /// By the place of the pin.
    pub(super) categories: &'a [u32],
    /// The days, as their first moments.
    pub(super) days: &'a [Timestamp],
    /// Whether lines are wanted.
    pub(super) details: bool,
    /// By model: what is recommended to anybody is added.
    pub(super) covered: &'a [Covered],
}

/// A set of places that many threads add to.
#[derive(Debug)]
pub(super) struct Covered(Vec<AtomicU64>);

impl Covered {
    pub(super) fn none_of(pins: usize) -> Self {
        Self((0..pins.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    fn add(&self, place: u32) {
        let bit = 1 << (place % 64);
        self.0[place as usize / 64].fetch_or(bit, Ordering::Relaxed);
    }

    /// The words of the set that are not empty, each behind its place.
    pub(super) fn words(&self) -> Vec<(u32, u64)> {
        let words = self.0.iter().map(|word| word.load(Ordering::Relaxed));
        let numbered = (0..).zip(words);
        numbered.filter(|&(_, word)| word != 0).collect()
    }

    /// Adds [`Covered::words`] of a set over as many pins.
    pub(super) fn add_words(&self, words: &[(u32, u64)]) {
        for &(place, word) in words {
            if let Some(own) = self.0.get(place as usize) {
                own.fetch_or(word, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn count(&self) -> usize {
        let ones = |word: &AtomicU64| word.load(Ordering::Relaxed).count_ones() as usize;
        self.0.iter().map(ones).sum()
    }
}

/// What became of one user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Replayed {
    pub(super) user: UserId,
    /// Mean number of actions in the window, over the days that counted.
    pub(super) activity: f64,
    /// By model.
    pub(super) tallies: Vec<Tally>,
    /// Lines of details.
    pub(super) lines: String,
}

/// Memory of a user, for the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    cluster: ClusterScratch,
    recommend: RecommendScratch,
    cosines: Vec<f32>,
    sum: Vec<f64>,
    categories: Vec<u32>,
}

/// What a day asks: the same for all models.
struct Question {
    day: Timestamp,
    seeds: Seeds,
    /// Ascending: pins that must not be recommended.
    barred: Vec<PinId>,
    /// Places of the target actions' pins, then of their negatives.
    places: Vec<u32>,
    targets: usize,
}

impl Replay<'_> {
    /// Replays a user; none when there is no day to judge by.
    pub(super) fn user(
        &self,
        user: UserId,
        history: &History,
        scratch: &mut Scratch,
    ) -> Option<Replayed> {
        let mut replayed = Replayed {
            user,
            activity: 0.0,
            tallies: vec![Tally::default(); self.params.models.len()],
            lines: String::new(),
        };
        let mut days = 0.0;
        for &day in self.days {
            let window = history.window(day);
            let Some(question) = self.question(user, history, day) else {
                continue;
            };
            days += 1.0;
            replayed.activity += window.len() as f64;
            let Scratch { cluster, .. } = &mut *scratch;
            let mut asker = Asker::new(self.world, history, day, question.seeds, cluster);
            let asked: Vec<Interests<'_>> = self
                .params
                .models
                .iter()
                .map(|model| asker.interests(model))
                .collect();
            for (at, interests) in asked.iter().enumerate() {
                self.ask(at, &question, interests, &mut replayed, scratch);
            }
        }
        replayed.activity /= days;
        (days > 0.0).then_some(replayed)
    }

    fn question(&self, user: UserId, history: &History, day: Timestamp) -> Option<Question> {
        let window = history.window(day);
        if window.is_empty() {
            return None;
        }
        let barred = match self.params.repeats {
            true => Vec::new(),
            false => pins_of(window),
        };
        let end = day.minus_days(-f64::from(self.params.horizon_days));
        let is_target = |point: &&Point| barred.binary_search(&point.pin).is_err();
        let targets = history.between(day, end).iter().filter(is_target);
        let targets = targets.filter_map(|point| self.world.pins.position(point.pin));
        let mut places: Vec<u32> = targets.map(|place| place as u32).collect();
        if places.is_empty() {
            return None;
        }
        let (targets, seeds) = (places.len(), Seeds::of(self.params.seed, user, day));
        self.draw_negatives(&barred, &mut places, seeds);
        Some(Question {
            day,
            seeds,
            barred,
            places,
            targets,
        })
    }

    /// Adds pins that the user could have acted on and did not; fewer than wanted where
    /// the catalog has hardly any.
    fn draw_negatives(&self, barred: &[PinId], places: &mut Vec<u32>, seeds: Seeds) {
        let rng = &mut seeds.rng(Purpose::Negatives);
        let targets = places.len();
        let all = self.world.pins.ids().len() as u32;
        for _ in 0..targets {
            let mut drawn = 0;
            for _ in 0..NEGATIVES * DRAWS {
                let place = rng.random_range(0..all);
                let pin = self.world.pins.ids()[place as usize];
                if !places[..targets].contains(&place) && barred.binary_search(&pin).is_err() {
                    places.push(place);
                    drawn += 1;
                    if drawn == NEGATIVES {
                        break;
                    }
                }
            }
        }
    }

    /// Asks the model `at` and adds what its answer is worth.
    fn ask(
        &self,
        at: usize,
        question: &Question,
        interests: &Interests<'_>,
        replayed: &mut Replayed,
        scratch: &mut Scratch,
    ) {
        let model = &self.params.models[at];
        let index = WithQueryVectors {
            index: self.index,
            pins: self.world.pins,
            ids: self.world.free_ids,
            stand_ins: &interests.stand_ins,
        };
        let answer = self.answer(model, question, interests, &index, &mut scratch.recommend);
        let places = answer
            .candidates
            .iter()
            .filter_map(|c| self.world.pins.position(c.pin));
        let places: Vec<u32> = places.map(|place| place as u32).collect();
        places.iter().for_each(|&place| self.covered[at].add(place));
        let mut tally = self.judge(question, &places, scratch);
        self.rank(question, &answer, &index, &mut tally, scratch);
        replayed.tallies[at].add(&tally);
        if self.details {
            let line = self.line(model, question, interests, &answer, &tally, replayed.user);
            replayed.lines.push_str(&line);
        }
    }

    /// What the serving code answers, page after page.
    fn answer(
        &self,
        model: &Model,
        question: &Question,
        interests: &Interests<'_>,
        index: &WithQueryVectors<'_>,
        scratch: &mut RecommendScratch,
    ) -> Recommendation {
        let as_of = question.day.minus_days(f64::from(model.stale_days));
        let popular = self.world.popular.get(&as_of);
        let popularity = |pin: PinId| {
            let place = self.world.pins.position(pin);
            let score = |place: usize| Some(popular?.scores[place]);
            place.and_then(score).unwrap_or(0.0)
        };
        let user = User {
            sources: MedoidSources {
                user_medoids: Some(UserMedoids {
                    medoids: &interests.handed,
                    origin: Origin::Profile,
                }),
                popular_medoids: &[],
                sampling_factors: &interests.factors,
                all_in_catalog: true,
            },
            prior: PopularityPrior::new(model.popularity(self.params.popularity), &popularity),
            is_blocked: |pin| question.barred.binary_search(&pin).is_ok(),
        };
        let recommender = Recommender {
            index,
            observer: &Unobserved,
        };
        let rng = &mut question.seeds.rng(Purpose::Sample);
        let mut shown: Vec<PinId> = Vec::new();
        let mut page = |page: usize| {
            let (limit, pages) = (self.params.limit, model.pages);
            let request = Request {
                limit: limit / pages + usize::from(page < limit % pages),
                medoids: model.medoids,
                top: model.top,
                strategy: model.merge,
                excluded: &shown,
                effort: 1.0,
                deadline: Deadline::never(),
            };
            let answer = recommender
                .recommend(&user, &request, rng, scratch)
                .expect("an index that searches needs no cached list");
            shown.extend(answer.candidates.iter().map(|candidate| candidate.pin));
            answer
        };
        let mut all = page(0);
        for at in 1..model.pages.min(self.params.limit) {
            let next = page(at);
            all.candidates.extend(next.candidates);
            all.sampled.extend(next.sampled);
        }
        all
    }

    /// What the candidates at `places` are worth.
    fn judge(&self, question: &Question, places: &[u32], scratch: &mut Scratch) -> Tally {
        let row = |place: u32| {
            self.world
                .pins
                .vectors()
                .row(self.world.pins.node(place as usize))
        };
        let rows = || places.iter().map(|&place| row(place));
        let mut tally = Tally {
            lists: 1.0,
            actions: question.targets as f64,
            diversity: measures::diversity(rows(), places.len(), &mut scratch.sum),
            ..Tally::default()
        };
        let categories = places.iter().map(|&place| self.categories[place as usize]);
        tally.categories = measures::distinct(categories, &mut scratch.categories) as f64;
        for &target in &question.places[..question.targets] {
            let recalled = places.contains(&target);
            let cosines = &mut scratch.cosines;
            // A vector is near to itself, whatever rounding makes of it.
            let relevant =
                recalled || measures::is_near(row(target), rows(), self.params.relevant, cosines);
            tally.recalled += f64::from(u8::from(recalled));
            tally.relevant += f64::from(u8::from(relevant));
        }
        tally
    }

    /// Ranks the targets against their negatives by the greatest cosine to what was
    /// drawn.
    fn rank(
        &self,
        question: &Question,
        answer: &Recommendation,
        index: &WithQueryVectors<'_>,
        tally: &mut Tally,
        scratch: &mut Scratch,
    ) {
        let mut best = vec![f32::NEG_INFINITY; question.places.len()];
        for sampled in &answer.sampled {
            let pin = sampled.medoid.pin;
            index.scores(pin, &question.places, &mut scratch.cosines);
            for (best, &score) in best.iter_mut().zip(&scratch.cosines) {
                *best = best.max(score);
            }
        }
        let (targets, negatives) = best.split_at(question.targets);
        tally.precise = measures::precise(targets, negatives);
        let own = negatives.len() / targets.len();
        for (at, &target) in targets.iter().enumerate() {
            let negatives = &negatives[at * own..][..own];
            tally.reciprocal += measures::reciprocal_rank(target, negatives);
        }
    }

    fn line(
        &self,
        model: &Model,
        question: &Question,
        interests: &Interests<'_>,
        answer: &Recommendation,
        tally: &Tally,
        user: UserId,
    ) -> String {
        let pin_at = |&place: &u32| self.world.pins.ids()[place as usize];
        let (targets, negatives) = question.places.split_at(question.targets);
        let line = Line {
            user: user.0,
            day: question.day.to_string(),
            model: &model.name,
            targets: details::numbers(targets.iter().map(pin_at)),
            relevant: tally.relevant as usize,
            recalled: tally.recalled as usize,
            diversity: tally.diversity,
            precise: tally.precise,
            reciprocal: tally.reciprocal,
            medoids: interests.all.iter().map(Into::into).collect(),
            sampled: answer.sampled.iter().map(Into::into).collect(),
            candidates: answer.candidates.len(),
            pins: details::numbers(answer.candidates.iter().map(|c| c.pin)),
            negatives: details::numbers(negatives.iter().map(pin_at)),
        };
        let mut text = serde_json::to_string(&line).expect("numbers and texts are JSON");
        text.push('\n');
        text
    }
}
