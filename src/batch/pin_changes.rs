//! Files of pins that changed on a running server, for the next catalog:
//! `upserted.parquet`, a file of pins, and `deleted.parquet`, of `pin_id`. Where pins have
//! keys, the `pin_id` of the former is the key; that of the latter is always the id.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{Float32Builder, ListBuilder, StringBuilder};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, ListArray, RecordBatch, StringArray, UInt64Array,
};
use arrow_schema::{ArrowError, Field};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::bad_rows::{BadRowParams, BadRows, quoted};
use super::error::BatchError;
use super::ids::{self, IdColumn, IdFormat, PIN, TextIds};
use super::input_files::{self, InputFile};
use super::input_table::Table;
use super::pin_reader::{self, PinColumnParams, PinIds, ReadPins};
use crate::model::{AttributeDefinition, AttributeValue, MAX_TITLE, PinAttributes, PinId};
use crate::progress::{Progress, Stage};

const UPSERTED: &str = "upserted.parquet";
const DELETED: &str = "deleted.parquet";

/// A pin that was added or replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct UpsertedPin {
    /// Id of the pin.
    pub id: PinId,
    /// What the caller calls it; none where that is the id.
    pub key: Option<String>,
    /// Embedding, as the client sent it.
    pub vector: Vec<f32>,
    /// Title for people; may be empty.
    pub title: String,
    /// What filters go by.
    pub attributes: PinAttributes,
}

/// Files of changes, as [`write_changes`] writes them; either may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeFiles {
    /// Pins that were added or replaced.
    pub upserted: Option<PathBuf>,
    /// Pins that were deleted.
    pub deleted: Option<PathBuf>,
}

impl ChangeFiles {
    /// The files in `directory`.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            upserted: Some(directory.join(UPSERTED)),
            deleted: Some(directory.join(DELETED)),
        }
    }
}

/// Writes changes to `directory`, which is created where it is missing. Either all of the
/// pins have a key, or none; a mixture is an error, and nothing is written.
pub fn write_changes(
    directory: &Path,
    upserted: &[UpsertedPin],
    deleted: &[PinId],
) -> Result<(), BatchError> {
    let keys = keys_of_all(upserted).map_err(|reason| BatchError::File {
        path: directory.join(UPSERTED),
        reason,
    })?;
    fs::create_dir_all(directory).map_err(|e| BatchError::file(directory, &e))?;
    let mut vectors = ListBuilder::new(Float32Builder::new());
    for pin in upserted {
        vectors.values().append_slice(&pin.vector);
        vectors.append(true);
    }
    let ids = |ids: &mut dyn Iterator<Item = PinId>| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(ids.map(|pin| pin.0)))
    };
    let titles = upserted.iter().map(|pin| pin.title.as_str());
    let titles: ArrayRef = Arc::new(StringArray::from_iter_values(titles));
    let called: ArrayRef = match keys {
        Some(keys) => Arc::new(StringArray::from(keys)),
        None => ids(&mut upserted.iter().map(|pin| pin.id)),
    };
    let attributes = attribute_arrays(upserted);
    let mut upserted = vec![
        (PIN.id, called),
        ("embedding", Arc::new(vectors.finish()) as ArrayRef),
        ("title", titles),
    ];
    upserted.extend(
        attributes
            .iter()
            .map(|(name, array)| (*name, array.clone())),
    );
    let deleted = [(PIN.id, ids(&mut deleted.iter().copied()))];
    write(&directory.join(UPSERTED), &upserted)?;
    write(&directory.join(DELETED), &deleted)
}

/// The attributes of `pins`, by name: bools, numbers, and words as lists of strings. A server
/// sends values of one type for each; others would be left out.
fn attribute_arrays(pins: &[UpsertedPin]) -> Vec<(&str, ArrayRef)> {
    let all = pins.iter().flat_map(|pin| pin.attributes.iter());
    let mut first: BTreeMap<&str, &AttributeValue> = BTreeMap::new();
    for (name, value) in all {
        first.entry(name).or_insert(value);
    }
    let arrays = first.into_iter().map(|(name, value)| {
        let values = pins.iter().map(|pin| pin.attributes.get(name));
        let array: ArrayRef = match value {
            AttributeValue::Bool(_) => {
                let flag = |value: Option<&AttributeValue>| match value {
                    Some(AttributeValue::Bool(flag)) => Some(*flag),
                    _ => None,
                };
                Arc::new(BooleanArray::from_iter(values.map(flag)))
            }
            AttributeValue::Number(_) => {
                let number = |value: Option<&AttributeValue>| match value {
                    Some(AttributeValue::Number(number)) => Some(*number),
                    _ => None,
                };
                Arc::new(Float64Array::from_iter(values.map(number)))
            }
            AttributeValue::Words(_) => Arc::new(word_lists(values)),
        };
        (name, array)
    });
    arrays.collect()
}

fn word_lists<'a>(values: impl Iterator<Item = Option<&'a AttributeValue>>) -> ListArray {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for value in values {
        if let Some(AttributeValue::Words(words)) = value {
            words
                .iter()
                .for_each(|word| lists.values().append_value(word));
            lists.append(true);
        } else {
            lists.append(false);
        }
    }
    lists.finish()
}

/// The keys of `pins`; none where no pin has one. Some with and some without are an error.
fn keys_of_all(pins: &[UpsertedPin]) -> Result<Option<Vec<&str>>, String> {
    let keys: Vec<&str> = pins.iter().filter_map(|pin| pin.key.as_deref()).collect();
    let by_number = pins.iter().find(|pin| pin.key.is_none());
    match (keys.first(), by_number) {
        (None, _) => Ok(None),
        (Some(_), None) => Ok(Some(keys)),
        (Some(key), Some(UpsertedPin { id, .. })) => Err(format!(
            "pin {id} is called by a number and pin {} by a string, where a file has one kind \
             of ids",
            quoted(key)
        )),
    }
}

fn write(path: &Path, columns: &[(&str, ArrayRef)]) -> Result<(), BatchError> {
    let write = || -> Result<(), ArrowError> {
        let fields = columns.iter().map(|(name, column)| {
            Field::new(*name, column.data_type().clone(), column.is_nullable())
        });
        let schema = Arc::new(arrow_schema::Schema::new(fields.collect::<Vec<_>>()));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let file = File::create(path)?;
        let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties))?;
        let columns = columns.iter().map(|(_, column)| column.clone()).collect();
        writer.write(&RecordBatch::try_new(schema, columns)?)?;
        writer.into_inner()?.sync_all()?;
        Ok(())
    };
    write().map_err(|e| BatchError::file(path, &e))
}

/// Reads the pins of `files`, which are as for a catalog of these `attributes`, by ascending
/// id. Vectors are normalized; any bad row is an error that names it.
pub fn read_pins(
    files: &[PathBuf],
    text_ids: TextIds,
    attributes: &[AttributeDefinition],
    progress: Progress,
) -> Result<Vec<UpsertedPin>, BatchError> {
    let files = input_files::resolve(files, progress)?;
    let ids = PinIds::of(&files, text_ids, progress)?;
    let stage = progress.stage("read pins", pin_reader::count_rows(&files)?);
    let none_bad = BadRowParams::default();
    let ReadPins {
        pins: raw,
        cut_titles,
        ..
    } = pin_reader::read(
        &files,
        PinColumnParams::of_changes(ids, attributes),
        &none_bad,
        &stage,
    )?;
    if cut_titles > 0 {
        stage.note(&format!("{cut_titles} titles are cut to {MAX_TITLE} bytes"));
    }
    let vectors = &raw.vectors;
    let of_row = |row: usize| {
        let named = attributes.iter().zip(raw.attributes.row(row));
        let named = named.filter_map(|(one, value)| Some((one.name.clone(), value?)));
        PinAttributes::new(named)
    };
    let pins = raw.pins.into_iter().map(|pin| UpsertedPin {
        id: pin.id,
        key: pin.key,
        vector: vectors.row(pin.row).to_vec(),
        title: pin.title,
        attributes: of_row(pin.row),
    });
    Ok(pins.collect())
}

/// The ids in a file of deleted pins.
pub(super) fn read_deleted(path: &Path, stage: &Stage) -> Result<HashSet<PinId>, BatchError> {
    let file = InputFile::new(path.to_owned())?;
    let table = Table::open(&file, &[PIN.id])?;
    ids::require(&table, PIN)?;
    let format = ids::format(&table, PIN, IdFormat::Number);
    let mut deleted = HashSet::new();
    let mut bad = BadRows::new(&BadRowParams::default())?;
    for rows in table.batches() {
        let rows = rows?;
        let ids = IdColumn::new(&rows.batch, PIN, format);
        for row in 0..rows.batch.num_rows() {
            match ids.required(row) {
                Ok(pin) => _ = deleted.insert(PinId(pin.id)),
                Err(reason) => bad.push(path, rows.first + row as u64, reason),
            }
        }
        stage.advance(rows.batch.num_rows() as u64);
    }
    bad.finish(stage)?;
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_with_and_without_keys_are_not_written_to_one_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let directory = directory.path().join("changes");
        let pin = |id: u64, key: Option<&str>| UpsertedPin {
            id: PinId(id),
            key: key.map(str::to_owned),
            vector: vec![1.0, 0.0],
            title: String::new(),
            attributes: PinAttributes::default(),
        };
        let mixed = [pin(1, Some("tea")), pin(7, None)];
        let refused = write_changes(&directory, &mixed, &[]).expect_err("a mixture");
        let expected = format!(
            "{}: pin 7 is called by a number and pin \"tea\" by a string, where a file has one \
             kind of ids",
            directory.join(UPSERTED).display()
        );
        assert_eq!(refused.to_string(), expected);
        assert!(!directory.exists());
        for alike in [&mixed[..1], &mixed[1..], &[]] {
            write_changes(&directory, alike, &[]).expect("files");
        }
    }
}
