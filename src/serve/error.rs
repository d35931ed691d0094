//! Reasons why a server stops.

use std::io;

use super::security::SecurityError;
use crate::snapshot::SnapshotError;

/// Reason why a server stopped without being told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError<E> {
    /// What should be served could not be loaded.
    #[error(transparent)]
    Load(E),
    /// A served file is damaged, which was found once all of it was read.
    #[error(transparent)]
    Damaged(SnapshotError),
    /// The port for metrics and probes failed.
    #[error("serving metrics and probes failed")]
    Ops(#[from] io::Error),
    /// The certificates or the list of callers cannot be used.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// The workers could not be started.
    #[error("the threads of the workers could not be started")]
    Workers(#[from] rayon::ThreadPoolBuildError),
    /// A task of the server died, which is a defect.
    #[error("a part of the server died")]
    Died(#[from] tokio::task::JoinError),
}
