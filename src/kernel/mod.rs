//! The ground floor: the inner loops over vectors.
//!
//! Each loop is written once, in plain Rust over a fixed number of lanes, and
//! compiled for every instruction set that `pulp` chooses from at run time. The
//! order of the additions is fixed by the lanes and no multiplication is fused
//! with an addition, so a machine with AVX-512 and one with SSE2 give the same
//! bits: a score does not depend on where it was computed.

mod codes;

use std::sync::LazyLock;

use pulp::Arch;

pub use codes::{CODE_LANES, dot_codes, dot_codes_each};

/// Partial sums of a loop: two registers of AVX-512, four of AVX2.
const LANES: usize = 32;
/// The same for loops that widen to f64.
const WIDE_LANES: usize = 16;
/// Rows in one block of the pairwise kernel: two blocks of 256 dimensions stay
/// in a 64 KiB cache.
const BLOCK: usize = 16;

static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Inner product of two vectors of one length.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    ARCH.dispatch(|| sum_of(a, b, |x, y| x * y))
}

/// Squared Euclidean distance of two vectors of one length; exactly 0 for equal
/// vectors.
pub fn squared_l2(a: &[f32], b: &[f32]) -> f32 {
    ARCH.dispatch(|| sum_of(a, b, |x, y| (x - y) * (x - y)))
}

/// Inner products of `query` with each of `rows`, all of one length, in their
/// order; `out` is overwritten. One call for many rows spares the choice of the
/// instruction set for each, and lets the processor fetch rows ahead.
pub fn dot_each<'a>(query: &[f32], rows: impl Iterator<Item = &'a [f32]>, out: &mut Vec<f32>) {
    out.clear();
    ARCH.dispatch(|| out.extend(rows.map(|row| sum_of(query, row, |x, y| x * y))));
}

/// Squared Euclidean distances of all pairs of rows, summed in f64: a tie or a
/// threshold may hang on them.
///
/// `rows` holds n rows of `dimension` components; `out` becomes the full
/// symmetric n x n matrix, row-major, with a zero diagonal.
pub fn pairwise_squared_l2(rows: &[f32], dimension: usize, out: &mut Vec<f64>) {
    let n = rows.len() / dimension;
    out.clear();
    out.resize(n * n, 0.0);
    ARCH.dispatch(|| {
        for (first_block, block) in rows.chunks(BLOCK * dimension).enumerate() {
            let first = first_block * BLOCK;
            for (second, b) in rows.chunks_exact(dimension).enumerate().skip(first + 1) {
                for (i, a) in block.chunks_exact(dimension).enumerate() {
                    let i = first + i;
                    if i < second {
                        let distance = widened_squared_l2(a, b);
                        out[i * n + second] = distance;
                        out[second * n + i] = distance;
                    }
                }
            }
        }
    });
}

#[inline(always)]
fn widened_squared_l2(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0f64; WIDE_LANES];
    let (a_lanes, a_rest) = a.as_chunks::<WIDE_LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<WIDE_LANES>();
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..WIDE_LANES {
            let difference = f64::from(a[lane]) - f64::from(b[lane]);
            sums[lane] += difference * difference;
        }
    }
    for (sum, (&a, &b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        let difference = f64::from(a) - f64::from(b);
        *sum += difference * difference;
    }
    sums.iter().sum()
}

#[inline(always)]
fn sum_of(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    debug_assert_eq!(a.len(), b.len());
    let mut sums = [0.0f32; LANES];
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane], b[lane]);
        }
    }
    for (sum, (&a, &b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *sum += term(a, b);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
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
        }

        #[test]
        fn every_instruction_set_gives_the_same_bits((a, b) in pair()) {
            prop_assert_eq!(dot(&a, &b).to_bits(), sum_of(&a, &b, |x, y| x * y).to_bits());
            let distance = sum_of(&a, &b, |x, y| (x - y) * (x - y));
            prop_assert_eq!(squared_l2(&a, &b).to_bits(), distance.to_bits());
        }

        #[test]
        fn rows_equal_single_calls_and_pairs_their_naive_twin(
            rows in prop::collection::vec(prop::collection::vec(-1.0f32..1.0, 21), 0..40)
        ) {
            let flat: Vec<f32> = rows.concat();
            let (mut products, mut distances) = (Vec::new(), Vec::new());
            pairwise_squared_l2(&flat, 21, &mut distances);
            for (i, a) in rows.iter().enumerate() {
                dot_each(a, flat.chunks_exact(21), &mut products);
                for (j, b) in rows.iter().enumerate() {
                    prop_assert_eq!(products[j], dot(a, b));
                    let distance = distances[i * rows.len() + j];
                    let expected = naive(a, b, |x, y| (x - y).powi(2));
                    prop_assert!((distance - expected).abs() <= 1e-14 * expected);
                    prop_assert_eq!(distance, distances[j * rows.len() + i]);
                }
            }
        }
    }
}
