//! Sketches: 2-bit codes of the vectors of the nodes, one cache line for 256
//! dimensions, where the 8-bit codes take four.
//!
//! Most nodes that a search visits are too far away to be of use, and a sketch is
//! enough to see that. Vectors are rotated (see [`super::rotation`]), so that a component is
//! about normal with deviation 1 / sqrt(dimension); it is kept as which of four
//! ranges, one deviation wide, it lies in. From the sketch u of v follows the cosine
//! q v = q u / (v u), as in RaBitQ (arXiv 2405.12497), where v u is nearly the same for
//! all v.

use std::io;

use super::CatalogManifest;
use super::rotation::rotate;
use crate::kernel::{self, SKETCH_LANES};
use crate::memory::{Pages, prefetch};
use crate::model::Embeddings;
use crate::snapshot::{Reader, SnapshotError, Writer};

const FILE: &str = "sketches.bin";
/// Vectors of fewer dimensions have no sketches: codes of one cache line leave nothing to
/// save (measured at 64 dimensions: a tenth slower), and fewer components deviate more.
const MIN_DIMENSION: usize = 96;
/// The inner product of a normal deviate with the middle of the range that it lies in,
/// +-0.5 or +-1.5: phi(0) + 2 phi(1), where phi is the normal density.
const SKETCH_PRODUCT: f32 = 0.882_884;
/// The standard deviation of a cosine by sketch, times sqrt(dimension). It comes from
/// what the ranges lose, and from v u.
const DEVIATION: f32 = 0.37;
/// A node is pruned when it is this many deviations too far away. A wider margin costs
/// more comparisons of codes, a narrower one costs recall.
const MARGIN: f32 = 1.0;

/// The sketches of all nodes, one row a node.
#[derive(Debug)]
pub(super) struct Sketches {
    rows: Pages<u8>,
    dimension: usize,
}

/// A vector made ready for sketches.
#[derive(Clone, Debug, Default)]
pub(super) struct SketchQuery {
    rotated: Vec<f32>,
    /// Its components as whole numbers of a unit.
    weights: Vec<i8>,
    /// A sum of the kernel, less `offset`, times this is a cosine.
    unit: f32,
    /// What to subtract from a sum of the kernel first.
    offset: f32,
}

impl Sketches {
    /// The sketches of `vectors`; none where they would save nothing.
    pub(super) fn new(vectors: &Embeddings) -> io::Result<Option<Self>> {
        let dimension = vectors.dimension();
        if dimension < MIN_DIMENSION {
            return Ok(None);
        }
        let width = width(dimension);
        let mut rows = Pages::zeroed(vectors.len().saturating_mul(width))?;
        let (mut rotated, mut components) = (Vec::new(), Vec::new());
        let vector_rows = vectors.as_slice().chunks_exact(dimension);
        for (row, vector) in rows.chunks_exact_mut(width).zip(vector_rows) {
            rotated.clear();
            rotated.extend_from_slice(vector);
            rotate(&mut rotated);
            components.clear();
            let deviations = (dimension as f32).sqrt();
            let range = |x: &f32| ((x * deviations).floor().clamp(-2.0, 1.0) + 2.0) as u8;
            components.extend(rotated.iter().map(range));
            kernel::pack_sketch(&components, row);
        }
        Ok(Some(Self { rows, dimension }))
    }

    /// Makes `query` ready for the unit vector of `components`.
    pub(super) fn prepare(&self, components: impl Iterator<Item = f32>, query: &mut SketchQuery) {
        let SketchQuery {
            rotated,
            weights,
            unit,
            offset,
        } = query;
        rotated.clear();
        rotated.extend(components);
        rotate(rotated);
        let max = rotated
            .iter()
            .fold(f32::MIN_POSITIVE, |max, x| max.max(x.abs()));
        let scale = f32::from(i8::MAX) / max;
        weights.clear();
        weights.extend(rotated.iter().map(|x| (x * scale).round() as i8));
        weights.resize(4 * width(self.dimension), 0);
        *unit = 1.0 / (scale * SKETCH_PRODUCT * (self.dimension as f32).sqrt());
        // The middles of the ranges are 1.5 below their numbers.
        *offset = 1.5 * weights.iter().map(|&weight| f32::from(weight)).sum::<f32>();
    }

    /// The standard deviation of a cosine by sketch.
    pub(super) fn deviation(&self) -> f32 {
        DEVIATION / (self.dimension as f32).sqrt()
    }

    /// Begins to fetch the sketches of `nodes`.
    pub(super) fn prefetch(&self, nodes: &[u32]) {
        let width = width(self.dimension);
        let row = |node: u32| &self.rows[node as usize * width..][..width];
        nodes.iter().for_each(|&node| prefetch(row(node)));
    }

    /// Keeps those of `nodes` whose cosine to the query may be `cosine` or more. `sums` is
    /// scratch memory.
    pub(super) fn prune(
        &self,
        query: &SketchQuery,
        cosine: f32,
        nodes: &mut Vec<u32>,
        sums: &mut Vec<i32>,
    ) {
        let margin = MARGIN * self.deviation();
        let min_sum = ((cosine - margin) / query.unit + query.offset).ceil() as i32;
        kernel::dot_sketch_rows(&query.weights, &self.rows, nodes, sums);
        // Without branches: whether a node is kept cannot be predicted.
        let mut kept = 0;
        for at in 0..nodes.len() {
            nodes[kept] = nodes[at];
            kept += usize::from(sums[at] >= min_sum);
        }
        nodes.truncate(kept);
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), SnapshotError> {
        writer.write(FILE, &self.rows)
    }

    pub(super) fn read(reader: &Reader<CatalogManifest>) -> Result<Option<Self>, SnapshotError> {
        let CatalogManifest {
            dimension, nodes, ..
        } = reader.manifest().facts;
        if dimension < MIN_DIMENSION {
            return Ok(None);
        }
        let rows = reader.read_pages(FILE, nodes.saturating_mul(width(dimension)))?;
        Ok(Some(Self { rows, dimension }))
    }
}

impl SketchQuery {
    /// Makes the query one that is not ready.
    pub(super) fn clear(&mut self) {
        self.weights.clear();
    }

    /// Whether the query was made ready for a vector.
    pub(super) fn is_ready(&self) -> bool {
        !self.weights.is_empty()
    }
}

/// Bytes of a row.
fn width(dimension: usize) -> usize {
    dimension.next_multiple_of(SKETCH_LANES) / 4
}

#[cfg(test)]
mod tests {
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Random unit vectors, of which each is near the one before.
    fn chain(dimension: usize, count: usize) -> Embeddings {
        let rng = &mut ChaCha8Rng::seed_from_u64(7);
        let mut vectors = Embeddings::new(dimension).expect("a dimension");
        let mut vector = vec![0.0f32; dimension];
        for _ in 0..count {
            for x in &mut vector {
                *x = 0.8 * *x + rng.random_range(-1.0..1.0);
            }
            vectors.push(&vector).expect("a vector");
        }
        vectors
    }

    #[test]
    fn cosines_by_sketch_deviate_as_stated_and_those_near_enough_are_kept() {
        for dimension in [96, 128, 200, 256, 700] {
            let vectors = chain(dimension, 400);
            let sketches = Sketches::new(&vectors).expect("memory").expect("sketches");
            let mut query = SketchQuery::default();
            let (mut sums, mut squares, mut lost, mut kept) = (Vec::new(), 0.0, 0, 0);
            let deviation = DEVIATION / (dimension as f32).sqrt();
            for row in 0..vectors.len() {
                sketches.prepare(vectors.row(row).iter().copied(), &mut query);
                let mut nodes: Vec<u32> = (0..vectors.len() as u32).collect();
                kernel::dot_sketch_rows(&query.weights, &sketches.rows, &nodes, &mut sums);
                for (node, &sum) in sums.iter().enumerate() {
                    let by_sketch = (sum as f32 - query.offset) * query.unit;
                    squares += (by_sketch - vectors.cosine(row, node)).powi(2);
                }
                sketches.prune(&query, 0.5, &mut nodes, &mut sums);
                kept += nodes.len();
                assert!(nodes.is_sorted());
                let near = |node: &u32| vectors.cosine(row, *node as usize) >= 0.5;
                let near_nodes = (0..vectors.len() as u32).filter(near);
                lost += near_nodes
                    .filter(|node| nodes.binary_search(node).is_err())
                    .count();
            }
            let pairs = vectors.len() * vectors.len();
            let measured = (squares / pairs as f32).sqrt();
            assert!(
                (0.7..1.1).contains(&(measured / deviation)),
                "{dimension}: {measured}"
            );
            // All but the few that lie just above and deviate by more than the margin.
            assert!(
                lost * 500 < pairs && kept * 20 < pairs,
                "{dimension}: {lost}, {kept}"
            );
        }
    }

    #[test]
    fn short_vectors_have_no_sketches() {
        assert!(Sketches::new(&chain(64, 3)).expect("memory").is_none());
    }
}
