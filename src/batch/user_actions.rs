//! The actions of each user over a period, for a replay.

use std::path::PathBuf;

use tempfile::TempDir;

use super::action_reader::{ActionFiles, ActionIds, ActionRecord, Filter, InputFacts};
use super::bad_rows::BadRowParams;
use super::error::BatchError;
use super::ids::TextIds;
use super::user_histories::{self, Duplicates, HistoryLimits};
use super::user_partitions::{FilledPartitions, Partitions};
use crate::index::PinTable;
use crate::model::Timestamp;
use crate::progress::Progress;
use crate::snapshot::SnapshotError;
use crate::store::ActionCounts;

/// The actions to read, and the memory that they may take.
#[derive(Clone, Debug)]
pub struct ActionSelection<'a> {
    /// First moment of the period.
    pub from: Timestamp,
    /// First moment after the period.
    pub to: Timestamp,
    /// Names of the actions that count, in the order of [`ActionRecord::action`].
    pub names: Vec<&'a str>,
    /// Bytes of actions in memory at a time.
    pub memory: u64,
}

/// Actions by user, in files that are deleted when this is dropped.
#[derive(Debug)]
pub struct UserActions {
    paths: Vec<PathBuf>,
    /// Outcome of each action.
    pub counts: ActionCounts,
    /// What is known of all actions of the files.
    pub facts: InputFacts,
    _directory: TempDir,
}

impl UserActions {
    /// Reads the selected actions of `files`, each once, and shows each of them to
    /// `visit`, in no order that means anything.
    pub fn read(
        files: &[PathBuf],
        pins: &PinTable,
        selection: &ActionSelection<'_>,
        progress: Progress,
        mut visit: impl FnMut(&ActionRecord),
    ) -> Result<Self, BatchError> {
        let ids = ActionIds::beside(pins, TextIds::Auto);
        let files = ActionFiles::open(files, ids, progress)?;
        let rows = files.rows();
        let directory = tempfile::tempdir().map_err(SnapshotError::io(&std::env::temp_dir()))?;
        // Partitions may turn out larger than the average, and grow while they are read.
        let partitions = Partitions::create(directory.path(), rows, selection.memory / 4)?;
        let filter = Filter {
            pins,
            erased: None,
            from: selection.from,
            as_of: selection.to,
            names: selection.names.clone(),
            first_negative: selection.names.len(),
        };
        let stage = progress.stage("reading actions", rows);
        let FilledPartitions {
            paths,
            mut counts,
            facts,
            user_keys,
        } = partitions.fill(&files, &filter, &BadRowParams::default(), &stage)?;
        for (number, path) in paths.iter().enumerate() {
            if let Some(keys) = &user_keys {
                // Two users of one hash would be one.
                keys.of_partition(number)?;
            }
            let loaded = user_histories::load(path, whole(Duplicates::Drop), |record| {
                visit(record);
                true
            })?;
            counts.duplicates += loaded.duplicates;
            user_histories::write(path, &loaded.records)?;
        }
        Ok(Self {
            paths,
            counts,
            facts,
            _directory: directory,
        })
    }

    /// The actions part by part. A part holds all actions of its users, by user, then by
    /// time, then by pin.
    pub fn parts(&self) -> impl Iterator<Item = Result<Vec<ActionRecord>, BatchError>> {
        // Repeats are gone.
        let load = |path| user_histories::load(path, whole(Duplicates::Keep), |_| true);
        self.paths.iter().map(move |path| Ok(load(path)?.records))
    }
}

/// All actions of a partition, however many they are.
fn whole(duplicates: Duplicates) -> HistoryLimits {
    HistoryLimits {
        max_actions: usize::MAX,
        bytes: u64::MAX,
        duplicates,
    }
}
