//! Confidence intervals by the bootstrap over users.
//!
//! Users are drawn anew with replacement, and every ratio of sums is computed over the
//! drawn ones. The actions of one user resemble each other, so users are drawn, not
//! actions. All ratios share the draws, so they can be compared.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;

/// Number of times that all users are drawn anew.
const ROUNDS: usize = 1_000;
/// Seed of these draws. It is fixed, so that two replays differ only by what they
/// replayed.
const SEED: u64 = 1;
/// Share of the rounds that lies below an interval, and share that lies above it.
const TAIL: f64 = 0.025;

/// What one user adds to the numerator and to the denominator of a ratio of sums.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) numerator: f64,
    pub(crate) denominator: f64,
}

/// The parts of one ratio, by user.
pub(crate) type Column = Vec<Ratio>;

/// A 95 % interval, from its lower to its upper end.
pub type Interval = [f64; 2];

/// A measure and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) interval: Interval,
}

impl Ratio {
    fn add(self, other: Self, times: f64) -> Self {
        Self {
            numerator: self.numerator + times * other.numerator,
            denominator: self.denominator + times * other.denominator,
        }
    }

    /// The quotient; 0 for an empty denominator.
    fn value(self) -> f64 {
        if self.denominator == 0.0 {
            0.0
        } else {
            self.numerator / self.denominator
        }
    }
}

impl Estimate {
    /// The measure `value` with its interval.
    pub(crate) fn new(value: f64, interval: Interval) -> Self {
        Self { value, interval }
    }

    /// The same estimate in other units: all values times `factor`.
    pub(crate) fn scaled(self, factor: f64) -> Self {
        Self {
            value: factor * self.value,
            interval: self.interval.map(|end| factor * end),
        }
    }
}

/// The ratio of the sums of each of `columns`, all of which are over the same users.
pub(crate) fn estimate_ratios(columns: &[Column]) -> Vec<Estimate> {
    let intervals = ratio_intervals(columns, ROUNDS, SEED);
    let values = columns.iter().map(|column| ratio_of_sums(column));
    values
        .zip(intervals)
        .map(|(value, interval)| Estimate::new(value, interval))
        .collect()
}

/// The 95 % interval of each of `statistics`, a function of how often each of the
/// `users` was drawn. There must be at least one user.
pub(crate) fn bootstrap_intervals(
    users: usize,
    statistics: impl Fn(&[f64]) -> Vec<f64> + Sync,
) -> Vec<Interval> {
    intervals(users, ROUNDS, SEED, statistics)
}

fn ratio_of_sums(column: &[Ratio]) -> f64 {
    let sums = column.iter();
    sums.fold(Ratio::default(), |sum, &user| sum.add(user, 1.0))
        .value()
}

fn weighted_ratio(column: &[Ratio], times: &[f64]) -> f64 {
    let drawn = column.iter().zip(times);
    drawn
        .fold(Ratio::default(), |sum, (&user, &times)| {
            sum.add(user, times)
        })
        .value()
}

fn ratio_intervals(columns: &[Column], rounds: usize, seed: u64) -> Vec<Interval> {
    let users = columns.first().map_or(0, Vec::len);
    if users == 0 {
        return vec![[0.0; 2]; columns.len()];
    }
    intervals(users, rounds, seed, |times| {
        let ratios = columns.iter().map(|column| weighted_ratio(column, times));
        ratios.collect()
    })
}

fn intervals(
    users: usize,
    rounds: usize,
    seed: u64,
    statistics: impl Fn(&[f64]) -> Vec<f64> + Sync,
) -> Vec<Interval> {
    let round = |round: u64| statistics(&draw_users(users, seed, round));
    let rounds: Vec<Vec<f64>> = (0..rounds as u64).into_par_iter().map(round).collect();
    let interval = |at: usize| central_interval(rounds.iter().map(|round| round[at]).collect());
    (0..rounds[0].len()).map(interval).collect()
}

/// How often each user is drawn in one round.
fn draw_users(users: usize, seed: u64, round: u64) -> Vec<f64> {
    // Each round has a stream of its own, so that threads can share the rounds.
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(round);
    let mut times = vec![0.0; users];
    (0..users).for_each(|_| times[rng.random_range(0..users)] += 1.0);
    times
}

/// The interval without the tails of `values`.
fn central_interval(mut values: Vec<f64>) -> Interval {
    values.sort_unstable_by(f64::total_cmp);
    let below = (TAIL * values.len() as f64) as usize;
    [values[below], values[values.len() - 1 - below]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(numerator: f64, denominator: f64) -> Ratio {
        Ratio {
            numerator,
            denominator,
        }
    }

    #[test]
    fn a_ratio_that_all_users_share_is_certain() {
        let column = vec![ratio(1.0, 2.0), ratio(3.0, 6.0), ratio(0.5, 1.0)];
        assert_eq!(ratio_intervals(&[column], 100, 1), [[0.5, 0.5]]);
        assert_eq!(ratio_intervals(&[Vec::new()], 100, 1), [[0.0, 0.0]]);
        assert_eq!(ratio_of_sums(&[ratio(1.0, 2.0), ratio(2.0, 2.0)]), 0.75);
        assert_eq!(ratio_of_sums(&[]), 0.0);
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_the_normal_distribution() {
        // 0 and 1 in turn: the mean of n has the standard error 0.5 / sqrt(n).
        let column: Column = (0..400)
            .map(|user| ratio(f64::from(user % 2), 1.0))
            .collect();
        let [low, high] = ratio_intervals(&[column], 4_000, 7)[0];
        let expected = 1.96 * 0.5 / 20.0;
        assert!((0.5 - low - expected).abs() < 0.005, "{low}");
        assert!((high - 0.5 - expected).abs() < 0.005, "{high}");
    }

    #[test]
    fn the_seed_decides_and_columns_share_their_draws() {
        let column: Column = (0..50)
            .map(|user| ratio(f64::from(user * user), 1.0))
            .collect();
        let both = ratio_intervals(&[column.clone(), column.clone()], 200, 3);
        assert_eq!(both[0], both[1]);
        assert_eq!(
            both[0],
            ratio_intervals(std::slice::from_ref(&column), 200, 3)[0]
        );
        assert_ne!(both[0], ratio_intervals(&[column], 200, 4)[0]);
    }
}
