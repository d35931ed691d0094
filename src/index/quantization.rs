//! Scalar quantization: the vectors of the nodes in 8 bits a component, which is what
//! the graph search reads. That is a quarter of the memory, and a search waits for
//! memory most of its time.
//!
//! A component is a whole number of steps, and each component has a step of its
//! own, because some vary a hundred times as much as others. An inner product
//! with a code is sum_i q_i s_i c_i, so the steps go into the query (see
//! [`Query`]). The order that codes give is nearly that of the vectors; the best
//! of a search are put into their true order from the vectors themselves.

use std::io;

use super::CatalogManifest;
use super::sketches::{SketchQuery, Sketches};
use crate::kernel::{self, CODE_LANES};
use crate::memory::{Pages, prefetch};
use crate::model::Embeddings;
use crate::snapshot::{Reader, SnapshotError, Writer};

const CODES: &str = "codes.bin";
const STEPS: &str = "code_steps.bin";
/// Greatest absolute value of a code: the sums of the kernel rely on -128 not being one.
const MAX_CODE: f32 = 127.0;

/// The codes of all nodes, one row a node, and their sketches.
#[derive(Debug)]
pub struct QuantizedVectors {
    /// The step of each component.
    steps: Vec<f32>,
    /// Rows of `stride` codes; behind the last component zeros.
    rows: Pages<i8>,
    stride: usize,
    sketches: Option<Sketches>,
}

/// A vector made ready for inner products with codes.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    /// Its components, each times the step of that component, as whole numbers of
    /// `unit`.
    weights: Vec<i16>,
    /// A sum of the kernel times this is a cosine.
    pub(super) unit: f32,
    /// Ready only where the query is meant for a graph search.
    sketch: SketchQuery,
}

impl QuantizedVectors {
    /// The codes and sketches of `vectors`.
    pub fn new(vectors: &Embeddings) -> io::Result<Self> {
        let steps = component_steps(vectors);
        let stride = stride(vectors.dimension());
        let mut rows = Pages::zeroed(vectors.len().saturating_mul(stride))?;
        let vector_rows = vectors.as_slice().chunks_exact(vectors.dimension());
        for (codes, row) in rows.chunks_exact_mut(stride).zip(vector_rows) {
            for ((code, x), step) in codes.iter_mut().zip(row).zip(&steps) {
                *code = (x / step).round().clamp(-MAX_CODE, MAX_CODE) as i8;
            }
        }
        Ok(Self {
            steps,
            rows,
            stride,
            sketches: Sketches::new(vectors)?,
        })
    }

    /// Number of nodes.
    pub(super) fn len(&self) -> usize {
        self.rows.len() / self.stride
    }

    /// Makes `query` ready for `vector`.
    pub(super) fn prepare(&self, vector: &[f32], query: &mut Query) {
        self.prepare_components(|| vector.iter().copied(), query);
    }

    /// Makes `query` ready for the vector of `node`, approximated by its code.
    pub(super) fn prepare_node(&self, node: u32, query: &mut Query) {
        self.prepare_components(|| self.decode(node), query);
    }

    /// Makes `query`, which is ready for `vector`, ready for [`Self::prune`] as well.
    pub(super) fn prepare_sketch(&self, vector: &[f32], query: &mut Query) {
        if let Some(sketches) = &self.sketches {
            sketches.prepare(vector.iter().copied(), &mut query.sketch);
        }
    }

    /// The same as [`Self::prepare_sketch`] for the vector of `node`, approximated by its
    /// code.
    pub(super) fn prepare_node_sketch(&self, node: u32, query: &mut Query) {
        if let Some(sketches) = &self.sketches {
            sketches.prepare(self.decode(node), &mut query.sketch);
        }
    }

    /// The vector of `node`, approximated by its code.
    fn decode(&self, node: u32) -> impl Iterator<Item = f32> {
        let codes = self.row(node).iter().zip(&self.steps);
        codes.map(|(&code, step)| f32::from(code) * step)
    }

    fn prepare_components<I>(&self, vector: impl Fn() -> I, query: &mut Query)
    where
        I: Iterator<Item = f32>,
    {
        query.sketch.clear();
        let components = || vector().zip(&self.steps).map(|(x, step)| x * step);
        let (mut max, mut sum) = (f32::MIN_POSITIVE, f32::MIN_POSITIVE);
        for component in components() {
            max = max.max(component.abs());
            sum += component.abs();
        }
        // Weights are as fine as 16 bits allow, with room for any row in the sums of 32 bits.
        let scale = (f32::from(i16::MAX) / max).min(0.9 * i32::MAX as f32 / (MAX_CODE * sum));
        query.weights.clear();
        let weights = components().map(|component| (component * scale).round() as i16);
        query.weights.extend(weights);
        query.weights.resize(self.stride, 0);
        query.unit = 1.0 / scale;
    }

    /// Upper bound of the difference between a cosine with a code and that with its
    /// vector, where `query` was made for `vector`. A code is at most half a step from its
    /// component: sum_i |q_i| s_i / 2. A weight is at most half a unit from what it
    /// stands for, times the greatest code. The rest is for rounding in f32.
    pub(super) fn max_error(&self, vector: &[f32], query: &Query) -> f32 {
        let code_error: f32 = vector
            .iter()
            .zip(&self.steps)
            .map(|(x, s)| x.abs() * s)
            .sum();
        let weight_error = vector.len() as f32 * MAX_CODE * query.unit;
        0.5 * (code_error + weight_error) + 1e-5
    }

    /// Inner products of `query` with the codes of `nodes`, in units of the
    /// query; `out` is overwritten.
    pub(super) fn dot_nodes(&self, query: &Query, nodes: &[u32], out: &mut Vec<i32>) {
        kernel::dot_code_rows(&query.weights, &self.rows, nodes, out);
    }

    /// Begins to fetch the sketches of `nodes`.
    pub(super) fn prefetch_sketches(&self, nodes: &[u32]) {
        if let Some(sketches) = &self.sketches {
            sketches.prefetch(nodes);
        }
    }

    /// Begins to fetch the codes of `nodes`.
    pub(super) fn prefetch(&self, nodes: &[u32]) {
        nodes.iter().for_each(|&node| prefetch(self.row(node)));
    }

    /// Drops those of `nodes` that are less similar to the query than `similarity`, in
    /// units of the query, by the estimate of their sketches. Drops none where there are no
    /// sketches, or the query has none. `sums` is scratch memory.
    pub(super) fn prune(
        &self,
        query: &Query,
        similarity: i32,
        nodes: &mut Vec<u32>,
        sums: &mut Vec<i32>,
    ) {
        if let Some(sketches) = &self.sketches
            && query.sketch.is_ready()
        {
            sketches.prune(&query.sketch, similarity as f32 * query.unit, nodes, sums);
        }
    }

    /// The standard deviation of a similarity by sketch, in units of the query; 0 where there
    /// are no sketches.
    pub(super) fn sketch_deviation(&self, query: &Query) -> i32 {
        let deviation = self.sketches.as_ref().map_or(0.0, Sketches::deviation);
        (deviation / query.unit) as i32
    }

    /// Cosine of `query` and `node`, approximated by its code.
    pub(super) fn cosine(&self, query: &Query, node: u32) -> f32 {
        kernel::dot_codes(&query.weights, self.row(node)) as f32 * query.unit
    }

    fn row(&self, node: u32) -> &[i8] {
        &self.rows[node as usize * self.stride..][..self.stride]
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), SnapshotError> {
        writer.write(STEPS, bytemuck::cast_slice(&self.steps))?;
        writer.write(CODES, bytemuck::cast_slice(&self.rows))?;
        match &self.sketches {
            Some(sketches) => sketches.write(writer),
            None => Ok(()),
        }
    }

    pub(super) fn read(reader: &Reader<CatalogManifest>) -> Result<Self, SnapshotError> {
        let CatalogManifest {
            dimension, nodes, ..
        } = reader.manifest().facts;
        let steps: Vec<f32> = reader.read_records(STEPS, dimension)?;
        if !steps.iter().all(|step| step.is_finite() && *step > 0.0) {
            return Err(reader.damaged(STEPS, "a step is no positive number"));
        }
        let stride = stride(dimension);
        let rows = reader.read_pages(CODES, nodes.saturating_mul(stride))?;
        Ok(Self {
            steps,
            rows,
            stride,
            sketches: Sketches::read(reader)?,
        })
    }
}

/// Codes of a row, those behind the last component included.
fn stride(dimension: usize) -> usize {
    dimension.next_multiple_of(CODE_LANES)
}

/// The step of each component: its greatest absolute value becomes the greatest code.
fn component_steps(vectors: &Embeddings) -> Vec<f32> {
    let mut greatest = vec![0.0f32; vectors.dimension()];
    for row in vectors.as_slice().chunks_exact(vectors.dimension()) {
        for (greatest, x) in greatest.iter_mut().zip(row) {
            *greatest = greatest.max(x.abs());
        }
    }
    // A component that is zero everywhere, or as good as that, has codes of
    // zero, at any step.
    let step = |greatest: f32| match greatest / MAX_CODE {
        step if step >= f32::MIN_POSITIVE => step,
        _ => 1.0,
    };
    greatest.into_iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn embeddings(dimension: usize, values: &[f32]) -> Embeddings {
        let mut embeddings = Embeddings::new(dimension).expect("a dimension");
        for row in values.chunks_exact(dimension) {
            // A row of zeros is no embedding.
            let _ = embeddings.push(row);
        }
        embeddings
    }

    proptest! {
        #[test]
        fn cosines_of_codes_are_near_those_of_the_vectors(
            dimension in 2usize..100,
            values in prop::collection::vec(-1.0f32..1.0, 2_000),
        ) {
            let vectors = embeddings(dimension, &values);
            let codes = QuantizedVectors::new(&vectors).expect("memory");
            let (mut query, mut from_code, mut dots) = (Query::default(), Query::default(), Vec::new());
            codes.prepare(vectors.row(0), &mut query);
            codes.prepare_node(0, &mut from_code);
            let nodes: Vec<u32> = (0..vectors.len() as u32).collect();
            codes.dot_nodes(&query, &nodes, &mut dots);
            // A code is at most half a step off, and a step is at most 1/127.
            let tolerance = (dimension as f32).sqrt() / 127.0;
            for (node, dot) in nodes.into_iter().zip(dots) {
                let exact = vectors.cosine(0, node as usize);
                prop_assert!((dot as f32 * query.unit - exact).abs() <= tolerance);
                prop_assert_eq!(codes.cosine(&query, node), dot as f32 * query.unit);
                prop_assert!((codes.cosine(&from_code, node) - exact).abs() <= 2.0 * tolerance);
            }
        }
    }

    #[test]
    fn the_greatest_sums_fit_into_32_bits() {
        let dimension = 4096;
        let row = vec![1.0 / 64.0; dimension];
        let vectors = embeddings(dimension, &row);
        let codes = QuantizedVectors::new(&vectors).expect("memory");
        let mut query = Query::default();
        codes.prepare(&row, &mut query);
        assert!((codes.cosine(&query, 0) - 1.0).abs() < 1e-3);
    }
}
