//! Reading files of pins.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use arrow_array::{ArrayRef, RecordBatch};

use super::error::{BadRows, BatchError};
use super::parquet_columns::{self as columns, Table, column};
use super::raw_pins::{RawPin, RawPins};
use crate::model::PinId;
use crate::progress::Stage;

const PIN_ID: &str = "pin_id";
const EMBEDDING: &str = "embedding";
const TITLE: &str = "title";
const QUALITY: &str = "quality";
const SIGNATURE: &str = "signature";

/// Whether a file must have a column of qualities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QualityColumn {
    Required,
    Optional,
}

/// Number of rows of all `files`.
pub(super) fn count_rows(files: &[PathBuf]) -> Result<u64, BatchError> {
    files
        .iter()
        .map(|path| Ok(Table::open(path, &[])?.rows()))
        .sum()
}

/// Reads all pins of `files`. Any bad row is an error that names it.
pub(super) fn read(
    files: &[PathBuf],
    quality: QualityColumn,
    stage: &Stage,
) -> Result<RawPins, BatchError> {
    let mut reader = PinReader::default();
    for path in files {
        let table = Table::open(path, &[PIN_ID, EMBEDDING, TITLE, QUALITY, SIGNATURE])?;
        check_columns(&table, quality)?;
        for batch in table.batches() {
            let (first_row, batch) = batch?;
            reader.read_batch(path, first_row, &batch);
            stage.advance(batch.num_rows() as u64);
        }
    }
    reader.finish()
}

fn check_columns(table: &Table, quality: QualityColumn) -> Result<(), BatchError> {
    table.require(PIN_ID, "Int64 or UInt64", columns::is_id)?;
    table.require(EMBEDDING, "a list of Float32", columns::is_vector)?;
    if table.has(TITLE) {
        table.require(TITLE, "a string", columns::is_text)?;
    }
    if quality == QualityColumn::Required || table.has(QUALITY) {
        table.require(QUALITY, "Float32 or Float64", columns::is_float)?;
    }
    if table.has(SIGNATURE) {
        table.require(SIGNATURE, "UInt64 or Int64", columns::is_id)?;
    }
    Ok(())
}

/// The pins of the files read so far.
#[derive(Default)]
struct PinReader<'a> {
    /// None until the first vector tells the dimension.
    raw: Option<RawPins>,
    /// File and row of each pin.
    origins: HashMap<PinId, (&'a Path, u64)>,
    bad: BadRows,
}

impl<'a> PinReader<'a> {
    /// Reads the rows of `batch`, which are those of the file `path` from `first_row` on.
    fn read_batch(&mut self, path: &'a Path, first_row: u64, batch: &RecordBatch) {
        let Some(columns) = PinColumns::new(batch) else {
            return;
        };
        let mut vector = Vec::new();
        for (row, origin_row) in (0..batch.num_rows()).zip(first_row..) {
            let pin = columns.pin(row, &mut vector);
            let pushed = pin.and_then(|pin| self.push(pin, &vector, (path, origin_row)));
            if let Err(reason) = pushed {
                self.bad.push(path, origin_row, reason);
            }
        }
    }

    fn push(&mut self, pin: RawPin, vector: &[f32], origin: (&'a Path, u64)) -> Result<(), String> {
        let id = pin.id;
        let raw = match &mut self.raw {
            Some(raw) => raw,
            None => {
                let raw = RawPins::new(vector.len());
                self.raw.insert(raw.map_err(|e| pin_error(id, &e))?)
            }
        };
        if let Some((path, row)) = self.origins.get(&id) {
            let reason = format!("stands already in {}, row {row}", path.display());
            return Err(pin_error(id, &reason));
        }
        raw.vectors.push(vector).map_err(|e| pin_error(id, &e))?;
        self.origins.insert(id, origin);
        let row = raw.vectors.len() - 1;
        raw.pins.push(RawPin { row, ..pin });
        Ok(())
    }

    fn finish(self) -> Result<RawPins, BatchError> {
        self.bad.into_result()?;
        let mut raw = self.raw.ok_or(BatchError::NoPins { read: 0 })?;
        raw.pins.sort_unstable_by_key(|pin| pin.id);
        Ok(raw)
    }
}

/// The columns of one batch of rows.
struct PinColumns<'a> {
    ids: &'a ArrayRef,
    vectors: &'a ArrayRef,
    titles: Option<&'a ArrayRef>,
    qualities: Option<&'a ArrayRef>,
    signatures: Option<&'a ArrayRef>,
}

impl<'a> PinColumns<'a> {
    fn new(batch: &'a RecordBatch) -> Option<Self> {
        Some(Self {
            ids: column(batch, PIN_ID)?,
            vectors: column(batch, EMBEDDING)?,
            titles: column(batch, TITLE),
            qualities: column(batch, QUALITY),
            signatures: column(batch, SIGNATURE),
        })
    }

    /// The pin in `row`, whose vector replaces `vector`.
    fn pin(&self, row: usize, vector: &mut Vec<f32>) -> Result<RawPin, String> {
        let id = columns::id(self.ids, row).map(PinId);
        let id = id.map_err(|e| format!("{PIN_ID} {e}"))?;
        columns::vector(self.vectors, row, vector)
            .map_err(|e| pin_error(id, &format!("{EMBEDDING} {e}")))?;
        let quality = self
            .qualities
            .and_then(|column| columns::float(column, row));
        if quality.is_some_and(f64::is_nan) {
            return Err(pin_error(id, &format!("{QUALITY} is not a number")));
        }
        let title = self.titles.and_then(|column| columns::text(column, row));
        Ok(RawPin {
            id,
            title: title.unwrap_or_default().to_owned(),
            // Its vector has no row yet.
            row: 0,
            quality,
            // A signature is a bit pattern: a negative one is as good as any.
            signature: self
                .signatures
                .and_then(|column| columns::bits(column, row)),
        })
    }
}

fn pin_error(id: PinId, reason: &dyn Display) -> String {
    format!("pin {id}: {reason}")
}
