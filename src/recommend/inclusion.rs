//! The probability that a draw without replacement includes a medoid.
//!
//! Draws of up to three medoids, the default, are summed over the orders of drawing.
//! Larger draws are integrated over time, which takes five times as long. Integrating
//! small draws as well would cost a user of 14 interests 2.4 us a call and one of 100
//! interests 12.6 us (`cargo bench --bench recommend`), where a whole call takes about
//! 105 us of both cores at full load.

use super::orders::{self, OrdersScratch};
use super::quadrature::{self, QuadratureScratch};
use super::rates::Rates;

/// Largest draw whose orders are summed.
const MAX_SUMMED_DRAW: usize = 3;

/// Buffers that one call leaves to the next.
#[derive(Debug, Default)]
pub(super) struct InclusionScratch {
    rates: Rates,
    orders: OrdersScratch,
    quadrature: QuadratureScratch,
    probabilities: Vec<f64>,
}

/// Probabilities, in (0, 1], that a draw of `k` includes the medoids at `positions`, in
/// their order.
///
/// `weights` must be positive and finite, and `positions` distinct.
pub(super) fn probabilities<'s>(
    weights: &[f64],
    k: usize,
    positions: &[usize],
    scratch: &'s mut InclusionScratch,
) -> &'s [f64] {
    let InclusionScratch {
        rates,
        orders,
        quadrature,
        probabilities,
    } = scratch;
    probabilities.clear();
    if k >= weights.len() {
        probabilities.resize(positions.len(), 1.0);
        return probabilities;
    }
    rates.fill(weights, positions);
    if k <= MAX_SUMMED_DRAW {
        orders::probabilities(rates, k, orders, probabilities);
    } else {
        quadrature::probabilities(rates, k, quadrature, probabilities);
    }
    for probability in &mut *probabilities {
        *probability = probability.min(1.0);
    }
    probabilities
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Computed in buffers that another call has used.
    fn probabilities_of_all(weights: &[f64], k: usize) -> Vec<f64> {
        let mut scratch = InclusionScratch::default();
        probabilities(
            &[3.0, 1.0, 0.1, 4.0, 1.0, 5.0, 9.0],
            1 + k % 5,
            &[5, 1],
            &mut scratch,
        );
        let of: Vec<usize> = (0..weights.len()).collect();
        probabilities(weights, k, &of, &mut scratch).to_vec()
    }

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
        let cases: [(&[f64], usize, &[f64]); 6] = [
            (&[13.0, 1.0, 1e-150, 1e-150], 3, &[1.0, 1.0, 0.5, 0.5]),
            (&[1e-150, 13.0, 1e-150, 1.0], 3, &[0.5, 1.0, 0.5, 1.0]),
            (
                &[13.0, 1e-150, 1e-150, 1e-150],
                2,
                &[1.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0],
            ),
            (&[1.0, 1e-20, 2e-40, 2e-40], 3, &[1.0, 1.0, 0.5, 0.5]),
            (
                &[1e-150, 1.0, 1.0, 1e-150, 1.0, 1.0],
                5,
                &[0.5, 1.0, 1.0, 0.5, 1.0, 1.0],
            ),
            (&[1e308, 1e308, 1e308, 1e308], 3, &[0.75; 4]),
        ];
        for (weights, k, exact) in cases {
            let probabilities = probabilities_of_all(weights, k);
            for (probability, exact) in probabilities.into_iter().zip(exact) {
                assert!((probability - exact).abs() < 1e-8, "{probability} {exact}");
            }
        }
    }

    proptest! {
        #[test]
        fn probabilities_equal_the_enumeration(
            logs in prop::collection::vec(-9.0f64..9.0, 1..7), k in 1usize..6,
        ) {
            let weights: Vec<f64> = logs.iter().map(|log| log.exp()).collect();
            for (i, probability) in probabilities_of_all(&weights, k).into_iter().enumerate() {
                let exact = enumerated(&weights, k, &mut Vec::new(), i);
                prop_assert!((probability / exact - 1.0).abs() < 1e-8, "{} {}", probability, exact);
            }
        }

        #[test]
        fn probabilities_of_weights_of_any_size_equal_the_enumeration(
            logs in prop::collection::vec(-300.0f64..300.0, 1..7), k in 1usize..6,
        ) {
            let weights: Vec<f64> = logs.iter().map(|log| log.exp()).collect();
            for (i, probability) in probabilities_of_all(&weights, k).into_iter().enumerate() {
                let exact = enumerated(&weights, k, &mut Vec::new(), i);
                prop_assert!((probability / exact - 1.0).abs() < 1e-8, "{} {}", probability, exact);
            }
        }

        #[test]
        fn probabilities_of_many_weights_add_up_to_the_size_of_the_draw(
            logs in prop::collection::vec(-6.0f64..6.0, 21..120), k in 1usize..=20,
        ) {
            let weights: Vec<f64> = logs.iter().map(|log| log.exp()).collect();
            let sum: f64 = probabilities_of_all(&weights, k).iter().sum();
            prop_assert!((sum - k as f64).abs() < 1e-8, "{}", sum);
        }

        #[test]
        fn orders_and_quadrature_agree_on_any_few_of_many_weights(
            logs in prop::collection::vec(-6.0f64..6.0, 5..120),
            k in 1usize..=3,
            picks in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        ) {
            let weights: Vec<f64> = logs.iter().map(|log| log.exp()).collect();
            let mut of: Vec<usize> = picks.iter().map(|pick| pick.index(weights.len())).collect();
            of.sort_unstable();
            of.dedup();
            let mut scratch = InclusionScratch::default();
            let found = probabilities(&weights, k, &of, &mut scratch).to_vec();
            let InclusionScratch { rates, quadrature, probabilities, .. } = &mut scratch;
            rates.fill(&weights, &of);
            quadrature::probabilities(rates, k, quadrature, probabilities);
            for (found, other) in found.iter().zip(probabilities) {
                prop_assert!((found / *other - 1.0).abs() < 1e-8, "{} {}", found, other);
            }
        }
    }
}
