//! Embeddings: unit vectors of one dimension, in one contiguous matrix.

use crate::kernel;
use crate::memory::Stored;

/// The minimum dimension of an embedding.
pub const MIN_DIMENSION: usize = 2;
/// The maximum dimension of an embedding.
pub const MAX_DIMENSION: usize = 4096;

/// A vector whose length differs from 1 by less than this is kept as it is, so
/// that normalizing twice changes no bit.
const UNIT_TOLERANCE: f64 = 1e-6;

/// Why a vector cannot be an embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbeddingError {
    /// The vector has no component.
    #[error("the embedding is empty")]
    Empty,
    /// The dimension is not supported.
    #[error("the embedding has dimension {0}, not one from {MIN_DIMENSION} to {MAX_DIMENSION}")]
    Dimension(usize),
    /// The vector is longer or shorter than the others.
    #[error("the embedding has dimension {actual} where most have {expected}")]
    Length {
        /// The dimension of the matrix.
        expected: usize,
        /// The dimension of the refused vector.
        actual: usize,
    },
    /// A component is NaN or infinite.
    #[error("component {0} of the embedding is not finite")]
    NotFinite(usize),
    /// The vector has no direction.
    #[error("the embedding is all zero")]
    Zero,
}

/// A matrix of unit vectors, one a row: `len()` x `dimension()` f32, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    dimension: usize,
    data: Stored<f32>,
}

/// Refuses a dimension outside of [`MIN_DIMENSION`] to [`MAX_DIMENSION`].
pub fn check_dimension(dimension: usize) -> Result<(), EmbeddingError> {
    match dimension {
        0 => Err(EmbeddingError::Empty),
        MIN_DIMENSION..=MAX_DIMENSION => Ok(()),
        other => Err(EmbeddingError::Dimension(other)),
    }
}

impl Embeddings {
    /// An empty matrix of vectors of `dimension`.
    pub fn new(dimension: usize) -> Result<Self, EmbeddingError> {
        check_dimension(dimension)?;
        Ok(Self {
            dimension,
            data: Stored::Owned(Vec::new()),
        })
    }

    /// An empty matrix of vectors of the dimension of this one.
    pub fn empty_like(&self) -> Self {
        Self {
            dimension: self.dimension,
            data: Stored::Owned(Vec::new()),
        }
    }

    /// A matrix over rows that are normalized already, as the files hold them.
    ///
    /// `data.len()` must be a multiple of `dimension`.
    pub fn from_unit_rows(dimension: usize, data: Stored<f32>) -> Self {
        debug_assert_eq!(data.len() % dimension, 0);
        Self { dimension, data }
    }

    /// Appends `vector`, L2-normalized.
    pub fn push(&mut self, vector: &[f32]) -> Result<(), EmbeddingError> {
        let norm = checked_norm(vector, self.dimension)?;
        let data = self.data.to_mut();
        if (norm - 1.0).abs() < UNIT_TOLERANCE {
            // The sum turns -0.0 into 0.0, so that equal vectors have equal bytes.
            data.extend(vector.iter().map(|x| x + 0.0));
        } else {
            data.extend(vector.iter().map(|&x| (f64::from(x) / norm) as f32 + 0.0));
        }
        Ok(())
    }

    /// The vector of `row`, which must be less than [`Self::len`].
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.dimension..(row + 1) * self.dimension]
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.data.len() / self.dimension
    }

    /// Whether there is no vector.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Length of every vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// All rows, one after another.
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }

    /// Cosine of two rows, in [-1, 1].
    pub fn cosine(&self, a: usize, b: usize) -> f32 {
        kernel::dot(self.row(a), self.row(b)).clamp(-1.0, 1.0)
    }
}

/// The L2 norm of `vector`, which must be finite, not zero, and of the `expected` length.
fn checked_norm(vector: &[f32], expected: usize) -> Result<f64, EmbeddingError> {
    if vector.is_empty() {
        return Err(EmbeddingError::Empty);
    }
    if vector.len() != expected {
        return Err(EmbeddingError::Length {
            expected,
            actual: vector.len(),
        });
    }
    if let Some(component) = vector.iter().position(|x| !x.is_finite()) {
        return Err(EmbeddingError::NotFinite(component));
    }
    let norm = vector
        .iter()
        .map(|&x| f64::from(x).powi(2))
        .sum::<f64>()
        .sqrt();
    if norm == 0.0 {
        return Err(EmbeddingError::Zero);
    }
    Ok(norm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_unit_length_and_normalizing_again_changes_no_bit() {
        let mut once = Embeddings::new(3).expect("a dimension");
        once.push(&[3.0, -0.0, 4.0]).expect("a vector");
        once.push(&[f32::MIN_POSITIVE, 0.0, 0.0])
            .expect("a tiny vector");
        once.push(&[f32::MAX, f32::MAX, f32::MAX])
            .expect("a huge vector");
        assert_eq!(once.row(0), [0.6, 0.0, 0.8]);
        assert!(once.row(0)[1].is_sign_positive());
        let mut twice = Embeddings::new(3).expect("a dimension");
        (0..3).for_each(|row| twice.push(once.row(row)).expect("a unit vector"));
        assert_eq!(once, twice);
    }

    #[test]
    fn each_bad_vector_has_its_error() {
        let mut rows = Embeddings::new(2).expect("a dimension");
        assert_eq!(rows.push(&[]), Err(EmbeddingError::Empty));
        assert_eq!(rows.push(&[0.0, -0.0]), Err(EmbeddingError::Zero));
        assert_eq!(
            rows.push(&[1.0, f32::NAN]),
            Err(EmbeddingError::NotFinite(1))
        );
        assert_eq!(
            rows.push(&[f32::INFINITY, 0.0]),
            Err(EmbeddingError::NotFinite(0))
        );
        let length = EmbeddingError::Length {
            expected: 2,
            actual: 3,
        };
        assert_eq!(rows.push(&[1.0; 3]), Err(length));
        assert!(rows.is_empty());
        assert_eq!(Embeddings::new(1), Err(EmbeddingError::Dimension(1)));
        assert_eq!(Embeddings::new(4097), Err(EmbeddingError::Dimension(4097)));
        assert_eq!(Embeddings::new(0), Err(EmbeddingError::Empty));
    }
}
