//! Sampling medoids in proportion to importance, without replacement.
//!
//! Exponential keys (Efraimidis and Spirakis, 2006): medoid i gets the key
//! E_i / w_i with E_i exponential of rate 1, and the k least keys win. Read the
//! keys as moments of arrival, medoid i arriving at rate w_i: then the first k
//! arrivals are drawn, each next one in proportion to weight among the rest.

use rand::{Rng, RngExt};

/// One drawn medoid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Draw {
    /// Place among the weights.
    pub(super) index: usize,
    /// Probability, in (0, 1], that a draw of this size includes it.
    pub(super) inclusion_probability: f64,
}

/// Draws min(`k`, number of weights) places, in the order of the draw.
///
/// Weights must be positive and finite. One number is taken from `rng` for each
/// weight, whatever `k` is, so that the first places of a larger draw are those
/// of a smaller one.
pub(super) fn sample(weights: &[f64], k: usize, rng: &mut impl Rng) -> Vec<Draw> {
    let mut keys: Vec<(f64, usize)> = weights
        .iter()
        .enumerate()
        .map(|(index, weight)| {
            let uniform: f64 = rng.random();
            // 1 - u lies in (0, 1], so the logarithm is finite.
            (-libm::log(1.0 - uniform) / weight, index)
        })
        .collect();
    keys.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    keys.truncate(k);
    let drawn: Vec<usize> = keys.into_iter().map(|(_, index)| index).collect();
    let probabilities = inclusion_probabilities(weights, k, &drawn);
    drawn
        .into_iter()
        .zip(probabilities)
        .map(|(index, inclusion_probability)| Draw {
            index,
            inclusion_probability,
        })
        .collect()
}

/// Step of the quadrature for k = 1; its error falls as exp(-c / step). The k-th
/// arrival is a step about 1/sqrt(k) units wide, so the nodes follow it.
const STEP: f64 = 0.4;
/// Below this abscissa the integrand is less than 1e-12.
const FIRST: f64 = -3.5;
/// Share of the sum at which the rest of the integral is left out.
const NEGLIGIBLE: f64 = 1e-13;

/// The probabilities with which a draw of `k` includes each place of `of`.
///
/// With T_j the arrival of medoid j at rate w_j, medoid i is drawn when fewer
/// than k others arrive before it:
/// P(i) = integral over t of w_i exp(-w_i t) P(fewer than k others arrived by t).
/// The integral is taken by the trapezoidal rule after t = exp(s - exp(-s)),
/// the double-exponential substitution for the half line; each arrival is then a
/// step of a known width, at any scale of the weights.
fn inclusion_probabilities(weights: &[f64], k: usize, of: &[usize]) -> Vec<f64> {
    if k >= weights.len() {
        return vec![1.0; of.len()];
    }
    let total: f64 = weights.iter().sum();
    let mut rates: Vec<f64> = of.iter().map(|&i| weights[i] / total).collect();
    let others = (0..weights.len()).filter(|i| !of.contains(i));
    rates.extend(others.map(|i| weights[i] / total));
    let mut probabilities = vec![0.0; of.len()];
    let mut waiting = vec![0.0; rates.len()];
    let (mut others_arrived, mut arrived) = (vec![0.0; k], vec![0.0; k]);
    let step = STEP / (k as f64).sqrt();
    for node in 0.. {
        let s = FIRST + step * f64::from(node);
        let t = libm::exp(s - libm::exp(-s));
        let width = step * t * (1.0 + libm::exp(-s));
        if !width.is_finite() {
            // Only weights 300 orders of magnitude apart get this far.
            break;
        }
        for (waiting, rate) in waiting.iter_mut().zip(&rates) {
            *waiting = libm::exp(-rate * t);
        }
        let (drawn, others) = waiting.split_at(of.len());
        // What those not drawn do is the same for all that are.
        others_arrived.fill(0.0);
        others_arrived[0] = 1.0;
        others
            .iter()
            .for_each(|&waits| add_arrival(&mut others_arrived, waits));
        let mut done = t > 1.0;
        for (i, sum) in probabilities.iter_mut().enumerate() {
            arrived.copy_from_slice(&others_arrived);
            let rest = drawn.iter().enumerate().filter(|&(j, _)| j != i);
            rest.for_each(|(_, &waits)| add_arrival(&mut arrived, waits));
            let fewer_than_k: f64 = arrived.iter().sum();
            let term = width * rates[i] * drawn[i] * fewer_than_k;
            *sum += term;
            done &= term <= NEGLIGIBLE * *sum;
        }
        if done {
            break;
        }
    }
    probabilities.into_iter().map(|sum| sum.min(1.0)).collect()
}

/// Adds one place, which is still waiting with probability `waits`, to those of
/// which exactly m have arrived with probability `arrived[m]`.
fn add_arrival(arrived: &mut [f64], waits: f64) {
    for m in (1..arrived.len()).rev() {
        arrived[m] = arrived[m] * waits + arrived[m - 1] * (1.0 - waits);
    }
    arrived[0] *= waits;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;

    /// Sums over every order of drawing: P(first i1) P(then i2 | i1) ...
    fn enumerated(weights: &[f64], k: usize, drawn: &mut Vec<usize>, of: usize) -> f64 {
        if drawn.contains(&of) {
            return 1.0;
        }
        if drawn.len() == k {
            return 0.0;
        }
        let rest: Vec<usize> = (0..weights.len()).filter(|i| !drawn.contains(i)).collect();
        let total: f64 = rest.iter().map(|&i| weights[i]).sum();
        let mut sum = 0.0;
        for i in rest {
            drawn.push(i);
            sum += weights[i] / total * enumerated(weights, k, drawn, of);
            drawn.pop();
        }
        sum
    }

    #[test]
    fn importances_at_their_floor_are_still_drawn_fairly() {
        let weights = [13.0, 1.0, 1e-150, 1e-150];
        let probabilities = inclusion_probabilities(&weights, 3, &[0, 1, 2, 3]);
        for (probability, exact) in probabilities.into_iter().zip([1.0, 1.0, 0.5, 0.5]) {
            assert!((probability - exact).abs() < 1e-8, "{probability} {exact}");
        }
    }

    proptest! {
        #[test]
        fn probabilities_equal_the_enumeration(
            logs in prop::collection::vec(-9.0f64..9.0, 1..7), k in 1usize..6,
        ) {
            let weights: Vec<f64> = logs.iter().map(|log| log.exp()).collect();
            let of: Vec<usize> = (0..weights.len()).collect();
            let probabilities = inclusion_probabilities(&weights, k, &of);
            for (i, probability) in probabilities.iter().enumerate() {
                let exact = enumerated(&weights, k, &mut Vec::new(), i);
                prop_assert!((probability / exact - 1.0).abs() < 1e-8, "{} {}", probability, exact);
            }
        }

        #[test]
        fn probabilities_of_many_weights_add_up_to_the_size_of_the_draw(
            logs in prop::collection::vec(-6.0f64..6.0, 21..120), k in 1usize..=20,
        ) {
            let weights: Vec<f64> = logs.iter().map(|log| log.exp()).collect();
            let of: Vec<usize> = (0..weights.len()).collect();
            let sum: f64 = inclusion_probabilities(&weights, k, &of).iter().sum();
            prop_assert!((sum - k as f64).abs() < 1e-8, "{}", sum);
        }

        #[test]
        fn draws_are_distinct_and_a_larger_draw_begins_with_the_smaller(
            weights in prop::collection::vec(1e-300f64..1e300, 0..30), seed: u64,
        ) {
            let draw = |k| -> Vec<usize> {
                let rng = &mut ChaCha8Rng::seed_from_u64(seed);
                sample(&weights, k, rng).iter().map(|draw| draw.index).collect()
            };
            let all = draw(weights.len());
            let mut sorted = all.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..weights.len()).collect::<Vec<_>>());
            let three = draw(3);
            prop_assert_eq!(&all[..three.len()], &three);
        }
    }

    #[test]
    fn frequencies_match_the_reported_probabilities() {
        let weights = [0.05, 8.0, 1.0, 2.5, 0.4, 1.0, 4.0];
        const DRAWS: u32 = 200_000;
        let mut counts = [0u32; 7];
        let mut reported = [0.0; 7];
        let rng = &mut ChaCha8Rng::seed_from_u64(7);
        for _ in 0..DRAWS {
            for draw in sample(&weights, 3, rng) {
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
