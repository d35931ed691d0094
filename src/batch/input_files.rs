//! The files that arguments name: files, directories and globs. Folders named
//! `key=value` above a file are columns of its rows.

use std::fs;
use std::path::{Component, Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::error::BatchError;
use crate::progress::Progress;

/// What a folder is named where the column is null.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// How the rows of a file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Parquet,
    Csv,
    JsonLines,
}

/// One file of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InputFile {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    /// Columns that folders above the file name, each with its value, if it has one.
    pub(super) folders: Vec<(String, Option<String>)>,
}

impl Format {
    /// The format that the extension of `path` names.
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "parquet" => Some(Self::Parquet),
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            _ => None,
        }
    }
}

impl InputFile {
    /// The file at `path`, which is Parquet where its extension names nothing else.
    pub(super) fn new(path: PathBuf) -> Result<Self, BatchError> {
        Ok(Self {
            format: Format::of(&path).unwrap_or(Format::Parquet),
            folders: folder_columns(&path)?,
            path,
        })
    }
}

/// The files of `arguments`, in their order and sorted below a directory. A directory or
/// a glob without a file is an error.
pub(super) fn resolve(
    arguments: &[PathBuf],
    progress: Progress,
) -> Result<Vec<InputFile>, BatchError> {
    let mut paths = Vec::new();
    for argument in arguments {
        match argument.to_str() {
            Some(pattern) if is_glob(pattern) && !argument.exists() => {
                for path in matches(argument, pattern)? {
                    add(path, &mut paths, progress)?;
                }
            }
            _ => add(argument.clone(), &mut paths, progress)?,
        }
    }
    paths.into_iter().map(InputFile::new).collect()
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The paths that `pattern` matches; at least one.
fn matches(argument: &Path, pattern: &str) -> Result<Vec<PathBuf>, BatchError> {
    let failed = |reason: &dyn std::fmt::Display| BatchError::file(argument, reason);
    let mut paths = Vec::new();
    for path in glob::glob(pattern).map_err(|e| failed(&e))? {
        let path = path.map_err(|e| failed(&e))?;
        if !is_hidden(&path) {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(failed(&"no file matches"));
    }
    Ok(paths)
}

/// Whether `path` is none of the data, by its name: `_SUCCESS`, `.part-0.crc`.
fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.starts_with(['_', '.']))
}

/// Adds the file `path`, or the files below the directory `path`.
fn add(path: PathBuf, paths: &mut Vec<PathBuf>, progress: Progress) -> Result<(), BatchError> {
    if !path.is_dir() {
        paths.push(path);
        return Ok(());
    }
    let mut found = Found::default();
    walk(&path, &mut found)?;
    found.files.sort_unstable();
    found.others.sort_unstable();
    if let Some(other) = found.others.first() {
        progress.note(&format!(
            "{}: {} files that are neither .parquet, .csv nor .jsonl are ignored: {}, ...",
            path.display(),
            found.others.len(),
            other.display()
        ));
    }
    if found.files.is_empty() {
        let reason = "no .parquet, .csv or .jsonl file is in this directory";
        return Err(BatchError::file(&path, reason));
    }
    paths.extend(found.files);
    Ok(())
}

/// The files below a directory.
#[derive(Default)]
struct Found {
    files: Vec<PathBuf>,
    /// Those that are no data by their extension.
    others: Vec<PathBuf>,
}

fn walk(directory: &Path, found: &mut Found) -> Result<(), BatchError> {
    let failed = |e| BatchError::file(directory, e);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let kind = entry.file_type().map_err(failed)?;
        if is_hidden(&path) {
            continue;
        }
        if kind.is_dir() {
            walk(&path, found)?;
        } else if kind.is_symlink() && path.is_dir() {
            let reason = "a link to a directory is not followed: name the directory itself";
            return Err(BatchError::file(&path, reason));
        } else if Format::of(&path).is_some() {
            found.files.push(path);
        } else {
            found.others.push(path);
        }
    }
    Ok(())
}

/// The columns that the folders above `path` name.
fn folder_columns(path: &Path) -> Result<Vec<(String, Option<String>)>, BatchError> {
    let folders = path.parent().into_iter().flat_map(Path::components);
    let mut columns = Vec::new();
    for folder in folders {
        let Component::Normal(name) = folder else {
            continue;
        };
        let Some((key, value)) = name.to_str().and_then(|name| name.split_once('=')) else {
            continue;
        };
        let value = match value {
            HIVE_NULL => None,
            value => Some(decoded(path, value)?),
        };
        columns.push((decoded(path, key)?, value));
    }
    Ok(columns)
}

fn decoded(path: &Path, text: &str) -> Result<String, BatchError> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| BatchError::file(path, format!("{text:?} is not UTF-8")))?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_columns_and_extensions_are_formats() {
        let file =
            InputFile::new("x/dt=2026-03-01/action=buy%20now%3F/user_id=7/part-0.csv".into());
        let file = file.expect("a file");
        assert_eq!(file.format, Format::Csv);
        let column = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
        let expected = [
            column("dt", "2026-03-01"),
            column("action", "buy now?"),
            column("user_id", "7"),
        ];
        assert_eq!(file.folders, expected);
        let file = InputFile::new("action=__HIVE_DEFAULT_PARTITION__/a=b".into());
        let file = file.expect("a file");
        assert_eq!(file.format, Format::Parquet);
        assert_eq!(file.folders, [("action".to_owned(), None)]);
        assert!(InputFile::new("action=%ff/a.csv".into()).is_err());
    }

    #[test]
    fn directories_and_globs_are_walked_in_order() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        for folder in ["a/b", "_temporary", "empty"] {
            fs::create_dir_all(at(folder)).expect("a folder");
        }
        let names = [
            "a/b/1.parquet",
            "a/2.JSONL",
            "a/_SUCCESS",
            "a/.x.csv",
            "a/notes.md",
        ];
        for name in names.into_iter().chain(["_temporary/3.parquet", "c.csv"]) {
            fs::write(at(name), "").expect("a file");
        }
        let resolve = |name: &str| {
            let files = resolve(&[at(name)], Progress::Silent)?;
            Ok::<_, BatchError>(files.into_iter().map(|file| file.path).collect::<Vec<_>>())
        };
        let all = resolve("").expect("files");
        assert_eq!(all, [at("a/2.JSONL"), at("a/b/1.parquet"), at("c.csv")]);
        assert_eq!(resolve("*/*.JSONL").expect("files"), [at("a/2.JSONL")]);
        assert_eq!(resolve("a/notes.md").expect("files"), [at("a/notes.md")]);
        for (name, reason) in [
            ("empty", "empty: no .parquet"),
            ("*.txt", "no file matches"),
        ] {
            let error = resolve(name).expect_err("no file").to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
