//! The flow of a request: look up -> sample -> retrieve -> merge.

use std::fmt;

use rand::Rng;

use super::blocked_pins::BlockedPins;
use super::fallback;
use super::merge::{MergeOutcome, MergeScratch, merge};
use super::merge_params::MergeParams;
use super::neighbor_list::NeighborList;
use super::quota::{self, QuotaShare};
use super::recommendation::{Recommendation, SampledMedoid};
use super::request::Request;
use super::retrieval::Retrieval;
use super::retrieve::{NotCached, Retrieve, SearchParams};
use super::sample::{self, SampleScratch, SampleSize};
use super::stage::{Stage, StageObserver};
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
    /// One for each sampled medoid; further ones are left over from earlier requests.
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
            fallback::select_medoids(user.sources, |pin| self.index.contains(pin), in_catalog)
        });
        let sampled = self.observer.observe(Stage::Sample, || {
            let factors = user.sources.sampling_factors;
            sample_medoids(selected.medoids, factors, request, rng, sample)
        });
        let user_medoids = user
            .sources
            .user_medoids
            .map_or(&[][..], |user| user.medoids);
        blocked.reset(user_medoids, &sampled, request.excluded);
        let eligible = |pin: PinId| !blocked.contains(pin) && !(user.is_blocked)(pin);
        let search = SearchParams {
            effort: request.effort,
            deadline: request.deadline,
            ..SearchParams::unbounded(0, &eligible)
        };
        let params = merge_params(user, request);
        let lists = reset_lists(&sampled, request.limit, quotas, lists);
        let mut retrieval = Retrieval::new(self.index, &sampled, lists, search, params);
        let candidates = self.retrieve_and_merge(&mut retrieval, &params, merge)?;
        Ok(Recommendation {
            candidates,
            origin: selected.origin,
            fallback: selected.fallback,
            medoids_missing: selected.medoids_missing,
            with_less_effort: retrieval.with_less_effort(),
            answered_in_time: retrieval.answered_in_time(),
            sampled,
        })
    }

    /// Retrieves all lists, and more of each that the merge runs out of.
    fn retrieve_and_merge(
        &self,
        retrieval: &mut Retrieval<'_>,
        params: &MergeParams<'_>,
        scratch: &mut MergeScratch,
    ) -> Result<Vec<Candidate>, NotCached> {
        let mut starved = 0..retrieval.lists().len();
        loop {
            self.observer
                .observe(Stage::Retrieve, || retrieval.deepen(starved))?;
            let merged = || merge(retrieval.lists(), params, scratch);
            match self.observer.observe(Stage::Merge, merged) {
                MergeOutcome::Done(candidates) => return Ok(candidates),
                MergeOutcome::NeedsMore { list } => starved = list..list + 1,
            }
        }
    }
}

impl<O> fmt::Debug for Recommender<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recommender").finish_non_exhaustive()
    }
}

/// Draws medoids in proportion to importance times factor.
fn sample_medoids(
    medoids: &[Medoid],
    factors: &[(PinId, f64)],
    request: &Request<'_>,
    rng: &mut impl Rng,
    scratch: &mut SampleScratch,
) -> Vec<SampledMedoid> {
    let weight = |medoid: &Medoid| {
        let found = factors.binary_search_by_key(&medoid.pin, |&(pin, _)| pin);
        found.map_or(medoid.importance, |index| {
            medoid.importance * factors[index].1
        })
    };
    let size = SampleSize {
        k: request.medoids,
        top: request.top,
    };
    let draws = sample::sample(medoids.iter().map(weight), size, rng, scratch);
    draws
        .map(|draw| SampledMedoid {
            medoid: medoids[draw.index],
            weight: weight(&medoids[draw.index]),
            inclusion_probability: draw.inclusion_probability,
        })
        .collect()
}

fn merge_params<'a, B>(user: &User<'a, B>, request: &Request<'_>) -> MergeParams<'a> {
    MergeParams {
        strategy: request.strategy,
        limit: request.limit,
        prior: user.prior,
    }
}

/// Empties a list for each sampled medoid, with a quota in proportion to importance.
fn reset_lists<'a>(
    sampled: &[SampledMedoid],
    limit: usize,
    quotas: &mut Vec<QuotaShare>,
    lists: &'a mut Vec<NeighborList>,
) -> &'a mut [NeighborList] {
    let importances = sampled.iter().map(|sampled| sampled.medoid.importance);
    quota::split(importances, limit, quotas);
    lists.resize_with(lists.len().max(sampled.len()), Default::default);
    let lists = &mut lists[..sampled.len()];
    for (list, share) in lists.iter_mut().zip(&*quotas) {
        list.reset(share.quota);
    }
    lists
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::HashSet;

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;
    use crate::model::{Neighbor, Timestamp};
    use crate::recommend::{
        Deadline, MedoidSources, MergeStrategy, Origin, PopularityPrior, Retrieved, Unobserved,
        UserMedoids,
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
            if params.deadline.has_passed() {
                return Retrieved::DeadlinePassed;
            }
            let neighbor = |other: u64| Neighbor {
                pin: PinId(other),
                score: 1.0 - pin.0.abs_diff(other) as f32 / 1000.0,
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
            prior: None,
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
    }

    #[test]
    fn a_missing_list_ends_the_flow() {
        let request = Request {
            limit: 5,
            medoids: 2,
            top: 0,
            strategy: MergeStrategy::Interleave,
            excluded: &[],
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
                let request = Request {
                    limit,
                    medoids: k,
                    top: top.min(k),
                    strategy: if global {
                        MergeStrategy::GlobalTop
                    } else {
                        MergeStrategy::Interleave
                    },
                    excluded: &excluded,
                    effort: 1.0,
                    deadline: Deadline::never(),
                };
                let is_blocked = |pin: PinId| pin.0 % 7 == 3;
                let popularity = |pin: PinId| (pin.0 % 5) as f32 / 4.0;
                let prior = PopularityPrior::new(weight.unwrap_or(0.0), &popularity);
                let user = User {
                    sources: MedoidSources {
                        user_medoids: profile.as_deref().map(of_profile),
                        popular_medoids: &popular,
                        sampling_factors: &[],
                        all_in_catalog: false,
                    },
                    prior,
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
                excluded: &[],
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
