//! Why a replay stops.

use std::path::PathBuf;

use crate::batch::BatchError;
use crate::index::DamagedAttribute;
use crate::model::{InvalidFilter, InvalidReranking, Timestamp};
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
    /// A model names a filter or rules that are not there.
    #[error("model {model:?}: there is no {key} {name:?}")]
    NotGiven {
        /// The model.
        model: String,
        /// The key of the model: filter or rerank.
        key: &'static str,
        /// The name.
        name: String,
    },
    /// No model names a filter or rules.
    #[error("no model uses {key} {name:?}, as pinnersage:{key}={name} does")]
    NotUsed {
        /// The key by which models name it: filter or rerank.
        key: &'static str,
        /// The name.
        name: String,
    },
    /// A filter does not fit the catalog.
    #[error("filter {name:?} does not fit the catalog")]
    Filter {
        /// The name of the filter.
        name: String,
        /// What does not fit.
        source: InvalidFilter,
    },
    /// Reranking rules do not fit the catalog.
    #[error("rerank {name:?} does not fit the catalog")]
    Rerank {
        /// The name of the rules.
        name: String,
        /// What does not fit.
        source: InvalidReranking,
    },
    /// A model says twice what popularity is worth.
    #[error("model {model:?}: popularity stands beside the popularity_weight of its rules")]
    TwoPopularities {
        /// The model.
        model: String,
    },
    /// An attribute cannot be read.
    #[error(transparent)]
    Attribute(#[from] DamagedAttribute),
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
