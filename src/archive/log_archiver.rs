//! The archiver of a log, whichever it is.

use std::time::Duration;

use super::archiver::Archiver;
use super::erase::ErasedFromArchive;
use super::error::ArchiveError;
use super::progress::{Archived, Backlog};
use super::replica::ReplicaArchiver;
use crate::durable::LogError;
use crate::model::{Timestamp, UserId};

/// Writes the actions of a log to an archive.
#[derive(Debug)]
pub enum LogArchiver {
    /// Of an embedded log.
    Embedded(Archiver),
    /// Of a log that replicas share.
    Replica(ReplicaArchiver),
}

impl LogArchiver {
    /// Time between two files.
    pub fn every(&self) -> Duration {
        match self {
            Self::Embedded(archiver) => archiver.every(),
            Self::Replica(archiver) => archiver.every(),
        }
    }

    /// Archives what the log has taken by now, and ends what [`Self::erase`] has left. Of
    /// replicas one does so at a time. After an error the next call goes on.
    pub fn archive(&self, clock: &dyn Fn() -> Timestamp) -> Result<Archived, ArchiveError> {
        match self {
            Self::Embedded(archiver) => archiver.archive(),
            Self::Replica(archiver) => archiver.archive(clock),
        }
    }

    /// Erases the actions of `user`, whom the log has erased, from the files of the archive.
    pub fn erase(&self, user: UserId) -> Result<ErasedFromArchive, ArchiveError> {
        match self {
            Self::Embedded(archiver) => archiver.erase(user),
            Self::Replica(archiver) => archiver.erase(user),
        }
    }

    /// What waits to be archived.
    pub fn backlog(&self) -> Result<Backlog, LogError> {
        match self {
            Self::Embedded(archiver) => archiver.backlog(),
            Self::Replica(archiver) => archiver.backlog(),
        }
    }
}
