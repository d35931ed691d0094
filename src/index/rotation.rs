//! A fixed rotation that spreads every vector evenly over its components: signs are
//! flipped at random and a Walsh-Hadamard transform adds all to all, four times over.
//!
//! Inner products stay what they are, and each component of a unit vector becomes about
//! normal with variance 1 / dimension, whatever the vectors were: codes made of the
//! components need no tuning to the data.

/// Times that the front and the back are transformed. Both overlap where the dimension is
/// no power of two, and are the same where it is one.
const ROUNDS: usize = 2;

/// Rotates `vector`.
pub(super) fn rotate(vector: &mut [f32]) {
    let window = 1 << vector.len().ilog2();
    let back = vector.len() - window;
    for round in 0..ROUNDS {
        for (half, begin) in [0, back].into_iter().enumerate() {
            flip_signs(vector, (round * 2 + half) as u64);
            transform(&mut vector[begin..begin + window]);
        }
    }
}

/// Flips pseudo-random signs, always the same ones in the same `turn`.
fn flip_signs(vector: &mut [f32], turn: u64) {
    for (word, components) in vector.chunks_mut(64).enumerate() {
        let signs = mix(turn << 32 | word as u64);
        for (bit, component) in components.iter_mut().enumerate() {
            let sign = (signs >> bit & 1) as u32;
            *component = f32::from_bits(component.to_bits() ^ sign << 31);
        }
    }
}

/// Bits of `number` that look random (the finalizer of SplitMix64). Files depend on
/// them, so they come from no library that may change.
fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

/// The Walsh-Hadamard transform, scaled to keep lengths; the length is a power of two.
fn transform(values: &mut [f32]) {
    let mut half = 1;
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (a, b) = pair.split_at_mut(half);
            for (a, b) in a.iter_mut().zip(b) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    let scale = 1.0 / (values.len() as f32).sqrt();
    values.iter_mut().for_each(|value| *value *= scale);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel;

    proptest! {
        #[test]
        fn inner_products_do_not_change(
            (a, b) in (2usize..300).prop_flat_map(|n| {
                let vector = || prop::collection::vec(-1.0f32..1.0, n);
                (vector(), vector())
            }),
        ) {
            let (mut c, mut d) = (a.clone(), b.clone());
            rotate(&mut c);
            rotate(&mut d);
            prop_assert!((kernel::dot(&a, &b) - kernel::dot(&c, &d)).abs() < 1e-3);
        }
    }

    #[test]
    fn an_axis_is_spread_over_all_components() {
        for dimension in [128, 200, 256, 384] {
            for axis in [0, dimension / 2, dimension - 1] {
                let mut vector = vec![0.0; dimension];
                vector[axis] = 1.0;
                rotate(&mut vector);
                let max = vector.iter().fold(0.0f32, |max, x| max.max(x.abs()));
                assert!(max < 6.0 / (dimension as f32).sqrt(), "{dimension}: {max}");
            }
        }
    }
}
