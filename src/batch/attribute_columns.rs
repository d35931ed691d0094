//! Columns of files of pins that become attributes.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Decimal256Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field};
use bytesize::ByteSize;
use serde::Deserialize;

use super::bad_rows::{Reason, quoted};
use super::columns;
use super::error::BatchError;
use super::ids::PIN;
use super::input_files::InputFile;
use super::input_table::{Table, column};
use super::text_rows::EMBEDDING;
use crate::model::{
    AttributeDefinition, AttributeKind, AttributeValue, MAX_ATTRIBUTE_BYTES, MAX_ATTRIBUTE_NAME,
};
use crate::progress::Stage;
use crate::setting_rules::{InvalidSetting, require_in_range};

/// Columns that say something else of a pin.
const NO_ATTRIBUTES: [&str; 4] = [PIN.id, EMBEDDING, "title", "signature"];
/// A column that becomes an attribute only by name.
const QUALITY: &str = "quality";

/// The section `attributes` of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttributeLimits {
    /// Attributes of a catalog.
    pub max_attributes: usize,
    /// Different words of one attribute over all pins.
    pub max_words: usize,
    /// Bytes of all attributes of a catalog, on disk.
    pub max_bytes: ByteSize,
}

impl AttributeLimits {
    /// Refuses values that break their rules, by key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        require_in_range("attributes.max_attributes", self.max_attributes, 1..=256)?;
        require_in_range("attributes.max_words", self.max_words, 1..=100_000_000)
    }
}

/// Which columns of the files of pins become attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AttributeColumns {
    /// None.
    #[default]
    None,
    /// All that say nothing else of a pin, by the types of the columns.
    Auto,
    /// These.
    These(Vec<AttributeDefinition>),
}

impl AttributeColumns {
    /// The attributes, where the columns are those of `files`. Columns of types that no
    /// attribute has are named on `stage` and left out.
    pub(super) fn definitions(
        &self,
        files: &[InputFile],
        limits: &AttributeLimits,
        stage: &Stage,
    ) -> Result<Vec<AttributeDefinition>, BatchError> {
        let definitions = match (self, files.first()) {
            (Self::None, _) | (Self::Auto, None) => Vec::new(),
            (Self::Auto, Some(file)) => definitions_of(file, stage)?,
            (Self::These(definitions), _) => definitions.clone(),
        };
        check_names(&definitions)?;
        let (count, max) = (definitions.len(), limits.max_attributes);
        if count > max {
            let setting = "attributes.max_attributes";
            return Err(BatchError::Attributes(format!(
                "{count} attributes, where {setting} is {max}"
            )));
        }
        Ok(definitions)
    }
}

/// Refuses names that stand there twice, and those of columns that are none.
fn check_names(definitions: &[AttributeDefinition]) -> Result<(), BatchError> {
    for (at, AttributeDefinition { name, .. }) in definitions.iter().enumerate() {
        if NO_ATTRIBUTES.contains(&name.as_str()) {
            return Err(BatchError::Attributes(format!(
                "the column {name} says something else of a pin"
            )));
        }
        if !(1..=MAX_ATTRIBUTE_NAME).contains(&name.len()) {
            return Err(BatchError::Attributes(format!(
                "the name {name:?} has {} bytes, from 1 to {MAX_ATTRIBUTE_NAME} may be",
                name.len()
            )));
        }
        if definitions[..at].iter().any(|other| other.name == *name) {
            return Err(BatchError::Attributes(format!("{name} is there twice")));
        }
    }
    Ok(())
}

/// The attributes that the types of the columns of `file` tell.
fn definitions_of(file: &InputFile, stage: &Stage) -> Result<Vec<AttributeDefinition>, BatchError> {
    let table = Table::open(file, &[])?;
    let Some(fields) = table.fields() else {
        let reason = "has no types for --attributes auto: name the attributes with their types";
        return Err(BatchError::file(&file.path, reason));
    };
    let mut definitions = Vec::new();
    let mut left_out = Vec::new();
    let says_else = |name: &str| name == QUALITY || NO_ATTRIBUTES.contains(&name);
    for field in fields.filter(|field| !says_else(field.name())) {
        let name = field.name().clone();
        match kind_of(field.data_type()) {
            Some(kind) => definitions.push(AttributeDefinition { name, kind }),
            None => left_out.push(format!("{name} ({})", field.data_type())),
        }
    }
    if !left_out.is_empty() {
        stage.note(&format!("no attributes: {}", left_out.join(", ")));
    }
    Ok(definitions)
}

/// The type of an attribute whose column has this type.
fn kind_of(data_type: &DataType) -> Option<AttributeKind> {
    let kind = if columns::is_text(data_type) {
        AttributeKind::Keyword
    } else if *data_type == DataType::Boolean {
        AttributeKind::Bool
    } else if data_type.is_integer() {
        AttributeKind::Int
    } else if columns::is_number(data_type) || is_decimal(data_type) {
        AttributeKind::Float
    } else if columns::is_time(data_type) {
        AttributeKind::Timestamp
    } else if items(data_type).is_some_and(columns::is_text) {
        AttributeKind::Keywords
    } else {
        return None;
    };
    Some(kind)
}

/// The type of the items of a list.
fn items(data_type: &DataType) -> Option<&DataType> {
    let (DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) =
        data_type
    else {
        return None;
    };
    Some(Field::data_type(item))
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Decimal128(..) | DataType::Decimal256(..)
    )
}

fn has_words(data_type: &DataType) -> bool {
    let is_word = |data_type: &DataType| columns::is_text(data_type) || data_type.is_integer();
    is_word(data_type) || items(data_type).is_some_and(columns::is_text)
}

fn is_bool(data_type: &DataType) -> bool {
    *data_type == DataType::Boolean || data_type.is_integer()
}

fn is_number(data_type: &DataType) -> bool {
    columns::is_number(data_type) || is_decimal(data_type)
}

fn is_moment(data_type: &DataType) -> bool {
    columns::is_time(data_type) || columns::is_number(data_type)
}

/// Refuses a file whose columns do not fit `definitions`, which it must all have where
/// they are `required`.
pub(super) fn check(
    table: &Table<'_>,
    definitions: &[AttributeDefinition],
    required: bool,
) -> Result<(), BatchError> {
    let present = |definition: &&AttributeDefinition| required || table.has(&definition.name);
    definitions
        .iter()
        .filter(present)
        .try_for_each(|AttributeDefinition { name, kind }| {
            let (expected, accepts): (_, fn(&DataType) -> bool) = match kind {
                AttributeKind::Keyword | AttributeKind::Keywords => {
                    ("a string, or a list of strings", has_words)
                }
                AttributeKind::Bool => ("a bool", is_bool),
                AttributeKind::Int | AttributeKind::Float => ("a number", is_number),
                AttributeKind::Timestamp => ("a time", is_moment),
            };
            table.require(name, expected, accepts)
        })
}

/// The columns of attributes in one batch of rows.
pub(super) struct AttributeArrays<'a>(Vec<(&'a AttributeDefinition, Option<&'a ArrayRef>)>);

impl<'a> AttributeArrays<'a> {
    /// The columns of `definitions`, as far as `batch` has them.
    pub(super) fn new(batch: &'a RecordBatch, definitions: &'a [AttributeDefinition]) -> Self {
        let columns = definitions.iter();
        Self(columns.map(|one| (one, column(batch, &one.name))).collect())
    }

    /// The values in `row`, one for each attribute, replace `values`. An error names the
    /// attribute.
    pub(super) fn read(
        &self,
        row: usize,
        values: &mut Vec<Option<AttributeValue>>,
    ) -> Result<(), String> {
        values.clear();
        for (AttributeDefinition { name, kind }, column) in &self.0 {
            let value = match column {
                Some(column) => value(column, row, *kind).map_err(|e| format!("{name} {e}"))?,
                None => None,
            };
            if let Some(value) = &value {
                kind.check(value).map_err(|e| format!("{name} {e}"))?;
            }
            values.push(value);
        }
        let named = self.0.iter().zip(&*values);
        let bytes =
            named.filter_map(|((one, _), value)| Some(one.name.len() + value.as_ref()?.bytes()));
        match bytes.sum::<usize>() {
            ..=MAX_ATTRIBUTE_BYTES => Ok(()),
            bytes => Err(format!(
                "its attributes have {bytes} bytes, at most {MAX_ATTRIBUTE_BYTES} may be"
            )),
        }
    }
}

/// The value in `row`. Null is none, and so are a NaN, an empty string and an empty list.
fn value(
    column: &ArrayRef,
    row: usize,
    kind: AttributeKind,
) -> Result<Option<AttributeValue>, Reason> {
    if column.is_null(row) || columns::text(column, row) == Some("") {
        return Ok(None);
    }
    match kind {
        AttributeKind::Keyword | AttributeKind::Keywords => {
            let words = words(column, row, kind)?;
            Ok((!words.is_empty()).then(|| AttributeValue::words(words)))
        }
        AttributeKind::Bool => flag(column, row).map(|flag| Some(AttributeValue::Bool(flag))),
        AttributeKind::Int | AttributeKind::Float => {
            let number = number(column, row)?;
            Ok((!number.is_nan()).then_some(AttributeValue::Number(number)))
        }
        AttributeKind::Timestamp => seconds(column, row),
    }
}

/// The words in `row`, which is not null. In a text file a list is a JSON array.
fn words(column: &ArrayRef, row: usize, kind: AttributeKind) -> Result<Vec<String>, Reason> {
    if let Some(text) = columns::text(column, row) {
        if kind == AttributeKind::Keywords && text.starts_with('[') {
            let refused = |_| format!("{} is no list of strings", quoted(text));
            return Ok(serde_json::from_str(text).map_err(refused)?);
        }
        return Ok(vec![text.to_owned()]);
    }
    if column.data_type().is_integer() {
        return Ok(vec![columns::integer(column, row).to_string()]);
    }
    let items = columns::items(column, row);
    if items.null_count() > 0 {
        return Err("has a null item".into());
    }
    let items = (0..items.len()).filter_map(|item| columns::text(&items, item).map(str::to_owned));
    Ok(items.collect())
}

/// The bool in `row`, which is not null: true or false, 1 or 0.
fn flag(column: &ArrayRef, row: usize) -> Result<bool, Reason> {
    if let Some(flags) = column.as_boolean_opt() {
        return Ok(flags.value(row));
    }
    let spelled = match columns::text(column, row) {
        Some(text) => text.to_ascii_lowercase(),
        None => columns::integer(column, row).to_string(),
    };
    match spelled.as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("{} is neither true nor false", quoted(&spelled)).into()),
    }
}

/// The number in `row`, which is not null; NaN where it is that.
fn number(column: &ArrayRef, row: usize) -> Result<f64, Reason> {
    let decimal = |text: String| text.parse().map_err(|_| "is no number".into());
    if let Some(decimals) = column.as_primitive_opt::<Decimal128Type>() {
        return decimal(decimals.value_as_string(row));
    }
    if let Some(decimals) = column.as_primitive_opt::<Decimal256Type>() {
        return decimal(decimals.value_as_string(row));
    }
    columns::number_or_nan(column, row)
}

/// The moment in `row`, which is not null, in seconds; none for NaN.
fn seconds(column: &ArrayRef, row: usize) -> Result<Option<AttributeValue>, Reason> {
    let data_type = column.data_type();
    let seconds = if columns::is_number(data_type) && !data_type.is_integer() {
        columns::number_or_nan(column, row)?
    } else {
        columns::time(column, row)?.micros() as f64 / 1e6
    };
    Ok((!seconds.is_nan()).then_some(AttributeValue::Number(seconds)))
}
