//! Moves what a shared log took into the archive, each action once, whichever of its replicas
//! is there to do so.
//!
//! The last claim that the log took says who writes which files: see `durable::ArchiveClaim`.
//! A replica makes a claim, waits until it has come by the log, writes the files, and makes the
//! next; one of no messages says that all is written. Where a replica is gone, another makes
//! its claim anew once its lease is over. It writes the same files, by the same names, so that
//! it does no harm if the first was only stopped and goes on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::directory::{ArchiveDirectory, files, hour};
use super::erase::{ErasedFromArchive, ErasedUsers, erase_in};
use super::error::ArchiveError;
use super::params::ArchiveParams;
use super::progress::{Archived, Backlog};
use super::unsettled::Unsettled;
use crate::durable::{ArchiveClaim, Log, LogError, PlacedAction, Positions, SharedLog};
use crate::model::{Timestamp, UserId};

/// About the most actions of one claim, which are held in memory while they are written.
const MAX_CLAIM_ACTIONS: usize = 100_000;
/// Most actions that wait and are counted.
const MAX_COUNTED: usize = 100_000;
/// Shortest lease, and how often a claim is made during one: its files are written in seconds,
/// and the clocks of replicas differ by less.
const MIN_LEASE: Duration = Duration::from_secs(30);
const CLAIMS_PER_LEASE: u32 = 3;
/// How long the log is waited for, and how often it is looked at meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(2);

/// Writes the actions of a shared log to an archive.
pub struct ReplicaArchiver {
    checkpoint: Arc<Log>,
    log: Arc<dyn SharedLog>,
    /// Streams of actions.
    streams: u8,
    directory: ArchiveDirectory,
    every: Duration,
    lease: Duration,
    patience: Duration,
    /// Tells this process from others.
    holder: u64,
    /// Held while files are written, by one thread at a time.
    state: Mutex<State>,
}

/// How far an archiver is, beside what the log says.
#[derive(Debug, Default)]
struct State {
    /// The last files could not be written.
    is_failing: bool,
    /// The files have nothing of erased users; not until that is known.
    is_erased: bool,
    unsettled: Unsettled,
}

/// A claim whose files are to be written.
#[derive(Debug)]
struct OwnClaim {
    claim: ArchiveClaim,
    /// Its number in the control stream.
    number: u64,
    /// Nobody can have written a file of it.
    is_new: bool,
}

impl fmt::Debug for ReplicaArchiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut archiver = f.debug_struct("ReplicaArchiver");
        archiver
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl ReplicaArchiver {
    /// The archiver of the shared `log` with this number of streams of actions; none without a
    /// directory. From now on the `checkpoint` forgets nothing that is not archived.
    pub fn new(
        checkpoint: Arc<Log>,
        log: Arc<dyn SharedLog>,
        streams: u8,
        params: &ArchiveParams,
    ) -> Result<Option<Self>, LogError> {
        let Some(root) = &params.directory else {
            return Ok(None);
        };
        checkpoint.keep_until_claimed()?;
        Ok(Some(Self {
            directory: ArchiveDirectory::new(root, checkpoint.store_id()),
            checkpoint,
            log,
            streams,
            every: params.every,
            lease: MIN_LEASE.max(params.every * CLAIMS_PER_LEASE),
            patience: PATIENCE,
            holder: rand::random(),
            state: Mutex::default(),
        }))
    }

    /// Time between two files.
    pub fn every(&self) -> Duration {
        self.every
    }

    /// Archives what the log had taken when it was called, unless another replica does, and
    /// ends what [`Self::erase`] has left. After an error the next call goes on.
    pub fn archive(&self, clock: &dyn Fn() -> Timestamp) -> Result<Archived, ArchiveError> {
        // A poisoned lock is harmless: the log says what is written.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut archived = Archived::default();
        let mut written = None;
        while self.settle(&mut state.unsettled)?
            && let Some(next) = self.next_claim(state.is_failing, written, clock())?
        {
            let files = self.write(&mut state.unsettled, &next, clock);
            state.is_failing =
                matches!(&files, Err(error) if !matches!(error, ArchiveError::Log(_)));
            let Archived { files, actions } = files?;
            archived.files += files;
            archived.actions += actions;
            written = Some(next.number);
        }
        if !state.is_erased {
            self.erase_from_files(&mut state, None)?;
        }
        Ok(archived)
    }

    /// Erases the actions of `user`, whom the log has erased, from the files of the archive,
    /// and those of users before that could not be erased from it. After an error, the next
    /// call goes on, or [`Self::archive`].
    pub fn erase(&self, user: UserId) -> Result<ErasedFromArchive, ArchiveError> {
        // As above.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_erased = false;
        self.erase_from_files(&mut state, Some(user))
    }

    /// What of the checkpoint's files waits to be archived: all that stands behind the last claim,
    /// or in it while the archive's files are being written.
    pub fn backlog(&self) -> Result<Backlog, LogError> {
        let claim = self.checkpoint.archive_claim()?;
        let from = claim.map(|(claim, _)| claim.from).unwrap_or_default();
        let waiting = self.checkpoint.waiting(&from, self.streams, MAX_COUNTED)?;
        Ok(Backlog {
            actions: waiting.actions as u64,
            oldest: waiting.oldest,
        })
    }

    /// The claim whose files this replica has to write now; none when another has one, or
    /// nothing is new. All files of the claim number `written` are there.
    fn next_claim(
        &self,
        is_failing: bool,
        written: Option<u64>,
        now: Timestamp,
    ) -> Result<Option<OwnClaim>, ArchiveError> {
        let last = self.checkpoint.archive_claim()?;
        if let Some((last, _)) = &last
            && !self.may_claim(last, is_failing, now)
        {
            return Ok(None);
        }
        let Some(read) = self.read_all()? else {
            // Another may be further, or this one is when it is called again.
            return Ok(None);
        };
        let number = last.as_ref().map_or(0, |&(_, number)| number);
        let is_written = written == Some(number);
        let (from, through, is_new) = match last {
            Some((last, _)) if !last.is_empty() && !is_written => {
                if last.holder == self.holder && now < last.lease_until {
                    return Ok(Some(OwnClaim {
                        claim: last,
                        number,
                        is_new: false,
                    }));
                }
                (last.from, last.through, false)
            }
            last => {
                let from = last.map(|(last, _)| last.through).unwrap_or_default();
                let (from, through) = self.behind(&from, &read)?;
                if from == through && !is_written {
                    return Ok(None);
                }
                (from, through, true)
            }
        };
        let claim = ArchiveClaim {
            holder: self.holder,
            lease_until: later(now, self.lease),
            from,
            through,
        };
        self.claim(&claim, number, is_new)
    }

    /// Whether this replica may make a claim after the `last` one, or go on with it.
    fn may_claim(&self, last: &ArchiveClaim, is_failing: bool, now: Timestamp) -> bool {
        if now < last.lease_until {
            return last.holder == self.holder;
        }
        // One that could not write lets others go first, for as long as a lease.
        !is_failing || now >= later(last.lease_until, self.lease)
    }

    /// The messages after `from` that one claim may have.
    fn behind(
        &self,
        from: &Positions,
        read: &Positions,
    ) -> Result<(Positions, Positions), LogError> {
        let from = from.of_first(self.streams);
        let mut read = read.of_first(self.streams);
        read.extend(&from);
        let max = MAX_CLAIM_ACTIONS / usize::from(self.streams.max(1));
        let through = self.checkpoint.claimable(&from, &read, max)?;
        Ok((from, through))
    }

    /// Makes `claim` after the one at `number`, and waits until it has come by the log; none
    /// if another was faster, and for one of no messages, which leaves nothing to do.
    fn claim(
        &self,
        claim: &ArchiveClaim,
        number: u64,
        is_new: bool,
    ) -> Result<Option<OwnClaim>, ArchiveError> {
        if !self.log.claim_archive(&claim.to_bytes(), number)? || claim.is_empty() {
            return Ok(None);
        }
        // Whoever has read it knows all users who were erased before.
        let found = self.wait(|| {
            let last = self.checkpoint.archive_claim()?;
            Ok(last.filter(|(last, at)| *at > number && last == claim))
        })?;
        Ok(found.map(|(claim, number)| OwnClaim {
            claim,
            number,
            is_new,
        }))
    }

    /// Writes the files of `own` that are not there, one for each stream and hour.
    fn write(
        &self,
        unsettled: &mut Unsettled,
        own: &OwnClaim,
        clock: &dyn Fn() -> Timestamp,
    ) -> Result<Archived, ArchiveError> {
        let claim = &own.claim;
        let names: BTreeMap<u8, _> = claim.numbers().collect();
        let claimed = self.checkpoint.claimed_actions(claim)?;
        if !own.is_new {
            // Whoever wrote them may not have known all erased users.
            let names: Vec<String> = names.values().map(|n| self.directory.name(n)).collect();
            let mut there = files(self.directory.path())?;
            there.retain(|path| names.iter().any(|name| path.ends_with(name)));
            unsettled.add(there, None);
        }
        let mut by_file: BTreeMap<(u8, i64), Vec<PlacedAction>> = BTreeMap::new();
        for placed in claimed.actions {
            let of_file = (placed.place.message().stream, hour(placed.place));
            by_file.entry(of_file).or_default().push(placed);
        }
        let mut archived = Archived::default();
        for ((stream, _), actions) in by_file {
            let path = self.directory.path_of(actions[0].place, &names[&stream]);
            if path.exists() {
                // Perhaps of actions that the log does not have any more.
                continue;
            }
            if clock() >= claim.lease_until {
                return Err(ArchiveError::LeaseOver);
            }
            unsettled.add([path.clone()], claimed.erased_through);
            self.directory.write_to(&path, &actions)?;
            archived.files += 1;
            archived.actions += actions.len() as u64;
        }
        Ok(archived)
    }

    /// Erases users from unsettled files whom the log has erased since. Returns whether nothing
    /// is left to do: not while the end of the log cannot be read.
    fn settle(&self, unsettled: &mut Unsettled) -> Result<bool, ArchiveError> {
        unsettled.settle(&self.checkpoint, || Ok(self.read_all()?.is_some()))
    }

    /// Erases what the log has erased since the last erasure that is done in the archive;
    /// `asked` is one of these users whom somebody waits for.
    ///
    /// The archive states that it is done when nobody can write such a user any more: when the
    /// last claim is one of no messages, as whoever makes another has read the erasure.
    fn erase_from_files(
        &self,
        state: &mut State,
        asked: Option<UserId>,
    ) -> Result<ErasedFromArchive, ArchiveError> {
        let mut erasures = self.checkpoint.erasures()?;
        let known = erasures.iter().map(|(_, erasure)| erasure.erased_at).max();
        // After them: one that is read later is of somebody who knows them.
        let claim = self.checkpoint.archive_claim();
        let is_quiet = claim.is_ok_and(|claim| claim.is_none_or(|(claim, _)| claim.is_empty()));
        if !is_quiet && asked.is_none() {
            return Ok(ErasedFromArchive::default());
        }
        let asked = asked.map(|user| (user, self.checkpoint.digest(user)));
        let is_asked = |user| asked.is_some_and(|(_, asked)| asked == user);
        let done = self.directory.erased_through()?;
        erasures.retain(|&(user, erasure)| is_asked(user) || done < Some(erasure.erased_at));
        if asked.is_some() && !erasures.iter().any(|&(user, _)| is_asked(user)) {
            return Err(ArchiveError::NotErasedFromLog);
        }
        let mut erased = ErasedFromArchive::default();
        let through = erasures.iter().map(|(_, erasure)| erasure.erased_at).max();
        if through.is_some() {
            self.directory.remove_abandoned(SystemTime::now())?;
            let users = ErasedUsers::new(&self.checkpoint, erasures, asked);
            let mut replaced = Vec::new();
            let all = files(self.directory.path())?;
            let found = erase_in(&all, |user| users.erased_at(user), &mut replaced);
            state.unsettled.add(replaced, known);
            erased = found?;
        }
        // Where that fails, the next call of `archive` fails as well, and tells.
        let is_settled = self.settle(&mut state.unsettled).unwrap_or(false);
        if let Some(through) = through.filter(|_| is_quiet && is_settled) {
            // Another may have stated more meanwhile.
            let done = self.directory.erased_through()?;
            let through = done.map_or(through, |done| done.max(through));
            self.directory.set_erased_through(through)?;
        }
        state.is_erased = is_quiet && is_settled;
        Ok(erased)
    }

    /// Waits until all that the log has by now is read, and returns up to where it was before;
    /// none in vain.
    ///
    /// What an erasure has written anew stands behind messages that are gone: where these were
    /// read, so is it afterwards.
    fn read_all(&self) -> Result<Option<Positions>, LogError> {
        let before = self.checkpoint.taken_positions()?;
        let newest = self.log.newest()?;
        let is_read = self.wait(|| {
            let read = self.checkpoint.taken_positions()?;
            Ok(read.cover(&newest).then_some(()))
        })?;
        // The files are what is archived.
        self.checkpoint.write_out()?;
        Ok(is_read.map(|()| before))
    }

    /// Waits until `find` finds something; none in vain.
    fn wait<T>(
        &self,
        find: impl Fn() -> Result<Option<T>, LogError>,
    ) -> Result<Option<T>, LogError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let found = find()?;
            if found.is_some() || Instant::now() >= deadline {
                return Ok(found);
            }
            std::thread::sleep(POLL);
        }
    }
}

/// The time `duration` after `time`.
fn later(time: Timestamp, duration: Duration) -> Timestamp {
    let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(time.micros().saturating_add(micros))
}
