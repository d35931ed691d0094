//! Rows of text files: CSV with a header, and JSON Lines. Their values come as strings,
//! whose columns are typed when they are read; vectors come as lists.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{Float32Builder, ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use csv::ByteRecord;
use serde_json::Value;

use super::bad_rows::quoted;

/// The column whose values are lists of numbers.
pub(super) const EMBEDDING: &str = "embedding";
/// Lines of a JSON Lines file that say which columns it has.
const LINES_SEEN: usize = 1_000;

/// Why a file cannot be read.
type Failure = Box<dyn std::error::Error>;

/// A text file while it is read.
pub(super) struct TextRows {
    lines: Lines,
    /// Names of the columns that are read.
    names: Vec<String>,
    /// Whether the file is known to have each of them.
    found: Vec<String>,
    /// Columns whose values may be lists of strings.
    lists: Vec<String>,
}

enum Lines {
    Csv {
        reader: csv::Reader<File>,
        /// For each column that is read, its position.
        positions: Vec<usize>,
        /// Number of all columns.
        width: usize,
    },
    Json(BufReader<File>),
}

/// One record before it is parsed.
enum Line {
    Csv(ByteRecord),
    Json(Vec<u8>),
}

/// Rows, and why those of them that cannot be read at all cannot, by their position.
pub(super) type ParsedRows = (RecordBatch, BTreeMap<usize, String>);

impl TextRows {
    /// Opens a CSV file for those of the columns `names` that it has.
    pub(super) fn open_csv(path: &Path, names: &[&str]) -> Result<Self, Failure> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(path)?;
        let header = reader.headers()?.clone();
        let header: Vec<&str> = header.iter().map(str::trim).collect();
        let position = |name: &str| header.iter().position(|column| *column == name);
        let found = names.iter().copied();
        let found: Vec<&str> = found.filter(|name| position(name).is_some()).collect();
        if found.contains(&EMBEDDING) {
            let reason = "CSV has no lists for the column embedding: use Parquet or JSON Lines";
            return Err(reason.into());
        }
        for name in &found {
            if header.iter().filter(|column| *column == name).count() > 1 {
                return Err(format!("column {name} is there twice").into());
            }
        }
        let positions = found.iter().filter_map(|name| position(name)).collect();
        let width = header.len();
        let names: Vec<String> = found.iter().map(|&name| name.to_owned()).collect();
        Ok(Self {
            lines: Lines::Csv {
                reader,
                positions,
                width,
            },
            found: names.clone(),
            names,
            lists: Vec::new(),
        })
    }

    /// Opens a JSON Lines file for the columns `names`, of which each row has some. The
    /// values of `lists` may be lists of strings, which come as JSON.
    pub(super) fn open_json(path: &Path, names: &[&str], lists: &[&str]) -> Result<Self, Failure> {
        let mut found: Vec<String> = Vec::new();
        for line in BufReader::new(File::open(path)?)
            .split(b'\n')
            .take(LINES_SEEN)
        {
            // What is no object is refused as a row.
            let keys: HashMap<String, Value> = serde_json::from_slice(&line?).unwrap_or_default();
            for name in names {
                if keys.contains_key(*name) && !found.iter().any(|known| known == name) {
                    found.push((*name).to_owned());
                }
            }
        }
        Ok(Self {
            lines: Lines::Json(BufReader::new(File::open(path)?)),
            names: names.iter().map(|&name| name.to_owned()).collect(),
            found,
            lists: lists.iter().map(|&name| name.to_owned()).collect(),
        })
    }

    /// Names of the columns that the file has.
    pub(super) fn columns(&self) -> &[String] {
        &self.found
    }

    /// Number of rows that are left.
    pub(super) fn count(mut self) -> Result<u64, Failure> {
        let mut count = 0;
        while self.lines.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// At most `count` of the next rows; none at the end.
    pub(super) fn read(&mut self, count: usize) -> Result<Option<ParsedRows>, Failure> {
        let mut builders: Vec<ColumnBuilder> = self
            .names
            .iter()
            .map(|name| ColumnBuilder::new(name))
            .collect();
        let mut malformed = BTreeMap::new();
        let mut rows = 0;
        while rows < count
            && let Some(line) = self.lines.next()?
        {
            let values = self.lines.values(&line, &self.names).and_then(|values| {
                let named = self.names.iter().zip(&values);
                named
                    .clone()
                    .try_for_each(|(name, value)| check(name, value, self.lists.contains(name)))?;
                Ok(values)
            });
            let values = values.unwrap_or_else(|reason| {
                malformed.insert(rows, reason);
                vec![Value::Null; self.names.len()]
            });
            for (builder, value) in builders.iter_mut().zip(values) {
                builder.push(&value);
            }
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        let columns = self.names.iter().map(String::as_str);
        let columns = columns.zip(builders).map(|(name, builder)| {
            // A row may lack any column.
            (name, builder.finish(), true)
        });
        Ok(Some((
            RecordBatch::try_from_iter_with_nullable(columns)?,
            malformed,
        )))
    }
}

impl Lines {
    fn next(&mut self) -> Result<Option<Line>, Failure> {
        match self {
            Self::Csv { reader, .. } => {
                let mut record = ByteRecord::new();
                let is_read = reader.read_byte_record(&mut record)?;
                Ok(is_read.then_some(Line::Csv(record)))
            }
            Self::Json(reader) => loop {
                let mut bytes = Vec::new();
                if reader.read_until(b'\n', &mut bytes)? == 0 {
                    return Ok(None);
                }
                if !bytes.trim_ascii().is_empty() {
                    return Ok(Some(Line::Json(bytes)));
                }
            },
        }
    }

    /// The values of the columns `names` in `line`, or why it is no row.
    fn values(&self, line: &Line, names: &[String]) -> Result<Vec<Value>, String> {
        match (self, line) {
            (
                Self::Csv {
                    positions, width, ..
                },
                Line::Csv(record),
            ) => {
                if record.len() != *width {
                    let found = record.len();
                    return Err(format!("{found} fields where the header has {width}"));
                }
                let fields = positions.iter().map(|&at| &record[at]);
                fields.map(csv_value).collect()
            }
            (_, Line::Json(bytes)) => {
                let refused = |e: serde_json::Error| {
                    let text = String::from_utf8_lossy(bytes.trim_ascii());
                    format!("no JSON object in {}: {e}", quoted(&text))
                };
                let mut object: HashMap<String, Value> =
                    serde_json::from_slice(bytes).map_err(refused)?;
                let mut take = |name| object.remove(name).unwrap_or(Value::Null);
                Ok(names.iter().map(&mut take).collect())
            }
            (Self::Json(_), Line::Csv(_)) => Err("no JSON".to_owned()),
        }
    }
}

/// A field, which is null where it is empty.
fn csv_value(field: &[u8]) -> Result<Value, String> {
    match std::str::from_utf8(field) {
        Ok("") => Ok(Value::Null),
        Ok(text) => Ok(Value::String(text.to_owned())),
        Err(_) => Err(format!("{:?} is not UTF-8", String::from_utf8_lossy(field))),
    }
}

/// Refuses a value that does not fit its column, which may be one of lists of strings.
fn check(name: &str, value: &Value, may_be_list: bool) -> Result<(), String> {
    let is_list = |items: &[Value]| items.iter().all(|item| item.is_number() || item.is_null());
    match (name, value) {
        (_, Value::Null) => Ok(()),
        (EMBEDDING, Value::Array(items)) if is_list(items) => Ok(()),
        (EMBEDDING, _) => Err(format!("{name} is no list of numbers")),
        (_, Value::Array(items)) if may_be_list && items.iter().all(Value::is_string) => Ok(()),
        (_, Value::Array(_) | Value::Object(_)) => Err(format!("{name} is a list or an object")),
        (_, Value::Bool(_) | Value::Number(_) | Value::String(_)) => Ok(()),
    }
}

/// A column while it is read.
enum ColumnBuilder {
    Text(StringBuilder),
    Vector(ListBuilder<Float32Builder>),
}

impl ColumnBuilder {
    fn new(name: &str) -> Self {
        match name {
            EMBEDDING => Self::Vector(ListBuilder::new(Float32Builder::new())),
            _ => Self::Text(StringBuilder::new()),
        }
    }

    /// Appends a value that was checked.
    fn push(&mut self, value: &Value) {
        match (self, value) {
            (Self::Text(texts), Value::Null) => texts.append_null(),
            (Self::Text(texts), Value::String(text)) => texts.append_value(text),
            (Self::Text(texts), value) => texts.append_value(value.to_string()),
            (Self::Vector(vectors), Value::Array(items)) => {
                for item in items {
                    let float = item.as_f64().map(|float| float as f32);
                    vectors.values().append_option(float);
                }
                vectors.append(true);
            }
            (Self::Vector(vectors), _) => vectors.append(false),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Text(mut texts) => Arc::new(texts.finish()),
            Self::Vector(mut vectors) => Arc::new(vectors.finish()),
        }
    }
}
