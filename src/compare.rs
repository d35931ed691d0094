//! Measures of how similar two ranked lists are.

use std::collections::HashSet;
use std::hash::Hash;

/// Number of items that two lists without repetition share, at any rank, divided by the
/// length of the longer list: from 0 to 1. Two empty lists have an overlap of 1.
pub fn overlap<T: Copy + Eq + Hash>(a: &[T], b: &[T]) -> f64 {
    let longer = a.len().max(b.len());
    if longer == 0 {
        return 1.0;
    }
    let of_a: HashSet<T> = a.iter().copied().collect();
    let shared = b.iter().filter(|item| of_a.contains(item)).count();
    shared as f64 / longer as f64
}

/// Rank-biased overlap of two lists without repetition, extrapolated: from 0 to 1. The
/// smaller `p`, which is in (0, 1), the more the top of the lists counts.
///
/// Webber, Moffat, Zobel, "A similarity measure for indefinite rankings" (2010),
/// equation 32 for lists that differ in length. Two empty lists have an overlap of 1.
pub fn rank_biased_overlap<T: Copy + Eq + Hash>(a: &[T], b: &[T], p: f64) -> f64 {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let (s, l) = (short.len(), long.len());
    if s == 0 {
        return if l == 0 { 1.0 } else { 0.0 };
    }
    let (mut of_short, mut of_long) = (HashSet::new(), HashSet::new());
    let (mut shared, mut shared_at_s) = (0_usize, 0_usize);
    let (mut weight, mut sum) = (1.0, 0.0);
    for depth in 1..=l {
        let item = long[depth - 1];
        let of_other = short.get(depth - 1).copied();
        of_long.insert(item);
        shared += usize::from(of_short.contains(&item));
        if let Some(other) = of_other {
            of_short.insert(other);
            shared += usize::from(of_long.contains(&other));
        }
        if depth == s {
            shared_at_s = shared;
        }
        weight *= p;
        sum += shared as f64 / depth as f64 * weight;
        if depth > s {
            let beyond = shared_at_s as f64 * (depth - s) as f64 / (s as f64 * depth as f64);
            sum += beyond * weight;
        }
    }
    let at_end = (shared - shared_at_s) as f64 / l as f64 + shared_at_s as f64 / s as f64;
    (1.0 - p) / p * sum + at_end * weight
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_as_alike_as_worked_out_by_hand() {
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(overlap(&[1, 2, 3], &[3, 1, 9, 8]), 0.5);
        near(overlap::<u8>(&[], &[]), 1.0);
        near(overlap(&[], &[1]), 0.0);
        // Agreements 0, 1, 1 at depths 1, 2, 3 and all ranks beyond.
        let p = 0.9;
        near(rank_biased_overlap(&[1, 2, 3], &[2, 1, 3], p), p);
        near(rank_biased_overlap(&[1], &[1, 2], p), 1.0);
        // Of uneven ones: agreements 0 at depth 1, 1/2 at 2 (the end of the shorter), and
        // 2 shared of 3 plus 1/2 assumed for the missing third place of the other at 3.
        let at_3 = 2.0 / 3.0 + 1.0 * (3.0 - 2.0) / (2.0 * 3.0);
        let summed = (1.0 - p) / p * (0.5 * p * p + at_3 * p * p * p);
        let rest = ((2.0 - 1.0) / 3.0 + 1.0 / 2.0) * p * p * p;
        near(rank_biased_overlap(&[1, 2], &[3, 1, 2], p), summed + rest);
        near(rank_biased_overlap(&[1, 2], &[3, 4], p), 0.0);
        near(rank_biased_overlap(&[], &[3, 4], p), 0.0);
    }

    proptest! {
        #[test]
        fn measures_are_symmetric_and_one_for_equal_lists(
            a in prop::collection::hash_set(0u8..20, 0..12),
            b in prop::collection::hash_set(0u8..20, 0..12),
            p in 0.05f64..0.99,
        ) {
            let (a, b): (Vec<u8>, Vec<u8>) = (a.into_iter().collect(), b.into_iter().collect());
            for measure in [overlap, |a: &[u8], b: &[u8]| rank_biased_overlap(a, b, 0.9)] {
                prop_assert!((measure(&a, &b) - measure(&b, &a)).abs() < 1e-12);
                prop_assert!((measure(&a, &a) - 1.0).abs() < 1e-12);
            }
            let value = rank_biased_overlap(&a, &b, p);
            prop_assert!((-1e-12..=1.0 + 1e-12).contains(&value), "{}", value);
        }
    }
}
