//! The actions of each user over a stretch of time, for whoever replays them.

use std::path::PathBuf;

use tempfile::TempDir;

use super::BatchError;
use super::actions::{self, ActionRecord, Filter};
use super::partition::{self, Partitions};
use crate::index::PinTable;
use crate::model::Timestamp;
use crate::progress::Progress;
use crate::snapshot::SnapshotError;
use crate::store::ActionCounts;

/// Which actions are read, and how many of them fit in memory.
#[derive(Clone, Debug)]
pub struct ActionsWanted<'a> {
    /// First moment.
    pub from: Timestamp,
    /// First moment after the last.
    pub to: Timestamp,
    /// Names of the actions that count, in the order of [`ActionRecord::action`].
    pub names: Vec<&'a str>,
    /// Bytes of actions in memory at a time.
    pub memory: u64,
}

/// Actions by user, in files that are gone when this is dropped.
#[derive(Debug)]
pub struct UserActions {
    paths: Vec<PathBuf>,
    /// What became of the actions that were read.
    pub counts: ActionCounts,
    _directory: TempDir,
}

impl UserActions {
    /// Reads what is `wanted` of `files`, and shows each action that is taken to `see`,
    /// in the order of the files.
    pub fn read(
        files: &[PathBuf],
        pins: &PinTable,
        wanted: &ActionsWanted<'_>,
        progress: Progress,
        mut see: impl FnMut(&ActionRecord),
    ) -> Result<Self, BatchError> {
        let rows = actions::count(files)?;
        let directory = tempfile::tempdir().map_err(SnapshotError::io(&std::env::temp_dir()))?;
        // Partitions may turn out larger than the average, and grow while they are read.
        let mut partitions = Partitions::create(directory.path(), rows, wanted.memory / 4)?;
        let filter = Filter {
            pins,
            from: wanted.from,
            as_of: wanted.to,
            names: wanted.names.clone(),
        };
        let mut counts = ActionCounts::default();
        let stage = progress.stage("reading actions", rows);
        actions::read(files, &filter, &mut counts, &stage, |record| {
            see(&record);
            partitions.push(record)
        })?;
        Ok(Self {
            paths: partitions.close()?,
            counts,
            _directory: directory,
        })
    }

    /// The actions part by part; a part holds all actions of its users, by user, then
    /// by time, then by pin.
    pub fn parts(&self) -> impl Iterator<Item = Result<Vec<ActionRecord>, BatchError>> {
        let whole = |path| partition::load(path, usize::MAX, u64::MAX);
        self.paths.iter().map(move |path| Ok(whole(path)?.0))
    }
}
