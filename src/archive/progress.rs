//! What was archived, and what waits to be.

use crate::model::Timestamp;

/// What was archived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    /// Number of files.
    pub files: u64,
    /// Number of actions in them.
    pub actions: u64,
}

/// What waits to be archived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Number of actions, in an embedded log of changes of pins among them as well. A replica
    /// counts no further than some.
    pub actions: u64,
    /// When the first of them was recorded; none when nothing waits.
    pub oldest: Option<Timestamp>,
}
