//! Why a replay stops.

use std::path::PathBuf;

use crate::batch::BatchError;
use crate::model::Timestamp;
use crate::snapshot::SnapshotError;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The period is empty.
    #[error("no day begins at {from} or later and before {to}")]
    Period {
        /// First moment of the period.
        from: Timestamp,
        /// First moment after it.
        to: Timestamp,
    },
    /// No user can be judged.
    #[error(
        "no user acted in the period, on pins that count, after having acted in the window \
         before it"
    )]
    NoTargets,
    /// Actions cannot be read.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The catalog cannot be read, or a checkpoint cannot be read or written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The checkpoint is that of a replay with other parameters.
    #[error(
        "{}: holds a replay with {key} {kept}, but {key} is {requested} now: go on with the \
         former, or take another directory", directory.display()
    )]
    OtherReplay {
        /// The directory of the checkpoint.
        directory: PathBuf,
        /// The first parameter that differs.
        key: String,
        /// Its value when the replay began.
        kept: String,
        /// Its value now.
        requested: String,
    },
    /// The directory holds something else than a checkpoint.
    #[error("{}: is not empty and holds no replay", .0.display())]
    NoReplay(PathBuf),
    /// Details cannot be written.
    #[error("details cannot be written")]
    Details(#[source] std::io::Error),
}
