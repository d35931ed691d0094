//! Building a catalog: files of pins in, a versioned directory out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

use super::pins::RawPins;
use super::{BatchError, ChangeFiles, changes, pins};
use crate::index::{
    Catalog, CatalogManifest, GraphParams, Pin, PinTable, QuantizedVectors, build_graph,
};
use crate::memory::Stored;
use crate::model::Embeddings;
use crate::progress::Progress;
use crate::snapshot::SnapshotManifest;

/// How a catalog is built.
#[derive(Clone, Debug)]
pub struct CatalogParams {
    /// Name of the model that made the vectors.
    pub embedding_version: String,
    /// Pins of a lower quality are dropped.
    pub min_quality: Option<f64>,
    /// What changed since the files of pins were made.
    pub changes: ChangeFiles,
    /// With what the graph is built.
    pub graph: GraphParams,
}

/// Builds a catalog from `files` as the current version of `root`.
///
/// Read -> drop low quality -> drop near-duplicates -> apply changes -> share equal
/// vectors -> graph -> write. Any bad row stops it before anything is written.
pub fn build_catalog(
    files: &[PathBuf],
    root: &Path,
    params: &CatalogParams,
    progress: Progress,
) -> Result<SnapshotManifest<CatalogManifest>, BatchError> {
    let read = pins::count(files)?;
    let mut raw = {
        let stage = progress.stage("reading pins", read);
        pins::read(files, params.min_quality.is_some(), &stage)?
    };
    let low_quality = params
        .min_quality
        .map_or(0, |least| raw.drop_low_quality(least));
    let near_duplicates = raw.drop_near_duplicates();
    let (upserted, deleted) = apply(&params.changes, &mut raw, progress)?;
    if raw.pins.is_empty() {
        return Err(BatchError::NoPins { read });
    }

    let (distinct, place_of_row) = distinct(&raw);
    let pins = table(raw, &distinct, &place_of_row, params.graph.seed);
    drop((distinct, place_of_row));
    let codes = QuantizedVectors::new(pins.vectors()).map_err(BatchError::Memory)?;
    let graph = {
        let stage = progress.stage("building the graph", pins.vectors().len() as u64);
        build_graph(&codes, params.graph, &stage).map_err(BatchError::Memory)?
    };
    let facts = CatalogManifest {
        embedding_version: params.embedding_version.clone(),
        dimension: pins.vectors().dimension(),
        read,
        low_quality,
        min_quality: params.min_quality,
        near_duplicates,
        upserted,
        deleted,
        pins: pins.ids().len(),
        nodes: pins.vectors().len(),
        graph: params.graph,
    };
    Ok(Catalog::write(root, &pins, &codes, &graph, facts)?)
}

/// Applies what changed on a server, and returns how many pins came or changed and how
/// many went.
fn apply(
    changes: &ChangeFiles,
    raw: &mut RawPins,
    progress: Progress,
) -> Result<(u64, u64), BatchError> {
    let (mut upserted, mut deleted) = (0, 0);
    if let Some(path) = &changes.upserted {
        let files = [path.clone()];
        let rows = pins::count(&files)?;
        // A file without rows does not say how long its vectors are.
        if rows > 0 {
            let stage = progress.stage("reading changed pins", rows);
            let changed = pins::read(&files, false, &stage)?;
            upserted = raw.upsert(changed).map_err(|e| BatchError::file(path, e))?;
        }
    }
    if let Some(path) = &changes.deleted {
        deleted = raw.delete(&changes::read_deleted(path)?);
    }
    Ok((upserted, deleted))
}

/// The distinct vectors of the pins, in the order of their first pin, and for
/// each row of a vector its place among them.
fn distinct(raw: &RawPins) -> (Embeddings, HashMap<usize, usize>) {
    let mut vectors = Vec::new();
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    let mut place_of_row = HashMap::new();
    for pin in &raw.pins {
        let vector = raw.vectors.row(pin.row);
        let next = places.len();
        let place = *places
            .entry(bytemuck::cast_slice(vector))
            .or_insert_with(|| {
                vectors.extend_from_slice(vector);
                next
            });
        place_of_row.insert(pin.row, place);
    }
    (
        Embeddings::from_unit_rows(raw.vectors.dimension(), Stored::Owned(vectors)),
        place_of_row,
    )
}

/// The table of the pins. Nodes are the distinct `vectors` in an order drawn from
/// `seed`: a graph is built well only in a random one.
fn table(
    raw: RawPins,
    vectors: &Embeddings,
    place_of_row: &HashMap<usize, usize>,
    seed: u64,
) -> PinTable {
    let mut order: Vec<usize> = (0..vectors.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut node_of_place = vec![0u32; order.len()];
    for (node, &place) in order.iter().enumerate() {
        node_of_place[place] = node as u32;
    }
    let data = order
        .iter()
        .flat_map(|&place| vectors.row(place))
        .copied()
        .collect();
    let pin = |pin: pins::RawPin| Pin {
        id: pin.id,
        node: node_of_place[place_of_row[&pin.row]],
        title: pin.title,
    };
    let pins: Vec<Pin> = raw.pins.into_iter().map(pin).collect();
    let data = Stored::Owned(data);
    PinTable::new(&pins, Embeddings::from_unit_rows(vectors.dimension(), data))
}
