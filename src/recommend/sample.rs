//! Sampling medoids in proportion to importance, without replacement.
//!
//! Exponential keys (Efraimidis and Spirakis, 2006): medoid i gets the key
//! E_i / w_i with E_i exponential of rate 1, and the k least keys win. Read the
//! keys as moments of arrival, medoid i arriving at rate w_i: then the first k
//! arrivals are drawn, each next one in proportion to weight among the rest.

use rand::{Rng, RngExt};

use super::inclusion;

/// One drawn medoid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Draw {
    /// Place among the weights.
    pub(super) index: usize,
    /// Probability, in (0, 1], that a draw of this size includes it.
    pub(super) inclusion_probability: f64,
}

/// Memory of a draw, for the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    weights: Vec<f64>,
    /// Places of the greatest weights, which are not left to chance.
    top: Vec<usize>,
    /// The least keys, ascending, and their places among the weights.
    least: Vec<(f64, usize)>,
    drawn: Vec<usize>,
    /// Weights of those that chance decides on, and which of them are drawn.
    chances: Vec<f64>,
    drawn_by_chance: Vec<usize>,
    inclusion: inclusion::InclusionScratch,
}

/// -ln(1 - u) is at least u; a little less than u is below it in floating point
/// as well.
const BELOW: f64 = 0.999;

/// Draws min(`k`, number of weights) places, in the order of the draw: first the `top`
/// greatest weights, by falling weight, then a sample of the others.
///
/// Weights must be positive and finite. One number is taken from `rng` for each
/// weight, whatever `k` is, so that the first places of a larger draw are those
/// of a smaller one.
pub(super) fn sample(
    weights: impl Iterator<Item = f64>,
    k: usize,
    top: usize,
    rng: &mut impl Rng,
    scratch: &mut Scratch,
) -> impl Iterator<Item = Draw> {
    let Scratch {
        weights: all,
        top: greatest,
        least,
        drawn,
        chances,
        drawn_by_chance,
        inclusion,
    } = scratch;
    all.clear();
    all.extend(weights);
    greatest.clear();
    for _ in 0..top.min(k) {
        let rest = (0..all.len()).filter(|place| !greatest.contains(place));
        greatest.extend(rest.reduce(|a, b| if all[b] > all[a] { b } else { a }));
    }
    least.clear();
    // Before every key.
    least.extend(greatest.iter().map(|&place| (f64::NEG_INFINITY, place)));
    for (index, &weight) in all.iter().enumerate() {
        let uniform: f64 = rng.random();
        // Most keys are too great, and seen to be so without a logarithm.
        let worst = least.get(k.wrapping_sub(1));
        if worst.is_some_and(|&(worst, _)| uniform * BELOW / weight > worst) {
            continue;
        }
        if greatest.contains(&index) {
            continue;
        }
        // 1 - u lies in (0, 1], so the logarithm is finite.
        let key = -libm::log(1.0 - uniform) / weight;
        // Of equal keys the earlier place wins.
        let rank = least.partition_point(|(other, _)| other.total_cmp(&key).is_le());
        if rank < k {
            least.truncate(k - 1);
            least.insert(rank, (key, index));
        }
    }
    drawn.clear();
    drawn.extend(least.iter().map(|&(_, index)| index));
    let (certain, by_chance) = drawn.split_at(greatest.len());
    chances.clear();
    drawn_by_chance.clear();
    let others = (0..all.len()).filter(|place| !certain.contains(place));
    chances.extend(others.map(|place| all[place]));
    let before = |place: usize| certain.iter().filter(|&&other| other < place).count();
    drawn_by_chance.extend(by_chance.iter().map(|&place| place - before(place)));
    let k = k - certain.len();
    let probabilities = inclusion::probabilities(chances, k, drawn_by_chance, inclusion);
    let certain = certain.iter().map(|_| &1.0);
    drawn
        .iter()
        .zip(certain.chain(probabilities))
        .map(|(&index, &inclusion_probability)| Draw {
            index,
            inclusion_probability,
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;

    fn draw(weights: &[f64], k: usize, rng: &mut ChaCha8Rng, scratch: &mut Scratch) -> Vec<Draw> {
        sample(weights.iter().copied(), k, 0, rng, scratch).collect()
    }

    fn places(draws: impl Iterator<Item = Draw>) -> Vec<usize> {
        draws.map(|draw| draw.index).collect()
    }

    /// The definition: the places by their keys, all of them.
    fn naive(weights: &[f64], rng: &mut ChaCha8Rng) -> Vec<usize> {
        let mut keys: Vec<(f64, usize)> = Vec::new();
        for (index, weight) in weights.iter().enumerate() {
            let uniform: f64 = rng.random();
            keys.push((-libm::log(1.0 - uniform) / weight, index));
        }
        keys.sort_by(|a, b| a.0.total_cmp(&b.0));
        keys.into_iter().map(|(_, index)| index).collect()
    }

    proptest! {
        #[test]
        fn draws_are_the_least_keys(
            weights in prop::collection::vec(1e-300f64..1e300, 0..30),
            logs in prop::collection::vec(-5.0f64..5.0, 0..120),
            k in 1usize..25,
            seed: u64,
        ) {
            let scratch = &mut Scratch::default();
            let even: Vec<f64> = logs.iter().map(|log| log.exp()).collect();
            for weights in [weights, even] {
                let rng = &mut ChaCha8Rng::seed_from_u64(seed);
                let mut all = naive(&weights, &mut ChaCha8Rng::seed_from_u64(seed));
                all.truncate(k);
                let draws = draw(&weights, k, rng, scratch);
                let drawn: Vec<usize> = draws.iter().map(|draw| draw.index).collect();
                prop_assert_eq!(drawn, all);
                let good = |draw: &Draw| (0.0..=1.0).contains(&draw.inclusion_probability);
                prop_assert!(draws.iter().all(good), "{:?}", draws);
            }
        }

        #[test]
        fn draws_are_distinct_and_a_larger_draw_begins_with_the_smaller(
            weights in prop::collection::vec(1e-300f64..1e300, 0..30), seed: u64,
        ) {
            let places = |k| -> Vec<usize> {
                let rng = &mut ChaCha8Rng::seed_from_u64(seed);
                let draws = draw(&weights, k, rng, &mut Scratch::default());
                draws.iter().map(|draw| draw.index).collect()
            };
            let all = places(weights.len());
            let mut sorted = all.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..weights.len()).collect::<Vec<_>>());
            let three = places(3);
            prop_assert_eq!(&all[..three.len()], &three);
        }
    }

    proptest! {
        #[test]
        fn the_top_come_first_and_the_rest_is_a_sample_of_the_others(
            logs in prop::collection::vec(-5i8..5, 1..30),
            (k, top) in (1usize..9).prop_flat_map(|k| (Just(k), 0..=k)),
            seed: u64,
        ) {
            let weights: Vec<f64> = logs.iter().map(|&log| f64::from(log).exp()).collect();
            let rng = || ChaCha8Rng::seed_from_u64(seed);
            let scratch = &mut Scratch::default();
            let rng_of_draw = &mut rng();
            let all = sample(weights.iter().copied(), k, top, rng_of_draw, scratch);
            let all: Vec<Draw> = all.collect();
            let (certain, by_chance) = all.split_at(top.min(weights.len()));

            let mut order: Vec<usize> = (0..weights.len()).collect();
            order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]));
            order.truncate(top);
            prop_assert_eq!(places(certain.iter().copied()), order.clone());
            prop_assert!(certain.iter().all(|draw| draw.inclusion_probability == 1.0));

            // The same numbers, with nothing to say about the top ones.
            let mut keys = naive(&weights, &mut rng());
            keys.retain(|place| !order.contains(place));
            keys.truncate(k - top);
            prop_assert_eq!(places(by_chance.iter().copied()), keys);
            let rest: Vec<usize> = (0..weights.len()).filter(|at| !order.contains(at)).collect();
            let others: Vec<f64> = rest.iter().map(|&at| weights[at]).collect();
            let of: Vec<usize> = by_chance
                .iter()
                .map(|draw| rest.binary_search(&draw.index).expect("one of the others"))
                .collect();
            let scratch = &mut inclusion::InclusionScratch::default();
            let expected = inclusion::probabilities(&others, k - top, &of, scratch);
            for (draw, &expected) in by_chance.iter().zip(expected) {
                prop_assert_eq!(draw.inclusion_probability, expected);
            }
        }
    }

    #[test]
    fn frequencies_match_the_reported_probabilities() {
        let weights = [0.05, 8.0, 1.0, 2.5, 0.4, 1.0, 4.0];
        const DRAWS: u32 = 200_000;
        let mut counts = [0u32; 7];
        let mut reported = [0.0; 7];
        let rng = &mut ChaCha8Rng::seed_from_u64(7);
        let scratch = &mut Scratch::default();
        for _ in 0..DRAWS {
            for draw in draw(&weights, 3, rng, scratch) {
                counts[draw.index] += 1;
                reported[draw.index] = draw.inclusion_probability;
            }
        }
        for (count, p) in counts.into_iter().zip(reported) {
            let deviation = (p * (1.0 - p) / f64::from(DRAWS)).sqrt();
            assert!(
                (f64::from(count) / f64::from(DRAWS) - p).abs() < 4.5 * deviation,
                "{p}"
            );
        }
    }
}
