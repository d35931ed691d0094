//! The online core. [`recommend`] is the whole flow:
//! look up -> sample -> retrieve -> merge.
//!
//! Pure but for the two seams that the shell fills: [`Retrieve`], where the
//! index answers, and [`Watch`], where stages are timed. Randomness is passed
//! in, and nothing depends on a clock.

mod fallback;
mod inclusion;
mod merge;
mod orders;
mod params;
mod pin_set;
mod popularity_prior;
mod quadrature;
mod quota;
mod retrieve;
mod sample;

pub use fallback::{Fallback, Origin};
pub use merge::MergeStrategy;
pub use params::RankingParams;
pub use popularity_prior::PopularityPrior;
pub use retrieve::{Retrieve, Retrieved, SearchParams};

use rand::Rng;

use crate::model::{Candidate, Medoid, Neighbor, PinId};
use pin_set::PinSet;

/// A stage of the flow, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Finding medoids to sample from.
    Lookup,
    /// Drawing medoids.
    Sample,
    /// Asking the index.
    Retrieve,
    /// Making one list of several.
    Merge,
}

/// The seam where the shell looks at its clock.
pub trait Watch {
    /// Runs `work`, which is a part of `stage`, and returns what it returns.
    fn stage<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T;

    /// Whether no time is left to retrieve more. Once it is, it stays so.
    fn time_is_up(&self) -> bool;
}

/// Looks at no clock: times nothing, and has all the time there is.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn stage<T>(&self, _: Stage, work: impl FnOnce() -> T) -> T {
        work()
    }

    fn time_is_up(&self) -> bool {
        false
    }
}

/// What is known of the user who asks.
#[derive(Clone, Copy, Debug)]
pub struct Interests<'a> {
    /// The user's medoids by falling importance, and whether they are of a profile
    /// or of recent actions alone; none for an unknown user.
    pub own: Option<(&'a [Medoid], Origin)>,
    /// The most important medoids over all users, for those without any.
    pub popular: &'a [Medoid],
    /// By ascending pin: factors by which medoids are drawn more or less often than in
    /// proportion to importance, above 0; 1 for all others.
    pub factors: &'a [(PinId, f64)],
    /// What counts beside nearness; none for nearness alone, as in the paper.
    pub prior: Option<PopularityPrior<'a>>,
    /// Whether it is known that the catalog has every medoid above. If not,
    /// each is looked up, and left out when it is missing.
    pub all_in_catalog: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Number of candidates; at least 1.
    pub limit: usize,
    /// Number of medoids to sample; at least 1.
    pub medoids: usize,
    /// How many of them are the most important ones, which are not left to chance.
    pub top: usize,
    /// How lists become one.
    pub strategy: MergeStrategy,
    /// Pins that must not be returned.
    pub excluded: &'a [PinId],
    /// Share of the usual effort of a search, above 0 and at most 1.
    pub effort: f32,
}

/// A medoid that was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampledMedoid {
    /// The medoid.
    pub medoid: Medoid,
    /// What it was drawn in proportion to.
    pub weight: f64,
    /// Probability with which a draw of this size includes it.
    pub inclusion_probability: f64,
}

/// The answer, and why it is this one.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// Best first, no pin twice.
    pub candidates: Vec<Candidate>,
    /// In the order in which they were drawn.
    pub sampled: Vec<SampledMedoid>,
    /// Where the medoids come from.
    pub origin: Origin,
    /// Why they are not the user's own.
    pub fallback: Option<Fallback>,
    /// Whether medoids of the profile are missing from the catalog.
    pub medoids_missing: bool,
    /// Whether searches were made with less than the usual effort.
    pub with_less_effort: bool,
    /// When time was up before all was retrieved: how many of the sampled medoids
    /// were answered. The candidates are what they brought, and may be fewer.
    pub answered_in_time: Option<usize>,
}

/// Memory of a request, for the next. What it holds has no influence on any
/// answer.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Medoids of the profile that the catalog has.
    kept: Vec<Medoid>,
    sample: sample::Scratch,
    /// Medoids, which must not be returned.
    barred: PinSet,
    /// What the request excludes, ascending.
    excluded: Vec<PinId>,
    quotas: Vec<quota::Place>,
    /// At least as many as medoids were sampled.
    lists: Vec<merge::List>,
    merge: merge::Scratch,
}

/// Candidates for one user.
///
/// `bars` tells whether there is something between the user and a pin: history,
/// dislike, or that it was shown a moment ago; such pins are not returned. The answer
/// is a function of the arguments and of the numbers that `rng` draws, one for each
/// medoid that could be sampled; and, where `watch` says that time is up, of how far
/// it came.
pub fn recommend(
    interests: Interests<'_>,
    bars: &impl Fn(PinId) -> bool,
    request: &Request<'_>,
    index: &dyn Retrieve,
    rng: &mut impl Rng,
    watch: &impl Watch,
    scratch: &mut Scratch,
) -> Recommendation {
    let Scratch {
        kept,
        sample,
        barred,
        excluded,
        quotas,
        lists,
        merge,
    } = scratch;
    let found = watch.stage(Stage::Lookup, || {
        fallback::select_medoids(interests, |pin| index.contains(pin), kept)
    });
    let sampled = watch.stage(Stage::Sample, || {
        sample_medoids(
            found.medoids,
            interests.factors,
            (request.medoids, request.top),
            rng,
            sample,
        )
    });
    let own = interests.own.map(|(medoids, _)| medoids);
    bar(barred, own.unwrap_or_default(), &sampled);
    // Not in the set: a caller could choose pins that collide there.
    excluded.clear();
    excluded.extend_from_slice(request.excluded);
    excluded.sort_unstable();
    let eligible =
        |pin: PinId| !barred.contains(pin) && excluded.binary_search(&pin).is_err() && !bars(pin);

    let importances = sampled.iter().map(|sampled| sampled.medoid.importance);
    quota::split(importances, request.limit, quotas);
    lists.resize_with(lists.len().max(sampled.len()), Default::default);
    let lists = &mut lists[..sampled.len()];
    for (list, place) in lists.iter_mut().zip(&*quotas) {
        list.reset(place.quota);
    }
    let time_is_up = || watch.time_is_up();
    let mut wanted = SearchParams {
        effort: request.effort,
        time_is_up: &time_is_up,
        ..SearchParams::in_full(0, &eligible)
    };
    let prior = interests.prior;
    let (mut with_less_effort, mut out_of_time) = (false, false);
    let mut starved = 0..lists.len();
    let candidates = loop {
        watch.stage(Stage::Retrieve, || {
            for at in starved {
                let depth = lists[at].next_depth(request.strategy, request.limit);
                let pin = sampled[at].medoid.pin;
                let retrieve = |k: usize, out: &mut Vec<Neighbor>| {
                    (wanted.k, wanted.least) = (k, depth);
                    index.neighbors(pin, &wanted, out)
                };
                match lists[at].fill(depth, prior, request.strategy, retrieve) {
                    Retrieved::InFull => {}
                    Retrieved::WithLessEffort => with_less_effort = true,
                    Retrieved::OutOfTime => out_of_time = true,
                }
            }
        });
        if out_of_time {
            lists.iter_mut().for_each(merge::List::cut);
        }
        match watch.stage(Stage::Merge, || {
            merge::merge(lists, request.strategy, request.limit, prior, merge)
        }) {
            Ok(candidates) => break candidates,
            Err(list) => starved = list..list + 1,
        }
    };
    let answered = lists.iter().filter(|list| list.is_answered()).count();
    Recommendation {
        candidates,
        sampled,
        origin: found.origin,
        fallback: found.fallback,
        medoids_missing: found.medoids_missing,
        with_less_effort,
        answered_in_time: out_of_time.then_some(answered),
    }
}

fn sample_medoids(
    medoids: &[Medoid],
    factors: &[(PinId, f64)],
    (k, top): (usize, usize),
    rng: &mut impl Rng,
    scratch: &mut sample::Scratch,
) -> Vec<SampledMedoid> {
    let weight = |medoid: &Medoid| {
        let place = factors.binary_search_by_key(&medoid.pin, |&(pin, _)| pin);
        place.map_or(medoid.importance, |place| {
            medoid.importance * factors[place].1
        })
    };
    let draws = sample::sample(medoids.iter().map(weight), k, top, rng, scratch);
    draws
        .map(|draw| SampledMedoid {
            medoid: medoids[draw.index],
            weight: weight(&medoids[draw.index]),
            inclusion_probability: draw.inclusion_probability,
        })
        .collect()
}

/// Makes `barred` the set of the user's own medoids and the sampled ones.
fn bar(barred: &mut PinSet, own: &[Medoid], sampled: &[SampledMedoid]) {
    barred.reset(own.len() + sampled.len());
    let own = own.iter().map(|medoid| medoid.pin);
    let drawn = sampled.iter().map(|sampled| sampled.medoid.pin);
    for pin in own.chain(drawn) {
        barred.insert(pin);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::HashSet;

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;
    use crate::model::Timestamp;

    /// A catalog of the pins from 0 to this, near one another when their ids are.
    struct Line(u64);

    impl Retrieve for Line {
        fn contains(&self, pin: PinId) -> bool {
            pin.0 <= self.0
        }

        fn neighbors(
            &self,
            pin: PinId,
            wanted: &SearchParams<'_>,
            out: &mut Vec<Neighbor>,
        ) -> Retrieved {
            if (wanted.time_is_up)() {
                return Retrieved::OutOfTime;
            }
            let neighbor = |other: u64| Neighbor {
                pin: PinId(other),
                score: 1.0 - pin.0.abs_diff(other) as f32 / 1000.0,
            };
            out.clear();
            let eligible = wanted.eligible;
            out.extend((0..=self.0).map(neighbor).filter(|n| eligible(n.pin)));
            out.sort_by(Neighbor::by_falling_score);
            out.truncate(wanted.k);
            wanted.done()
        }
    }

    /// Has time for so many retrievals.
    struct TimeFor(Cell<usize>);

    impl Watch for TimeFor {
        fn stage<T>(&self, _: Stage, work: impl FnOnce() -> T) -> T {
            work()
        }

        fn time_is_up(&self) -> bool {
            let left = self.0.get();
            self.0.set(left.saturating_sub(1));
            left == 0
        }
    }

    fn medoids(pins: &[u64]) -> Vec<Medoid> {
        let medoid = |(at, &pin): (usize, &u64)| Medoid {
            pin: PinId(pin),
            importance: 4.0 / (at + 1) as f64,
            last_action_time: Timestamp::from_micros(0),
            size: 1,
            reserved: 0,
        };
        pins.iter().enumerate().map(medoid).collect()
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
            let mut used = Scratch::default();
            for (profile, excluded, (limit, k, global, seed), (top, weight)) in calls {
                let profile = profile.map(|pins| medoids(&pins));
                let excluded: Vec<PinId> = excluded.into_iter().map(PinId).collect();
                let request = Request {
                    limit,
                    medoids: k,
                    top: top.min(k),
                    strategy: match global {
                        true => MergeStrategy::GlobalTop,
                        false => MergeStrategy::Interleave,
                    },
                    excluded: &excluded,
                    effort: 1.0,
                };
                let bars = |pin: PinId| pin.0 % 7 == 3;
                let popularity = |pin: PinId| (pin.0 % 5) as f32 / 4.0;
                let prior = PopularityPrior::weighing(weight.unwrap_or(0.0), &popularity);
                let interests = Interests {
                    own: profile.as_deref().map(|own| (own, Origin::Profile)),
                    popular: &popular,
                    factors: &[],
                    prior,
                    all_in_catalog: false,
                };
                let answer = |scratch: &mut Scratch| {
                    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
                    recommend(interests, &bars, &request, &index, rng, &Unwatched, scratch)
                };
                let found = answer(&mut used);
                prop_assert_eq!(&found, &answer(&mut Scratch::default()));

                let own = profile.iter().flatten().map(|medoid| medoid.pin);
                let sampled = found.sampled.iter().map(|sampled| sampled.medoid.pin);
                let barred: HashSet<PinId> = own.chain(sampled).chain(excluded.clone()).collect();
                let may = |&pin: &PinId| !barred.contains(&pin) && !bars(pin);
                let pins: HashSet<PinId> = found.candidates.iter().map(|c| c.pin).collect();
                prop_assert_eq!(pins.len(), found.candidates.len());
                prop_assert!(pins.iter().all(may));
                let eligible = (0..=60).map(PinId).filter(may).count();
                prop_assert_eq!(pins.len(), limit.min(eligible));
            }
        }
    }
    #[test]
    fn what_was_found_in_time_is_merged_and_the_rest_is_told() {
        let own = medoids(&[5, 30, 55]);
        let interests = Interests {
            own: Some((&own, Origin::Profile)),
            popular: &[],
            factors: &[],
            prior: None,
            all_in_catalog: true,
        };
        let answer = |times: usize, effort: f32, strategy: MergeStrategy| {
            let request = Request {
                limit: 30,
                medoids: 3,
                top: 0,
                strategy,
                excluded: &[],
                effort,
            };
            let (rng, watch) = (&mut ChaCha8Rng::seed_from_u64(1), TimeFor(Cell::new(times)));
            let scratch = &mut Scratch::default();
            recommend(
                interests,
                &|_| false,
                &request,
                &Line(60),
                rng,
                &watch,
                scratch,
            )
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
