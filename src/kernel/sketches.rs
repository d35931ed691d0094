//! Inner products of a query with sketches: rows of 2-bit codes.
//!
//! The query is held in 8 bits and the sums are whole numbers, as in
//! [`super::dot_code_rows`]: every instruction set gives the same value.

#[cfg(target_arch = "x86_64")]
use pulp::x86::V3;

use super::dispatch;
use super::rows::map_rows;

/// Components that one block of a row holds, in 32 bytes: byte b has the
/// components b, b + 32, b + 64 and b + 96 of its block, from its lowest bits up. Queries
/// are padded with zeros to a multiple of this.
pub const SKETCH_LANES: usize = 128;
/// Bytes of a block.
const BLOCK: usize = SKETCH_LANES / 4;

/// For each of the rows of `sketches` that `positions` names the sum of its components, 0
/// to 3, times those of `query`, in their order; `out` is overwritten.
///
/// `query.len()` must be a multiple of [`SKETCH_LANES`] and at most 2^20, so that sums
/// fit.
pub fn dot_sketch_rows(query: &[i8], sketches: &[u8], positions: &[u32], out: &mut Vec<i32>) {
    let width = query.len() / 4;
    #[cfg(target_arch = "x86_64")]
    if let Some(v3) = *dispatch::AVX2 {
        return pulp::Arch::V3(v3).dispatch(
            #[inline(always)]
            || map_rows(sketches, width, positions, out, |row| avx2(v3, query, row)),
        );
    }
    map_rows(sketches, width, positions, out, |row| portable(query, row));
}

/// Writes the components of a row, 0 to 3 each, into `row`.
pub fn pack_sketch(components: &[u8], row: &mut [u8]) {
    for (components, block) in components.chunks(SKETCH_LANES).zip(row.chunks_mut(BLOCK)) {
        block.fill(0);
        for (at, component) in components.iter().enumerate() {
            block[at % BLOCK] |= component << (at / BLOCK * 2);
        }
    }
}

/// A block at a time: two bits of each byte, multiplied and added in pairs.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn avx2(v3: V3, query: &[i8], row: &[u8]) -> i32 {
    use std::arch::x86_64::__m256i;
    let (query, _) = query.as_chunks::<SKETCH_LANES>();
    let (row, _) = row.as_chunks::<BLOCK>();
    let (avx, avx2) = (v3.avx, v3.avx2);
    let (low, ones) = (avx._mm256_set1_epi8(3), avx._mm256_set1_epi16(1));
    let mut sums = avx._mm256_setzero_si256();
    for (query, &row) in query.iter().zip(row) {
        let query: [__m256i; 4] = pulp::cast(*query);
        let row: __m256i = pulp::cast(row);
        let bits = [
            row,
            avx2._mm256_srli_epi16::<2>(row),
            avx2._mm256_srli_epi16::<4>(row),
            avx2._mm256_srli_epi16::<6>(row),
        ];
        let mut block_sums = avx._mm256_setzero_si256();
        for (query, bits) in query.into_iter().zip(bits) {
            let components = avx2._mm256_and_si256(bits, low);
            // At most 4 * 2 * 3 * 128 in all, which 16 bits hold.
            let products = avx2._mm256_maddubs_epi16(components, query);
            block_sums = avx2._mm256_add_epi16(block_sums, products);
        }
        let widened = avx2._mm256_madd_epi16(block_sums, ones);
        sums = avx2._mm256_add_epi32(sums, widened);
    }
    let sums: [i32; 8] = pulp::cast(sums);
    sums.into_iter().fold(0, i32::wrapping_add)
}

#[inline(always)]
fn portable(query: &[i8], row: &[u8]) -> i32 {
    let (query, _) = query.as_chunks::<SKETCH_LANES>();
    let (row, _) = row.as_chunks::<BLOCK>();
    let mut sum = 0;
    for (query, row) in query.iter().zip(row) {
        for (at, &weight) in query.iter().enumerate() {
            let component = row[at % BLOCK] >> (at / BLOCK * 2) & 3;
            sum += i32::from(weight) * i32::from(component);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_instruction_set_equals_the_naive_sum(
            blocks in 1usize..5,
            values in prop::collection::vec((any::<i8>(), 0u8..4), 4 * SKETCH_LANES * 6),
        ) {
            let length = blocks * SKETCH_LANES;
            let query: Vec<i8> = values[..length].iter().map(|v| v.0).collect();
            let components: Vec<u8> = values[..length * 6].iter().map(|v| v.1).collect();
            let mut sketches = vec![255; length / 4 * 6];
            for (components, row) in components.chunks(length).zip(sketches.chunks_mut(length / 4)) {
                pack_sketch(components, row);
            }
            let positions = [5, 0, 3, 3, 1, 2, 4];
            let mut sums = Vec::new();
            dot_sketch_rows(&query, &sketches, &positions, &mut sums);
            for (position, sum) in positions.into_iter().zip(sums) {
                let row = &components[position as usize * length..][..length];
                let naive: i32 = query.iter().zip(row).map(|(&q, &c)| i32::from(q) * i32::from(c)).sum();
                prop_assert_eq!(sum, naive);
                prop_assert_eq!(portable(&query, &sketches[position as usize * length / 4..]), naive);
            }
        }
    }
}
