//! Errors of offline work. Each names the file and, where there is one, the row.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::model::Timestamp;
use crate::snapshot::SnapshotError;
use crate::store::ActionCounts;

/// Rows that an error lists before it only counts them.
const ROWS_SHOWN: usize = 10;

/// A catalog or a set of profiles could not be built, checked or exported.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// An input file cannot be read as Parquet.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Rows of the input are not what they should be.
    #[error("{count} bad rows\n{}", lines(rows, *count))]
    Rows {
        /// The first of them.
        rows: Vec<BadRow>,
        /// Number of all of them.
        count: u64,
    },
    /// No pin is left to index.
    #[error("none of the {read} pins that were read can be indexed")]
    NoPins {
        /// Number of rows that were read.
        read: u64,
    },
    /// No action is left to cluster.
    #[error(
        "none of the {} actions that were read can be clustered: {} of unknown pins, {} before \
         the window, {} after it, the others of actions without a weight",
        .0.read(), .0.unknown_pin, .0.before_window, .0.after_as_of
    )]
    NoProfiles(ActionCounts),
    /// The actions are said to be complete up to a moment that the profiles do not reach.
    #[error("complete_through {given} is after as_of {as_of}: nothing is read from there on")]
    CompleteThrough {
        /// The moment that was given.
        given: Timestamp,
        /// End of the window.
        as_of: Timestamp,
    },
    /// A snapshot could not be read or written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// There is no memory for the index.
    #[error("no memory for the codes and the graph of so many pins")]
    Memory(#[source] std::io::Error),
    /// No filter could be made over the history of a user.
    #[error("no history filter could be made for user {0}")]
    History(crate::model::UserId),
}

/// One row that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The file.
    pub path: PathBuf,
    /// The row, from 0.
    pub row: u64,
    /// What is wrong with it, naming the column or the pin.
    pub reason: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: row {}: {}",
            self.path.display(),
            self.row,
            self.reason
        )
    }
}

fn lines(rows: &[BadRow], count: u64) -> String {
    let mut lines: Vec<String> = rows.iter().map(|row| format!("  {row}")).collect();
    let rest = count - rows.len() as u64;
    if rest > 0 {
        lines.push(format!("  and {rest} more"));
    }
    lines.join("\n")
}

impl BatchError {
    pub(crate) fn file(path: &Path, reason: impl fmt::Display) -> Self {
        Self::File {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// Bad rows of the files read so far. Reading goes on after one, so that a
/// person who mends a file learns of all of them at once.
#[derive(Debug, Default)]
pub(super) struct BadRows {
    rows: Vec<BadRow>,
    count: u64,
}

impl BadRows {
    pub(super) fn push(&mut self, path: &Path, row: u64, reason: impl fmt::Display) {
        self.count += 1;
        if self.rows.len() < ROWS_SHOWN {
            self.rows.push(BadRow {
                path: path.to_owned(),
                row,
                reason: reason.to_string(),
            });
        }
    }

    pub(super) fn into_result(self) -> Result<(), BatchError> {
        match self.count {
            0 => Ok(()),
            count => Err(BatchError::Rows {
                rows: self.rows,
                count,
            }),
        }
    }
}
