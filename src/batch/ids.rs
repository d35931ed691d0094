//! Ids of users and pins in the columns of the input: numbers, or keys, whose hashes the
//! ids are.
//!
//! A column of integers has numbers. A column of strings has keys, and so has one of 16
//! bytes: those of a UUID, whose key is its usual form in lower case. CSV and JSON Lines
//! files, and folders, have no types: [`TextIds`] decides.

use std::borrow::Cow;

use arrow_array::{Array, ArrayRef, RecordBatch};

use super::bad_rows::{NULL, Reason, quoted};
use super::columns;
use super::error::BatchError;
use super::input_files::{Format, InputFile};
use super::input_table::{Table, column};
use crate::model::{MAX_KEY, id_of_key};
use crate::progress::Progress;

/// How CSV and JSON Lines files spell ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextIds {
    /// As numbers, unless most of the first rows have something else.
    #[default]
    Auto,
    /// As numbers.
    Numbers,
    /// As strings, also where these look like numbers.
    Strings,
}

/// What a column says of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdFormat {
    /// The ids.
    Number,
    /// Keys, whose hashes are the ids.
    Key,
}

/// The columns that name somebody or something.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdNames {
    /// Column of ids or keys.
    pub(super) id: &'static str,
    /// Column of keys beside it, which archives have.
    pub(super) key: &'static str,
}

/// The user of an action.
pub(super) const USER: IdNames = IdNames {
    id: "user_id",
    key: "user_key",
};
/// A pin.
pub(super) const PIN: IdNames = IdNames {
    id: "pin_id",
    key: "pin_key",
};
/// The medoid that found a pin.
pub(super) const MEDOID: IdNames = IdNames {
    id: "medoid_pin_id",
    key: "medoid_pin_key",
};

/// An id, and its key where it is the hash of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InputId<'a> {
    pub(super) id: u64,
    pub(super) key: Option<Cow<'a, str>>,
}

/// Ids in the columns of one batch of rows.
pub(super) struct IdColumn<'a> {
    names: IdNames,
    format: IdFormat,
    ids: Option<&'a ArrayRef>,
    keys: Option<&'a ArrayRef>,
}

/// Refuses a file that does not have these ids.
pub(super) fn require(table: &Table<'_>, names: IdNames) -> Result<(), BatchError> {
    let has_keys = table.has(names.key);
    if has_keys {
        table.require(names.key, "a string", columns::is_text)?;
    }
    if has_keys && !table.has(names.id) {
        return Ok(());
    }
    let expected = "an integer, a string or the 16 bytes of a UUID";
    table.require(names.id, expected, |data_type| {
        columns::is_id(data_type) || columns::is_key(data_type)
    })
}

/// Refuses a file whose column of ids has keys by its type: it should be `expected`.
pub(super) fn require_numbers(
    table: &Table<'_>,
    names: IdNames,
    expected: &str,
) -> Result<(), BatchError> {
    if table.has(names.key) || table.data_type(names.id).is_none() {
        return Ok(());
    }
    table.require(names.id, expected, columns::is_id)
}

/// What the column of ids of `table` says, where one without a type says `text`.
pub(super) fn format(table: &Table<'_>, names: IdNames, text: IdFormat) -> IdFormat {
    match table.data_type(names.id) {
        Some(data_type) if columns::is_id(data_type) => IdFormat::Number,
        Some(_) => IdFormat::Key,
        // As an archive that became a text file: the keys have a column of their own.
        None if table.has(names.key) => IdFormat::Number,
        None => text,
    }
}

/// What columns without a type say of these ids in `files`: `choice` decides, or else a
/// column of strings in another file, or else the first rows of the first file with such a
/// column. Keys that nobody chose are noted.
pub(super) fn text_format(
    files: &[InputFile],
    names: IdNames,
    choice: TextIds,
    progress: Progress,
) -> Result<IdFormat, BatchError> {
    match choice {
        TextIds::Numbers => return Ok(IdFormat::Number),
        TextIds::Strings => return Ok(IdFormat::Key),
        TextIds::Auto => {}
    }
    // Files of which each has its types need not be opened once more.
    let may_be_untyped = |file: &InputFile| {
        let is_folder = file.folders.iter().any(|(name, _)| name == names.id);
        is_folder || file.format != Format::Parquet
    };
    if !files.iter().any(may_be_untyped) {
        return Ok(IdFormat::Number);
    }
    let mut untyped = Vec::new();
    for file in files {
        let table = Table::open(file, &[names.id, names.key])?;
        match table.data_type(names.id) {
            Some(data_type) if columns::is_key(data_type) => return Ok(IdFormat::Key),
            None if table.has(names.id) && !table.has(names.key) => untyped.push(file),
            Some(_) | None => {}
        }
    }
    for file in untyped {
        let table = Table::open(file, &[names.id])?;
        let Some(rows) = table.batches().next().transpose()? else {
            continue;
        };
        let Some(ids) = column(&rows.batch, names.id) else {
            continue;
        };
        let texts = (0..ids.len()).filter_map(|row| columns::text(ids, row));
        let (numbers, others): (Vec<&str>, Vec<&str>) =
            texts.partition(|text| text.parse::<f64>().is_ok());
        if let Some(other) = others.first().filter(|_| others.len() > numbers.len()) {
            progress.note(&format!(
                "the values of {} are strings, such as {}, in {} and other files without types",
                names.id,
                quoted(other),
                file.path.display()
            ));
            return Ok(IdFormat::Key);
        }
        return Ok(IdFormat::Number);
    }
    Ok(IdFormat::Number)
}

impl<'a> IdColumn<'a> {
    /// The ids `names` of `batch`, whose column of ids has this format.
    pub(super) fn new(batch: &'a RecordBatch, names: IdNames, format: IdFormat) -> Self {
        Self {
            names,
            format,
            ids: column(batch, names.id),
            keys: column(batch, names.key),
        }
    }

    /// The id in `row`, which must be there.
    pub(super) fn required(&self, row: usize) -> Result<InputId<'a>, String> {
        let id = self.optional(row)?;
        id.ok_or_else(|| format!("{} {NULL}", self.names.id))
    }

    /// The id in `row`; none where the file says null.
    pub(super) fn optional(&self, row: usize) -> Result<Option<InputId<'a>>, String> {
        let named = |name: &'static str| move |reason: Reason| format!("{name} {reason}");
        let IdNames { id, key } = self.names;
        let called = match self.ids.filter(|ids| ids.is_valid(row)) {
            None => None,
            Some(ids) if self.format == IdFormat::Key => {
                let key = columns::key(ids, row).map_err(named(id))?;
                Some(keyed(key, id)?)
            }
            Some(ids) => Some(InputId {
                id: columns::id(ids, row).map_err(named(id))?,
                key: None,
            }),
        };
        let Some(keys) = self.keys.filter(|keys| keys.is_valid(row)) else {
            return Ok(called);
        };
        let of_key = keyed(columns::key(keys, row).map_err(named(key))?, key)?;
        if called.is_some_and(|called| called.id != of_key.id) {
            let text = of_key.key.unwrap_or_default();
            return Err(format!("{key} {} is not that of {id}", quoted(&text)));
        }
        Ok(Some(of_key))
    }
}

/// The id of `key`, which the column `name` has.
fn keyed<'a>(key: Cow<'a, str>, name: &str) -> Result<InputId<'a>, String> {
    match key.len() {
        1..=MAX_KEY => Ok(InputId {
            id: id_of_key(&key),
            key: Some(key),
        }),
        length => Err(format!(
            "{name} has {length} bytes, where a string id has 1 to {MAX_KEY}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{FixedSizeBinaryArray, Int64Array, StringArray};

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        let columns = columns.into_iter().map(|(name, array)| (name, array, true));
        RecordBatch::try_from_iter_with_nullable(columns).expect("a batch")
    }

    fn users(batch: &RecordBatch, format: IdFormat) -> Vec<Result<InputId<'_>, String>> {
        let column = IdColumn::new(batch, USER, format);
        let rows = 0..batch.num_rows();
        rows.map(|row| column.required(row)).collect()
    }

    fn of_key(key: &str) -> InputId<'_> {
        InputId {
            id: id_of_key(key),
            key: Some(key.into()),
        }
    }

    #[test]
    fn strings_are_keys_and_those_of_a_uuid_are_its_usual_form() {
        let strings = StringArray::from(vec![Some("7"), Some(""), None]);
        let strings = batch(vec![("user_id", Arc::new(strings))]);
        let found = users(&strings, IdFormat::Key);
        assert_eq!(found[0], Ok(of_key("7")));
        let empty = "user_id has 0 bytes, where a string id has 1 to 256";
        assert_eq!(found[1], Err(empty.to_owned()));
        assert_eq!(found[2], Err("user_id is null".to_owned()));
        let uuid = [[0xab; 16]];
        let uuids = FixedSizeBinaryArray::try_from_iter(uuid.into_iter()).expect("an array");
        let uuids = batch(vec![("user_id", Arc::new(uuids))]);
        let found = users(&uuids, IdFormat::Key);
        assert_eq!(found[0], Ok(of_key("abababab-abab-abab-abab-abababababab")));
    }

    #[test]
    fn a_key_beside_an_id_must_be_its_own() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "user_id",
                Arc::new(Int64Array::from(vec![Some(7), Some(7), None])),
            ),
            (
                "user_key",
                Arc::new(StringArray::from(vec![None, Some("ann"), Some("ann")])),
            ),
        ];
        let rows = batch(columns);
        let found = users(&rows, IdFormat::Number);
        let number = InputId { id: 7, key: None };
        assert_eq!(found[0], Ok(number));
        let other = "user_key \"ann\" is not that of user_id";
        assert_eq!(found[1], Err(other.to_owned()));
        assert_eq!(found[2], Ok(of_key("ann")));
        // Two columns of strings must say the same.
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("user_id", Arc::new(StringArray::from(vec!["ann", "bob"]))),
            ("user_key", Arc::new(StringArray::from(vec!["ann", "ann"]))),
        ];
        let rows = batch(columns);
        let found = users(&rows, IdFormat::Key);
        assert_eq!(found, [Ok(of_key("ann")), Err(other.to_owned())]);
    }
}
