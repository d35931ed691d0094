//! The probability with which a draw without replacement includes a medoid.
//!
//! Small draws, the usual ones, are summed over all orders of drawing; larger
//! ones are integrated over time, at ten times the cost.

use super::{orders, quadrature};

/// Largest draw for which the orders are summed.
const MOST_ORDERED: usize = 3;

/// Memory of a call, for the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    rates: Rates,
    orders: orders::Scratch,
    quadrature: quadrature::Scratch,
    probabilities: Vec<f64>,
}

/// The probabilities with which a draw of `k` includes each place of `of`.
///
/// Weights must be positive and finite; places must be distinct.
pub(super) fn probabilities<'s>(
    weights: &[f64],
    k: usize,
    of: &[usize],
    scratch: &'s mut Scratch,
) -> &'s [f64] {
    let Scratch {
        rates,
        orders,
        quadrature,
        probabilities,
    } = scratch;
    probabilities.clear();
    if k >= weights.len() {
        probabilities.resize(of.len(), 1.0);
        return probabilities;
    }
    rates.fill(weights, of);
    if k <= MOST_ORDERED {
        orders::probabilities(rates, k, orders, probabilities);
    } else {
        quadrature::probabilities(rates, k, quadrature, probabilities);
    }
    for probability in &mut *probabilities {
        *probability = probability.min(1.0);
    }
    probabilities
}

/// Weights more orders of magnitude below the sum than this are taken for equal,
/// so that their reciprocals are finite.
const LEAST_RATE: f64 = 1e-280;

/// Weights as shares of their sum.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// Of the places that are asked for.
    pub(super) asked: Vec<f64>,
    /// Of all places, with 0 at those that are asked for.
    pub(super) others: Vec<f64>,
    /// Sum of all but the greatest: the greatest one's distance from 1, which a
    /// subtraction would not give when it is far ahead.
    pub(super) without_greatest: f64,
}

impl Rates {
    fn fill(&mut self, weights: &[f64], of: &[usize]) {
        let Self {
            asked,
            others,
            without_greatest,
        } = self;
        let greater = |a, b| if weights[b] > weights[a] { b } else { a };
        let greatest = (0..weights.len()).reduce(greater).unwrap_or(0);
        let scale = weights.get(greatest).copied().unwrap_or(1.0);
        others.clear();
        // A sum of weights near the largest number would not be finite.
        others.extend(weights.iter().map(|weight| weight / scale));
        let (before, after) = (&others[..greatest], &others[greatest + 1..]);
        let rest = before.iter().sum::<f64>() + after.iter().sum::<f64>();
        let share = 1.0 / (1.0 + rest);
        *without_greatest = rest * share;
        for rate in &mut *others {
            *rate = (*rate * share).max(LEAST_RATE);
        }
        asked.clear();
        asked.extend(of.iter().map(|&place| std::mem::take(&mut others[place])));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// In memory that another call has used.
    fn of_all(weights: &[f64], k: usize) -> Vec<f64> {
        let mut scratch = Scratch::default();
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
            let probabilities = of_all(weights, k);
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
            for (i, probability) in of_all(&weights, k).into_iter().enumerate() {
                let exact = enumerated(&weights, k, &mut Vec::new(), i);
                prop_assert!((probability / exact - 1.0).abs() < 1e-8, "{} {}", probability, exact);
            }
        }

        #[test]
        fn probabilities_of_weights_of_any_size_equal_the_enumeration(
            logs in prop::collection::vec(-300.0f64..300.0, 1..7), k in 1usize..6,
        ) {
            let weights: Vec<f64> = logs.iter().map(|log| log.exp()).collect();
            for (i, probability) in of_all(&weights, k).into_iter().enumerate() {
                let exact = enumerated(&weights, k, &mut Vec::new(), i);
                prop_assert!((probability / exact - 1.0).abs() < 1e-8, "{} {}", probability, exact);
            }
        }

        #[test]
        fn probabilities_of_many_weights_add_up_to_the_size_of_the_draw(
            logs in prop::collection::vec(-6.0f64..6.0, 21..120), k in 1usize..=20,
        ) {
            let weights: Vec<f64> = logs.iter().map(|log| log.exp()).collect();
            let sum: f64 = of_all(&weights, k).iter().sum();
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
            let mut scratch = Scratch::default();
            let found = probabilities(&weights, k, &of, &mut scratch).to_vec();
            let Scratch { rates, quadrature, probabilities, .. } = &mut scratch;
            rates.fill(&weights, &of);
            quadrature::probabilities(rates, k, quadrature, probabilities);
            for (found, other) in found.iter().zip(probabilities) {
                prop_assert!((found / *other - 1.0).abs() < 1e-8, "{} {}", found, other);
            }
        }
    }
}
