//! The replay of one user, day by day: what would have been recommended, and what the user
//! did then.

use std::time::Instant;

use super::answer::Call;
use super::case::EvaluationCase;
use super::details::{DetailLine, ids};
use super::outcome::{DetailLines, ReplayedUser};
use super::replayer::Replayer;
use crate::cluster;
use crate::evaluation::history::History;
use crate::evaluation::metrics::{self, HEAD, MeasureSums};
use crate::evaluation::models::{InterestBuilder, ModelInterests};
use crate::model::UserId;
use crate::recommend::{RecommendScratch, Recommendation};

/// Memory of one user's replay that the next one uses again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    cluster: cluster::ClusterScratch,
    recommend: RecommendScratch,
    cosines: Vec<f32>,
    sum: Vec<f64>,
    categories: Vec<u32>,
}

impl Replayer<'_> {
    /// Replays a user; none when there is no day to judge.
    pub(super) fn replay(
        &self,
        user: UserId,
        history: &History,
        scratch: &mut Scratch,
    ) -> Option<ReplayedUser> {
        let mut replayed = ReplayedUser {
            user,
            activity: 0.0,
            sums: vec![MeasureSums::default(); self.params.models.len()],
            lines: String::new(),
        };
        let mut days = 0.0;
        for &day in self.days {
            let case = EvaluationCase::new(user, history, day, self.params, self.context.pins);
            let Some(case) = case else {
                continue;
            };
            days += 1.0;
            replayed.activity += history.window(day).len() as f64;
            self.judge_day(&case, history, &mut replayed, scratch);
        }
        replayed.activity /= days;
        (days > 0.0).then_some(replayed)
    }

    /// Adds the measures of all models on one day.
    fn judge_day(
        &self,
        case: &EvaluationCase,
        history: &History,
        replayed: &mut ReplayedUser,
        scratch: &mut Scratch,
    ) {
        let memory = &mut scratch.cluster;
        let mut builder = InterestBuilder::new(self.context, history, case.day, case.seeds, memory);
        let models = self.params.models.iter();
        let interests: Vec<ModelInterests<'_>> = models.map(|model| builder.build(model)).collect();
        let filters = self.shapes.filters.iter();
        let pins = self.context.pins;
        let filtered: Vec<_> = filters.map(|of| case.among(&of.slots, pins)).collect();
        for (at, interests) in interests.iter().enumerate() {
            let shape = &self.shapes.models[at];
            let call = Call {
                replayer: self,
                model: &self.params.models[at],
                shape,
                case: shape.filter.map_or(case, |filter| &filtered[filter]),
                interests,
            };
            let start = self.params.timing.then(Instant::now);
            let answer = call.answer(&mut scratch.recommend);
            let seconds = start.map_or(0.0, |start| start.elapsed().as_secs_f64());
            let slots = self.slots(&answer);
            slots.iter().for_each(|&slot| self.covered[at].insert(slot));
            let mut sums = MeasureSums {
                all_actions: case.targets().len() as f64,
                crowded: self.count_crowded(&answer) as f64,
                seconds,
                ..self.measure_list(call.case, &slots, scratch)
            };
            rank_targets(&call, &answer, &mut sums, &mut scratch.cosines);
            replayed.sums[at].add(&sums);
            if self.lines == DetailLines::Written {
                let line = self.detail_line(&call, &answer, &sums);
                replayed.lines.push_str(&line.to_json());
            }
        }
    }

    /// The slots of the candidates, best first.
    fn slots(&self, answer: &Recommendation) -> Vec<u32> {
        let pins = answer.candidates.iter().map(|candidate| candidate.pin);
        let slots = pins.filter_map(|pin| self.context.pins.position(pin));
        slots.map(|slot| slot as u32).collect()
    }

    /// Measures the candidates in `slots`.
    fn measure_list(
        &self,
        case: &EvaluationCase,
        slots: &[u32],
        scratch: &mut Scratch,
    ) -> MeasureSums {
        let pins = self.context.pins;
        let row = |slot: u32| pins.vectors().row(pins.node(slot as usize));
        let rows = || slots.iter().map(|&slot| row(slot));
        let head = slots.len().min(HEAD);
        let categories = slots.iter().map(|&slot| self.categories[slot as usize]);
        let categories = metrics::count_distinct(categories, &mut scratch.categories);
        let mut sums = MeasureSums {
            lists: 1.0,
            candidates: slots.len() as f64,
            actions: case.targets().len() as f64,
            diversity: metrics::diversity(rows(), slots.len(), &mut scratch.sum),
            head_diversity: metrics::diversity(rows().take(head), head, &mut scratch.sum),
            categories: categories as f64,
            ..MeasureSums::default()
        };
        for &target in case.targets() {
            let recalled = slots.iter().position(|&slot| slot == target);
            let (min_cosine, cosines) = (self.params.relevant, &mut scratch.cosines);
            let near = metrics::first_near(row(target), rows(), min_cosine, cosines);
            // A vector is near itself, whatever rounding makes of its cosine.
            let relevant = [near, recalled].into_iter().flatten().min();
            let counts = |place: Option<usize>, places: usize| {
                f64::from(u8::from(place.is_some_and(|place| place < places)))
            };
            sums.recalled += counts(recalled, slots.len());
            sums.relevant += counts(relevant, slots.len());
            sums.head_recalled += counts(recalled, head);
            sums.head_relevant += counts(relevant, head);
        }
        sums
    }

    /// Number of candidates that break a spacing rule of any model.
    fn count_crowded(&self, answer: &Recommendation) -> usize {
        let mut crowded = vec![false; answer.candidates.len()];
        let keywords = self.shapes.keywords.keywords();
        for (rule, keyword) in self.shapes.spacing.iter().zip(&keywords) {
            let pins = answer.candidates.iter().map(|candidate| candidate.pin);
            let words: Vec<Option<u64>> = pins.map(keyword).collect();
            let (max, places) = (rule.max as usize, rule.places as usize);
            metrics::mark_crowded(&words, max, places, &mut crowded);
        }
        crowded.into_iter().filter(|&crowded| crowded).count()
    }

    fn detail_line<'c>(
        &self,
        call: &'c Call<'_>,
        answer: &Recommendation,
        sums: &MeasureSums,
    ) -> DetailLine<'c> {
        let case = call.case;
        let pin_in = |&slot: &u32| self.context.pins.ids()[slot as usize];
        DetailLine {
            user: case.user.0,
            day: case.day.to_string(),
            model: &call.model.name,
            targets: ids(case.targets().iter().map(pin_in)),
            relevant: sums.relevant as usize,
            recalled: sums.recalled as usize,
            diversity: sums.diversity,
            precise: sums.precise,
            reciprocal: sums.reciprocal,
            medoids: call.interests.all.iter().map(Into::into).collect(),
            sampled: answer.sampled.iter().map(Into::into).collect(),
            candidates: answer.candidates.len(),
            pins: ids(answer.candidates.iter().map(|candidate| candidate.pin)),
            negatives: ids(case.negatives().iter().map(pin_in)),
        }
    }
}

/// Ranks the targets against their negatives by the greatest cosine to a sampled medoid.
fn rank_targets(
    call: &Call<'_>,
    answer: &Recommendation,
    sums: &mut MeasureSums,
    cosines: &mut Vec<f32>,
) {
    let (case, index) = (call.case, call.index());
    if case.targets().is_empty() {
        return;
    }
    let mut best = vec![f32::NEG_INFINITY; case.slots.len()];
    for sampled in &answer.sampled {
        index.scores(sampled.medoid.pin, &case.slots, cosines);
        for (best, &score) in best.iter_mut().zip(&*cosines) {
            *best = best.max(score);
        }
    }
    let (targets, negatives) = best.split_at(case.targets().len());
    sums.precise = metrics::r_precision_hits(targets, negatives);
    let per_target = negatives.len() / targets.len();
    for (at, &target) in targets.iter().enumerate() {
        let negatives = &negatives[at * per_target..][..per_target];
        sums.reciprocal += metrics::reciprocal_rank(target, negatives);
    }
}
