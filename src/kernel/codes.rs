//! Inner products of a query with 8-bit codes.
//!
//! The query is held in 16 bits, so it loses next to nothing, and the sums are
//! whole numbers: their order does not matter, and every instruction set gives
//! the same value. AVX2 is spelled out, because the compiler does not find the
//! instruction that multiplies and adds pairs; processors with AVX-512 use it too.

#[cfg(target_arch = "x86_64")]
use pulp::x86::V3;

use super::dispatch;
use super::rows::map_rows;

/// Rows of codes and queries are padded with zeros to a multiple of this.
pub const CODE_LANES: usize = 32;

/// Inner products of `query` with the rows of `codes` that `positions` names, each
/// `query.len()` long, in their order; `out` is overwritten.
///
/// `query.len()` must be a multiple of [`CODE_LANES`], and the sum of its
/// absolute values times 127 below 2^31, or sums wrap around.
pub fn dot_code_rows(query: &[i16], codes: &[i8], positions: &[u32], out: &mut Vec<i32>) {
    #[cfg(target_arch = "x86_64")]
    if let Some(v3) = *dispatch::AVX2 {
        return pulp::Arch::V3(v3).dispatch(
            #[inline(always)]
            || {
                map_rows(codes, query.len(), positions, out, |row| {
                    avx2(v3, query, row)
                })
            },
        );
    }
    map_rows(codes, query.len(), positions, out, |row| {
        portable(query, row)
    });
}

/// Inner product of `query` with one row of codes, as in [`dot_code_rows`].
pub fn dot_codes(query: &[i16], row: &[i8]) -> i32 {
    #[cfg(target_arch = "x86_64")]
    if let Some(v3) = *dispatch::AVX2 {
        return pulp::Arch::V3(v3).dispatch(
            #[inline(always)]
            || avx2(v3, query, row),
        );
    }
    portable(query, row)
}

/// 32 products at a time: codes widened to 16 bits, multiplied, added in pairs.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn avx2(v3: V3, query: &[i16], row: &[i8]) -> i32 {
    use std::arch::x86_64::{__m128i, __m256i};
    let (query, _) = query.as_chunks::<CODE_LANES>();
    let (row, _) = row.as_chunks::<CODE_LANES>();
    let mut sums = [v3.avx._mm256_setzero_si256(); 2];
    for (query, row) in query.iter().zip(row) {
        let query: [__m256i; 2] = pulp::cast(*query);
        let row: [__m128i; 2] = pulp::cast(*row);
        for half in 0..2 {
            let widened = v3.avx2._mm256_cvtepi8_epi16(row[half]);
            let products = v3.avx2._mm256_madd_epi16(query[half], widened);
            sums[half] = v3.avx2._mm256_add_epi32(sums[half], products);
        }
    }
    let sums: [i32; 8] = pulp::cast(v3.avx2._mm256_add_epi32(sums[0], sums[1]));
    sums.into_iter().fold(0, i32::wrapping_add)
}

#[inline(always)]
fn portable(query: &[i16], row: &[i8]) -> i32 {
    query
        .iter()
        .zip(row)
        .map(|(&q, &c)| i32::from(q) * i32::from(c))
        .fold(0, i32::wrapping_add)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_instruction_set_equals_the_naive_sum(
            chunks in 1usize..5,
            values in prop::collection::vec((-16_000i16..16_000, -127i8..=127), 4 * CODE_LANES * 6),
        ) {
            let length = chunks * CODE_LANES;
            let query: Vec<i16> = values[..length].iter().map(|v| v.0).collect();
            let codes: Vec<i8> = values[..length * 6].iter().map(|v| v.1).collect();
            let positions = [5, 0, 3, 3, 1, 2, 4];
            let mut dots = Vec::new();
            dot_code_rows(&query, &codes, &positions, &mut dots);
            for (position, dot) in positions.into_iter().zip(dots) {
                let row = &codes[position as usize * length..][..length];
                let naive: i64 = query.iter().zip(row).map(|(&q, &c)| i64::from(q) * i64::from(c)).sum();
                prop_assert_eq!(i64::from(dot), naive);
                prop_assert_eq!(portable(&query, row), dot);
                prop_assert_eq!(dot_codes(&query, row), dot);
            }
        }
    }
}
