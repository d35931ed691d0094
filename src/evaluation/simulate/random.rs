//! Random numbers that are the same on all machines: `libm` takes the place of the
//! platform's logarithms and exponentials.

use std::f64::consts::TAU;

use rand::{Rng, RngExt};

/// A number from the standard normal distribution, by Box and Muller.
pub(super) fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (2.0 * exponential(rng)).sqrt();
    radius * libm::cos(TAU * rng.random::<f64>())
}

/// A number from the exponential distribution of mean 1.
pub(super) fn exponential(rng: &mut impl Rng) -> f64 {
    // The uniform number may be 0, never 1.
    -libm::log(1.0 - rng.random::<f64>())
}

/// A number whose logarithm is normal, with standard deviation `spread`.
pub(super) fn lognormal(median: f64, spread: f64, rng: &mut impl Rng) -> f64 {
    median * libm::exp(spread * normal(rng))
}

/// A unit vector of any direction.
pub(super) fn direction(dimension: usize, rng: &mut impl Rng) -> Vec<f64> {
    let mut vector: Vec<f64> = (0..dimension).map(|_| normal(rng)).collect();
    normalize(&mut vector);
    vector
}

/// Scales a vector, which is not all zero, to length 1.
pub(super) fn normalize(vector: &mut [f64]) {
    let norm = dot(vector, vector).sqrt();
    vector.iter_mut().for_each(|x| *x /= norm);
}

/// The dot product of vectors of equal length.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Draws positions in proportion to weights.
#[derive(Debug, Default)]
pub(super) struct WeightedIndex {
    /// The sum of the weights up to and including each position.
    sums: Vec<f64>,
}

impl WeightedIndex {
    /// Draws by `weights` of 0 or more.
    pub(super) fn new(weights: impl IntoIterator<Item = f64>) -> Self {
        let mut sum = 0.0;
        let sums = weights.into_iter().map(|weight| {
            sum += weight;
            sum
        });
        Self {
            sums: sums.collect(),
        }
    }

    /// A position; none when all weights are 0.
    pub(super) fn sample(&self, rng: &mut impl Rng) -> Option<usize> {
        let total = self.sums.last().copied().filter(|&sum| sum > 0.0)?;
        let at = total * rng.random::<f64>();
        let position = self.sums.partition_point(|&sum| sum <= at);
        // The product may be rounded up to the total, which lies beyond all positions.
        (position < self.sums.len()).then_some(position)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;

    #[test]
    fn positions_come_in_proportion_and_never_with_weight_zero() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let index = WeightedIndex::new([0.0, 1.0, 0.0, 3.0, 0.0]);
        let mut counts = [0; 5];
        (0..4_000).for_each(|_| counts[index.sample(rng).expect("a position")] += 1);
        assert_eq!([counts[0], counts[2], counts[4]], [0; 3]);
        assert!((900..1_100).contains(&counts[1]), "{counts:?}");
        assert_eq!(WeightedIndex::new([0.0; 3]).sample(rng), None);
        assert_eq!(WeightedIndex::default().sample(rng), None);
    }

    #[test]
    fn normal_numbers_have_their_moments() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let numbers: Vec<f64> = (0..20_000).map(|_| normal(rng)).collect();
        let mean = numbers.iter().sum::<f64>() / 20_000.0;
        let square = numbers.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (square - 1.0).abs() < 0.05);
    }
}
