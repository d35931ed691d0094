//! Writing Parquet files, good ones and bad ones.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{Float32Builder, ListBuilder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use pinnersage::batch::{TextIds, WholeActions};
use pinnersage::progress::Progress;

use super::{Action, Pin};

/// Writes named columns as they are.
pub(crate) fn columns(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let file = File::create(path).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("a batch");
    writer.close().expect("a footer");
}

pub(crate) fn ids(ids: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(ids))
}

pub(crate) fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(texts))
}

pub(crate) fn vectors<'a>(vectors: impl IntoIterator<Item = &'a [f32]>) -> ArrayRef {
    let mut lists = ListBuilder::new(Float32Builder::new());
    for vector in vectors {
        lists.values().append_slice(vector);
        lists.append(true);
    }
    Arc::new(lists.finish())
}

pub(crate) fn pins(path: &Path, pins: &[Pin]) {
    let named = vec![
        ("pin_id", ids(pins.iter().map(|pin| pin.id))),
        (
            "embedding",
            vectors(pins.iter().map(|pin| pin.embedding.as_slice())),
        ),
        ("title", texts(pins.iter().map(|pin| pin.title.as_str()))),
    ];
    columns(path, named);
}

pub(crate) fn actions(path: &Path, actions: &[Action]) {
    let named = vec![
        ("user_id", ids(actions.iter().map(|action| action.user))),
        ("pin_id", ids(actions.iter().map(|action| action.pin))),
        ("time", ids(actions.iter().map(|action| action.time))),
        ("action", texts(actions.iter().map(|action| action.name))),
    ];
    columns(path, named);
}

/// The files of an archive, by name.
pub(crate) fn archive_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(archive_files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The actions of `files`, by id.
pub(crate) fn read_actions(files: &[PathBuf]) -> Vec<pinnersage::model::Action> {
    let actions =
        WholeActions::open(files, TextIds::Auto, Progress::Silent).expect("files of actions");
    let mut found = Vec::new();
    let read = actions.read(|actions| {
        found.extend(actions);
        anyhow::Ok(())
    });
    read.expect("good actions");
    found.sort_by_key(|action| action.id);
    found
}

/// The actions in an archive, by id.
pub(crate) fn archived(archive: &Path) -> Vec<pinnersage::model::Action> {
    read_actions(&archive_files(archive))
}
