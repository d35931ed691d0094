//! The rows of one file of the input, whatever its format, with the columns that its
//! folders name.
//!
//! A file is opened with the names of its columns; the others are not read. A column that
//! is missing or of another type is an error of the file.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::columns;
use super::error::BatchError;
use super::input_files::{Format, InputFile};
use super::text_rows::{ParsedRows, TextRows};

const BATCH_ROWS: usize = 8_192;

/// A file of which some columns are read.
pub(super) struct Table<'a> {
    file: &'a InputFile,
    /// All columns of a Parquet file; of a text file those that are read, without types.
    schema: SchemaRef,
    /// Columns that the folders add, each with its value, if it has one.
    folders: Vec<&'a (String, Option<String>)>,
    source: Source,
}

enum Source {
    Parquet {
        reader: ParquetRecordBatchReader,
        rows: u64,
    },
    Text(TextRows),
}

/// Some rows of a file.
pub(super) struct Rows {
    /// Number of the first of them, from 0.
    pub(super) first: u64,
    pub(super) batch: RecordBatch,
    /// Why some of them are no rows, by their position in the batch.
    pub(super) malformed: BTreeMap<usize, String>,
}

impl<'a> Table<'a> {
    /// Opens `file` for those of the columns `names` that it has.
    pub(super) fn open(file: &'a InputFile, names: &[&str]) -> Result<Self, BatchError> {
        Self::open_with_lists(file, names, &[])
    }

    /// The same for `lists` as well, whose values may be lists of strings. Those of a text
    /// file come as JSON.
    pub(super) fn open_with_lists(
        file: &'a InputFile,
        names: &[&str],
        lists: &[&str],
    ) -> Result<Self, BatchError> {
        let names = &[names, lists].concat()[..];
        let failed = |e: &dyn Display| BatchError::file(&file.path, e);
        let (schema, source) = match file.format {
            Format::Parquet => open_parquet(file, names)?,
            Format::Csv => text(TextRows::open_csv(&file.path, names).map_err(|e| failed(&e))?),
            Format::JsonLines => {
                text(TextRows::open_json(&file.path, names, lists).map_err(|e| failed(&e))?)
            }
        };
        let folders = file.folders.iter();
        Ok(Self {
            file,
            schema,
            folders: folders
                .filter(|(name, _)| names.contains(&name.as_str()))
                .collect(),
            source,
        })
    }

    /// Number of rows. A text file is read for it.
    pub(super) fn count(self) -> Result<u64, BatchError> {
        match self.source {
            Source::Parquet { rows, .. } => Ok(rows),
            Source::Text(rows) => rows
                .count()
                .map_err(|e| BatchError::file(&self.file.path, e)),
        }
    }

    /// Whether the file, or a folder above it, has the column `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.schema.column_with_name(name).is_some() || self.is_folder(name)
    }

    fn is_folder(&self, name: &str) -> bool {
        self.folders.iter().any(|(folder, _)| folder == name)
    }

    /// All columns with their types, those of folders left out; none for a text file, which
    /// has no types.
    pub(super) fn fields(&self) -> Option<impl Iterator<Item = &Field>> {
        let is_typed = matches!(self.source, Source::Parquet { .. });
        is_typed.then(|| self.schema.fields().iter().map(AsRef::as_ref))
    }

    /// The type of the column `name`; none for one of a text file or of a folder.
    pub(super) fn data_type(&self, name: &str) -> Option<&DataType> {
        let is_typed = matches!(self.source, Source::Parquet { .. });
        let field = self.schema.field_with_name(name).ok();
        field.filter(|_| is_typed).map(Field::data_type)
    }

    /// Refuses the file unless its column `name` is there and of a type that
    /// `accepts`, which the error calls `expected`. Texts have no other type.
    pub(super) fn require(
        &self,
        name: &str,
        expected: &str,
        accepts: fn(&DataType) -> bool,
    ) -> Result<(), BatchError> {
        let is_text = matches!(self.source, Source::Text(_));
        let reason = match self.schema.field_with_name(name) {
            Err(_) if self.is_folder(name) => return Ok(()),
            Err(_) => format!("column {name} is missing"),
            Ok(field) if is_text || accepts(field.data_type()) => return Ok(()),
            Ok(field) => {
                let found = field.data_type();
                format!("column {name} is {found}, where it should be {expected}")
            }
        };
        Err(BatchError::file(&self.file.path, reason))
    }

    /// The rows, some at a time.
    pub(super) fn batches(self) -> impl Iterator<Item = Result<Rows, BatchError>> {
        let Self {
            file,
            folders,
            mut source,
            ..
        } = self;
        let mut next = 0;
        std::iter::from_fn(move || {
            let rows = source.read().transpose()?;
            let rows = rows.and_then(|(batch, malformed)| {
                let first = next;
                next += batch.num_rows() as u64;
                Ok(Rows {
                    first,
                    batch: with_folders(batch, &folders, first)?,
                    malformed,
                })
            });
            Some(rows.map_err(|reason| BatchError::file(&file.path, reason)))
        })
    }
}

impl Source {
    fn read(&mut self) -> Result<Option<ParsedRows>, String> {
        match self {
            Self::Parquet { reader, .. } => match reader.next() {
                None => Ok(None),
                Some(Ok(batch)) => Ok(Some((batch, BTreeMap::new()))),
                Some(Err(e)) => Err(e.to_string()),
            },
            Self::Text(rows) => rows.read(BATCH_ROWS).map_err(|e| e.to_string()),
        }
    }
}

fn open_parquet(file: &InputFile, names: &[&str]) -> Result<(SchemaRef, Source), BatchError> {
    let failed = |e: &dyn Display| BatchError::file(&file.path, e);
    let opened = File::open(&file.path).map_err(|e| failed(&e))?;
    // What the writer's Arrow types were does not matter: without them, dictionaries come
    // as their values, and lists and strings of every width as the plain ones.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(opened, options)
        .map_err(|e| failed(&format!("not a readable Parquet file: {e}")))?;
    let schema = builder.schema().clone();
    let indices = (0..schema.fields().len())
        .filter(|&index| names.contains(&schema.field(index).name().as_str()));
    let mask = ProjectionMask::roots(builder.parquet_schema(), indices);
    let rows = builder.metadata().file_metadata().num_rows();
    let reader = builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|e| failed(&e))?;
    let rows = rows.max(0).cast_unsigned();
    Ok((schema, Source::Parquet { reader, rows }))
}

fn text(rows: TextRows) -> (SchemaRef, Source) {
    let names = rows.columns().iter();
    let fields = names.map(|name| Field::new(name, DataType::Utf8, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    (schema, Source::Text(rows))
}

/// Adds the columns of the folders to a batch that begins with row `first`. A column that
/// the file has, too, must say the same.
fn with_folders(
    batch: RecordBatch,
    folders: &[&(String, Option<String>)],
    first: u64,
) -> Result<RecordBatch, String> {
    let mut all: Vec<(String, ArrayRef)> = Vec::new();
    for (name, value) in folders {
        let own = batch
            .column_by_name(name)
            .filter(|own| own.null_count() < own.len());
        let Some(own) = own else {
            let values = std::iter::repeat_n(value.as_deref(), batch.num_rows());
            all.push((name.clone(), Arc::new(StringArray::from_iter(values))));
            continue;
        };
        let differs = |&row: &usize| !columns::says(own, row, value.as_deref());
        if let Some(row) = (0..batch.num_rows()).find(differs) {
            let row = first + row as u64;
            return Err(format!(
                "row {row}: {name} is another one than in the folder {name}={}",
                value.as_deref().unwrap_or("null")
            ));
        }
    }
    if all.is_empty() {
        return Ok(batch);
    }
    let schema = batch.schema();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if !all.iter().any(|(name, _)| name == field.name()) {
            all.push((field.name().clone(), column.clone()));
        }
    }
    let all = all.into_iter().map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(all).map_err(|e| e.to_string())
}

/// The column `name` of a batch, if the file has it.
pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a ArrayRef> {
    batch.column_by_name(name)
}
