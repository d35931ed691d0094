//! Intervals by the bootstrap over users.
//!
//! Users are drawn anew with replacement, and every ratio of sums is computed over
//! the drawn ones. Actions of one user are alike, so users are what is drawn, not
//! actions. All ratios share the draws: they can be compared.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;

/// Share of the rounds that lies below an interval, and above it.
const TAIL: f64 = 0.025;

/// A ratio of two sums over users: what each adds to the upper and to the lower one.
pub(super) type Column = Vec<(f64, f64)>;

/// An interval, from its lower to its upper end.
pub type Interval = [f64; 2];

/// The ratio of the sums; 0 of nothing.
pub(super) fn ratio(column: &[(f64, f64)]) -> f64 {
    divided(
        column
            .iter()
            .fold((0.0, 0.0), |sum, user| (sum.0 + user.0, sum.1 + user.1)),
    )
}

fn divided((upper, lower): (f64, f64)) -> f64 {
    if lower == 0.0 { 0.0 } else { upper / lower }
}

/// The 95 % interval of each of `columns`, all of which are over the same users.
pub(super) fn intervals(columns: &[Column], rounds: usize, seed: u64) -> Vec<Interval> {
    let users = columns.first().map_or(0, Vec::len);
    if users == 0 {
        return vec![[0.0; 2]; columns.len()];
    }
    intervals_of(users, rounds, seed, |times| {
        let sums = |column: &Column| {
            let drawn = column.iter().zip(times);
            drawn.fold((0.0, 0.0), |sum, (user, times)| {
                (sum.0 + times * user.0, sum.1 + times * user.1)
            })
        };
        columns.iter().map(|column| divided(sums(column))).collect()
    })
}

/// The 95 % interval of each of `statistics`, which are told how often each of the
/// `users` was drawn. There is a user and a round.
pub(super) fn intervals_of(
    users: usize,
    rounds: usize,
    seed: u64,
    statistics: impl Fn(&[f64]) -> Vec<f64> + Sync,
) -> Vec<Interval> {
    // A generator a round, so that the rounds can be shared among threads.
    let round = |round: u64| -> Vec<f64> {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(round);
        let mut times = vec![0.0; users];
        (0..users).for_each(|_| times[rng.random_range(0..users)] += 1.0);
        statistics(&times)
    };
    let rounds: Vec<Vec<f64>> = (0..rounds as u64).into_par_iter().map(round).collect();
    let interval = |at: usize| {
        let mut drawn: Vec<f64> = rounds.iter().map(|round| round[at]).collect();
        drawn.sort_unstable_by(f64::total_cmp);
        let below = (TAIL * drawn.len() as f64) as usize;
        [drawn[below], drawn[drawn.len() - 1 - below]]
    };
    (0..rounds[0].len()).map(interval).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_that_all_users_share_is_certain() {
        let column = vec![(1.0, 2.0), (3.0, 6.0), (0.5, 1.0)];
        assert_eq!(intervals(&[column], 100, 1), [[0.5, 0.5]]);
        assert_eq!(intervals(&[Vec::new()], 100, 1), [[0.0, 0.0]]);
        assert_eq!(ratio(&[(1.0, 2.0), (2.0, 2.0)]), 0.75);
        assert_eq!(ratio(&[]), 0.0);
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_the_normal_distribution() {
        // 0 and 1 in turn: the mean of n has the standard error 0.5 / sqrt(n).
        let column: Column = (0..400).map(|user| (f64::from(user % 2), 1.0)).collect();
        let [low, high] = intervals(&[column], 4_000, 7)[0];
        let expected = 1.96 * 0.5 / 20.0;
        assert!((0.5 - low - expected).abs() < 0.005, "{low}");
        assert!((high - 0.5 - expected).abs() < 0.005, "{high}");
    }

    #[test]
    fn the_seed_decides_and_columns_share_their_draws() {
        let column: Column = (0..50).map(|user| (f64::from(user * user), 1.0)).collect();
        let both = intervals(&[column.clone(), column.clone()], 200, 3);
        assert_eq!(both[0], both[1]);
        assert_eq!(both[0], intervals(std::slice::from_ref(&column), 200, 3)[0]);
        assert_ne!(both[0], intervals(&[column], 200, 4)[0]);
    }
}
