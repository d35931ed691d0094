//! The embedded store behind the log: its keyspaces, and opening them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::error::LogError;
use super::records::Place;

const ACTIONS: &str = "actions";
const PINS: &str = "pins";
const SEQUENCES: &str = "sequences";
const ERASED: &str = "erased";
const META: &str = "meta";
/// Only in a checkpoint, once there is a copy.
const COPIES: &str = "copies";
/// Key in [`META`] of the random number that tells this store from others.
const ID: &str = "id";
/// Key in [`META`] of the number of records accepted so far.
pub(super) const ACCEPTED: &str = "accepted";
/// Key in [`META`] of the last time at which the log was used, in microseconds.
pub(super) const CLOCK: &str = "clock";
/// Key in [`META`] of the last place that was given to an action, or could have been: its
/// number is that of the records accepted by then. A server of the format before counts
/// its records, but not here.
pub(super) const PLACED: &str = "placed";
/// Key in [`META`] of the place of the last action that is archived.
pub(super) const ARCHIVED: &str = "archived";
/// Key in [`META`] of how far a shared log was read: a number for each stream.
pub(super) const POSITIONS: &str = "positions";
/// Key in [`META`] of the last claim on the archive of a shared log: its number in the
/// control stream in little endian, and what it says.
pub(super) const CLAIM: &str = "claim";
/// Key in [`META`] of a checkpoint while messages of erased users may be left in its log.
pub(super) const REWRITING: &str = "rewriting";
/// Most bytes of journals before the store writes its tables. All of them are copied
/// when the log is opened.
const MAX_JOURNAL_BYTES: u64 = 128 << 20;
/// Most bytes that a keyspace holds in memory before it writes a table: the log must not
/// take more memory the longer it runs.
const MAX_MEMTABLE_BYTES: u64 = 8 << 20;
/// Memtables of a keyspace that wait to be written, and tables that wait to be merged,
/// before writers wait. The store stops at one more, and at five more.
const MAX_SEALED_MEMTABLES: usize = 3;
const MAX_FRESH_TABLES: usize = 25;
/// Interval at which a waiting writer looks again.
const ROOM_POLL: Duration = Duration::from_millis(5);

/// Threads that write and merge tables. The first of them leaves merging to the others, and as
/// long as all others do that it passes what is left to itself again and again: of two threads
/// one would take a core for nothing.
const THREADS: usize = 3;

/// The store of one log, opened.
pub(super) struct Store {
    path: PathBuf,
    pub(super) database: Database,
    /// Records of actions, by their ids.
    pub(super) actions: Keyspace,
    /// Ids of actions, by their numbers in big endian.
    pub(super) sequences: Keyspace,
    /// Records of changed pins, by their ids in big endian.
    pub(super) pins: Keyspace,
    /// Erased users, by their digests.
    pub(super) erased: Keyspace,
    pub(super) meta: Keyspace,
    /// Further copies of actions: see `copies.rs`.
    copies: OnceLock<Keyspace>,
}

impl Store {
    /// Opens the store in `path`, or creates it. An error names `journal_copy`, where the
    /// journals are kept as they were.
    pub(super) fn open(path: &Path, journal_copy: &Path) -> Result<Self, LogError> {
        let database = open_database(path, journal_copy)?;
        let keyspace = |name| {
            let keyspace = database.keyspace(name, keyspace_options);
            keyspace.map_err(|cause| LogError::Store {
                path: path.to_owned(),
                cause,
            })
        };
        let copies = match database.keyspace_exists(COPIES) {
            true => OnceLock::from(keyspace(COPIES)?),
            false => OnceLock::new(),
        };
        Ok(Self {
            path: path.to_owned(),
            copies,
            actions: keyspace(ACTIONS)?,
            sequences: keyspace(SEQUENCES)?,
            erased: keyspace(ERASED)?,
            meta: keyspace(META)?,
            pins: keyspace(PINS)?,
            database,
        })
    }

    /// The directory of the store.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where copies of actions stand; none while there are none.
    pub(super) fn copies(&self) -> Option<&Keyspace> {
        self.copies.get()
    }

    /// The same, but makes the keyspace where there is none. For one thread at a time.
    pub(super) fn make_copies(&self) -> Result<&Keyspace, LogError> {
        if let Some(copies) = self.copies.get() {
            return Ok(copies);
        }
        let copies = self.database.keyspace(COPIES, keyspace_options);
        let copies = copies.map_err(|e| self.error(e))?;
        Ok(self.copies.get_or_init(|| copies))
    }

    /// Records accepted so far.
    pub(super) fn accepted(&self) -> Result<u64, LogError> {
        Ok(self.number(ACCEPTED)?.unwrap_or(0))
    }

    /// The random number that tells this store from others; none in a new store.
    pub(super) fn id(&self) -> Result<Option<u64>, LogError> {
        self.number(ID)
    }

    /// Gives a new store its number, and returns it.
    pub(super) fn set_id(&self, id: u64) -> Result<u64, LogError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, ID, id.to_le_bytes());
        batch.commit().map_err(|e| self.error(e))?;
        Ok(id)
    }

    /// The place under `key` in the meta data; none where there is none.
    pub(super) fn place(&self, key: &str) -> Result<Option<Place>, LogError> {
        let value = self.meta.get(key).map_err(|e| self.error(e))?;
        Ok(value.and_then(|bytes| Place::from_bytes(&bytes)))
    }

    /// Replaces the last place, durably.
    pub(super) fn set_last_place(&self, last: Place) -> Result<(), LogError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, PLACED, last.to_bytes());
        batch.commit().map_err(|e| self.error(e))
    }

    /// The number under `key`; none where there is none.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, LogError> {
        let value = self.meta.get(key).map_err(|e| self.error(e))?;
        Ok(value.and_then(|bytes| Some(u64::from_le_bytes(bytes.as_ref().try_into().ok()?))))
    }

    /// The error for a failure of the store.
    pub(super) fn error(&self, cause: fjall::Error) -> LogError {
        Self::error_at(&self.path, cause)
    }

    /// The error for a failure of the store in `path`.
    pub(super) fn error_at(path: &Path, cause: fjall::Error) -> LogError {
        LogError::Store {
            path: path.to_owned(),
            cause,
        }
    }

    /// Waits until the store can take another write, or has failed. It would wait as well,
    /// but for ever once the threads have failed that write its tables.
    pub(super) fn wait_for_room(&self) -> Result<(), fjall::Error> {
        let is_full = |keyspace: &Keyspace| {
            keyspace.sealed_memtable_count() >= MAX_SEALED_MEMTABLES
                || keyspace.l0_table_count() >= MAX_FRESH_TABLES
        };
        while [&self.actions, &self.sequences, &self.meta, &self.pins]
            .into_iter()
            .any(is_full)
        {
            self.check()?;
            std::thread::sleep(ROOM_POLL);
        }
        Ok(())
    }

    fn keyspaces(&self) -> impl Iterator<Item = &Keyspace> {
        let Self {
            actions,
            sequences,
            pins,
            erased,
            meta,
            ..
        } = self;
        let always = [actions, sequences, pins, erased, meta];
        always.into_iter().chain(self.copies())
    }

    /// Writes all that is in memory to tables, and waits for it.
    pub(super) fn flush(&self) -> Result<(), fjall::Error> {
        for keyspace in self.keyspaces() {
            keyspace.rotate_memtable()?;
            while keyspace.sealed_memtable_count() > 0 {
                self.check()?;
                std::thread::sleep(ROOM_POLL);
            }
        }
        Ok(())
    }

    /// Writes all tables anew, without what was removed or replaced. The old ones are
    /// deleted when the store is opened again at the latest.
    pub(super) fn compact(&self) -> Result<(), fjall::Error> {
        self.flush()?;
        self.keyspaces().try_for_each(Keyspace::major_compact)
    }

    /// Fails once any write has failed, also one of a thread of the store.
    pub(super) fn check(&self) -> Result<(), fjall::Error> {
        self.database.persist(PersistMode::Buffer)
    }

    /// Writes the number of accepted records again, durably: whether writing works.
    pub(super) fn try_to_write(&self, accepted: u64) -> Result<(), fjall::Error> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, ACCEPTED, accepted.to_le_bytes());
        batch.commit()
    }

    /// The error for a record that cannot be decoded.
    pub(super) fn damaged_record(&self, what: &'static str, key: &[u8]) -> LogError {
        LogError::Damaged {
            path: self.path.clone(),
            what,
            key: key.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// Options of every keyspace.
pub(super) fn keyspace_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(MAX_MEMTABLE_BYTES)
}

/// Opens the database in `path`. An error that tells of damage names `journal_copy`.
fn open_database(path: &Path, journal_copy: &Path) -> Result<Database, LogError> {
    let open = || {
        let builder = Database::builder(path);
        let builder = builder.max_journaling_size(MAX_JOURNAL_BYTES);
        builder.worker_threads(THREADS).open()
    };
    let unreadable = |reason: String| LogError::Unreadable {
        path: path.to_owned(),
        reason,
        kept: journal_copy.display().to_string(),
    };
    // The database panics at some damages.
    match std::panic::catch_unwind(open) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(cause)) if is_out_of_space(&cause) => Err(LogError::Store {
            path: path.to_owned(),
            cause,
        }),
        Ok(Err(error)) => Err(unreadable(format!("{error:?}"))),
        Err(_) => Err(unreadable("the store panicked".to_owned())),
    }
}

/// Whether the file system is full, or the quota of its user used up.
fn is_out_of_space(error: &fjall::Error) -> bool {
    let (fjall::Error::Io(cause) | fjall::Error::Storage(fjall::LsmError::Io(cause))) = error
    else {
        return false;
    };
    matches!(
        cause.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
    )
}
