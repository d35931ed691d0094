//! Errors of the archive.

use std::path::{Path, PathBuf};

use crate::durable::LogError;
use crate::snapshot::SnapshotError;

/// Why actions could not be archived.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The operating system refused.
    #[error(transparent)]
    File(#[from] SnapshotError),
    /// A file cannot be read or written as Parquet.
    #[error("{}: {reason}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The files of a claim took longer to write than its lease.
    #[error(
        "the files of a claim were not written before its lease was over: another replica may write them"
    )]
    LeaseOver,
    /// A user cannot be erased from the archive before the log has erased the user.
    #[error("the log has not erased the user yet: another erasure has begun since")]
    NotErasedFromLog,
}

impl ArchiveError {
    /// Adds the path to an error of a Parquet file.
    pub(crate) fn parquet(path: &Path, reason: &impl ToString) -> Self {
        Self::Parquet {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}
