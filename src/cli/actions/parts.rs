//! The parts of an export that is not complete yet, in a directory beside its file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use arrow_array::RecordBatch;

use crate::archive::{
    ArchiveError, FileRows, joined_schema, read_rows, rows, with_columns_of, write_actions,
};
use crate::durable::PlacedAction;

/// Parts of an export, each a complete file: `<store>-<first>-<last>.parquet`.
pub(super) struct Parts {
    out: PathBuf,
    directory: PathBuf,
    parts: Vec<Part>,
}

/// One part.
struct Part {
    path: PathBuf,
    store_id: u64,
    last: u64,
}

impl Parts {
    /// The parts that an earlier export to `out` has left.
    pub(super) fn open(out: &Path) -> anyhow::Result<Self> {
        let mut name = out.file_name().context("--out names no file")?.to_owned();
        name.push(".parts");
        let directory = out.with_file_name(name);
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let mut parts = Vec::new();
        for entry in fs::read_dir(&directory)? {
            parts.extend(Part::parse(entry?.path()));
        }
        parts.sort_by_key(|part| part.last);
        Ok(Self {
            out: out.to_owned(),
            directory,
            parts,
        })
    }

    /// The number of the last action in the parts; none without parts.
    pub(super) fn last(&self) -> Option<u64> {
        self.parts.last().map(|part| part.last)
    }

    /// Refuses parts that come from another log than `store_id`.
    pub(super) fn check_store(&self, store_id: u64) -> anyhow::Result<()> {
        ensure!(
            self.parts.iter().all(|part| part.store_id == store_id),
            "{} has parts of the actions of another server: delete it, or choose another --out",
            self.directory.display()
        );
        Ok(())
    }

    /// Adds a part with `actions` of the log `store_id`, if there are any.
    pub(super) fn add(&mut self, store_id: u64, actions: &[PlacedAction]) -> anyhow::Result<()> {
        let (Some(first), Some(last)) = (actions.first(), actions.last()) else {
            return Ok(());
        };
        let (first, last) = (first.place.sequence, last.place.sequence);
        let name = format!("{store_id:016x}-{first:020}-{last:020}.parquet");
        let path = self.directory.join(name);
        let rows = rows(actions)?;
        write_actions(&path, rows.schema(), [Ok(rows)])?;
        self.parts.push(Part {
            path,
            store_id,
            last,
        });
        Ok(())
    }

    /// Makes all parts one file, and removes them.
    pub(super) fn join(self) -> anyhow::Result<()> {
        let mut readers: Vec<FileRows> = Vec::new();
        for part in &self.parts {
            readers.push(read_rows(&part.path)?);
        }
        // Some parts may have keys, and others none.
        let schema = joined_schema(&readers);
        let joined = |rows: Result<RecordBatch, ArchiveError>| {
            let rows = with_columns_of(&schema, &rows?);
            rows.map_err(|error| ArchiveError::parquet(&self.out, &error))
        };
        let all = readers.into_iter().flatten().map(joined);
        write_actions(&self.out, schema.clone(), all)?;
        fs::remove_dir_all(&self.directory)?;
        Ok(())
    }
}

impl Part {
    /// The part at `path`; none for another file.
    fn parse(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".parquet")?;
        let mut numbers = name.split('-');
        let store_id = u64::from_str_radix(numbers.next()?, 16).ok()?;
        let last = numbers.nth(1)?.parse().ok()?;
        Some(Self {
            path,
            store_id,
            last,
        })
    }
}
