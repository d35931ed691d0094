//! Building a catalog: files of pins in, a versioned directory out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

use super::attribute_columns::{AttributeColumns, AttributeLimits};
use super::bad_rows::BadRowParams;
use super::error::BatchError;
use super::ids::TextIds;
use super::input_files::{self, InputFile};
use super::pin_changes::{self, ChangeFiles};
use super::pin_reader::{self, PinColumnParams, PinIds, ReadPins};
use super::raw_pins::{RawPin, RawPins};
use crate::index::{
    AttributeTable, Catalog, CatalogManifest, CatalogParts, GraphParams, Pin, PinTable,
    QuantizedVectors, build_graph,
};
use crate::memory::Stored;
use crate::model::Embeddings;
use crate::progress::Progress;
use crate::snapshot::SnapshotManifest;

/// Parameters of a catalog build.
#[derive(Clone, Debug)]
pub struct CatalogParams {
    /// Name of the model that computed the vectors.
    pub embedding_version: String,
    /// Pins of a lower quality are dropped.
    pub min_quality: Option<f64>,
    /// Columns that become attributes.
    pub attributes: AttributeColumns,
    /// What attributes may be.
    pub attribute_limits: AttributeLimits,
    /// Pins that changed since the files of pins were written.
    pub changes: ChangeFiles,
    /// How ids are spelled in files without types.
    pub text_ids: TextIds,
    /// How many bad rows are left out.
    pub bad_rows: BadRowParams,
    /// Parameters of the graph.
    pub graph: GraphParams,
}

/// Builds a catalog from `files`, or directories or globs of them, as the current version of `root`.
///
/// Read -> drop low quality -> drop near-duplicates -> apply changes -> share equal
/// vectors -> graph -> write. More bad rows than may be stop it before anything is written.
pub fn build_catalog(
    files: &[PathBuf],
    root: &Path,
    params: &CatalogParams,
    progress: Progress,
) -> Result<SnapshotManifest<CatalogManifest>, BatchError> {
    let (raw, counts) = read_pins(files, params, progress)?;
    let attributes = attribute_table(&raw, &params.attribute_limits)?;
    let (vectors, position_of_row) = distinct_vectors(&raw);
    let pins = pin_table(raw, &vectors, &position_of_row, params.graph.seed);
    drop((vectors, position_of_row));
    let codes = QuantizedVectors::new(pins.vectors()).map_err(BatchError::Memory)?;
    let graph = {
        let stage = progress.stage("building the graph", pins.vectors().len() as u64);
        build_graph(&codes, params.graph, &stage).map_err(BatchError::Memory)?
    };
    let manifest = CatalogManifest {
        embedding_version: params.embedding_version.clone(),
        dimension: pins.vectors().dimension(),
        read: counts.read,
        bad: counts.bad,
        cut_titles: counts.cut_titles,
        low_quality: counts.low_quality,
        min_quality: params.min_quality,
        near_duplicates: counts.near_duplicates,
        upserted: counts.upserted,
        deleted: counts.deleted,
        string_ids: pins.has_keys(),
        pins: pins.ids().len(),
        nodes: pins.vectors().len(),
        graph: params.graph,
        attributes: attributes.facts(),
    };
    let parts = CatalogParts {
        pins: &pins,
        codes: &codes,
        graph: &graph,
        attributes: &attributes,
    };
    Ok(Catalog::write(root, parts, manifest)?)
}

/// The attributes of the pins, which must keep the limits.
fn attribute_table(raw: &RawPins, limits: &AttributeLimits) -> Result<AttributeTable, BatchError> {
    if let Some(attribute) = raw.attributes.with_more_words_than(limits.max_words) {
        return Err(BatchError::Attributes(format!(
            "{} has more than {} different words, which attributes.max_words allows: leave it \
             out if it is free text",
            attribute.name, limits.max_words
        )));
    }
    let rows: Vec<usize> = raw.pins.iter().map(|pin| pin.row).collect();
    let table = raw.attributes.finish(&rows);
    let (bytes, max) = (ByteSize(table.bytes()), limits.max_bytes);
    if bytes > max {
        return Err(BatchError::Attributes(format!(
            "they have {bytes}, where attributes.max_bytes is {max}"
        )));
    }
    Ok(table)
}

/// Outcome for the pins of the files.
#[derive(Default)]
struct PinCounts {
    read: u64,
    bad: u64,
    cut_titles: u64,
    low_quality: u64,
    near_duplicates: u64,
    upserted: u64,
    deleted: u64,
}

/// Reads the pins to index; at least one.
fn read_pins(
    files: &[PathBuf],
    params: &CatalogParams,
    progress: Progress,
) -> Result<(RawPins, PinCounts), BatchError> {
    let files = input_files::resolve(files, progress)?;
    let ids = PinIds::of(&files, params.text_ids, progress)?;
    let mut counts = PinCounts {
        read: pin_reader::count_rows(&files)?,
        ..PinCounts::default()
    };
    let mut raw = {
        let stage = progress.stage("reading pins", counts.read);
        let limits = &params.attribute_limits;
        let attributes = params.attributes.definitions(&files, limits, &stage)?;
        let columns = PinColumnParams {
            ids,
            requires_quality: params.min_quality.is_some(),
            attributes: &attributes,
            requires_attributes: true,
        };
        let read = pin_reader::read(&files, columns, &params.bad_rows, &stage)?;
        (counts.bad, counts.cut_titles) = (read.bad, read.cut_titles);
        read.pins
    };
    if let Some(min_quality) = params.min_quality {
        counts.low_quality = raw.drop_low_quality(min_quality);
    }
    counts.near_duplicates = raw.drop_near_duplicates();
    if let Some(path) = &params.changes.upserted {
        counts.upserted = upsert(path, ids, &mut raw, progress)?;
    }
    if let Some(path) = &params.changes.deleted {
        let stage = progress.stage("reading deleted pins", 0);
        counts.deleted = raw.delete(&pin_changes::read_deleted(path, &stage)?);
    }
    if raw.pins.is_empty() {
        return Err(BatchError::NoPins { read: counts.read });
    }
    Ok((raw, counts))
}

/// Adds or replaces the pins in the file `path`, and returns how many they are.
fn upsert(
    path: &Path,
    ids: PinIds,
    raw: &mut RawPins,
    progress: Progress,
) -> Result<u64, BatchError> {
    let files = [InputFile::new(path.to_owned())?];
    let rows = pin_reader::count_rows(&files)?;
    // The vectors of a file without rows have no known dimension.
    if rows == 0 {
        return Ok(0);
    }
    let stage = progress.stage("reading changed pins", rows);
    let none_bad = BadRowParams::default();
    let definitions = raw.attributes.definitions().to_vec();
    let columns = PinColumnParams::of_changes(ids, &definitions);
    let ReadPins { pins, .. } = pin_reader::read(&files, columns, &none_bad, &stage)?;
    raw.upsert(pins).map_err(|e| BatchError::file(path, e))
}

/// The distinct vectors of the pins, in the order of their first pin, and for each row
/// of a vector its position among them.
fn distinct_vectors(raw: &RawPins) -> (Embeddings, HashMap<usize, usize>) {
    let mut vectors = Vec::new();
    let mut positions: HashMap<&[u8], usize> = HashMap::new();
    let mut position_of_row = HashMap::new();
    for pin in &raw.pins {
        let vector = raw.vectors.row(pin.row);
        let next = positions.len();
        let position = *positions
            .entry(bytemuck::cast_slice(vector))
            .or_insert_with(|| {
                vectors.extend_from_slice(vector);
                next
            });
        position_of_row.insert(pin.row, position);
    }
    (
        Embeddings::from_unit_rows(raw.vectors.dimension(), Stored::Owned(vectors)),
        position_of_row,
    )
}

/// The table of the pins. Nodes are the distinct `vectors` in an order drawn from
/// `seed`: a good graph is built only in a random order.
fn pin_table(
    raw: RawPins,
    vectors: &Embeddings,
    position_of_row: &HashMap<usize, usize>,
    seed: u64,
) -> PinTable {
    let mut order: Vec<usize> = (0..vectors.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut node_of_position = vec![0u32; order.len()];
    for (node, &position) in order.iter().enumerate() {
        node_of_position[position] = node as u32;
    }
    let data = order
        .iter()
        .flat_map(|&position| vectors.row(position))
        .copied()
        .collect();
    let pin = |pin: RawPin| Pin {
        id: pin.id,
        node: node_of_position[position_of_row[&pin.row]],
        title: pin.title,
        key: pin.key,
    };
    let pins: Vec<Pin> = raw.pins.into_iter().map(pin).collect();
    let data = Stored::Owned(data);
    PinTable::new(&pins, Embeddings::from_unit_rows(vectors.dimension(), data))
}
