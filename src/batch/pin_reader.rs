//! Reading files of pins.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::path::Path;

use arrow_array::{Array, ArrayRef, RecordBatch};

use super::attribute_columns::{self, AttributeArrays};
use super::bad_rows::{BadRowParams, BadRows, Reason, quoted};
use super::columns;
use super::error::{BatchError, same_hash};
use super::ids::{self, IdColumn, IdFormat, InputId, PIN, TextIds};
use super::input_files::InputFile;
use super::input_table::{Rows, Table, column};
use super::raw_pins::{RawPin, RawPins};
use super::text_rows::EMBEDDING;
use crate::model::{AttributeDefinition, AttributeKind, AttributeValue, MAX_TITLE, PinId};
use crate::progress::{Progress, Stage};

const TITLE: &str = "title";
const QUALITY: &str = "quality";
const SIGNATURE: &str = "signature";

/// Which columns are read beside those that every file has or may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct PinColumnParams<'a> {
    /// How pins are called.
    pub(super) ids: PinIds,
    /// Whether a file must have a column of qualities.
    pub(super) requires_quality: bool,
    /// Columns that become attributes.
    pub(super) attributes: &'a [AttributeDefinition],
    /// Whether a file must have all of these.
    pub(super) requires_attributes: bool,
}

impl<'a> PinColumnParams<'a> {
    /// Those of a file of changed pins, which may lack all that a pin may lack.
    pub(super) fn of_changes(ids: PinIds, attributes: &'a [AttributeDefinition]) -> Self {
        Self {
            ids,
            requires_quality: false,
            attributes,
            requires_attributes: false,
        }
    }
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
    params: PinColumnParams<'_>,
    bad_rows: &BadRowParams,
    stage: &Stage,
) -> Result<ReadPins, BatchError> {
    let mut reader = PinReader::new(BadRows::new(bad_rows)?, params.attributes);
    let names = params.attributes.iter().map(|one| one.name.as_str());
    let columns = [PIN.id, EMBEDDING, TITLE, QUALITY, SIGNATURE];
    let columns = columns.into_iter().chain(names);
    let (lists, columns): (Vec<&str>, Vec<&str>) = columns.partition(|name| {
        let mut lists = params.attributes.iter();
        lists.any(|one| one.kind == AttributeKind::Keywords && one.name == *name)
    });
    for file in files {
        let table = Table::open_with_lists(file, &columns, &lists)?;
        check_columns(&table, params.requires_quality)?;
        attribute_columns::check(&table, params.attributes, params.requires_attributes)?;
        let format = params.ids.check(&table)?;
        for rows in table.batches() {
            let rows = rows?;
            reader.read_batch(&file.path, &rows, format);
            stage.advance(rows.batch.num_rows() as u64);
        }
    }
    reader.finish(stage)
}

/// How the pins of a catalog are called: all by numbers, or all by strings.
#[derive(Clone, Copy, Debug)]
pub(super) struct PinIds {
    /// What a column without a type says.
    text: IdFormat,
    /// What all files say.
    format: IdFormat,
}

impl PinIds {
    /// What `files` say of their pins: as their first file does, or by `text` where that has
    /// no types.
    pub(super) fn of(
        files: &[InputFile],
        text: TextIds,
        progress: Progress,
    ) -> Result<Self, BatchError> {
        let text = ids::text_format(files, PIN, text, progress)?;
        let format = match files.first() {
            Some(file) => ids::format(&Table::open(file, &[PIN.id])?, PIN, text),
            None => text,
        };
        Ok(Self { text, format })
    }

    /// Refuses a file that does not call its pins as the others do.
    fn check(self, table: &Table<'_>) -> Result<IdFormat, BatchError> {
        match (self.format, ids::format(table, PIN, self.text)) {
            (IdFormat::Number, IdFormat::Key) => {
                ids::require_numbers(table, PIN, "an integer, as in the others")?;
            }
            (IdFormat::Key, IdFormat::Number) => {
                let expected = "a string, as in the others";
                table.require(PIN.id, expected, columns::is_key)?;
            }
            (IdFormat::Number, IdFormat::Number) | (IdFormat::Key, IdFormat::Key) => {}
        }
        Ok(self.format)
    }
}

fn check_columns(table: &Table<'_>, requires_quality: bool) -> Result<(), BatchError> {
    ids::require(table, PIN)?;
    table.require(EMBEDDING, "a list of floats", columns::is_vector)?;
    if table.has(TITLE) {
        table.require(TITLE, "a string", columns::is_text)?;
    }
    if requires_quality || table.has(QUALITY) {
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
    attributes: &'a [AttributeDefinition],
    /// File and row of each pin, in the order of the pins.
    origins: Vec<(&'a Path, u64)>,
    /// Where each pin stands among them.
    positions: HashMap<PinId, usize>,
    bad: BadRows,
    cut_titles: u64,
}

impl<'a> PinReader<'a> {
    fn new(bad: BadRows, attributes: &'a [AttributeDefinition]) -> Self {
        Self {
            raw: None,
            attributes,
            origins: Vec::new(),
            positions: HashMap::new(),
            bad,
            cut_titles: 0,
        }
    }

    /// Reads `rows` of the file `path`.
    fn read_batch(&mut self, path: &'a Path, rows: &Rows, format: IdFormat) {
        let Some(columns) = PinColumns::new(&rows.batch, format) else {
            return;
        };
        if self.raw.is_none() {
            // A dimension that is none is refused row by row.
            let dimension = usual_dimension(columns.vectors);
            let new = |dimension| RawPins::new(dimension, self.attributes).ok();
            self.raw = dimension.and_then(new);
        }
        let attributes = AttributeArrays::new(&rows.batch, self.attributes);
        let (mut vector, mut values) = (Vec::new(), Vec::new());
        for row in 0..rows.batch.num_rows() {
            let origin_row = rows.first + row as u64;
            let pin = match rows.malformed.get(&row) {
                Some(reason) => Err(reason.clone()),
                None => columns.pin(row, &mut vector).and_then(|pin| {
                    let read = attributes.read(row, &mut values);
                    let failed = |reason| pin_error(pin.id, pin.key.as_deref(), &reason);
                    read.map_err(failed).map(|()| pin)
                }),
            };
            let of_row = (vector.as_slice(), values.as_slice());
            let pushed = pin.and_then(|pin| self.push(pin, of_row, (path, origin_row)));
            if let Err(reason) = pushed {
                self.bad.push(path, origin_row, reason);
            }
        }
    }

    fn push(
        &mut self,
        pin: RawPin,
        (vector, values): (&[f32], &[Option<AttributeValue>]),
        origin: (&'a Path, u64),
    ) -> Result<(), String> {
        let failed = |reason: &dyn Display| pin_error(pin.id, pin.key.as_deref(), reason);
        let raw = match &mut self.raw {
            Some(raw) => raw,
            None => {
                let raw = RawPins::new(vector.len(), self.attributes);
                self.raw.insert(raw.map_err(|e| failed(&e))?)
            }
        };
        if let Some(&position) = self.positions.get(&pin.id) {
            let (path, row) = self.origins[position];
            let place = format!("in {}, row {row}", path.display());
            return Err(match (&pin.key, &raw.pins[position].key) {
                (Some(key), Some(earlier)) if key != earlier => {
                    format!(
                        "pin_id {}; the other stands {place}",
                        same_hash(key, earlier)
                    )
                }
                _ => failed(&format!("stands already {place}")),
            });
        }
        raw.vectors.push(vector).map_err(|e| failed(&e))?;
        raw.attributes.push(values);
        self.positions.insert(pin.id, raw.pins.len());
        self.origins.push(origin);
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
    ids: IdColumn<'a>,
    vectors: &'a ArrayRef,
    titles: Option<&'a ArrayRef>,
    qualities: Option<&'a ArrayRef>,
    signatures: Option<&'a ArrayRef>,
}

impl<'a> PinColumns<'a> {
    fn new(batch: &'a RecordBatch, format: IdFormat) -> Option<Self> {
        Some(Self {
            ids: IdColumn::new(batch, PIN, format),
            vectors: column(batch, EMBEDDING)?,
            titles: column(batch, TITLE),
            qualities: column(batch, QUALITY),
            signatures: column(batch, SIGNATURE),
        })
    }

    /// The pin in `row`, whose vector replaces `vector`.
    fn pin(&self, row: usize, vector: &mut Vec<f32>) -> Result<RawPin, String> {
        let InputId { id, key } = self.ids.required(row)?;
        let id = PinId(id);
        let failed = |reason: &dyn Display| pin_error(id, key.as_deref(), reason);
        let named = |name: &'static str| move |reason: Reason| failed(&format!("{name} {reason}"));
        columns::vector(self.vectors, row, vector).map_err(named(EMBEDDING))?;
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
            title: title.unwrap_or_default().to_owned(),
            // Its vector has no row yet.
            row: 0,
            quality,
            signature,
            key: key.map(Cow::into_owned),
        })
    }
}

fn pin_error(id: PinId, key: Option<&str>, reason: &dyn Display) -> String {
    match key {
        Some(key) => format!("pin {}: {reason}", quoted(key)),
        None => format!("pin {id}: {reason}"),
    }
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
