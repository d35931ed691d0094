//! Sampling medoids in proportion to importance, without replacement.
//!
//! Exponential keys (Efraimidis and Spirakis, 2006): medoid i gets the key
//! E_i / w_i with E_i exponential of rate 1, and the k least keys win. Read the
//! keys as moments of arrival, medoid i arriving at rate w_i: then the first k
//! arrivals are drawn, each next one in proportion to weight among the rest.

use rand::{Rng, RngExt};

use super::inclusion;

/// Number of medoids to draw.
#[derive(Clone, Copy, Debug)]
pub(super) struct SampleSize {
    /// All of them.
    pub(super) k: usize,
    /// Those with the greatest weights, which are not left to chance; at most `k`.
    pub(super) top: usize,
}

/// One drawn medoid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Draw {
    /// Index among the weights.
    pub(super) index: usize,
    /// Probability, in (0, 1], that a draw of this size includes it.
    pub(super) inclusion_probability: f64,
}

/// Memory of a draw, for the next.
#[derive(Debug, Default)]
pub(super) struct SampleScratch {
    weights: Vec<f64>,
    /// Indices of the greatest weights, which are not left to chance.
    top: Vec<usize>,
    /// The least keys, ascending.
    least: Vec<Key>,
    /// Indices in the order of the draw.
    drawn: Vec<usize>,
    by_chance: ChanceScratch,
}

/// The weights that chance decides on: all but the top ones.
#[derive(Debug, Default)]
struct ChanceScratch {
    weights: Vec<f64>,
    /// Indices among these weights of those that were drawn.
    drawn: Vec<usize>,
    inclusion: inclusion::InclusionScratch,
}

/// The key of a weight.
#[derive(Clone, Copy, Debug)]
struct Key {
    key: f64,
    /// Index of the weight.
    index: usize,
}

/// -ln(1 - u) is at least u; a little less than u is below it in floating point
/// as well.
const BELOW: f64 = 0.999;

/// Draws min(`k`, number of weights) indices, in the order of the draw: first the `top`
/// greatest weights, by descending weight, then a sample of the others.
///
/// Weights must be positive and finite. One number is taken from `rng` for each
/// weight, whatever `k` is, so that the first indices of a larger draw are those
/// of a smaller one.
pub(super) fn sample(
    weights: impl Iterator<Item = f64>,
    size: SampleSize,
    rng: &mut impl Rng,
    scratch: &mut SampleScratch,
) -> impl Iterator<Item = Draw> {
    let SampleScratch {
        weights: all,
        top,
        least,
        drawn,
        by_chance,
    } = scratch;
    all.clear();
    all.extend(weights);
    select_top(all, size.top.min(size.k), top);
    draw_least_keys(all, size.k, top, rng, least);
    drawn.clear();
    drawn.extend(least.iter().map(|key| key.index));
    let (top, rest) = drawn.split_at(top.len());
    let probabilities = by_chance.inclusion_probabilities(all, top, rest, size.k);
    let of_top = top.iter().map(|_| &1.0);
    drawn
        .iter()
        .zip(of_top.chain(probabilities))
        .map(|(&index, &inclusion_probability)| Draw {
            index,
            inclusion_probability,
        })
}

/// Makes `top` the indices of the `count` greatest weights, by descending weight; of
/// equal weights the earlier comes first.
fn select_top(weights: &[f64], count: usize, top: &mut Vec<usize>) {
    top.clear();
    for _ in 0..count {
        let rest = (0..weights.len()).filter(|index| !top.contains(index));
        top.extend(rest.reduce(|a, b| if weights[b] > weights[a] { b } else { a }));
    }
}

/// Makes `least` the `k` least keys, ascending, after the indices of `top`, which are
/// part of the `k`.
fn draw_least_keys(
    weights: &[f64],
    k: usize,
    top: &[usize],
    rng: &mut impl Rng,
    least: &mut Vec<Key>,
) {
    least.clear();
    // Less than every key that is drawn.
    let key = f64::NEG_INFINITY;
    least.extend(top.iter().map(|&index| Key { key, index }));
    for (index, &weight) in weights.iter().enumerate() {
        let uniform: f64 = rng.random();
        // Most keys are too great, and seen to be so without a logarithm.
        let worst = least.get(k.wrapping_sub(1));
        if worst.is_some_and(|worst| uniform * BELOW / weight > worst.key) {
            continue;
        }
        if top.contains(&index) {
            continue;
        }
        // 1 - u lies in (0, 1], so the logarithm is finite.
        let key = -libm::log(1.0 - uniform) / weight;
        // Of equal keys the earlier index wins.
        let rank = least.partition_point(|other| other.key.total_cmp(&key).is_le());
        if rank < k {
            least.truncate(k - 1);
            least.insert(rank, Key { key, index });
        }
    }
}

impl ChanceScratch {
    /// The probabilities with which a draw of `k` of `weights` includes each index of
    /// `drawn`, given that it includes all of `top`.
    fn inclusion_probabilities(
        &mut self,
        weights: &[f64],
        top: &[usize],
        drawn: &[usize],
        k: usize,
    ) -> &[f64] {
        self.weights.clear();
        let rest = (0..weights.len()).filter(|index| !top.contains(index));
        self.weights.extend(rest.map(|index| weights[index]));
        let top_before = |index: usize| top.iter().filter(|&&other| other < index).count();
        self.drawn.clear();
        self.drawn
            .extend(drawn.iter().map(|&index| index - top_before(index)));
        let k = k - top.len();
        inclusion::probabilities(&self.weights, k, &self.drawn, &mut self.inclusion)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;

    fn draw(
        weights: &[f64],
        k: usize,
        rng: &mut ChaCha8Rng,
        scratch: &mut SampleScratch,
    ) -> Vec<Draw> {
        let size = SampleSize { k, top: 0 };
        sample(weights.iter().copied(), size, rng, scratch).collect()
    }

    fn indices(draws: impl Iterator<Item = Draw>) -> Vec<usize> {
        draws.map(|draw| draw.index).collect()
    }

    /// The definition: the indices by their keys, all of them.
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
            let scratch = &mut SampleScratch::default();
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
            let indices = |k| -> Vec<usize> {
                let rng = &mut ChaCha8Rng::seed_from_u64(seed);
                let draws = draw(&weights, k, rng, &mut SampleScratch::default());
                draws.iter().map(|draw| draw.index).collect()
            };
            let all = indices(weights.len());
            let mut sorted = all.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..weights.len()).collect::<Vec<_>>());
            let three = indices(3);
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
            let scratch = &mut SampleScratch::default();
            let rng_of_draw = &mut rng();
            let all = sample(weights.iter().copied(), SampleSize { k, top }, rng_of_draw, scratch);
            let all: Vec<Draw> = all.collect();
            let (certain, by_chance) = all.split_at(top.min(weights.len()));

            let mut order: Vec<usize> = (0..weights.len()).collect();
            order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]));
            order.truncate(top);
            prop_assert_eq!(indices(certain.iter().copied()), order.clone());
            prop_assert!(certain.iter().all(|draw| draw.inclusion_probability == 1.0));

            // The same numbers, with nothing to say about the top ones.
            let mut keys = naive(&weights, &mut rng());
            keys.retain(|index| !order.contains(index));
            keys.truncate(k - top);
            prop_assert_eq!(indices(by_chance.iter().copied()), keys);
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
        let scratch = &mut SampleScratch::default();
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
