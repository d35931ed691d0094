//! Inner products of all pairs of rows, and the loops over rows of such products
//! that Ward's clustering spends its time in.
//!
//! Unlike the loops of [`super`], these may fuse a multiplication with an
//! addition, and the order of their additions follows the width of the registers:
//! otherwise the products take 1.7 times as long. So their last bits differ between
//! machines, and must not reach an answer: each function states its greatest error,
//! and its caller decides by other means what lies within that.

use std::hint::black_box;

use pulp::{Simd, WithSimd};

use super::dispatch::ARCH;
use super::dot::sum_terms;

/// Rows of products are padded to a multiple of this: one register of AVX-512,
/// two of AVX2.
pub const LANES: usize = 16;
/// Rows of one tile of the products. Its 12 sums, the factors of the columns and
/// that of one row just fit in the 16 registers of AVX2.
const HEIGHT: usize = 4;
/// Columns of one tile of the products.
const WIDTH: usize = 3;
/// Components in a quarter of a block of rows, which stays in a cache of 32 KiB
/// while all rows before it stream by.
const BLOCK: usize = 1536;

/// Length of a row of products for `count` columns.
pub fn padded(count: usize) -> usize {
    count.next_multiple_of(LANES)
}

/// Inner products of all pairs of rows.
///
/// `rows` holds n rows of `dimension` components. The first n rows of `out`, each
/// [`padded`] n long, become the full symmetric matrix; `out` grows if it must and
/// keeps what stands behind the products.
///
/// A product of a and b is off by at most gamma |a| |b|, where gamma = d u / (1 -
/// d u) for d dimensions and the unit roundoff u = 2^-24: Higham, Accuracy and
/// Stability of Numerical Algorithms, section 3.1, for any order of the additions.
pub fn gram(rows: &[f32], dimension: usize, out: &mut Vec<f32>) {
    let count = rows.len() / dimension;
    let needed = count * padded(count);
    if out.len() < needed {
        out.resize(needed, 0.0);
    }
    ARCH.dispatch(Gram {
        rows,
        dimension,
        out,
    });
}

/// Arguments of [`gram`]. A closure as large as this is not inlined into the function
/// that `pulp` calls, and then not compiled for its instruction set; a method that must
/// be inlined is.
struct Gram<'a> {
    rows: &'a [f32],
    dimension: usize,
    out: &'a mut [f32],
}

impl WithSimd for Gram<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Gram {
            rows,
            dimension,
            out,
        } = self;
        let count = rows.len() / dimension;
        let stride = padded(count);
        if count < HEIGHT {
            for (i, a) in rows.chunks_exact(dimension).enumerate() {
                for (j, b) in rows.chunks_exact(dimension).enumerate() {
                    out[i * stride + j] = sum_terms(a, b, |x, y| x * y);
                }
            }
            return;
        }
        let block = (BLOCK / dimension).max(1) * HEIGHT;
        for first in (0..count).step_by(block) {
            let end = (first + block).min(count);
            for left in (0..end).step_by(WIDTH) {
                // The last tile is moved back to be whole. The compiler must not
                // know how, or it works that out again in the innermost loop.
                let at_left = black_box(left.min(count - WIDTH));
                let columns = &rows[at_left * dimension..][..WIDTH * dimension];
                for top in (first.max(left / HEIGHT * HEIGHT)..end).step_by(HEIGHT) {
                    let top = black_box(top.min(count - HEIGHT));
                    let tile = tile(
                        simd,
                        &rows[top * dimension..][..HEIGHT * dimension],
                        columns,
                    );
                    for i in 0..HEIGHT {
                        let below = &mut out[(top + i) * stride + at_left..][..WIDTH];
                        below.copy_from_slice(&tile[i]);
                    }
                    for j in 0..WIDTH {
                        let above = &mut out[(at_left + j) * stride + top..][..HEIGHT];
                        for i in 0..HEIGHT {
                            above[i] = tile[i][j];
                        }
                    }
                }
            }
        }
    }
}

/// Products of each of [`HEIGHT`] rows with each of [`WIDTH`] columns, which are
/// rows too.
#[inline(always)]
fn tile<S: Simd>(simd: S, rows: &[f32], columns: &[f32]) -> [[f32; WIDTH]; HEIGHT] {
    let dimension = rows.len() / HEIGHT;
    let whole = dimension / S::F32_LANES;
    let a: [&[S::f32s]; HEIGHT] =
        std::array::from_fn(|i| &S::as_simd_f32s(&rows[i * dimension..][..dimension]).0[..whole]);
    let b: [&[S::f32s]; WIDTH] = std::array::from_fn(|j| {
        &S::as_simd_f32s(&columns[j * dimension..][..dimension]).0[..whole]
    });
    let mut sums = [[simd.splat_f32s(0.0); WIDTH]; HEIGHT];
    for at in 0..whole {
        for i in 0..HEIGHT {
            for j in 0..WIDTH {
                sums[i][j] = simd.mul_add_e_f32s(a[i][at], b[j][at], sums[i][j]);
            }
        }
    }
    let mut tile = [[0.0; WIDTH]; HEIGHT];
    for i in 0..HEIGHT {
        for j in 0..WIDTH {
            tile[i][j] = simd.reduce_sum_f32s(sums[i][j]);
            for at in whole * S::F32_LANES..dimension {
                tile[i][j] += rows[i * dimension + at] * columns[j * dimension + at];
            }
        }
    }
    tile
}

/// One cluster and all that it is compared with by [`nearest`]. The slices have one
/// length, a multiple of [`LANES`].
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Inner products of the sum of the one cluster with the sums of all; negative
    /// infinity with its own.
    pub products: &'a [f32],
    /// Squared norms of the centroids of all; infinity where there is no cluster.
    pub squares: &'a [f32],
    /// One over the size of all.
    pub shares: &'a [f32],
    /// Squared norm of the centroid of the one cluster.
    pub square: f32,
    /// One over the size of the one cluster.
    pub share: f32,
    /// Greatest error of the squared distance of two centroids.
    pub error: f32,
}

/// Finds all clusters that may be the nearest to one.
///
/// The Ward distance of clusters of the sizes n and m with the centroids a and b
/// is 2 / (1/n + 1/m) (|a|^2 + |b|^2 - 2 ab). `lows` becomes the lower bounds of these
/// distances: each less its error. The least of their upper bounds is returned, and
/// `near` becomes the positions whose lower bound is not above it.
pub fn nearest(row: Row<'_>, lows: &mut [f32], near: &mut Vec<usize>) -> f32 {
    near.clear();
    ARCH.dispatch(Nearest { row, lows, near })
}

/// Arguments of [`nearest`].
struct Nearest<'a> {
    row: Row<'a>,
    lows: &'a mut [f32],
    near: &'a mut Vec<usize>,
}

impl WithSimd for Nearest<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let Nearest { row, lows, near } = self;
        let two = simd.splat_f32s(2.0);
        let share = simd.splat_f32s(row.share);
        let twice_share = simd.splat_f32s(2.0 * row.share);
        let square = simd.splat_f32s(row.square);
        let error = simd.splat_f32s(row.error);
        let mut least = simd.splat_f32s(f32::INFINITY);
        let all = S::as_simd_f32s(row.products).0.iter();
        let all = all.zip(S::as_simd_f32s(row.squares).0);
        let all = all.zip(S::as_simd_f32s(row.shares).0);
        for (low, ((&product, &its_square), &its_share)) in
            S::as_mut_simd_f32s(lows).0.iter_mut().zip(all)
        {
            let twice_product = simd.mul_f32s(product, simd.mul_f32s(twice_share, its_share));
            let apart = simd.sub_f32s(simd.add_f32s(square, its_square), twice_product);
            let weight = simd.div_f32s(two, simd.add_f32s(share, its_share));
            *low = simd.mul_f32s(weight, simd.sub_f32s(apart, error));
            let high = simd.mul_f32s(weight, simd.add_f32s(apart, error));
            least = simd.min_f32s(high, least);
        }
        let limit = simd.reduce_min_f32s(least);
        for (at, lows) in lows.as_chunks::<LANES>().0.iter().enumerate() {
            // One bit for each lane: which of them is near cannot be predicted.
            let mut within = 0u32;
            for (lane, &low) in lows.iter().enumerate() {
                within |= u32::from(low <= limit) << lane;
            }
            while within != 0 {
                near.push(at * LANES + within.trailing_zeros() as usize);
                within &= within - 1;
            }
        }
        limit
    }
}

/// Adds `b` to `a`.
pub fn add(a: &mut [f32], b: &[f32]) {
    ARCH.dispatch(Add { a, b });
}

/// Arguments of [`add`].
struct Add<'a> {
    a: &'a mut [f32],
    b: &'a [f32],
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (a, &b) in self.a.iter_mut().zip(self.b) {
            *a += b;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn products_are_as_near_to_the_naive_ones_as_stated(
            (dimension, rows) in (1usize..70, 0usize..60).prop_flat_map(|(dimension, count)| {
                (Just(dimension), prop::collection::vec(-1.0f32..1.0, count * dimension))
            })
        ) {
            let mut products = Vec::new();
            gram(&rows, dimension, &mut products);
            let stride = padded(rows.len() / dimension);
            let naive = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
            };
            for (i, a) in rows.chunks(dimension).enumerate() {
                for (j, b) in rows.chunks(dimension).enumerate() {
                    let norms = (naive(a, a) * naive(b, b)).sqrt();
                    let bound = 1.001 * dimension as f64 * norms / f64::from(1 << 24);
                    let product = products[i * stride + j];
                    prop_assert!((f64::from(product) - naive(a, b)).abs() <= bound);
                    prop_assert_eq!(product.to_bits(), products[j * stride + i].to_bits());
                }
            }
        }

        #[test]
        fn the_nearest_one_is_among_the_near_ones(
            others in prop::collection::vec((-1.0f32..1.0, 0.5f32..1.0, 1u8..50), 1..100),
            (square, size) in (0.5f32..1.0, 1u8..50),
            error in 0.0f32..0.1,
        ) {
            let wide = padded(others.len());
            let of = |take: fn(&(f32, f32, u8)) -> f32, none: f32| {
                let mut all: Vec<f32> = others.iter().map(take).collect();
                all.resize(wide, none);
                all
            };
            let (products, squares) = (of(|o| o.0, 0.0), of(|o| o.1, f32::INFINITY));
            let shares = of(|o| 1.0 / f32::from(o.2), 1.0);
            let share = 1.0 / f32::from(size);
            let row = Row {
                products: &products,
                squares: &squares,
                shares: &shares,
                square,
                share,
                error,
            };
            let (mut lows, mut near) = (vec![0.0; wide], Vec::new());
            let limit = nearest(row, &mut lows, &mut near);
            let bounds: Vec<(f32, f32)> = (0..others.len())
                .map(|at| {
                    let apart = square + squares[at] - products[at] * (2.0 * share * shares[at]);
                    let weight = 2.0 / (share + shares[at]);
                    (weight * (apart - error), weight * (apart + error))
                })
                .collect();
            let least = bounds.iter().fold(f32::INFINITY, |least, &(_, high)| least.min(high));
            prop_assert_eq!(limit, least);
            let expected: Vec<usize> = (0..others.len()).filter(|&at| bounds[at].0 <= least).collect();
            prop_assert_eq!(near, expected);
        }
    }
}
