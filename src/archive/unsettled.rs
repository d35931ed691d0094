//! Files that may have a user whom a shared log has erased while they were written.

use std::path::PathBuf;

use super::erase::{ErasedUsers, erase_in};
use super::error::ArchiveError;
use crate::durable::{Log, LogError};
use crate::model::Timestamp;

/// Files that were written while the log may have taken further erasures.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    paths: Vec<PathBuf>,
    /// The last erasure that they take into account; none where they take none.
    erased_through: Option<Timestamp>,
}

impl Unsettled {
    /// Adds files that take into account what was erased up to `erased_through`.
    pub(super) fn add(
        &mut self,
        paths: impl IntoIterator<Item = PathBuf>,
        erased_through: Option<Timestamp>,
    ) {
        self.erased_through = match self.paths.is_empty() {
            true => erased_through,
            false => self.erased_through.min(erased_through),
        };
        self.paths.extend(paths);
    }

    /// Erases users from the files whom the log has erased since: those of whom `checkpoint`
    /// knows once `read_all` has read the log to its end, which may fail to. Returns whether
    /// nothing is left to do.
    pub(super) fn settle(
        &mut self,
        checkpoint: &Log,
        read_all: impl Fn() -> Result<bool, LogError>,
    ) -> Result<bool, ArchiveError> {
        // One of which nothing is known is looked at all the same.
        self.paths.retain(|path| path.try_exists().unwrap_or(true));
        while !self.paths.is_empty() {
            // After they were written: whoever erases a user later finds them.
            if !read_all()? {
                return Ok(false);
            }
            let mut erasures = checkpoint.erasures()?;
            let known = self.erased_through;
            erasures.retain(|(_, erasure)| known < Some(erasure.erased_at));
            let through = erasures.iter().map(|(_, erasure)| erasure.erased_at).max();
            let mut replaced = Vec::new();
            if through.is_some() {
                let users = ErasedUsers::new(checkpoint, erasures, None);
                let erased_at = |user| users.erased_at(user);
                erase_in(&self.paths, erased_at, &mut replaced)?;
            }
            *self = Self {
                paths: replaced,
                erased_through: through,
            };
        }
        Ok(true)
    }
}
