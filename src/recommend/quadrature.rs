//! Inclusion in draws of any size, by integration over time.
//!
//! With T_j the arrival of medoid j at rate w_j, medoid i is drawn when fewer
//! than k others arrive before it:
//! P(i) = integral over t of w_i exp(-w_i t) P(fewer than k others arrived by t).
//! The integral is taken by the trapezoidal rule after t = exp(s - exp(-s)),
//! the double-exponential substitution for the half line; each arrival is then a
//! step of a known width, at any scale of the weights.
//!
//! Several nodes are computed side by side, in plain arithmetic that gives the
//! same bits on every machine.

use pulp::{Simd, WithSimd};

use super::rates::Rates;
use crate::kernel;

/// Step of the rule for k = 1; its error falls as exp(-c / step). The k-th
/// arrival is a step about 1/sqrt(k) units wide, so the nodes follow it.
const STEP: f64 = 0.4;
/// Below this abscissa the integrand is less than 1e-12.
const FIRST: f64 = -3.5;
/// Share of the sum at which the rest of the integral is left out.
const NEGLIGIBLE: f64 = 1e-13;
/// Nodes side by side.
const LANES: usize = 4;

/// One number for each of the nodes side by side.
type Wide = [f64; LANES];

/// Buffers that one call leaves to the next.
#[derive(Debug, Default)]
pub(super) struct QuadratureScratch {
    /// For each i the probabilities that exactly m of those who are not asked
    /// for and of the first i asked for have arrived, m less than k.
    arrived: Vec<Wide>,
    /// The probabilities that at most m of the last asked for have arrived.
    at_most: Vec<Wide>,
    /// For each who is asked for, the probability that it still waits.
    waits: Vec<Wide>,
}

/// Adds to `probabilities` those with which a draw of `k` includes each place
/// that is asked for. `k` is less than the number of rates.
pub(super) fn probabilities(
    rates: &Rates,
    k: usize,
    scratch: &mut QuadratureScratch,
    probabilities: &mut Vec<f64>,
) {
    let begin = probabilities.len();
    probabilities.resize(begin + rates.asked.len(), 0.0);
    kernel::dispatch(Integral {
        rates,
        k,
        scratch,
        sums: &mut probabilities[begin..],
    });
}

/// The arguments of [`probabilities`], with one sum for each medoid that is asked for.
struct Integral<'a> {
    rates: &'a Rates,
    k: usize,
    scratch: &'a mut QuadratureScratch,
    sums: &'a mut [f64],
}

impl WithSimd for Integral<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let step = STEP / (self.k as f64).sqrt();
        for block in 0.. {
            let nodes = Nodes::new(step, f64::from(block * LANES as u32));
            self.scratch.arrive(self.rates, self.k, &nodes.t);
            if add_terms(&nodes, self.rates, self.k, self.scratch, self.sums) {
                break;
            }
        }
    }
}

/// Nodes of the rule that are computed side by side.
struct Nodes {
    /// The times.
    t: Wide,
    /// The widths of the steps around them.
    width: Wide,
}

impl Nodes {
    /// The nodes from number `first` on.
    #[inline(always)]
    fn new(step: f64, first: f64) -> Self {
        let (mut t, mut width) = ([0.0; LANES], [0.0; LANES]);
        for lane in 0..LANES {
            let s = FIRST + step * (first + lane as f64);
            let fall = exp(-s);
            t[lane] = exp(s - fall);
            width[lane] = step * t[lane] * (1.0 + fall);
        }
        Self { t, width }
    }
}

/// Adds the terms of `nodes` to `sums`. Returns whether the terms behind them are
/// negligible.
#[inline(always)]
fn add_terms(
    nodes: &Nodes,
    rates: &Rates,
    k: usize,
    scratch: &mut QuadratureScratch,
    sums: &mut [f64],
) -> bool {
    let mut is_done = nodes.t[LANES - 1] > 1.0;
    for (i, (rate, sum)) in rates.asked.iter().zip(sums).enumerate().rev() {
        let fewer_than_k = scratch.fewer_than_k_others(i, k);
        let mut term = [0.0; LANES];
        for lane in 0..LANES {
            term[lane] = nodes.width[lane] * rate * scratch.waits[i][lane] * fewer_than_k[lane];
        }
        *sum += term.iter().sum::<f64>();
        is_done &= term[LANES - 1] <= NEGLIGIBLE * *sum;
    }
    is_done
}

impl QuadratureScratch {
    /// Sets the state at times `t`.
    #[inline(always)]
    fn arrive(&mut self, rates: &Rates, k: usize, t: &Wide) {
        let Self {
            arrived,
            at_most,
            waits,
        } = self;
        at_most.clear();
        at_most.resize(k, [1.0; LANES]);
        waits.clear();
        for &rate in &rates.asked {
            waits.push(still_waits(rate, t));
        }
        arrived.clear();
        arrived.resize(k * (rates.asked.len() + 1), [0.0; LANES]);
        arrived[0] = [1.0; LANES];
        if nobody_matters(k, t) {
            for i in 1..=rates.asked.len() {
                arrived[i * k] = [1.0; LANES];
            }
            return;
        }
        for &rate in rates.others.iter().filter(|&&rate| rate > 0.0) {
            add_arrival(&mut arrived[..k], &still_waits(rate, t));
        }
        for (i, waits) in waits.iter().enumerate() {
            arrived.copy_within(i * k..(i + 1) * k, (i + 1) * k);
            add_arrival(&mut arrived[(i + 1) * k..][..k], waits);
        }
    }

    /// The probability that fewer than k of all but i have arrived. To be called
    /// for each i, the last one first.
    #[inline(always)]
    fn fewer_than_k_others(&mut self, i: usize, k: usize) -> Wide {
        let before = &self.arrived[i * k..][..k];
        let mut sum = [0.0; LANES];
        for (before, behind) in before.iter().zip(self.at_most.iter().rev()) {
            for lane in 0..LANES {
                sum[lane] += before[lane] * behind[lane];
            }
        }
        add_arrival(&mut self.at_most, &self.waits[i]);
        sum
    }
}

/// Whether at times `t` it is as good as certain that fewer than k have arrived:
/// with rates that add up to 1, k have with a probability below t^k / k!.
#[inline(always)]
fn nobody_matters(k: usize, t: &Wide) -> bool {
    let latest = t[LANES - 1];
    (1..=k).fold(1.0, |product, j| product * latest / j as f64) < NEGLIGIBLE
}

/// Adds one medoid, which is still waiting with probability `waits`, to those of
/// which exactly, or at most, m have arrived with probability `arrived[m]`.
#[inline(always)]
fn add_arrival(arrived: &mut [Wide], waits: &Wide) {
    let mut fewer = [0.0; LANES];
    for arrived in arrived {
        let before = *arrived;
        for lane in 0..LANES {
            arrived[lane] = before[lane] * waits[lane] + fewer[lane] * (1.0 - waits[lane]);
        }
        fewer = before;
    }
}

/// The probability that a medoid of this rate has not arrived at times `t`.
#[inline(always)]
fn still_waits(rate: f64, t: &Wide) -> Wide {
    let mut waits = [0.0; LANES];
    for lane in 0..LANES {
        waits[lane] = exp(-rate * t[lane]);
    }
    waits
}

/// e^x for x below 709, to 14 digits; what is below 1e-307 is as good as 0.
///
/// Without a branch and without a call, so that the lanes stay together. x is
/// n ln 2 + r with |r| at most ln 2 / 2; e^r is Taylor's series, and n goes into
/// the exponent.
#[inline(always)]
fn exp(x: f64) -> f64 {
    /// Added to a number it leaves the nearest integer in the lowest bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    /// ln 2 in two parts; the first has so few digits that n times it is exact.
    const LN_2: (f64, f64) = (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10);
    /// Reciprocals of the factorials of 11 to 0.
    const SERIES: [f64; 12] = [
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    let x = if x < -708.0 { -708.0 } else { x };
    let rounded = x * std::f64::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (x - n * LN_2.0) - n * LN_2.1;
    let series = SERIES.iter().fold(0.0, |sum, term| sum * r + term);
    series * f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn exp_is_that_of_libm(x in -707.0f64..709.0, little in -1.0f64..1.0) {
            for x in [x, little] {
                let exact = libm::exp(x);
                prop_assert!((exp(x) / exact - 1.0).abs() < 1e-13, "{} {}", exp(x), exact);
            }
        }
    }

    #[test]
    fn exp_of_the_extremes() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert!(exp(-1e300) < 1e-300 && exp(f64::NEG_INFINITY) >= 0.0);
        assert!(exp(708.9).is_finite());
    }
}
