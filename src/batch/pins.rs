//! Reading files of pins, and dropping what is not worth a place in the index.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use arrow_array::RecordBatch;

use super::BatchError;
use super::columns::{self, Table, column};
use super::error::BadRows;
use crate::model::{EmbeddingError, Embeddings, PinId};
use crate::progress::Stage;

const PIN_ID: &str = "pin_id";
const EMBEDDING: &str = "embedding";
const TITLE: &str = "title";
const QUALITY: &str = "quality";
const SIGNATURE: &str = "signature";

/// One pin as it was read.
pub(super) struct RawPin {
    pub(super) id: PinId,
    pub(super) title: String,
    /// Row of its vector in [`RawPins::vectors`].
    pub(super) row: usize,
    quality: Option<f64>,
    signature: Option<u64>,
}

/// All pins that were read.
pub(super) struct RawPins {
    /// By ascending id, each once.
    pub(super) pins: Vec<RawPin>,
    pub(super) vectors: Embeddings,
    /// Where each pin was read: its file and row.
    origins: HashMap<PinId, (usize, u64)>,
}

/// Number of rows of all `files`.
pub(super) fn count(files: &[PathBuf]) -> Result<u64, BatchError> {
    files
        .iter()
        .map(|path| Ok(Table::open(path, &[])?.rows()))
        .sum()
}

/// Reads all pins of `files`. Any bad row is an error that names it.
///
/// With `quality_needed`, a file without that column is an error too.
pub(super) fn read(
    files: &[PathBuf],
    quality_needed: bool,
    stage: &Stage,
) -> Result<RawPins, BatchError> {
    let mut bad = BadRows::default();
    let mut raw: Option<RawPins> = None;
    for (file, path) in files.iter().enumerate() {
        let table = Table::open(path, &[PIN_ID, EMBEDDING, TITLE, QUALITY, SIGNATURE])?;
        check_columns(&table, quality_needed)?;
        for batch in table.batches() {
            let (first, batch) = batch?;
            read_batch(&batch, files, file, first, &mut raw, &mut bad);
            stage.advance(batch.num_rows() as u64);
        }
    }
    bad.into_result()?;
    let mut raw = raw.ok_or(BatchError::NoPins { read: 0 })?;
    raw.pins.sort_unstable_by_key(|pin| pin.id);
    Ok(raw)
}

fn check_columns(table: &Table, quality_needed: bool) -> Result<(), BatchError> {
    table.require(PIN_ID, "Int64 or UInt64", columns::is_id)?;
    table.require(EMBEDDING, "a list of Float32", columns::is_vector)?;
    if table.has(TITLE) {
        table.require(TITLE, "a string", columns::is_text)?;
    }
    if quality_needed || table.has(QUALITY) {
        table.require(QUALITY, "Float32 or Float64", columns::is_float)?;
    }
    if table.has(SIGNATURE) {
        table.require(SIGNATURE, "UInt64 or Int64", columns::is_id)?;
    }
    Ok(())
}

fn read_batch(
    batch: &RecordBatch,
    files: &[PathBuf],
    file: usize,
    first: u64,
    raw: &mut Option<RawPins>,
    bad: &mut BadRows,
) {
    let (Some(ids), Some(vectors)) = (column(batch, PIN_ID), column(batch, EMBEDDING)) else {
        return;
    };
    let (titles, qualities) = (column(batch, TITLE), column(batch, QUALITY));
    let signatures = column(batch, SIGNATURE);
    let mut vector = Vec::new();
    for at in 0..batch.num_rows() {
        let row = first + at as u64;
        let mut read = || -> Result<(), String> {
            let id = columns::id(ids, at)
                .map(PinId)
                .map_err(|e| format!("{PIN_ID} {e}"))?;
            let named = |e: &dyn std::fmt::Display| format!("pin {id}: {e}");
            columns::vector(vectors, at, &mut vector)
                .map_err(|e| named(&format!("{EMBEDDING} {e}")))?;
            let quality = qualities.and_then(|qualities| columns::float(qualities, at));
            if quality.is_some_and(f64::is_nan) {
                return Err(named(&format!("{QUALITY} is not a number")));
            }
            // A signature is a bit pattern: a negative one is as good as any.
            let signature = signatures.and_then(|signatures| columns::bits(signatures, at));
            let raw = match raw {
                Some(raw) => raw,
                None => raw.insert(RawPins::new(vector.len()).map_err(|e| named(&e))?),
            };
            if let Some(&(file, row)) = raw.origins.get(&id) {
                let first = files[file].display();
                return Err(named(&format!("stands already in {first}, row {row}")));
            }
            raw.vectors.push(&vector).map_err(|e| named(&e))?;
            raw.origins.insert(id, (file, row));
            let title = titles.and_then(|titles| columns::text(titles, at));
            let title = title.unwrap_or_default().to_owned();
            let vector_row = raw.vectors.len() - 1;
            raw.pins.push(RawPin {
                id,
                title,
                row: vector_row,
                quality,
                signature,
            });
            Ok(())
        };
        if let Err(reason) = read() {
            bad.push(&files[file], row, reason);
        }
    }
}

impl RawPins {
    fn new(dimension: usize) -> Result<Self, EmbeddingError> {
        let vectors = Embeddings::new(dimension)?;
        Ok(Self {
            pins: Vec::new(),
            vectors,
            origins: HashMap::new(),
        })
    }

    /// Drops pins below `least` quality, and returns how many. A pin without a
    /// quality is below every threshold.
    pub(super) fn drop_low_quality(&mut self, least: f64) -> u64 {
        self.retain(|pin| pin.quality.is_some_and(|quality| quality >= least))
    }

    /// Of the pins that share a signature keeps the one of the best quality, then
    /// of the lowest id, and returns how many it dropped.
    pub(super) fn drop_near_duplicates(&mut self) -> u64 {
        let mut best: HashMap<u64, (f64, PinId)> = HashMap::new();
        let quality = |pin: &RawPin| pin.quality.unwrap_or(f64::NEG_INFINITY);
        for pin in &self.pins {
            let Some(signature) = pin.signature else {
                continue;
            };
            let kept = best.entry(signature).or_insert((quality(pin), pin.id));
            // Pins ascend by id, so of equal qualities the first stays.
            if quality(pin) > kept.0 {
                *kept = (quality(pin), pin.id);
            }
        }
        self.retain(|pin| {
            let kept = pin.signature.and_then(|signature| best.get(&signature));
            kept.is_none_or(|&(_, id)| id == pin.id)
        })
    }

    /// Puts `changed` in the place of pins with their ids, or beside them, and returns
    /// how many they are. Their vectors must be as long.
    pub(super) fn upsert(&mut self, changed: RawPins) -> Result<u64, EmbeddingError> {
        let ids: HashSet<PinId> = changed.pins.iter().map(|pin| pin.id).collect();
        self.retain(|pin| !ids.contains(&pin.id));
        for pin in changed.pins {
            self.vectors.push(changed.vectors.row(pin.row))?;
            let row = self.vectors.len() - 1;
            self.pins.push(RawPin { row, ..pin });
        }
        self.pins.sort_unstable_by_key(|pin| pin.id);
        Ok(ids.len() as u64)
    }

    /// Drops the pins with these ids, and returns how many there were.
    pub(super) fn delete(&mut self, ids: &HashSet<PinId>) -> u64 {
        self.retain(|pin| !ids.contains(&pin.id))
    }

    fn retain(&mut self, keep: impl Fn(&RawPin) -> bool) -> u64 {
        let before = self.pins.len();
        self.pins.retain(keep);
        (before - self.pins.len()) as u64
    }
}
