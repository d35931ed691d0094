//! Global clusters: cells of the catalog that are the same for all users.
//!
//! kNN-Embed (2022) describes a user as a mixture over such cells, with a mean of the
//! user's own actions in each. This is that mixture without its smoothing over similar
//! users.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rayon::prelude::*;

use super::kmeans;
use super::model::{Method, Model, Source};
use crate::model::Embeddings;

/// Maximum number of vectors that centers are made from.
const MAX_SAMPLED: usize = 20_000;
/// Maximum rounds of k-means over them.
const MAX_ROUNDS: usize = 20;

/// By the number of cells: the cell of each row of the vectors.
pub(crate) type GlobalClusters = BTreeMap<usize, Vec<u32>>;

/// The cells that `models` need.
pub(crate) fn for_models(models: &[Model], vectors: &Embeddings, seed: u64) -> GlobalClusters {
    let cells_of = |model: &Model| {
        let Source::Clusters(Method::GlobalClusters(k)) = model.source else {
            return None;
        };
        Some((k, assign_cells(vectors, k, seed)))
    };
    models.iter().filter_map(cells_of).collect()
}

fn assign_cells(vectors: &Embeddings, k: usize, seed: u64) -> Vec<u32> {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let count = vectors.len();
    let sampled = rand::seq::index::sample(rng, count, count.min(MAX_SAMPLED));
    let rows: Vec<&[f32]> = sampled.iter().map(|row| vectors.row(row)).collect();
    let centers = kmeans::centers(&rows, k, MAX_ROUNDS, rng);
    let cell = |row: usize| kmeans::nearest_center(vectors.row(row), &centers) as u32;
    (0..count).into_par_iter().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_that_lie_together_share_a_cell() {
        let mut vectors = Embeddings::new(2).expect("a dimension");
        for degrees in [0.0f32, 120.0, 1.0, 240.0, 121.0, 241.0] {
            let angle = degrees.to_radians();
            let vector = [angle.cos(), angle.sin()];
            vectors.push(&vector).expect("a vector");
        }
        let models = ["knn_embed:k=3", "pinnersage"].map(|name| name.parse().expect(name));
        let cells = for_models(&models, &vectors, 1);
        assert_eq!(cells.len(), 1);
        let cells = cells[&3].iter().map(|&cell| cell as usize);
        assert_eq!(kmeans::group_by_cluster(cells), [[0, 2], [1, 4], [3, 5]]);
    }
}
