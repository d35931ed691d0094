//! Which medoids an answer is for: page by page those that no page had yet, round by round.

use rand::Rng;

use super::recommendation::SampledMedoid;
use super::request::Request;
use super::sample::{self, SampleScratch, SampleSize};
use crate::model::{Medoid, PinId};

/// The medoids of one answer.
#[derive(Debug)]
pub(super) struct DrawnMedoids {
    /// In the order in which they were drawn.
    pub(super) sampled: Vec<SampledMedoid>,
    /// Where in them a new round begins; none while the present one goes on.
    pub(super) new_round: Option<usize>,
}

/// Draws medoids in proportion to importance times factor, and to their nearness to the
/// context of the request where it has one.
///
/// Those that the round does not have yet are drawn first. Where they are too few, all of
/// them are taken, and a new round begins with a draw from the others. Probabilities hold
/// given what earlier pages have drawn.
pub(super) fn draw_medoids(
    medoids: &[Medoid],
    factors: &[(PinId, f64)],
    request: &Request<'_>,
    rng: &mut impl Rng,
    scratch: &mut SampleScratch,
) -> DrawnMedoids {
    let near = request.context.map(|context| context.nearest(medoids));
    let (medoids, context_factors) = match &near {
        Some(near) => (&near.medoids[..], &near.factors[..]),
        None => (medoids, &[][..]),
    };
    let context_factor = |index: usize| context_factors.get(index).copied().unwrap_or(1.0);
    let weight = |index: usize| {
        let Medoid {
            pin, importance, ..
        } = medoids[index];
        let found = factors.binary_search_by_key(&pin, |&(pin, _)| pin);
        let weight = found.map_or(importance, |found| importance * factors[found].1);
        weight * context_factor(index)
    };
    let mut sampled = Vec::new();
    let mut draw = |from: &[usize], size: SampleSize| {
        let weights = from.iter().map(|&index| weight(index));
        let draws = sample::sample(weights, size, rng, scratch);
        sampled.extend(draws.map(|draw| {
            let index = from[draw.index];
            SampledMedoid {
                medoid: medoids[index],
                weight: weight(index),
                context_factor: context_factor(index),
                inclusion_probability: draw.inclusion_probability,
            }
        }));
    };
    let is_drawn = |&index: &usize| request.drawn.binary_search(&medoids[index].pin).is_ok();
    let (others, left): (Vec<usize>, Vec<usize>) = (0..medoids.len()).partition(is_drawn);
    let (k, top) = (request.medoids, request.top);
    draw(&left, SampleSize { k, top });
    let new_round = (left.len() < k).then_some(left.len());
    if let Some(taken) = new_round {
        let rest = SampleSize {
            k: k - taken,
            top: top.saturating_sub(taken),
        };
        draw(&others, rest);
    }
    DrawnMedoids { sampled, new_round }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::model::Timestamp;
    use crate::recommend::{Deadline, MergeStrategy, Origin, Recommendation, Rerank, Seeds};

    fn medoids(importances: &[f64]) -> Vec<Medoid> {
        let medoid = |(pin, &importance): (u64, &f64)| Medoid {
            pin: PinId(pin),
            importance,
            last_action_time: Timestamp::from_micros(0),
            size: 1,
            dislikes: 0,
        };
        (0..).zip(importances).map(medoid).collect()
    }

    fn rng(seed: u64, page: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(page);
        rng
    }

    fn draw(
        medoids: &[Medoid],
        (k, top): (usize, usize),
        drawn: &[PinId],
        rng: &mut ChaCha8Rng,
    ) -> DrawnMedoids {
        let request = Request {
            limit: 1,
            medoids: k,
            top,
            seeds: Seeds::NONE,
            context: None,
            strategy: MergeStrategy::Interleave,
            excluded: &[],
            drawn,
            rerank: Rerank::NONE,
            effort: 1.0,
            deadline: Deadline::never(),
        };
        draw_medoids(medoids, &[], &request, rng, &mut SampleScratch::default())
    }

    fn pins(sampled: &[SampledMedoid]) -> Vec<usize> {
        let pins = sampled.iter().map(|sampled| sampled.medoid.pin.0 as usize);
        pins.collect()
    }

    /// The definition: the most important of `from`, then the others by their keys.
    fn naive(
        from: &BTreeSet<usize>,
        importances: &[f64],
        (k, top): (usize, usize),
        rng: &mut ChaCha8Rng,
    ) -> Vec<usize> {
        let mut by_importance: Vec<usize> = from.iter().copied().collect();
        by_importance.sort_by(|&a, &b| importances[b].total_cmp(&importances[a]));
        by_importance.truncate(top);
        let mut keys: Vec<(f64, usize)> = Vec::new();
        for &pin in from {
            let uniform: f64 = rng.random();
            keys.push((-libm::log(1.0 - uniform) / importances[pin], pin));
        }
        keys.retain(|(_, pin)| !by_importance.contains(pin));
        keys.sort_by(|a, b| a.0.total_cmp(&b.0));
        let by_chance = keys.into_iter().map(|(_, pin)| pin);
        by_importance.into_iter().chain(by_chance).take(k).collect()
    }

    fn answer(drawn: DrawnMedoids) -> Recommendation {
        Recommendation {
            candidates: Vec::new(),
            sampled: drawn.sampled,
            new_round: drawn.new_round,
            origin: Origin::Profile,
            fallback: None,
            shortage: None,
            medoids_missing: false,
            with_less_effort: false,
            answered_in_time: None,
        }
    }

    proptest! {
        /// The twin keeps the set of medoids that the round does not have yet.
        #[test]
        fn pages_draw_what_the_round_lacks_and_then_begin_another(
            logs in prop::collection::vec(-40i8..40, 0..14),
            sizes in prop::collection::vec((1usize..6).prop_flat_map(|k| (Just(k), 0..=k)), 1..12),
            seed: u64,
        ) {
            let importances: Vec<f64> = logs.iter().map(|&log| f64::from(log).exp()).collect();
            let medoids = medoids(&importances);
            let all: BTreeSet<usize> = (0..medoids.len()).collect();
            let (mut drawn, mut left) = (Vec::new(), all.clone());
            for (page, &(k, top)) in (0..).zip(&sizes) {
                let own = draw(&medoids, (k, top), &drawn, &mut rng(seed, page));
                let rng = &mut rng(seed, page);
                let mut expected = naive(&left, &importances, (k, top), rng);
                let taken = expected.len();
                let (lacks, begins) = (left.len(), left.len() < k);
                if begins {
                    let others = &all - &left;
                    let rest = (k - taken, top.saturating_sub(taken));
                    let second = naive(&others, &importances, rest, rng);
                    left = &all - &second.iter().copied().collect::<BTreeSet<_>>();
                    expected.extend(second);
                } else {
                    left.retain(|pin| !expected.contains(pin));
                }
                prop_assert_eq!(pins(&own.sampled), expected);
                prop_assert_eq!(own.new_round, begins.then_some(taken));
                let first = &own.sampled[..taken];
                let is_certain = first.iter().all(|one| one.inclusion_probability == 1.0);
                prop_assert!(is_certain || lacks > k);
                drawn = answer(own).drawn(&drawn);
                let expected = (&all - &left).into_iter().map(|pin| PinId(pin as u64));
                prop_assert_eq!(&drawn, &expected.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn frequencies_on_a_later_page_match_the_reported_probabilities() {
        let medoids = medoids(&[0.5, 8.0, 1.0, 2.5, 0.4, 1.0]);
        let drawn = [PinId(1), PinId(3), PinId(4), PinId(5)];
        const DRAWS: u64 = 20_000;
        let mut counts = [(0u32, 1.0); 6];
        for seed in 0..DRAWS {
            let page = draw(&medoids, (4, 0), &drawn, &mut rng(seed, 7));
            assert_eq!(page.new_round, Some(2));
            for sampled in page.sampled {
                let count = &mut counts[sampled.medoid.pin.0 as usize];
                *count = (count.0 + 1, sampled.inclusion_probability);
            }
        }
        for (count, p) in counts {
            let deviation = (p * (1.0 - p) / DRAWS as f64).sqrt();
            let frequency = f64::from(count) / DRAWS as f64;
            assert!((frequency - p).abs() <= 4.5 * deviation, "{frequency} {p}");
        }
    }

    #[test]
    fn medoids_that_are_gone_do_no_harm() {
        let gone = [PinId(70), PinId(80)];
        let page = draw(&medoids(&[1.0, 2.0]), (2, 0), &gone, &mut rng(1, 1));
        assert_eq!((page.sampled.len(), page.new_round), (2, None));
        let nobody = draw(&[], (3, 1), &gone, &mut rng(1, 1));
        assert!(nobody.sampled.is_empty() && nobody.new_round == Some(0));
    }
}
