//! Inner products and distances of vectors of f32.

use pulp::{Simd, WithSimd};

use super::dispatch::ARCH;

/// Partial sums of a loop: two registers of AVX-512, four of AVX2.
const LANES: usize = 32;
/// Partial sums of a loop that widens to f64.
const WIDE_LANES: usize = 16;

/// Inner product of two vectors of one length.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    ARCH.dispatch(
        #[inline(always)]
        || sum_terms(a, b, |x, y| x * y),
    )
}

/// Squared Euclidean distance of two vectors of one length; exactly 0 for equal
/// vectors.
pub fn squared_l2(a: &[f32], b: &[f32]) -> f32 {
    ARCH.dispatch(
        #[inline(always)]
        || sum_terms(a, b, |x, y| (x - y) * (x - y)),
    )
}

/// Inner products of `query` with each of `rows`, all of one length, in their
/// order; `out` is overwritten. One call for many rows saves the choice of the
/// instruction set for each, and lets the processor fetch rows ahead.
pub fn dot_rows<'a>(query: &[f32], rows: impl Iterator<Item = &'a [f32]>, out: &mut Vec<f32>) {
    out.clear();
    // A plain loop: a closure that is passed on to `extend` is not compiled for the
    // chosen instruction set.
    ARCH.dispatch(
        #[inline(always)]
        || {
            for row in rows {
                out.push(sum_terms(query, row, |x, y| x * y));
            }
        },
    );
}

/// Adds `weight` times `row` to `sum`, in f64.
pub fn add_weighted(sum: &mut [f64], row: &[f32], weight: f64) {
    ARCH.dispatch(|| {
        for (sum, &x) in sum.iter_mut().zip(row) {
            *sum += weight * f64::from(x);
        }
    });
}

/// Squared Euclidean distance of two vectors of one length, of f32 or f64, summed
/// in f64: a tie or a threshold may hang on it. Exactly 0 for equal vectors.
pub fn squared_l2_f64<T: Copy + Into<f64>>(a: &[T], b: &[f64]) -> f64 {
    ARCH.dispatch(WideSquaredL2 { a, b })
}

/// Arguments of [`squared_l2_f64`]. The compiler may leave a closure out of the
/// function that is compiled for an instruction set; this method it must inline.
struct WideSquaredL2<'a, T> {
    a: &'a [T],
    b: &'a [f64],
}

impl<T: Copy + Into<f64>> WithSimd for WideSquaredL2<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0.0f64; WIDE_LANES];
        let (a_lanes, a_rest) = self.a.as_chunks::<WIDE_LANES>();
        let (b_lanes, b_rest) = self.b.as_chunks::<WIDE_LANES>();
        for (a, b) in a_lanes.iter().zip(b_lanes) {
            for lane in 0..WIDE_LANES {
                let difference: f64 = a[lane].into() - b[lane];
                sums[lane] += difference * difference;
            }
        }
        for (sum, (&a, &b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
            let difference: f64 = a.into() - b;
            *sum += difference * difference;
        }
        sums.iter().sum()
    }
}

/// The sum of all lanes, halves added to each other. Not inlined: the compiler
/// would take the lanes apart from the start, and add one by one.
#[inline(never)]
fn sum_lanes(sums: &[f32; LANES]) -> f32 {
    let half: [f32; 16] = std::array::from_fn(|lane| sums[lane] + sums[lane + 16]);
    let half: [f32; 8] = std::array::from_fn(|lane| half[lane] + half[lane + 8]);
    let half: [f32; 4] = std::array::from_fn(|lane| half[lane] + half[lane + 4]);
    (half[0] + half[2]) + (half[1] + half[3])
}

/// The sum of `term` over the components of two vectors of one length.
#[inline(always)]
pub(super) fn sum_terms(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    debug_assert_eq!(a.len(), b.len());
    let mut sums = [0.0f32; LANES];
    let whole = a.len() / LANES * LANES;
    // Eight lanes at a time through all of the vector: as one loop over all lanes
    // the compiler adds them one by one.
    for first in (0..LANES).step_by(8) {
        let mut eight = [0.0f32; 8];
        let mut at = first;
        while at < whole {
            let (a, b) = (&a[at..at + 8], &b[at..at + 8]);
            for lane in 0..8 {
                eight[lane] += term(a[lane], b[lane]);
            }
            at += LANES;
        }
        sums[first..first + 8].copy_from_slice(&eight);
    }
    for (sum, (&a, &b)) in sums.iter_mut().zip(a[whole..].iter().zip(&b[whole..])) {
        *sum += term(a, b);
    }
    sum_lanes(&sums)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(a: &[f32], b: &[f32], term: fn(f64, f64) -> f64) -> f64 {
        a.iter()
            .zip(b)
            .map(|(&x, &y)| term(f64::from(x), f64::from(y)))
            .sum()
    }

    fn pair() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        (2usize..=130).prop_flat_map(|n| {
            let vector = || prop::collection::vec(-1.0f32..1.0, n);
            (vector(), vector())
        })
    }

    proptest! {
        #[test]
        fn kernels_agree_with_their_naive_twins((a, b) in pair()) {
            let tolerance = 1e-5 * a.len() as f64;
            let expected = naive(&a, &b, |x, y| x * y);
            prop_assert!((f64::from(dot(&a, &b)) - expected).abs() < tolerance);
            let expected = naive(&a, &b, |x, y| (x - y).powi(2));
            prop_assert!((f64::from(squared_l2(&a, &b)) - expected).abs() < tolerance);
            prop_assert_eq!(squared_l2(&a, &a), 0.0);
            let wide: Vec<f64> = b.iter().map(|&x| f64::from(x)).collect();
            prop_assert!((squared_l2_f64(&a, &wide) - expected).abs() <= 1e-14 * expected);
            prop_assert_eq!(squared_l2_f64(&b, &wide), 0.0);
            let mut sum = wide.clone();
            add_weighted(&mut sum, &b, 2.0);
            let expected: Vec<f64> = wide.iter().map(|x| 3.0 * x).collect();
            prop_assert_eq!(sum, expected);
        }

        #[test]
        fn every_instruction_set_gives_the_same_bits((a, b) in pair()) {
            prop_assert_eq!(dot(&a, &b).to_bits(), sum_terms(&a, &b, |x, y| x * y).to_bits());
            let distance = sum_terms(&a, &b, |x, y| (x - y) * (x - y));
            prop_assert_eq!(squared_l2(&a, &b).to_bits(), distance.to_bits());
        }

        #[test]
        fn rows_equal_single_calls(
            rows in prop::collection::vec(prop::collection::vec(-1.0f32..1.0, 21), 0..40)
        ) {
            let flat: Vec<f32> = rows.concat();
            let mut products = Vec::new();
            for a in &rows {
                dot_rows(a, flat.chunks_exact(21), &mut products);
                for (&product, b) in products.iter().zip(&rows) {
                    prop_assert_eq!(product, dot(a, b));
                }
            }
        }
    }
}
