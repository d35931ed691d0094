//! A log in its other role: as the checkpoint of a log that replicas share. It holds what was
//! read of that log, and up to where.
//!
//! The shared log is the truth. So nothing here is synced: after a crash a part is missing,
//! with the position up to which it was read, and is read again. One that is damaged is put
//! aside, and all is read again.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::copies;
use super::erasures::{Erasure, UserDigest};
use super::error::LogError;
use super::journals::TruncatedTail;
use super::log::Log;
use super::message_place::{self, MAX_MESSAGE};
use super::places::{self, PlacedAction};
use super::positions::{MAX_STREAMS, Position, Positions};
use super::records::{PinChange, Place, encode_pin};
use super::store::{CLAIM, POSITIONS};
use super::unwritten::{Part, ReadAction};
use crate::model::{ActionId, Timestamp};
use crate::setting_rules::in_days;

/// Name of the directory of a checkpoint in that of the server.
pub const CHECKPOINT: &str = "checkpoint";
/// Name of what is put aside because it is damaged.
const DAMAGED: &str = "checkpoint-damaged";

/// Fewest actions that are worth tables of their own.
const MIN_TABLE: usize = 8_192;

/// How far the clocks of replicas may differ, and a stream be behind others.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

/// What was read of a shared log, and is new.
#[derive(Debug, Default)]
pub struct ReadEntries<'a> {
    /// Actions.
    pub actions: Vec<ReadAction<'a>>,
    /// The last changes of pins.
    pub pins: Vec<&'a PinChange>,
    /// Erased users, and when.
    pub erasures: Vec<(UserDigest, Timestamp)>,
    /// Where further copies of actions stand, but for those of erased users.
    pub copies: Vec<(ActionId, Place)>,
    /// The last claim on a part of the archive, and its number in the control stream.
    pub claim: Option<(&'a [u8], u64)>,
}

impl Log {
    /// Opens the checkpoint in the directory `data`. A new one gets the number of the shared log,
    /// which `new_id` asks for.
    ///
    /// # Errors
    ///
    /// Those of `new_id`, and those of the file system. A damaged checkpoint is no error: it is
    /// put aside, with a warning, and a new one is made.
    pub fn open_checkpoint(
        data: &Path,
        mut new_id: impl FnMut() -> Result<u64, LogError>,
    ) -> Result<Self, LogError> {
        let (log, tails) = match Self::open_as(&data.join(CHECKPOINT), &mut new_id) {
            Err(error) if error.is_damage() => {
                return Self::renew_checkpoint(data, &error, new_id);
            }
            opened => opened?,
        };
        // One of a start before: nobody has looked at it, and it may have erased users.
        remove_aside(data)?;
        for TruncatedTail { journal, bytes } in &tails {
            let journal = journal.display();
            tracing::info!(%journal, bytes, "truncated the unfinished tail of the journal");
        }
        Ok(log)
    }

    /// Puts the checkpoint in the directory `data` aside, which nobody has open and which is
    /// damaged as `damage` says, and makes a new one, with the number that `new_id` tells.
    ///
    /// # Errors
    ///
    /// Those of `new_id`, and those of the file system.
    pub fn renew_checkpoint(
        data: &Path,
        damage: &LogError,
        new_id: impl FnOnce() -> Result<u64, LogError>,
    ) -> Result<Self, LogError> {
        let directory = data.join(CHECKPOINT);
        let aside = put_aside(&directory, data)?;
        let aside = aside.display();
        tracing::warn!(error = %damage, %aside, "the checkpoint is damaged: reading all again");
        let (log, _) = Self::open_as(&directory, new_id)?;
        Ok(log)
    }

    /// The number of records that an embedded log has taken, as the position in its only stream.
    pub fn accepted_position(&self) -> Positions {
        let accepted = Position {
            stream: 0,
            sequence: self.accepted(),
        };
        [accepted].into_iter().collect()
    }

    /// How far the shared log was taken, be it written or not.
    pub fn taken_positions(&self) -> Result<Positions, LogError> {
        // In this order: what is written meanwhile is found in the store.
        match self.unwritten.positions() {
            Some(positions) => Ok(positions),
            None => self.positions(),
        }
    }

    /// How far the shared log is in the files. In an embedded log the number of records, as the
    /// position in its only stream.
    pub fn positions(&self) -> Result<Positions, LogError> {
        let store = self.store()?;
        let stored = store.meta.get(POSITIONS).map_err(|e| store.error(e))?;
        let Some(stored) = stored else {
            return Ok(self.accepted_position());
        };
        let damaged = || store.damaged_record("meta", POSITIONS.as_bytes());
        let (sequences, rest) = stored.as_chunks::<8>();
        let sequences = sequences.iter().map(|&bytes| u64::from_le_bytes(bytes));
        let positions = Positions::new(sequences.collect());
        positions.filter(|_| rest.is_empty()).ok_or_else(damaged)
    }

    /// The greatest number that an action has, or can have had so far.
    pub fn last_sequence(&self) -> Result<u64, LogError> {
        let store = self.store()?;
        let Some(last) = store.sequences.last_key_value() else {
            return Ok(self.accepted());
        };
        let (last, _) = last.into_inner().map_err(|e| store.error(e))?;
        let damaged = || store.damaged_record("sequence", &last);
        let last = last.as_ref().try_into().map_err(|_| damaged())?;
        Ok(self.accepted().max(u64::from_be_bytes(last)))
    }

    /// Passes to `visit` the actions that were recorded since then, from the newest of each
    /// stream on: until one is met that was recorded a minute before, as the clocks of
    /// replicas differ and streams stall.
    pub fn for_each_since(
        &self,
        since: Timestamp,
        mut visit: impl FnMut(PlacedAction),
    ) -> Result<(), LogError> {
        let store = self.store()?;
        let until = since.minus_days(in_days(CLOCKS_DIFFER));
        for stream in 0..MAX_STREAMS as u8 {
            let of_stream = message_place::numbers(stream, 0, MAX_MESSAGE);
            let mut visit = |placed: PlacedAction| {
                if placed.place.recorded_at >= since {
                    visit(placed);
                }
            };
            places::read_back(&store, of_stream, until, &mut visit)?;
        }
        Ok(())
    }

    /// Takes what was read of the shared log up to `positions`, all or nothing. It can be taken
    /// again after an error. Actions are written by the next [`Self::write_out`]; anything else
    /// is, with all before, when this returns.
    pub fn take(&self, read: &ReadEntries<'_>, positions: &Positions) -> Result<(), LogError> {
        debug_assert!(positions.sequences().len() <= MAX_STREAMS);
        let recorded_at = read.actions.iter().map(|read| read.place.recorded_at);
        if let Some(recorded_at) = recorded_at.max() {
            let micros = recorded_at.micros();
            self.recorded_at.fetch_max(micros, Ordering::AcqRel);
        }
        if self.unwritten.is_full() {
            self.write_out()?;
        }
        if read.pins.is_empty() && read.erasures.is_empty() && read.claim.is_none() {
            self.unwritten.add(&read.actions, &read.copies, positions);
            return Ok(());
        }
        let _guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_parts()?;
        let mut part = Part::default();
        part.add(&read.actions, &read.copies, positions);
        self.write_part(&part, read)?;
        if let Some((claim, _)) = read.claim {
            self.note_claim(claim);
        }
        Ok(())
    }

    /// Writes all that was taken to the files: what reads them finds it from then on. It can be
    /// tried again after an error.
    pub fn write_out(&self) -> Result<(), LogError> {
        let _guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_parts()
    }

    /// Waits until much was taken that is not written, or until [`Self::end_taking`], at most for
    /// `limit`. Returns whether more may come.
    pub fn wait_for_unwritten(&self, limit: Duration) -> bool {
        self.unwritten.wait(limit)
    }

    /// Declares that nothing more is taken.
    pub fn end_taking(&self) {
        self.unwritten.end();
    }

    /// The same as [`Self::write_out`]. For one thread at a time.
    fn write_parts(&self) -> Result<(), LogError> {
        while let Some(part) = self.unwritten.next_part() {
            self.write_part(&part, &ReadEntries::default())?;
            self.unwritten.written();
        }
        Ok(())
    }

    /// Writes `part`, and what is in `others` beside actions. For one thread at a time.
    fn write_part(&self, part: &Part, others: &ReadEntries<'_>) -> Result<(), LogError> {
        let store = self.writable_store()?;
        store.wait_for_room().map_err(|e| self.fail(&store, e))?;
        let mut batch = store.database.batch();
        if part.actions.len() < MIN_TABLE {
            places::insert_part(&store, &mut batch, part);
        } else {
            // A table that is not finished would take what is left.
            self.require_space(part.bytes_of_tables())?;
            // Before the positions: what is read again is known by then.
            places::insert_tables(&store, part).map_err(|e| self.fail(&store, e))?;
        }
        for &(id, place) in &part.copies {
            copies::insert(&store, &mut batch, id, place)?;
        }
        for (pin, record) in &others.pins {
            batch.insert(&store.pins, pin.0.to_be_bytes(), encode_pin(record));
        }
        for &(user, erased_at) in &others.erasures {
            let erasure = Erasure::by_time(erased_at).to_bytes();
            batch.insert(&store.erased, user.0, erasure);
        }
        if let Some((claim, number)) = others.claim {
            let number: &[u8] = &number.to_le_bytes();
            batch.insert(&store.meta, CLAIM, [number, claim].concat());
        }
        let sequences = part.positions.sequences().iter();
        let bytes: Vec<u8> = sequences
            .flat_map(|sequence| sequence.to_le_bytes())
            .collect();
        batch.insert(&store.meta, POSITIONS, bytes);
        batch.commit().map_err(|e| self.fail(&store, e))
    }
}

impl LogError {
    /// Whether files are damaged, rather than missing or locked.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Unreadable { .. } | Self::Damaged { .. } | Self::Lost { .. } => true,
            // A full disk, or too many open files.
            Self::Store { cause, .. } => !matches!(cause, fjall::Error::Io(_)),
            Self::Io { .. } | Self::NotWritable { .. } | Self::NoSpace { .. } => false,
            Self::Closed { .. } | Self::Unreachable { .. } | Self::Mismatch { .. } => false,
            Self::NotReached(_) | Self::NotRead => false,
        }
    }
}

/// Removes what was put aside before.
fn remove_aside(data: &Path) -> Result<(), LogError> {
    let aside = data.join(DAMAGED);
    match std::fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(LogError::io(&aside)(error)),
        _ => Ok(()),
    }
}

/// Renames `directory`, so that it is in nobody's way, and returns its new path.
fn put_aside(directory: &Path, data: &Path) -> Result<PathBuf, LogError> {
    remove_aside(data)?;
    let aside = data.join(DAMAGED);
    std::fs::rename(directory, &aside).map_err(LogError::io(directory))?;
    Ok(aside)
}
