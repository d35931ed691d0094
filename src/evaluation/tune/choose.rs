//! The choice of a value by scores, their lags, and distances from the present value.

use crate::evaluation::metrics::Interval;

/// The position of the greatest score; of equal ones, of that nearest to the present value.
pub(super) fn best(scores: &[f64], distances: &[f64]) -> usize {
    let order = |&a: &usize, &b: &usize| {
        let by_score = scores[a].total_cmp(&scores[b]);
        by_score.then(distances[b].total_cmp(&distances[a]))
    };
    (0..scores.len()).max_by(order).unwrap_or(0)
}

/// The position nearest to the present value among those whose lag may be none; of equally
/// near ones, that of the greater score.
pub(super) fn propose(scores: &[f64], lags: &[Interval], distances: &[f64]) -> usize {
    let may_be_best = (0..scores.len()).filter(|&at| lags[at][0] <= 0.0);
    let order = |&a: &usize, &b: &usize| {
        let by_distance = distances[a].total_cmp(&distances[b]);
        by_distance.then(scores[b].total_cmp(&scores[a]))
    };
    may_be_best.min_by(order).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_value_stays_unless_it_is_evidently_behind() {
        let scores = [0.1, 0.3, 0.32, 0.31];
        let distances = [0.0, 1.0, 3.0, 2.0];
        assert_eq!(best(&scores, &distances), 2);
        let lags = |lows: [f64; 4]| lows.map(|low| [low, 0.4]);
        assert_eq!(
            propose(&scores, &lags([-0.01, -0.1, 0.0, -0.1]), &distances),
            0
        );
        assert_eq!(
            propose(&scores, &lags([0.1, -0.1, 0.0, -0.1]), &distances),
            1
        );
        assert_eq!(
            propose(&scores, &lags([0.1, 0.1, 0.0, -0.1]), &distances),
            3
        );
        assert_eq!(propose(&scores, &lags([0.1, 0.1, 0.0, 0.1]), &distances), 2);
        // Equals: the nearer one is best, the better one of equally near ones is chosen.
        assert_eq!(best(&[0.2, 0.2, 0.1], &[1.0, 0.0, 1.0]), 1);
        assert_eq!(propose(&[0.1, 0.2], &[[0.0, 0.0]; 2], &[1.0, 1.0]), 1);
    }
}
