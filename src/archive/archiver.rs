//! Moves what the log took into the archive, each action once.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::directory::{ArchiveDirectory, partition};
use super::error::ArchiveError;
use crate::durable::{Log, LogError, Place, PlacedAction};
use crate::model::Timestamp;

/// Most actions of one file, which are held in memory while it is written.
const MAX_FILE_ACTIONS: usize = 100_000;

/// Writes the actions of a log to an archive.
pub struct Archiver {
    log: Arc<Log>,
    directory: ArchiveDirectory,
    /// Held while files are written, by one thread at a time.
    phase: Mutex<Phase>,
}

/// How far an archiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The names of the files were not looked at yet.
    Starting,
    /// The mark in the log covers all files.
    Running,
}

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
    /// Number of actions, and of changes of pins among them.
    pub actions: u64,
    /// When the first of them was recorded; none when nothing waits.
    pub oldest: Option<Timestamp>,
}

impl fmt::Debug for Archiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut archiver = f.debug_struct("Archiver");
        archiver
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl Archiver {
    /// An archiver from `log` to `directory`. From now on the log forgets nothing that is
    /// not archived. The directory is not touched yet: a server starts without it as well.
    pub fn new(log: Arc<Log>, directory: ArchiveDirectory) -> Result<Self, LogError> {
        log.keep_until_archived()?;
        Ok(Self {
            log,
            directory,
            phase: Mutex::new(Phase::Starting),
        })
    }

    /// Archives all actions that the log has taken by now. After an error, what was
    /// written counts, and the next call goes on behind it.
    pub fn archive(&self) -> Result<Archived, ArchiveError> {
        // A poisoned lock is harmless: what a panic left undone is done now.
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if *phase == Phase::Starting {
            self.recover()?;
            *phase = Phase::Running;
        }
        let through = self.log.accepted();
        let mut archived = Archived::default();
        loop {
            let mark = self.log.archived()?;
            let first = mark.map_or(0, |mark| mark.sequence + 1);
            let actions = self.log.actions_from(first, MAX_FILE_ACTIONS)?;
            for of_hour in actions.chunk_by(|a, b| partition(a.place) == partition(b.place)) {
                self.write(of_hour, &mut archived)?;
            }
            let is_end = actions
                .last()
                .is_none_or(|last| last.place.sequence >= through);
            if is_end || actions.len() < MAX_FILE_ACTIONS {
                return Ok(archived);
            }
        }
    }

    fn write(&self, actions: &[PlacedAction], sum: &mut Archived) -> Result<(), ArchiveError> {
        self.directory.write(actions)?;
        let last = actions.last().expect("an hour has actions").place;
        self.log.set_archived(last)?;
        sum.files += 1;
        sum.actions += actions.len() as u64;
        Ok(())
    }

    /// What waits to be archived.
    pub fn backlog(&self) -> Result<Backlog, LogError> {
        let mark = self.log.archived()?.map_or(0, |mark| mark.sequence);
        let oldest = self.log.actions_from(mark + 1, 1)?.pop();
        Ok(Backlog {
            actions: match oldest {
                Some(_) => self.log.accepted().saturating_sub(mark),
                None => 0,
            },
            oldest: oldest.map(|oldest| oldest.place.recorded_at),
        })
    }

    /// Moves the mark in the log behind the files that were written after it.
    fn recover(&self) -> Result<(), ArchiveError> {
        let mark = self.log.archived()?;
        let Some(last) = self.directory.last_after(mark)? else {
            return Ok(());
        };
        if mark.is_some_and(|mark| last <= mark.sequence) {
            return Ok(());
        }
        let accepted = self.log.accepted();
        if last > accepted {
            // The log is older than its archive: it came back from a backup. Its numbers go
            // on where the archive ends, so that none is used twice.
            tracing::warn!(
                last,
                accepted,
                "the archive is ahead of the log: its numbers go on"
            );
            self.log.skip_to(last)?;
        }
        self.log.set_archived(self.place_of(last, mark)?)?;
        Ok(())
    }

    /// The place of the action `sequence`. The time of one that was forgotten is not known:
    /// it was recorded after the `mark`.
    fn place_of(&self, sequence: u64, mark: Option<Place>) -> Result<Place, LogError> {
        let found = self.log.actions_from(sequence, 1)?.pop();
        let found = found.filter(|found| found.place.sequence == sequence);
        let known = found.map(|found| found.place).or(mark);
        let epoch = Timestamp::from_micros(0);
        Ok(Place {
            sequence,
            recorded_at: known.map_or(epoch, |place| place.recorded_at),
        })
    }
}
