//! How a shared log is opened: by whom, whether it is known to be that log, and why not.

use std::time::Duration;

use super::error::LogError;

/// A replica without a checkpoint waits so long for the engine.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Who opens a log: one that knows its id, or one that would create it with this one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Opener {
    Knows(u64),
    Creates(u64),
}

/// Why a log is not there yet, or not taken.
pub(super) enum NotOpen {
    /// It may be better in a moment.
    Yet(String),
    Refused(Refusal),
}

impl From<Refusal> for NotOpen {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Whether what the engine has is known to be the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// Not yet, for this reason.
    Waiting(String),
    /// It is the log of this id.
    Open(u64),
    /// It is another.
    Refused(Refusal),
}

impl Opening {
    /// The id of the log at `url`.
    pub(super) fn id(&self, url: &str) -> Result<u64, LogError> {
        match self {
            Self::Open(id) => Ok(*id),
            Self::Refused(refusal) => Err(refusal.error(url)),
            Self::Waiting(reason) => Err(LogError::Unreachable {
                url: url.to_owned(),
                reason: reason.clone(),
            }),
        }
    }
}

/// Why a log is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is another log.
    Mismatch {
        what: String,
        found: String,
        expected: String,
    },
    /// It cannot be created so, or a part of it is lost.
    Unusable(String),
}

impl Refusal {
    /// The error that tells it of the log at `url`.
    pub(super) fn error(&self, url: &str) -> LogError {
        let url = url.to_owned();
        match self.clone() {
            Self::Mismatch {
                what,
                found,
                expected,
            } => LogError::Mismatch {
                url,
                what,
                found,
                expected,
            },
            Self::Unusable(reason) => LogError::Unreachable { url, reason },
        }
    }
}
