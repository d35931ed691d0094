//! Errors of offline work. Each names the file and, where there is one, the row.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::model::Timestamp;
use crate::snapshot::SnapshotError;
use crate::store::ActionCounts;

/// Names of actions that an error lists.
const NAMES_SHOWN: usize = 10;

/// A catalog or a set of profiles could not be built, checked or exported.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// An input file cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Rows of the input are not what they should be.
    #[error("{count} bad rows{} (rows count from 0)\n{}", limit(*max), lines(rows, *count))]
    Rows {
        /// The first of them.
        rows: Vec<BadRow>,
        /// Number of all of them.
        count: u64,
        /// Number of them that would have been left out.
        max: u64,
    },
    /// No pin is left to index.
    #[error("none of the {read} pins that were read can be indexed")]
    NoPins {
        /// Number of rows that were read.
        read: u64,
    },
    /// The attributes of pins cannot be what was asked for.
    #[error("attributes: {0}")]
    Attributes(String),
    /// A filter does not fit the attributes of a catalog, or cannot be evaluated.
    #[error("filter: {0}")]
    Filter(String),
    /// No action is left to cluster.
    #[error(
        "none of the {} actions that were read can be clustered: {} of unknown pins, {} before \
         the window, {} after it, the others of actions without a weight{}",
        .0.read(), .0.unknown_pin, .0.before_window, .0.after_as_of, names(.0)
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
    /// Vectors that are to stand beside profiles come from another model.
    #[error(
        "the catalog has vectors of {catalog:?}, and the profiles were built from vectors of \
         {profiles:?}"
    )]
    EmbeddingVersion {
        /// Model of the catalog.
        catalog: String,
        /// Model of the profiles.
        profiles: String,
    },
    /// Two users have one id.
    #[error("user_id {}", same_hash(first, second))]
    SameHash {
        /// Key of one of them.
        first: String,
        /// Key of the other.
        second: String,
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

/// The names of actions without a weight, each with its number.
fn names(actions: &ActionCounts) -> String {
    let all = actions.unknown_action.iter();
    let mut names: Vec<String> = all
        .take(NAMES_SHOWN)
        .map(|(name, count)| format!("{count} {name:?}"))
        .collect();
    if actions.unknown_action.len() > NAMES_SHOWN {
        names.push("others".to_owned());
    }
    if names.is_empty() {
        return String::new();
    }
    format!(": {}", names.join(", "))
}

/// Why two keys of one hash are refused.
pub(super) fn same_hash(first: &str, second: &str) -> String {
    format!("{first:?} and {second:?} have the same hash: one of them needs another id")
}

fn limit(max: u64) -> String {
    match max {
        0 => String::new(),
        max => format!(", where at most {max} may be left out"),
    }
}

pub(super) fn lines(rows: &[BadRow], count: u64) -> String {
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
