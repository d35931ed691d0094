//! Moves what an embedded log took into the archive, each action once.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::directory::{ArchiveDirectory, hour};
use super::erase::{self, ErasedFromArchive, ErasedUsers};
use super::error::ArchiveError;
use super::params::ArchiveParams;
use super::progress::{Archived, Backlog};
use crate::durable::{Erasure, Log, LogError, Place, PlacedAction, UserDigest};
use crate::model::{Timestamp, UserId};

/// Most actions of one file, which are held in memory while it is written.
const MAX_FILE_ACTIONS: usize = 100_000;

/// Writes the actions of an embedded log to an archive.
pub struct Archiver {
    log: Arc<Log>,
    directory: ArchiveDirectory,
    every: Duration,
    /// Whether the files have nothing of erased users; not until that is known.
    is_erased: AtomicBool,
    /// Held while files are written, by one thread at a time.
    phase: Mutex<Phase>,
}

/// How far an archiver is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// It is not known which files are there: after a failure.
    #[default]
    Unknown,
    /// All actions up to this place are in files; none is.
    Through(Option<Place>),
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
    /// The archiver of `log`, to which nothing is appended yet; none without a directory. From
    /// now on the log forgets nothing that is not archived. A directory that cannot be read
    /// is no error: a server starts without it as well, and [`Self::archive`] tells.
    pub fn new(log: Arc<Log>, params: &ArchiveParams) -> Result<Option<Self>, LogError> {
        let Some(root) = &params.directory else {
            return Ok(None);
        };
        log.keep_until_archived()?;
        let mut archiver = Self {
            directory: ArchiveDirectory::new(root, log.store_id()),
            every: params.every,
            is_erased: AtomicBool::new(false),
            log,
            phase: Mutex::default(),
        };
        // Before anything is recorded: a log that is older than its archive would give
        // numbers again that files have, and these actions would be taken for archived.
        if let Ok(mark) = archiver.find_mark() {
            archiver.phase = Mutex::new(Phase::Through(mark));
        }
        Ok(Some(archiver))
    }

    /// Time between two files.
    pub fn every(&self) -> Duration {
        self.every
    }

    /// Archives all actions that the log has taken by now, and ends what [`Self::erase`] has
    /// left. After an error, what was written counts, and the next call goes on behind it.
    pub fn archive(&self) -> Result<Archived, ArchiveError> {
        // A poisoned lock is harmless: after a panic nothing is known.
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let archived = self.archive_new(&mut phase)?;
        if !self.is_erased.load(Ordering::Relaxed) {
            self.erase_from_files(None)?;
        }
        Ok(archived)
    }

    fn archive_new(&self, phase: &mut Phase) -> Result<Archived, ArchiveError> {
        let mut mark = match std::mem::replace(phase, Phase::Unknown) {
            Phase::Through(mark) => mark,
            Phase::Unknown => self.find_mark()?,
        };
        let through = self.log.accepted();
        let mut archived = Archived::default();
        loop {
            let first = mark.map_or(0, |mark| mark.sequence + 1);
            let actions = self.log.actions_from(first, MAX_FILE_ACTIONS)?;
            for of_hour in actions.chunk_by(|a, b| hour(a.place) == hour(b.place)) {
                mark = Some(self.write(of_hour)?);
                archived.files += 1;
                archived.actions += of_hour.len() as u64;
            }
            let reaches = |mark: Place| mark.sequence >= through;
            if actions.len() < MAX_FILE_ACTIONS || mark.is_some_and(reaches) {
                *phase = Phase::Through(mark);
                return Ok(archived);
            }
        }
    }

    /// Erases the actions of `user`, whom the log has erased, from the files of the archive,
    /// and those of users before that could not be erased from it. Waits until no file is
    /// written. After an error, the next call goes on, or [`Self::archive`]. It is one if the
    /// log is not done with the user, as when another erasure has begun since.
    pub fn erase(&self, user: UserId) -> Result<ErasedFromArchive, ArchiveError> {
        let _nothing_is_written = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_erased.store(false, Ordering::Relaxed);
        self.erase_from_files(Some(user))
    }

    /// Erases what the log has erased since the last erasure that is done in the archive;
    /// `last` is the user whom it erased last, if that is known. No file may be written
    /// meanwhile.
    fn erase_from_files(&self, last: Option<UserId>) -> Result<ErasedFromArchive, ArchiveError> {
        let last = last.map(|user| (user, self.log.digest(user)));
        let is_last = |user: UserDigest| last.is_some_and(|(_, last)| last == user);
        let done = self.directory.erased_through()?;
        let mut erasures = self.log.erasures()?;
        // What is still in the log comes later, and may be archived until then.
        let in_log = erasures.iter().filter(|(_, erasure)| !erasure.is_done);
        let in_log = in_log.map(|(_, erasure)| erasure.erased_at).min();
        erasures.retain(|&(user, Erasure { erased_at, .. })| {
            in_log.is_none_or(|in_log| erased_at < in_log)
                && (is_last(user) || done.is_none_or(|done| done < erased_at))
        });
        if last.is_some() && !erasures.iter().any(|&(user, _)| is_last(user)) {
            return Err(ArchiveError::NotErasedFromLog);
        }
        let mut erased = ErasedFromArchive::default();
        let through = erasures.iter().map(|(_, erasure)| erasure.erased_at).max();
        if let Some(through) = through {
            let users = ErasedUsers::new(&self.log, erasures, last);
            erased = erase::erase(self.directory.path(), |user| users.erased_at(user))?;
            // One that comes late takes nothing back that is stated already.
            let through = done.map_or(through, |done| done.max(through));
            self.directory.set_erased_through(through)?;
        }
        self.is_erased.store(in_log.is_none(), Ordering::Relaxed);
        Ok(erased)
    }

    /// Writes `actions`, all of one hour, and returns the place of the last.
    fn write(&self, actions: &[PlacedAction]) -> Result<Place, ArchiveError> {
        self.directory.write(actions)?;
        let last = actions.last().expect("an hour has actions").place;
        self.log.set_archived(last)?;
        Ok(last)
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
    fn find_mark(&self) -> Result<Option<Place>, ArchiveError> {
        let mark = self.log.archived()?;
        let last = self.directory.last_after(mark)?;
        let Some(last) = last.filter(|&last| mark.is_none_or(|mark| mark.sequence < last)) else {
            return Ok(mark);
        };
        let accepted = self.log.accepted();
        if last > accepted {
            // The log is older than its archive: it came back from a backup. Its numbers go
            // on where the archive ends, so that none is used twice.
            tracing::warn!(last, accepted, "the archive is ahead of the log");
            self.log.skip_to(last)?;
        }
        let place = self.place_of(last, mark)?;
        self.log.set_archived(place)?;
        Ok(Some(place))
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

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::archive::erased_through;
    use crate::model::{Action, ActionId, PinId};

    const A: UserId = UserId(1);
    const B: UserId = UserId(2);
    const C: UserId = UserId(3);

    /// A log that has archived an action of each of three users.
    struct World {
        archive: TempDir,
        log: Arc<Log>,
        archiver: Archiver,
        _data: TempDir,
    }

    impl World {
        fn new() -> Self {
            let [data, archive] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
            let (log, _) = Log::open(data.path()).expect("a log");
            let log = Arc::new(log);
            let params = ArchiveParams {
                directory: Some(archive.path().to_owned()),
                every: Duration::from_secs(60),
            };
            let archiver = Archiver::new(log.clone(), &params).expect("a log");
            let archiver = archiver.expect("an archive");
            let actions = [A, B, C].map(|user| Action {
                id: ActionId([user.0 as u8; 16]),
                user,
                pin: PinId(2),
                name: "save".to_owned(),
                time: Timestamp::from_micros(3),
                medoid: None,
                keys: None,
            });
            let actions = actions.each_ref();
            let written = log.append(&actions, Timestamp::from_micros(4), |_| true);
            written.expect("a write");
            assert_eq!(archiver.archive().expect("a file").actions, 3);
            Self {
                archive,
                log,
                archiver,
                _data: data,
            }
        }

        fn begin_in_log(&self, user: UserId, micros: i64) {
            let erased_at = Timestamp::from_micros(micros);
            self.log
                .erase(self.log.digest(user), erased_at)
                .expect("a write");
        }

        fn end_in_log(&self) {
            let begun = self.log.unfinished_erasures().expect("a log");
            self.log.remove_erased(&begun).expect("a log");
            self.log.finish_erasures(&begun).expect("a write");
        }

        /// Number of actions that an erasure of `user` erased.
        fn erase(&self, user: UserId) -> Result<u64, ArchiveError> {
            self.archiver.erase(user).map(|erased| erased.actions)
        }

        /// Up to when the archive says to be free of erased users, in microseconds.
        fn stated(&self) -> Option<i64> {
            let stated = erased_through(self.archive.path()).expect("an archive");
            stated.into_values().next().map(Timestamp::micros)
        }
    }

    #[test]
    fn an_erasure_that_begins_anew_meanwhile_is_not_taken_for_done_and_skips_nobody() {
        let world = World::new();
        // The archive could not be written then.
        world.begin_in_log(B, 10);
        world.begin_in_log(A, 11);
        world.end_in_log();
        world.begin_in_log(A, 12);
        let refused = world.erase(A).expect_err("the log has the user");
        assert!(matches!(refused, ArchiveError::NotErasedFromLog));
        assert_eq!(world.stated(), None);
        world.end_in_log();
        assert_eq!(world.erase(A).expect("an archive"), 2);
        assert_eq!(world.stated(), Some(12));
    }

    #[test]
    fn an_erasure_that_comes_late_takes_no_statement_back() {
        let world = World::new();
        world.begin_in_log(A, 10);
        world.begin_in_log(B, 11);
        world.end_in_log();
        assert_eq!(world.erase(B).expect("an archive"), 2);
        assert_eq!(world.stated(), Some(11));
        assert_eq!(world.erase(A).expect("an archive"), 0);
        assert_eq!(world.stated(), Some(11));
    }
}
