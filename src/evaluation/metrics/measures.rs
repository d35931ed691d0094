//! Measures of one list of candidates. Pure.

use serde::{Deserialize, Serialize};

use crate::kernel;

/// Number of candidates of the head of a list, which is what a page shows first.
pub(crate) const HEAD: usize = 50;

/// Sums over lists and over target actions from which all measures follow: those of one
/// model, over one list or one user. Checkpoints hold them under these names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct MeasureSums {
    /// Lists of candidates: one for each day that is judged.
    pub(crate) lists: f64,
    /// Candidates in the lists.
    pub(crate) candidates: f64,
    /// Target actions, on pins that the filter of the model selects.
    pub(crate) actions: f64,
    /// Target actions, whatever the filter.
    pub(crate) all_actions: f64,
    /// Target actions near a candidate.
    pub(crate) relevant: f64,
    /// Target actions on a candidate.
    pub(crate) recalled: f64,
    /// Sum of the [`r_precision_hits`] of the lists.
    pub(crate) precise: f64,
    /// Sum of reciprocal ranks of the targets.
    pub(crate) reciprocal: f64,
    /// Sum of the diversities of the lists.
    pub(crate) diversity: f64,
    /// Sum of the numbers of categories in the lists.
    pub(crate) categories: f64,
    /// Target actions near one of the first [`HEAD`] candidates.
    pub(crate) head_relevant: f64,
    /// Target actions on one of the first [`HEAD`] candidates.
    pub(crate) head_recalled: f64,
    /// Sum of the diversities of the first [`HEAD`] candidates.
    pub(crate) head_diversity: f64,
    /// Candidates that break a spacing rule.
    pub(crate) crowded: f64,
    /// Sum of the times of the answers; 0 where they are not measured.
    pub(crate) seconds: f64,
}

impl MeasureSums {
    /// Adds the sums of `other`.
    pub(crate) fn add(&mut self, other: &Self) {
        // Named one by one, so that no new sum is forgotten.
        let Self {
            lists,
            candidates,
            actions,
            all_actions,
            relevant,
            recalled,
            precise,
            reciprocal,
            diversity,
            categories,
            head_relevant,
            head_recalled,
            head_diversity,
            crowded,
            seconds,
        } = *other;
        self.lists += lists;
        self.candidates += candidates;
        self.actions += actions;
        self.all_actions += all_actions;
        self.relevant += relevant;
        self.recalled += recalled;
        self.precise += precise;
        self.reciprocal += reciprocal;
        self.diversity += diversity;
        self.categories += categories;
        self.head_relevant += head_relevant;
        self.head_recalled += head_recalled;
        self.head_diversity += head_diversity;
        self.crowded += crowded;
        self.seconds += seconds;
    }
}

/// Place of the first of `candidates` whose cosine to `target` is at least `min_cosine`.
/// `cosines` is scratch memory.
pub(crate) fn first_near<'a>(
    target: &[f32],
    candidates: impl Iterator<Item = &'a [f32]>,
    min_cosine: f32,
    cosines: &mut Vec<f32>,
) -> Option<usize> {
    kernel::dot_rows(target, candidates, cosines);
    cosines.iter().position(|&cosine| cosine >= min_cosine)
}

/// Mean cosine distance of all pairs of `count` unit vectors; 0 where there is no pair.
/// `sum` is scratch memory.
///
/// With the sum s of the vectors, |s|^2 is `count` plus twice the sum of the cosines
/// of all pairs.
pub(crate) fn diversity<'a>(
    vectors: impl Iterator<Item = &'a [f32]>,
    count: usize,
    sum: &mut Vec<f64>,
) -> f64 {
    sum.clear();
    for vector in vectors {
        sum.resize(vector.len(), 0.0);
        kernel::add_weighted(sum, vector, 1.0);
    }
    if count < 2 {
        return 0.0;
    }
    let n = count as f64;
    let square: f64 = sum.iter().map(|x| x * x).sum();
    1.0 - (square - n) / (n * (n - 1.0))
}

/// Number of distinct `categories`, where 0 stands for none.
pub(crate) fn count_distinct(
    categories: impl Iterator<Item = u32>,
    scratch: &mut Vec<u32>,
) -> usize {
    scratch.clear();
    scratch.extend(categories.filter(|&category| category != 0));
    scratch.sort_unstable();
    scratch.dedup();
    scratch.len()
}

/// R-precision times R: how many of the R best scores of `targets` and `negatives`
/// together are targets, where R is the number of targets. Equal scores at the edge count
/// in part.
pub(crate) fn r_precision_hits(targets: &[f32], negatives: &[f32]) -> f64 {
    let r = targets.len();
    let mut all: Vec<f32> = targets.iter().chain(negatives).copied().collect();
    all.sort_unstable_by(|a, b| b.total_cmp(a));
    let Some(&edge) = r.checked_sub(1).and_then(|last| all.get(last)) else {
        return 0.0;
    };
    let count = |scores: &[f32], test: &dyn Fn(f32) -> bool| {
        scores.iter().filter(|&&score| test(score)).count() as f64
    };
    let above = |score: f32| score > edge;
    let at = |score: f32| score == edge;
    let rest = r as f64 - count(&all, &above);
    count(targets, &above) + rest * count(targets, &at) / count(&all, &at)
}

/// One over the rank of `target` among its `negatives`. Half of the equal scores count
/// as better.
pub(crate) fn reciprocal_rank(target: f32, negatives: &[f32]) -> f64 {
    let better = negatives.iter().filter(|&&other| other > target).count();
    let equal = negatives.iter().filter(|&&other| other == target).count();
    1.0 / (1.0 + better as f64 + 0.5 * equal as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Embeddings;

    proptest! {
        #[test]
        fn diversity_is_the_mean_over_all_pairs(
            rows in prop::collection::vec(prop::array::uniform3(0.1f32..1.0), 0..30),
            signs in prop::collection::vec(prop::sample::select(vec![-1.0f32, 1.0]), 30),
        ) {
            let mut vectors = Embeddings::new(3).expect("a dimension");
            for (row, sign) in rows.iter().zip(signs) {
                vectors.push(&row.map(|x| x * sign)).expect("a vector");
            }
            let (mut sum, mut pairs) = (0.0, 0.0);
            for a in 0..vectors.len() {
                for b in 0..a {
                    sum += 1.0 - f64::from(vectors.cosine(a, b));
                    pairs += 1.0;
                }
            }
            let expected = if pairs > 0.0 { sum / pairs } else { 0.0 };
            let all = (0..vectors.len()).map(|row| vectors.row(row));
            let found = diversity(all, vectors.len(), &mut vec![7.0]);
            prop_assert!((found - expected).abs() < 1e-5, "{} {}", found, expected);
        }

        #[test]
        fn without_ties_ranks_are_those_of_a_sorted_list(
            targets in prop::collection::hash_set(0u16..500, 1..10),
            negatives in prop::collection::hash_set(500u16..1000, 0..40),
        ) {
            // The numbers in an order of their own: scores that differ.
            let score = |&number: &u16| f32::from(number * 37 % 1009);
            let mine: Vec<f32> = targets.iter().map(score).collect();
            let others: Vec<f32> = negatives.iter().map(score).collect();
            let mut ranked: Vec<&u16> = targets.iter().chain(&negatives).collect();
            ranked.sort_by(|a, b| score(b).total_cmp(&score(a)));
            let best = ranked.iter().take(mine.len());
            let expected = best.filter(|number| targets.contains(number)).count();
            prop_assert_eq!(r_precision_hits(&mine, &others), expected as f64);
            let better = others.iter().filter(|&&other| other > mine[0]).count();
            prop_assert_eq!(reciprocal_rank(mine[0], &others), 1.0 / (1 + better) as f64);
        }
    }

    #[test]
    fn equal_scores_count_in_part() {
        assert_eq!(r_precision_hits(&[0.5; 2], &[0.5; 6]), 0.5);
        assert_eq!(r_precision_hits(&[0.9, 0.1], &[0.9, 0.1]), 1.0);
        assert_eq!(r_precision_hits(&[], &[0.5]), 0.0);
        assert_eq!(reciprocal_rank(0.5, &[0.5, 0.5, 0.9]), 1.0 / 3.0);
    }

    #[test]
    fn near_is_at_least_the_limit_and_categories_are_counted_once() {
        let candidates = [[0.6f32, 0.8], [1.0, 0.0]];
        let near = |target: &[f32], least| {
            let rows = candidates.iter().map(|row| &row[..]);
            first_near(target, rows, least, &mut vec![1.0])
        };
        assert_eq!(near(&[0.0, 1.0], 0.8), Some(0));
        assert_eq!(near(&[0.0, 1.0], 0.81), None);
        assert_eq!(near(&[1.0, 0.0], 0.9), Some(1));
        let none = std::iter::empty();
        assert_eq!(first_near(&[1.0], none, -1.0, &mut vec![1.0]), None);
        let categories = [3, 0, 2, 3, 0].into_iter();
        assert_eq!(count_distinct(categories, &mut vec![9]), 2);
    }
}
