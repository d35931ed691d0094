//! Reading files of pins.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::path::Path;

use arrow_array::{Array, ArrayRef, RecordBatch};

use super::bad_rows::{BadRowParams, BadRows, Reason};
use super::columns;
use super::error::BatchError;
use super::input_files::InputFile;
use super::input_table::{Rows, Table, column};
use super::raw_pins::{RawPin, RawPins};
use super::text_rows::EMBEDDING;
use crate::model::{MAX_TITLE, PinId};
use crate::progress::Stage;

const PIN_ID: &str = "pin_id";
const TITLE: &str = "title";
const QUALITY: &str = "quality";
const SIGNATURE: &str = "signature";

/// Whether a file must have a column of qualities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QualityColumn {
    Required,
    Optional,
}

/// What was read.
pub(super) struct ReadPins {
    pub(super) pins: RawPins,
    /// Number of bad rows that were left out.
    pub(super) bad: u64,
    /// Number of titles that were cut to their limit.
    pub(super) cut_titles: u64,
}

/// Number of rows of all `files`.
pub(super) fn count_rows(files: &[InputFile]) -> Result<u64, BatchError> {
    let count = |file| Table::open(file, &[])?.count();
    files.iter().map(count).sum()
}

/// Reads all pins of `files`. More bad rows than `bad_rows` allows are an error that
/// names them.
pub(super) fn read(
    files: &[InputFile],
    quality: QualityColumn,
    bad_rows: &BadRowParams,
    stage: &Stage,
) -> Result<ReadPins, BatchError> {
    let mut reader = PinReader::new(BadRows::new(bad_rows)?);
    for file in files {
        let table = Table::open(file, &[PIN_ID, EMBEDDING, TITLE, QUALITY, SIGNATURE])?;
        check_columns(&table, quality)?;
        for rows in table.batches() {
            let rows = rows?;
            reader.read_batch(&file.path, &rows);
            stage.advance(rows.batch.num_rows() as u64);
        }
    }
    reader.finish(stage)
}

fn check_columns(table: &Table<'_>, quality: QualityColumn) -> Result<(), BatchError> {
    table.require(PIN_ID, "an integer", columns::is_id)?;
    table.require(EMBEDDING, "a list of floats", columns::is_vector)?;
    if table.has(TITLE) {
        table.require(TITLE, "a string", columns::is_text)?;
    }
    if quality == QualityColumn::Required || table.has(QUALITY) {
        table.require(QUALITY, "a number", columns::is_number)?;
    }
    if table.has(SIGNATURE) {
        table.require(SIGNATURE, "an integer", columns::is_id)?;
    }
    Ok(())
}

/// The pins of the files read so far.
struct PinReader<'a> {
    /// None until the first vectors tell the dimension.
    raw: Option<RawPins>,
    /// File and row of each pin.
    origins: HashMap<PinId, (&'a Path, u64)>,
    bad: BadRows,
    cut_titles: u64,
}

impl<'a> PinReader<'a> {
    fn new(bad: BadRows) -> Self {
        Self {
            raw: None,
            origins: HashMap::new(),
            bad,
            cut_titles: 0,
        }
    }

    /// Reads `rows` of the file `path`.
    fn read_batch(&mut self, path: &'a Path, rows: &Rows) {
        let Some(columns) = PinColumns::new(&rows.batch) else {
            return;
        };
        if self.raw.is_none() {
            // A dimension that is none is refused row by row.
            let dimension = usual_dimension(columns.vectors);
            self.raw = dimension.and_then(|dimension| RawPins::new(dimension).ok());
        }
        let mut vector = Vec::new();
        for row in 0..rows.batch.num_rows() {
            let origin_row = rows.first + row as u64;
            let pin = match rows.malformed.get(&row) {
                Some(reason) => Err(reason.clone()),
                None => columns.pin(row, &mut vector),
            };
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
        let (title, was_cut) = cut_title(pin.title);
        self.cut_titles += u64::from(was_cut);
        raw.pins.push(RawPin { row, title, ..pin });
        Ok(())
    }

    fn finish(self, stage: &Stage) -> Result<ReadPins, BatchError> {
        let bad = self.bad.finish(stage)?;
        let mut pins = self.raw.ok_or(BatchError::NoPins { read: 0 })?;
        pins.pins.sort_unstable_by_key(|pin| pin.id);
        Ok(ReadPins {
            pins,
            bad,
            cut_titles: self.cut_titles,
        })
    }
}

/// The dimension of most vectors; none without any.
fn usual_dimension(vectors: &ArrayRef) -> Option<usize> {
    let (mut vector, mut counts) = (Vec::new(), BTreeMap::<usize, usize>::new());
    for row in 0..vectors.len() {
        if columns::vector(vectors, row, &mut vector).is_ok() && !vector.is_empty() {
            *counts.entry(vector.len()).or_default() += 1;
        }
    }
    let most = counts.into_iter().max_by_key(|&(_, count)| count);
    most.map(|(dimension, _)| dimension)
}

/// A title of at most [`MAX_TITLE`] bytes, and whether it was longer.
fn cut_title(mut title: String) -> (String, bool) {
    let end = title.floor_char_boundary(MAX_TITLE);
    let is_longer = end < title.len();
    title.truncate(end);
    (title, is_longer)
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
        let named =
            |name: &'static str| move |reason: Reason| pin_error(id, &format!("{name} {reason}"));
        let quality = match self.qualities {
            Some(column) => columns::number(column, row).map_err(named(QUALITY))?,
            None => None,
        };
        let signature = match self.signatures {
            // A signature is a bit pattern: a negative one is as good as any.
            Some(column) => columns::bits(column, row).map_err(named(SIGNATURE))?,
            None => None,
        };
        let title = self.titles.and_then(|column| columns::text(column, row));
        Ok(RawPin {
            id,
            key: None,
            title: title.unwrap_or_default().to_owned(),
            // Its vector has no row yet.
            row: 0,
            quality,
            signature,
        })
    }
}

fn pin_error(id: PinId, reason: &dyn Display) -> String {
    format!("pin {id}: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_cut_between_characters() {
        assert_eq!(cut_title("tea".to_owned()), ("tea".to_owned(), false));
        let exact = "x".repeat(MAX_TITLE);
        assert_eq!(cut_title(exact.clone()), (exact, false));
        let (cut, was_cut) = cut_title(format!("{}茶", "x".repeat(MAX_TITLE - 1)));
        assert_eq!((cut.len(), was_cut), (MAX_TITLE - 1, true));
    }
}
