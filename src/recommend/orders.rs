//! Inclusion in draws of at most three, summed over the orders of drawing.
//!
//! With rates w that add up to 1, medoid i is drawn first with probability w_i,
//! second with w_i * sum over j of w_j / (1 - w_j), and third with
//! w_i * sum over pairs {j, l} of
//! g(j, l) = w_j w_l (1 / (1 - w_j) + 1 / (1 - w_l)) / (1 - w_j - w_l),
//! where j and l run over all but i.
//!
//! No sum is taken by leaving something out of a greater one, and no distance
//! from 1 by a subtraction that cancels, so one weight may be far ahead of the
//! rest. As each probability is w_i * (1 + ...), all else needs to be exact only
//! in relation to 1.
//!
//! The pairs of light medoids are not formed one by one. With l light, the sum
//! over l of w_l / (x - w_l) is a series in 1 / x whose coefficients are the sums
//! of powers of the light rates, so that the whole takes linear time.

use super::rates::Rates;

/// Light are rates up to this share of the sum without the greatest.
const LIGHT: f64 = 1.0 / 16.0;
/// Terms of the series; the rest of it is less than (1 / 15)^8, or 4e-10.
const TERMS: usize = 8;
/// Partial sums of a loop over the light ones.
const LANES: usize = 4;

/// Buffers that one call leaves to the next.
#[derive(Debug, Default)]
pub(super) struct OrdersScratch {
    singles: Singles,
    light: Light,
    /// For each single the sum of g over its pairs with light ones, and with
    /// those singles behind it that are not asked for.
    pairs: Vec<f64>,
}

/// Adds to `probabilities` those with which a draw of `k` includes each place
/// that is asked for. `k` is at most 3 and less than the number of rates.
pub(super) fn probabilities(
    rates: &Rates,
    k: usize,
    scratch: &mut OrdersScratch,
    probabilities: &mut Vec<f64>,
) {
    let asked = rates.asked.len();
    if k == 1 {
        probabilities.extend(&rates.asked);
        return;
    }
    let OrdersScratch {
        singles,
        light,
        pairs,
    } = scratch;
    singles.fill(rates, light);
    let after = |j: usize| singles.all[j].rate / singles.all[j].rest;
    let unasked = asked..singles.all.len();
    let seconds =
        light.sum(|rate, inverse| rate * inverse) + unasked.clone().map(after).sum::<f64>();
    let others = |i: usize| (0..asked).filter(move |&j| j != i);
    let second = |i: usize| seconds + others(i).map(after).sum::<f64>();
    let rate = |i: usize| singles.all[i].rate;
    if k == 2 {
        probabilities.extend((0..asked).map(|i| rate(i) * (1.0 + second(i))));
        return;
    }
    pairs.clear();
    pairs.extend((0..singles.all.len()).map(|j| {
        let behind = unasked.clone().filter(|&l| l > j);
        light.pairs_with(&singles.all[j]) + behind.map(|l| singles.pair(j, l)).sum::<f64>()
    }));
    let thirds = light.pairs() + pairs[unasked.clone()].iter().sum::<f64>();
    let third = |i: usize| {
        let with_asked = |j: usize| -> f64 {
            let behind = others(i).filter(|&l| l > j);
            behind.map(|l| singles.pair(j, l)).sum()
        };
        thirds + others(i).map(|j| pairs[j] + with_asked(j)).sum::<f64>()
    };
    probabilities.extend((0..asked).map(|i| rate(i) * (1.0 + second(i) + third(i))));
}

/// A medoid that is looked at by itself.
#[derive(Clone, Copy, Debug)]
struct Single {
    rate: f64,
    /// Sum of the rates of all others.
    rest: f64,
}

/// Those that are looked at by themselves.
#[derive(Debug, Default)]
struct Singles {
    /// Those asked for, then the others that are not light.
    all: Vec<Single>,
    /// The places of the two heaviest.
    heaviest: (usize, usize),
    /// Sum of the rates of all medoids but the two heaviest.
    beyond: f64,
}

impl Singles {
    /// Sorts out who is looked at by itself and who is light.
    fn fill(&mut self, rates: &Rates, light: &mut Light) {
        let single = |rate: f64| {
            let rest = if rate > 0.5 {
                rates.without_greatest
            } else {
                1.0 - rate
            };
            Single { rate, rest }
        };
        self.all.clear();
        self.all
            .extend(rates.asked.iter().map(|&rate| single(rate)));
        let most = LIGHT * rates.without_greatest;
        light.rates.clear();
        light.rates.extend(&rates.others);
        for rate in light.rates.iter_mut().filter(|rate| **rate > most) {
            self.all.push(single(std::mem::take(rate)));
        }
        light.inverses.clear();
        light
            .inverses
            .extend(light.rates.iter().map(|rate| 1.0 / (1.0 - rate)));

        let heavier = |a: usize, b: usize| {
            if self.all[b].rate > self.all[a].rate {
                b
            } else {
                a
            }
        };
        let first = (0..self.all.len()).reduce(heavier).unwrap_or(0);
        let rest = || (0..self.all.len()).filter(|&j| j != first);
        let second = rest().reduce(heavier).unwrap_or(first);
        let beyond = rest().filter(|&j| j != second).map(|j| self.all[j].rate);
        self.beyond = light.sum(|rate, _| rate) + beyond.sum::<f64>();
        self.heaviest = (first, second);
    }

    /// g of two of them.
    fn pair(&self, j: usize, l: usize) -> f64 {
        let (mut a, mut b) = (self.all[j], self.all[l]);
        if b.rate > a.rate {
            (a, b) = (b, a);
        }
        let beyond = if [(j, l), (l, j)].contains(&self.heaviest) {
            self.beyond
        } else {
            a.rest - b.rate
        };
        a.rate * (b.rate / a.rest + b.rate / b.rest) / beyond
    }
}

/// The medoids that are looked at together.
#[derive(Debug, Default)]
struct Light {
    /// 0 for those that are looked at by themselves, and so add nothing.
    rates: Vec<f64>,
    /// 1 / (1 - rate).
    inverses: Vec<f64>,
}

impl Light {
    /// Sum of `term` over rates and inverses.
    #[inline]
    fn sum(&self, term: impl Fn(f64, f64) -> f64) -> f64 {
        let (rates, few_rates) = self.rates.as_chunks::<LANES>();
        let (inverses, few_inverses) = self.inverses.as_chunks::<LANES>();
        let mut sums = [0.0; LANES];
        for (rates, inverses) in rates.iter().zip(inverses) {
            for lane in 0..LANES {
                sums[lane] += term(rates[lane], inverses[lane]);
            }
        }
        let few = few_rates.iter().zip(few_inverses);
        sums.iter().sum::<f64>()
            + few
                .map(|(&rate, &inverse)| term(rate, inverse))
                .sum::<f64>()
    }

    /// Sum of g over the pairs of `single` with each light one.
    fn pairs_with(&self, single: &Single) -> f64 {
        let own = 1.0 / single.rest;
        single.rate * self.sum(|rate, inverse| rate * (own + inverse) / (single.rest - rate))
    }

    /// Sum of g over the pairs of light ones, which is the sum over j of
    /// w_j / (1 - w_j) * sum over l other than j of w_l / (1 - w_j - w_l).
    fn pairs(&self) -> f64 {
        let mut powers = [0.0; TERMS];
        let (rates, few_rates) = self.rates.as_chunks::<2>();
        let mut lanes = [[0.0; 2]; TERMS];
        for rates in rates {
            let mut power = *rates;
            for sum in &mut lanes {
                for lane in 0..2 {
                    sum[lane] += power[lane];
                    power[lane] *= rates[lane];
                }
            }
        }
        for (sum, lanes) in powers.iter_mut().zip(lanes) {
            *sum = lanes[0] + lanes[1];
        }
        for rate in few_rates {
            let mut power = *rate;
            for sum in &mut powers {
                *sum += power;
                power *= rate;
            }
        }
        self.sum(|rate, inverse| {
            let series = powers
                .iter()
                .rev()
                .fold(0.0, |sum, power| (sum + power) * inverse);
            let own = rate * inverse / (1.0 - rate * inverse);
            rate * inverse * (series - own)
        })
    }
}
