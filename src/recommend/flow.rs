//! The flow of a request: look up -> sample -> retrieve -> merge.
//!
//! Seeds of the request join the sampled medoids before retrieval, or stand in their place.
//! Where the request has rules for candidates that stand near to each other, the merged list
//! is arranged by them.

use std::fmt;

use rand::Rng;

use super::arrange::{self, ArrangeOutcome, Arranged, Merged, arrange};
use super::blocked_pins::BlockedPins;
use super::fallback;
use super::merge::{MergeOutcome, MergeScratch, merge};
use super::merge_params::MergeParams;
use super::neighbor_list::{ListEnd, NeighborList};
use super::quota::{self, QuotaShare, ROUND};
use super::recommendation::{Recommendation, Shortage};
use super::request::Request;
use super::retrieval::Retrieval;
use super::retrieve::{NotCached, Retrieve, SearchParams};
use super::rounds::{self, DrawnMedoids};
use super::sample::SampleScratch;
use super::stage::{Stage, StageObserver};
use super::targets::Targets;
use super::user::User;
use crate::model::{Candidate, Medoid, PinId};

/// Memory of a request, for the next. Its contents have no influence on any answer.
#[derive(Debug, Default)]
pub struct RecommendScratch {
    /// Medoids of the user that the catalog has.
    in_catalog: Vec<Medoid>,
    sample: SampleScratch,
    blocked: BlockedPins,
    quotas: Vec<QuotaShare>,
    /// One for each seed and sampled medoid; further ones are left over from earlier requests.
    lists: Vec<NeighborList>,
    merge: MergeScratch,
}

/// Recommends from one index.
#[derive(Clone, Copy)]
pub struct Recommender<'a, O> {
    /// Answers retrievals.
    pub index: &'a dyn Retrieve,
    /// Times the stages.
    pub observer: &'a O,
}

impl<O: StageObserver> Recommender<'_, O> {
    /// Recommends candidates to `user`.
    ///
    /// The answer is a function of the arguments, of the index, and of the numbers that
    /// `rng` draws, one for each medoid that could be sampled; and, where the deadline
    /// passes, of how far the retrieval came.
    ///
    /// # Errors
    ///
    /// [`NotCached`] if the index answers from cached lists alone and lacks one.
    pub fn recommend(
        &self,
        user: &User<'_, impl Fn(PinId) -> bool>,
        request: &Request<'_>,
        rng: &mut impl Rng,
        scratch: &mut RecommendScratch,
    ) -> Result<Recommendation, NotCached> {
        let RecommendScratch {
            in_catalog,
            sample,
            blocked,
            quotas,
            lists,
            merge,
        } = scratch;
        let selected = self.observer.observe(Stage::Lookup, || {
            let contains = |pin| self.index.contains(pin);
            fallback::select_medoids(user.sources, request.seeds, contains, in_catalog)
        });
        let DrawnMedoids { sampled, new_round } = self.observer.observe(Stage::Sample, || {
            let factors = user.sources.sampling_factors;
            rounds::draw_medoids(selected.medoids, factors, request, rng, sample)
        });
        let user_medoids = user
            .sources
            .user_medoids
            .map_or(&[][..], |user| user.medoids);
        let targets = Targets {
            seeds: request.seeds.list,
            sampled: &sampled,
        };
        blocked.reset(user_medoids, targets, request.excluded);
        let eligible = |pin: PinId| !blocked.contains(pin) && !(user.is_blocked)(pin);
        let search = SearchParams {
            effort: request.effort,
            deadline: request.deadline,
            ..SearchParams::unbounded(0, &eligible)
        };
        let lists = reset_lists(targets, quotas, lists);
        let params = merge_params(request);
        let mut retrieval = Retrieval::new(self.index, targets, lists, search, params);
        let arranged = self.retrieve_and_arrange(&mut retrieval, request, merge)?;
        let answered_in_time = retrieval.answered_in_time();
        let is_short = arranged.candidates.len() < request.limit && answered_in_time.is_none();
        Ok(Recommendation {
            shortage: is_short.then(|| shortage(&arranged, retrieval.lists())),
            candidates: arranged.candidates,
            origin: selected.origin,
            fallback: selected.fallback,
            medoids_missing: selected.medoids_missing,
            with_less_effort: retrieval.with_less_effort() || arranged.in_haste,
            answered_in_time,
            sampled,
            new_round,
        })
    }

    /// Merges as much of the lists as it takes to arrange the candidates of `request`.
    fn retrieve_and_arrange(
        &self,
        retrieval: &mut Retrieval<'_>,
        request: &Request<'_>,
        scratch: &mut MergeScratch,
    ) -> Result<Arranged, NotCached> {
        let Request {
            limit,
            rerank,
            deadline,
            ..
        } = request;
        if rerank.keeps_order() {
            let candidates = self.retrieve_and_merge(retrieval, *limit, scratch)?;
            return Ok(Arranged::in_order(candidates));
        }
        let most = arrange::most(rerank, *limit);
        let mut length = arrange::wanted(rerank, *limit).min(most);
        loop {
            let candidates = self.retrieve_and_merge(retrieval, length, scratch)?;
            let merged = Merged {
                candidates: &candidates,
                is_whole: candidates.len() < length,
            };
            let arranged = || arrange(merged, *limit, rerank, *deadline);
            match self.observer.observe(Stage::Merge, arranged) {
                ArrangeOutcome::Done(arranged) => return Ok(arranged),
                ArrangeOutcome::NeedsMore => length = (length + length / 2 + 1).min(most),
            }
        }
    }

    /// Retrieves all lists, and more of each that the merge of `length` candidates runs out
    /// of.
    fn retrieve_and_merge(
        &self,
        retrieval: &mut Retrieval<'_>,
        length: usize,
        scratch: &mut MergeScratch,
    ) -> Result<Vec<Candidate>, NotCached> {
        let retrieve = || retrieval.begin(length);
        self.observer.observe(Stage::Retrieve, retrieve)?;
        loop {
            let merged = || merge(retrieval.lists(), retrieval.merge(), scratch);
            let list = match self.observer.observe(Stage::Merge, merged) {
                MergeOutcome::Done(candidates) => return Ok(candidates),
                MergeOutcome::NeedsMore { list } => list,
            };
            let deepen = || retrieval.deepen(list);
            self.observer.observe(Stage::Retrieve, deepen)?;
        }
    }
}

impl<O> fmt::Debug for Recommender<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recommender").finish_non_exhaustive()
    }
}

fn merge_params<'a>(request: &Request<'a>) -> MergeParams<'a> {
    MergeParams {
        strategy: request.strategy,
        limit: request.limit,
        min_score: request.rerank.min_score,
        bonus: request.rerank.bonus,
    }
}

/// Why there are fewer candidates than were asked for, where time sufficed.
fn shortage(arranged: &Arranged, lists: &[NeighborList]) -> Shortage {
    if arranged.left_out {
        Shortage::Spacing
    } else if lists.iter().any(|list| list.end == ListEnd::TooFar) {
        Shortage::MinScore
    } else {
        Shortage::Eligible
    }
}

/// Empties a list for each target, with its quota.
fn reset_lists<'a>(
    targets: Targets<'_>,
    quotas: &mut Vec<QuotaShare>,
    lists: &'a mut Vec<NeighborList>,
) -> &'a mut [NeighborList] {
    quota::split(targets.weights(), ROUND, quotas);
    lists.resize_with(lists.len().max(targets.len()), Default::default);
    let lists = &mut lists[..targets.len()];
    for (list, share) in lists.iter_mut().zip(&*quotas) {
        list.reset(share.quota);
    }
    lists
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::{BTreeMap, HashSet};

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;
    use crate::model::{Neighbor, Timestamp};
    use crate::recommend::{
        Bonus, Context, Deadline, Diversity, Fallback, MedoidSources, MergeStrategy, Origin,
        PinVectors, Rerank, Retrieved, Seed, SeedMode, Seeds, Spacing, Target, Unobserved,
        UserMedoids, turns,
    };

    /// A catalog of the pins from 0 to this, near one another when their ids are.
    struct Line(u64);

    impl Retrieve for Line {
        fn contains(&self, pin: PinId) -> bool {
            pin.0 <= self.0
        }

        fn neighbors(
            &self,
            pin: PinId,
            params: &SearchParams<'_>,
            out: &mut Vec<Neighbor>,
        ) -> Retrieved {
            self.nearest_to_vector(&[pin.0 as f32], params, out)
        }

        /// A vector is a point on the line.
        fn nearest_to_vector(
            &self,
            target: &[f32],
            params: &SearchParams<'_>,
            out: &mut Vec<Neighbor>,
        ) -> Retrieved {
            if params.deadline.has_passed() {
                return Retrieved::DeadlinePassed;
            }
            let neighbor = |pin: u64| Neighbor {
                pin: PinId(pin),
                score: 1.0 - (target[0] - pin as f32).abs() / 1000.0,
            };
            out.clear();
            let eligible = params.eligible;
            out.extend((0..=self.0).map(neighbor).filter(|n| eligible(n.pin)));
            out.sort_by(Neighbor::by_descending_score);
            out.truncate(params.k);
            params.completed()
        }
    }

    fn medoids(pins: &[u64]) -> Vec<Medoid> {
        let medoid = |(at, &pin): (usize, &u64)| Medoid {
            pin: PinId(pin),
            importance: 4.0 / (at + 1) as f64,
            last_action_time: Timestamp::from_micros(0),
            size: 1,
            dislikes: 0,
        };
        pins.iter().enumerate().map(medoid).collect()
    }

    fn of_profile(medoids: &[Medoid]) -> UserMedoids<'_> {
        UserMedoids {
            medoids,
            origin: Origin::Profile,
        }
    }

    fn user_of(medoids: &[Medoid]) -> User<'_, fn(PinId) -> bool> {
        User {
            sources: MedoidSources {
                user_medoids: Some(of_profile(medoids)),
                popular_medoids: &[],
                sampling_factors: &[],
                all_in_catalog: true,
            },
            is_blocked: |_| false,
        }
    }

    fn over(index: &dyn Retrieve) -> Recommender<'_, Unobserved> {
        Recommender {
            index,
            observer: &Unobserved,
        }
    }

    /// A cache with the list of one pin.
    struct CacheOf(PinId);

    impl Retrieve for CacheOf {
        fn contains(&self, _: PinId) -> bool {
            true
        }

        fn neighbors(
            &self,
            pin: PinId,
            params: &SearchParams<'_>,
            out: &mut Vec<Neighbor>,
        ) -> Retrieved {
            if pin == self.0 {
                Line(60).neighbors(pin, params, out)
            } else {
                Retrieved::NotCached
            }
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

    #[test]
    fn a_missing_list_ends_the_flow() {
        let request = Request {
            limit: 5,
            medoids: 2,
            top: 0,
            strategy: MergeStrategy::Interleave,
            seeds: Seeds::NONE,
            context: None,
            excluded: &[],
            rerank: Rerank::NONE,
            drawn: &[],
            effort: 1.0,
            deadline: Deadline::never(),
        };
        let answer = |pins: &[u64]| {
            let own = medoids(pins);
            let rng = &mut ChaCha8Rng::seed_from_u64(1);
            let scratch = &mut RecommendScratch::default();
            over(&CacheOf(PinId(5))).recommend(&user_of(&own), &request, rng, scratch)
        };
        assert_eq!(answer(&[5]).map(|found| found.candidates.len()), Ok(5));
        assert_eq!(answer(&[5, 30]), Err(NotCached));
    }

    proptest! {
        #[test]
        fn an_answer_does_not_depend_on_the_scratch_and_has_all_that_may_be_in_it(
            calls in prop::collection::vec((
                prop::option::of(prop::collection::vec(0u64..90, 0..9)),
                prop::collection::vec(0u64..70, 0..9),
                (1usize..80, 1usize..7, any::<bool>(), any::<u64>()),
                (0usize..7, prop::option::of(0.01f32..1.0)),
            ), 1..5),
        ) {
            let (index, popular) = (Line(60), medoids(&[5, 6, 80]));
            let mut used = RecommendScratch::default();
            for (profile, excluded, (limit, k, global, seed), (top, weight)) in calls {
                let profile = profile.map(|pins| medoids(&pins));
                let excluded: Vec<PinId> = excluded.into_iter().map(PinId).collect();
                let popularity = |pin: PinId| (pin.0 % 5) as f32 / 4.0;
                let of = |pin: PinId| weight.unwrap_or(0.0) * popularity(pin);
                let bonus = weight.map(|weight| Bonus::new(weight, &of));
                let request = Request {
                    limit,
                    medoids: k,
                    top: top.min(k),
                    strategy: if global {
                        MergeStrategy::GlobalTop
                    } else {
                        MergeStrategy::Interleave
                    },
                    seeds: Seeds::NONE,
                    context: None,
                    excluded: &excluded,
                    rerank: Rerank {
                        bonus,
                        ..Rerank::NONE
                    },
                    drawn: &[],
                    effort: 1.0,
                    deadline: Deadline::never(),
                };
                let is_blocked = |pin: PinId| pin.0 % 7 == 3;
                let user = User {
                    sources: MedoidSources {
                        user_medoids: profile.as_deref().map(of_profile),
                        popular_medoids: &popular,
                        sampling_factors: &[],
                        all_in_catalog: false,
                    },
                    is_blocked,
                };
                let answer = |scratch: &mut RecommendScratch| {
                    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
                    over(&index).recommend(&user, &request, rng, scratch)
                };
                let found = answer(&mut used).expect("a search");
                let in_new_memory = answer(&mut RecommendScratch::default());
                prop_assert_eq!(&found, &in_new_memory.expect("a search"));

                let own = profile.iter().flatten().map(|medoid| medoid.pin);
                let sampled = found.sampled.iter().map(|sampled| sampled.medoid.pin);
                let blocked: HashSet<PinId> = own.chain(sampled).chain(excluded.clone()).collect();
                let may = |&pin: &PinId| !blocked.contains(&pin) && !is_blocked(pin);
                let pins: HashSet<PinId> = found.candidates.iter().map(|c| c.pin).collect();
                prop_assert_eq!(pins.len(), found.candidates.len());
                prop_assert!(pins.iter().all(may));
                let eligible = (0..=60).map(PinId).filter(may).count();
                prop_assert_eq!(pins.len(), limit.min(eligible));
            }
        }
    }

    /// Searches that find other pins when they look deeper: all but the tenth of the pins
    /// that belongs to the number of neighbors that is asked for.
    struct Fickle(Line);

    impl Retrieve for Fickle {
        fn contains(&self, pin: PinId) -> bool {
            self.0.contains(pin)
        }

        fn neighbors(
            &self,
            pin: PinId,
            params: &SearchParams<'_>,
            out: &mut Vec<Neighbor>,
        ) -> Retrieved {
            let overlooked = params.k as u64 % 10;
            let found = |pin: PinId| pin.0 % 10 != overlooked && (params.eligible)(pin);
            let params = SearchParams {
                eligible: &found,
                ..*params
            };
            self.0.neighbors(pin, &params, out)
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

    /// What a pin of the line has for reranking.
    struct PinsOfLine;

    impl PinVectors for PinsOfLine {
        fn vector(&self, pin: PinId) -> Option<&[f32]> {
            const VECTORS: [[f32; 2]; 3] = [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]];
            Some(&VECTORS[pin.0 as usize % 3])
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_shorter_answer_is_the_head_of_a_longer_one(
            pins in prop::collection::vec(0u64..1_200, 1..9),
            (limit, more, seed) in (1usize..500, 1usize..1_500, any::<u64>()),
            (k, global, min_score) in (1usize..7, any::<bool>(), prop::option::of(0.3f32..1.0)),
            (weight, spaced, diverse) in
                (prop::option::of(0.01f32..0.5), any::<bool>(), any::<bool>()),
        ) {
            let own = medoids(&pins);
            let of = |pin: PinId| weight.unwrap_or(0.0) * (pin.0 % 5) as f32 / 4.0;
            let value = |pin: PinId| (!pin.0.is_multiple_of(9)).then_some(pin.0 / 40 % 5);
            let rules = [Spacing { value: &value, max: 2, places: 5 }];
            let rerank = Rerank {
                min_score,
                bonus: weight.map(|weight| Bonus::new(weight, &of)),
                spacing: if spaced { &rules } else { &[] },
                diversity: diverse.then_some(Diversity {
                    vectors: &PinsOfLine,
                    strength: 0.5,
                    among: 20,
                }),
            };
            let answer = |limit: usize| {
                let request = Request {
                    limit,
                    medoids: k,
                    top: 0,
                    strategy: if global {
                        MergeStrategy::GlobalTop
                    } else {
                        MergeStrategy::Interleave
                    },
                    seeds: Seeds::NONE,
                    context: None,
                    excluded: &[],
                    drawn: &[],
                    rerank,
                    effort: 1.0,
                    deadline: Deadline::never(),
                };
                let rng = &mut ChaCha8Rng::seed_from_u64(seed);
                let scratch = &mut RecommendScratch::default();
                let answer = over(&Fickle(Line(1_200))).recommend(&user_of(&own), &request, rng, scratch);
                answer.expect("a search")
            };
            let (short, long) = (answer(limit), answer(limit + more));
            let head = &long.candidates[..long.candidates.len().min(limit)];
            prop_assert_eq!(&short.candidates[..], head);
            if let Some(least) = min_score {
                prop_assert!(long.candidates.iter().all(|found| found.score >= least));
            }
            if short.shortage.is_some() {
                prop_assert_eq!(short.shortage, long.shortage);
            }
        }

        #[test]
        fn boosts_order_what_a_list_holds_as_a_full_sort_would(
            (pin, limit) in (0u64..2_000, 1usize..400),
            bonuses in prop::collection::vec(-0.5f32..0.5, 7),
        ) {
            let own = medoids(&[pin]);
            let of = |pin: PinId| bonuses[pin.0 as usize % 7];
            let request = Request {
                limit,
                medoids: 1,
                top: 0,
                strategy: MergeStrategy::Interleave,
                seeds: Seeds::NONE,
                context: None,
                excluded: &[],
                drawn: &[],
                rerank: Rerank { bonus: Some(Bonus::new(0.5, &of)), ..Rerank::NONE },
                effort: 1.0,
                deadline: Deadline::never(),
            };
            let rng = &mut ChaCha8Rng::seed_from_u64(1);
            let scratch = &mut RecommendScratch::default();
            let found = over(&Line(2_000)).recommend(&user_of(&own), &request, rng, scratch);
            // The one medoid has the whole quota of 400, and an eighth more is retrieved.
            let depth = 3 * (ROUND + ROUND / 8 + 1);
            let mut expected = sorted_line(&Line(2_000), Target::Pin(PinId(pin)), |other| other.0 != pin);
            expected.truncate(depth);
            let rank = |found: &Neighbor| found.score + of(found.pin);
            expected.sort_by(|a, b| rank(b).total_cmp(&rank(a)).then(a.pin.cmp(&b.pin)));
            let pins: Vec<PinId> = expected.iter().take(limit).map(|one| one.pin).collect();
            let found = found.expect("a search").candidates;
            let found: Vec<PinId> = found.iter().map(|one| one.pin).collect();
            prop_assert_eq!(found, pins);
        }
    }

    /// The pins of the line that may be recommended, all of them, nearest first.
    fn sorted(target: Target<'_>, may: impl Fn(PinId) -> bool) -> Vec<Neighbor> {
        sorted_line(&Line(60), target, may)
    }

    fn sorted_line(line: &Line, target: Target<'_>, may: impl Fn(PinId) -> bool) -> Vec<Neighbor> {
        let mut all = Vec::new();
        let params = SearchParams::unbounded(usize::MAX, &may);
        let _ = match target {
            Target::Pin(pin) => line.neighbors(pin, &params, &mut all),
            Target::Vector(vector) => line.nearest_to_vector(vector, &params, &mut all),
        };
        all
    }

    proptest! {
        /// The twin sorts everything: each candidate must be the nearest pin to what found it
        /// that no candidate before it is, and each target must bring its quota.
        #[test]
        fn seeds_and_medoids_bring_their_nearest_pins_in_proportion_to_weight(
            pins in prop::collection::vec(0u64..=60, 0..4),
            points in prop::collection::vec(-9.0f32..70.0, 0..4),
            weights in prop::collection::vec(0.05f64..8.0, 8),
            own in prop::collection::vec(0u64..=60, 0..6),
            (limit, mode, seed) in (1usize..70, 0usize..3, any::<u64>()),
        ) {
            let points: Vec<[f32; 1]> = points.into_iter().map(|point| [point]).collect();
            let targets = pins.iter().map(|&pin| Target::Pin(PinId(pin)));
            let targets = targets.chain(points.iter().map(|point| Target::Vector(point)));
            let seeds: Vec<Seed<'_>> = targets
                .zip(&weights)
                .map(|(target, &weight)| Seed { target, weight })
                .collect();
            let mode = [SeedMode::Join, SeedMode::Replace, SeedMode::Only][mode];
            let (own, popular) = (medoids(&own), medoids(&[7, 9]));
            let is_blocked = |pin: PinId| pin.0 % 7 == 3;
            let user = User {
                sources: MedoidSources {
                    user_medoids: Some(of_profile(&own)),
                    popular_medoids: &popular,
                    sampling_factors: &[],
                    all_in_catalog: true,
                },
                is_blocked,
            };
            let request = Request {
                limit,
                medoids: 2,
                top: 0,
                seeds: Seeds { list: &seeds, mode },
                context: None,
                strategy: MergeStrategy::Interleave,
                excluded: &[PinId(1), PinId(40)],
                rerank: Rerank::NONE,
                drawn: &[],
                effort: 1.0,
                deadline: Deadline::never(),
            };
            let rng = &mut ChaCha8Rng::seed_from_u64(seed);
            let scratch = &mut RecommendScratch::default();
            let found = over(&Line(60)).recommend(&user, &request, rng, scratch);
            let found = found.expect("a search");

            let samples = match mode {
                SeedMode::Join => true,
                SeedMode::Replace => seeds.is_empty(),
                SeedMode::Only => false,
            };
            prop_assert_eq!(!found.sampled.is_empty(), samples);
            let fallback = match mode {
                SeedMode::Join => own.is_empty().then_some(Fallback::NothingWanted),
                SeedMode::Replace => samples.then_some(Fallback::SeedsNotInCatalog),
                SeedMode::Only => None,
            };
            prop_assert_eq!(found.fallback, fallback);

            let sampled = found.sampled.iter().map(|sampled| sampled.medoid);
            let of_sampled = sampled.clone().map(|medoid| Target::Pin(medoid.pin));
            let seed_pins = pins.iter().map(|&pin| PinId(pin));
            let targets = seeds.iter().map(|seed| seed.target).chain(of_sampled);
            let blocked: HashSet<PinId> = own
                .iter()
                .map(|medoid| medoid.pin)
                .chain(sampled.clone().map(|medoid| medoid.pin))
                .chain(seed_pins)
                .chain([PinId(1), PinId(40)])
                .collect();
            let lists: Vec<Vec<Neighbor>> = targets
                .map(|target| sorted(target, |pin| !blocked.contains(&pin) && !is_blocked(pin)))
                .collect();
            let mut taken = HashSet::new();
            let mut brought = vec![0; lists.len()];
            for candidate in &found.candidates {
                let list = &lists[candidate.medoid_index];
                let next = list.iter().find(|neighbor| !taken.contains(&neighbor.pin));
                let next = next.expect("a pin that is left");
                prop_assert_eq!((candidate.pin, candidate.score), (next.pin, next.score));
                taken.insert(candidate.pin);
                brought[candidate.medoid_index] += 1;
            }
            let eligible = lists.first().map_or(0, Vec::len);
            prop_assert_eq!(taken.len(), limit.min(eligible));
            if eligible >= limit {
                let total: f64 = sampled.clone().map(|medoid| medoid.importance).sum();
                let weights = seeds.iter().map(|seed| seed.weight);
                let weights = weights.chain(sampled.map(|medoid| medoid.importance / total));
                let mut shares = Vec::new();
                quota::split(weights, ROUND, &mut shares);
                let mut turns = Vec::new();
                turns::assign_turns(shares.iter().map(|share| share.quota), ROUND, &mut turns);
                let of_list = |list: usize| {
                    let own = turns[..limit].iter().filter(|&&turn| usize::from(turn) == list);
                    own.count()
                };
                let expected: Vec<usize> = (0..lists.len()).map(of_list).collect();
                prop_assert_eq!(brought, expected);
            }
        }
    }

    /// Medoids and a request in the context of a pin on the line.
    fn sample_near(
        own: &[Medoid],
        (point, nearest, strength): (u64, usize, f64),
        seed: u64,
    ) -> Recommendation {
        let cosine = |pin: PinId| 1.0 - pin.0.abs_diff(point) as f32 / 60.0;
        let request = Request {
            limit: 9,
            medoids: 2,
            top: 0,
            seeds: Seeds::NONE,
            context: Some(Context {
                cosine: &cosine,
                medoids: nearest,
                strength,
            }),
            strategy: MergeStrategy::Interleave,
            excluded: &[],
            rerank: Rerank::NONE,
            drawn: &[],
            effort: 1.0,
            deadline: Deadline::never(),
        };
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let scratch = &mut RecommendScratch::default();
        let found = over(&Line(60)).recommend(&user_of(own), &request, rng, scratch);
        found.expect("a search")
    }

    proptest! {
        /// The twin sorts all medoids by their distance to the context pin.
        #[test]
        fn medoids_are_sampled_among_the_nearest_by_importance_and_nearness(
            own in prop::collection::hash_set(0u64..=60, 1..12),
            (point, nearest, strength) in (0u64..=60, 1usize..6, 0.0f64..9.0),
            seed: u64,
        ) {
            let own = medoids(&own.into_iter().collect::<Vec<_>>());
            let mut near: Vec<Medoid> = own.clone();
            near.sort_by_key(|medoid| medoid.pin.0.abs_diff(point));
            near.truncate(nearest);
            let found = sample_near(&own, (point, nearest, strength), seed);
            prop_assert_eq!(found.sampled.len(), nearest.min(own.len()).min(2));
            let cosine = |pin: PinId| f64::from(1.0 - pin.0.abs_diff(point) as f32 / 60.0);
            let weight = |one: &Medoid| one.importance * (strength * cosine(one.pin)).exp();
            let total: f64 = near.iter().map(weight).sum();
            for sampled in &found.sampled {
                prop_assert!(near.contains(&sampled.medoid));
                let expected = weight(&sampled.medoid);
                prop_assert!((sampled.weight / expected - 1.0).abs() < 1e-12);
                // Of a draw of one the probability is the share; a draw of two includes more.
                let p = sampled.inclusion_probability;
                prop_assert!(p >= expected / total - 1e-12 && p <= 1.0 + 1e-12);
                prop_assert!(near.len() > 2 || p == 1.0);
            }
            if let [a, b] = &found.sampled[..] {
                let count = |list| found.candidates.iter().filter(|c| c.medoid_index == list).count();
                let exact = 9.0 * a.weight / (a.weight + b.weight);
                prop_assert!((count(0) as f64 - exact.clamp(1.0, 8.0)).abs() <= 1.0);
            }
        }
    }

    #[test]
    fn frequencies_in_a_context_match_the_reported_probabilities() {
        let own = medoids(&[3, 20, 26, 31, 45, 50]);
        const DRAWS: u32 = 4_000;
        let mut counts: BTreeMap<PinId, (u32, f64)> = BTreeMap::new();
        for seed in 0..DRAWS {
            for sampled in sample_near(&own, (28, 4, 6.0), seed.into()).sampled {
                let (count, probability) = counts.entry(sampled.medoid.pin).or_default();
                *count += 1;
                *probability = sampled.inclusion_probability;
            }
        }
        let pins: Vec<u64> = counts.keys().map(|pin| pin.0).collect();
        assert_eq!(pins, [20, 26, 31, 45]);
        for (count, p) in counts.into_values() {
            let deviation = (p * (1.0 - p) / f64::from(DRAWS)).sqrt();
            let frequency = f64::from(count) / f64::from(DRAWS);
            assert!((frequency - p).abs() < 4.5 * deviation, "{frequency} {p}");
        }
    }

    #[test]
    fn what_was_found_in_time_is_merged_and_the_rest_is_reported() {
        let own = medoids(&[5, 30, 55]);
        let user = user_of(&own);
        let answer = |retrievals: usize, effort: f32, strategy: MergeStrategy| {
            let left = Cell::new(retrievals);
            let has_passed = || left.replace(left.get().saturating_sub(1)) == 0;
            let request = Request {
                limit: 30,
                medoids: 3,
                top: 0,
                strategy,
                seeds: Seeds::NONE,
                context: None,
                excluded: &[],
                rerank: Rerank::NONE,
                drawn: &[],
                effort,
                deadline: Deadline::new(&has_passed),
            };
            let rng = &mut ChaCha8Rng::seed_from_u64(1);
            let scratch = &mut RecommendScratch::default();
            let answer = over(&Line(60)).recommend(&user, &request, rng, scratch);
            answer.expect("a search")
        };
        for strategy in [MergeStrategy::Interleave, MergeStrategy::GlobalTop] {
            let whole = answer(9, 1.0, strategy);
            assert_eq!((whole.candidates.len(), whole.answered_in_time), (30, None));
            assert!(!whole.with_less_effort && answer(9, 0.5, strategy).with_less_effort);
            for times in 0..3 {
                let cut = answer(times, 1.0, strategy);
                assert_eq!(cut.answered_in_time, Some(times));
                assert_eq!(cut.candidates.is_empty(), times == 0);
                assert!(
                    cut.candidates
                        .iter()
                        .all(|found| found.medoid_index < times)
                );
            }
        }
    }
}
