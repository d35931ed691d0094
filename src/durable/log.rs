//! The store: one record an action, by its id, so that a second delivery is found;
//! one record for each pin that changed.
//!
//! A write is acknowledged once its journal is synced. Beside the store stands the
//! number of records acknowledged so far: a store that comes back with fewer has
//! lost some, which is never passed over in silence.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use super::records::{PinRecord, decode_action, decode_pin, encode_action, encode_pin};
use super::recovery::{self, TruncatedTails};
use crate::model::{Action, ActionId, PinId, Timestamp};

const STORE: &str = "log";
const ACKNOWLEDGED: &str = "acknowledged";
const ACTIONS: &str = "actions";
const PINS: &str = "pins";
const META: &str = "meta";
/// In [`META`]: what tells this store from others.
const ID: &str = "id";
/// In [`META`]: actions accepted so far.
const ACCEPTED: &str = "accepted";
/// Bytes of journals that the store keeps at most before it writes its tables: what
/// is copied at a start.
const JOURNALS: u64 = 128 << 20;
/// Bytes that a keyspace holds in memory before it writes a table: the log must not
/// take more memory the longer it runs.
const MEMTABLE: u64 = 8 << 20;
/// Actions that are forgotten with one write.
const FORGOTTEN_TOGETHER: usize = 10_000;

/// Why the log cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store refused.
    #[error("{}: {source:?}", path.display())]
    Store {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: fjall::Error,
    },
    /// The store gave up while it read its files.
    #[error(
        "{}: its files are damaged: {reason} (the journals are kept as they were found in {kept})",
        path.display()
    )]
    Unreadable {
        /// The directory of the store.
        path: PathBuf,
        /// What it said.
        reason: String,
        /// Where the journals are kept as they were.
        kept: String,
    },
    /// A record is not what was written.
    #[error("{}: the record of {what} {key} is damaged", path.display())]
    Damaged {
        /// The directory of the store.
        path: PathBuf,
        /// Of what.
        what: &'static str,
        /// Its key, in hexadecimal.
        key: String,
    },
    /// Acknowledged records are gone.
    #[error(
        "{}: {found} records are there, but {acknowledged} were acknowledged: the store has \
         lost some, most likely because {kept} is damaged (kept as it was found); \
         to go on with what is left, delete {}",
        path.display(), marker.display()
    )]
    Lost {
        /// The directory of the store.
        path: PathBuf,
        /// Accepted records that it knows of.
        found: u64,
        /// Records that were acknowledged.
        acknowledged: u64,
        /// Where the journals are kept as they were.
        kept: String,
        /// The file that says how many were acknowledged.
        marker: PathBuf,
    },
}

impl LogError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// The log of one directory. One thread appends to it; others may read and forget.
pub struct Log {
    path: PathBuf,
    database: Database,
    actions: Keyspace,
    pins: Keyspace,
    meta: Keyspace,
    acknowledged: File,
    store: u64,
    accepted: AtomicU64,
    /// One write at a time, so that the count goes up.
    writing: Mutex<()>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut log = f.debug_struct("Log");
        log.field("path", &self.path).finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the log in `directory`, and tells which journals had a torn end.
    pub fn open(directory: &Path) -> Result<(Self, TruncatedTails), LogError> {
        fs::create_dir_all(directory).map_err(LogError::io(directory))?;
        let path = directory.join(STORE);
        let marker = directory.join(ACKNOWLEDGED);
        let acknowledged = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&marker)
            .map_err(LogError::io(&marker))?;
        // Before anything is touched: another server may be at work here.
        if acknowledged.try_lock().is_err() {
            let source = io::Error::other("another process uses it");
            return Err(LogError::io(directory)(source));
        }
        let mut count = [0; 8];
        let known = acknowledged.read_exact_at(&mut count, 0).is_ok();
        let promised = if known { u64::from_le_bytes(count) } else { 0 };

        let before = recovery::Journals::keep(&path, directory).map_err(LogError::io(&path))?;
        let unreadable = |reason: String| LogError::Unreadable {
            path: path.clone(),
            reason,
            kept: before.kept(),
        };
        // The store panics at some damages.
        let open = || {
            let builder = Database::builder(&path);
            builder.max_journaling_size(JOURNALS).open()
        };
        let database = match std::panic::catch_unwind(open) {
            Ok(Ok(database)) => database,
            Ok(Err(error)) => return Err(unreadable(format!("{error:?}"))),
            Err(_) => return Err(unreadable("the store panicked".to_owned())),
        };
        let failed = |source| LogError::Store {
            path: path.clone(),
            source,
        };
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE);
        let keyspace = |name| database.keyspace(name, options);
        let (actions, meta) = (
            keyspace(ACTIONS).map_err(failed)?,
            keyspace(META).map_err(failed)?,
        );
        let number = |name: &str| -> Result<Option<u64>, LogError> {
            let found = meta.get(name).map_err(failed)?;
            Ok(found.and_then(|bytes| Some(u64::from_le_bytes(bytes.as_ref().try_into().ok()?))))
        };
        let pins = keyspace(PINS).map_err(failed)?;
        let accepted = number(ACCEPTED)?.unwrap_or(0);
        let store = number(ID)?;
        if accepted < promised {
            return Err(LogError::Lost {
                found: accepted,
                acknowledged: promised,
                kept: before.kept(),
                path,
                marker,
            });
        }
        if let Some(journal) = before.cut_in_the_middle().map_err(LogError::io(&path))? {
            let journal = journal.display();
            return Err(unreadable(format!("{journal} ends before the next begins")));
        }
        let torn = before.compare().map_err(LogError::io(&path))?;
        let mut log = Self {
            database,
            actions,
            pins,
            meta,
            acknowledged,
            store: 0,
            accepted: AtomicU64::new(accepted),
            writing: Mutex::default(),
            path,
        };
        log.store = match store {
            Some(store) => store,
            None => log.name_itself()?,
        };
        Ok((log, torn))
    }

    /// Gives a new store its name.
    fn name_itself(&self) -> Result<u64, LogError> {
        let name: u64 = rand::random();
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, ID, name.to_le_bytes());
        batch.commit().map_err(|e| self.failed(e))?;
        Ok(name)
    }

    /// The directory of the store.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells this store from others.
    pub fn store(&self) -> u64 {
        self.store
    }

    /// Actions accepted so far, those included that were forgotten since.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Acquire)
    }

    /// Whether an action with this id is there.
    pub fn contains(&self, id: ActionId) -> Result<bool, LogError> {
        self.actions.contains_key(id.0).map_err(|e| self.failed(e))
    }

    /// Appends `actions`, all or none, and returns when they are durable.
    /// Those for which `is_kept` holds are never forgotten.
    pub fn append(
        &self,
        actions: &[&Action],
        is_kept: impl Fn(&Action) -> bool,
    ) -> Result<(), LogError> {
        self.write(actions.len(), |batch| {
            for action in actions {
                let record = encode_action(action, is_kept(action));
                batch.insert(&self.actions, action.id.0, record);
            }
        })
    }

    /// Writes what became of pins, all or none, and returns when it is durable.
    pub fn change_pins(&self, pins: &[(PinId, PinRecord)]) -> Result<(), LogError> {
        self.write(pins.len(), |batch| {
            for (pin, record) in pins {
                batch.insert(&self.pins, pin.0.to_be_bytes(), encode_pin(record));
            }
        })
    }

    /// Forgets what became of `pins`, because a catalog has it.
    pub fn settle_pins(&self, pins: &[PinId]) -> Result<(), LogError> {
        let mut batch = self.database.batch();
        for pin in pins {
            batch.remove(&self.pins, pin.0.to_be_bytes());
        }
        batch.commit().map_err(|e| self.failed(e))
    }

    /// What became of pins, by ascending id.
    pub fn pins(&self) -> Result<Vec<(PinId, PinRecord)>, LogError> {
        let record = |record: fjall::Guard| {
            let (key, value) = record.into_inner().map_err(|e| self.failed(e))?;
            let read = decode_pin(&key, &value);
            read.ok_or_else(|| self.damaged("pin", &key))
        };
        self.pins.iter().map(record).collect()
    }

    /// Writes `count` records that `fill` puts into a batch, and counts them.
    fn write(&self, count: usize, fill: impl FnOnce(&mut OwnedWriteBatch)) -> Result<(), LogError> {
        // A panic in here leaves nothing half done that the next could see.
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let accepted = self.accepted() + count as u64;
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        fill(&mut batch);
        batch.insert(&self.meta, ACCEPTED, accepted.to_le_bytes());
        batch.commit().map_err(|e| self.failed(e))?;
        self.accepted.store(accepted, Ordering::Release);
        // Not synced, and no failure of the write, which is durable by now: the count
        // may say less than is true, and then promises less.
        if let Err(error) = self.acknowledged.write_all_at(&accepted.to_le_bytes(), 0) {
            tracing::warn!(%error, "the count of acknowledged records could not be written");
        }
        Ok(())
    }

    /// Gives every action to `take`, in the order of their ids.
    pub fn for_each(&self, mut take: impl FnMut(Action)) -> Result<(), LogError> {
        self.each(|action, _| {
            take(action);
            Ok(())
        })
    }

    /// Forgets actions before `oldest`, but for those that are kept for good. Returns
    /// how many there were.
    pub fn forget_before(&self, oldest: Timestamp) -> Result<u64, LogError> {
        let (mut forgotten, mut ids) = (0, Vec::new());
        let forget = |ids: &mut Vec<ActionId>| {
            // What comes back after a crash is forgotten again.
            let mut batch = self.database.batch();
            for id in ids.drain(..) {
                batch.remove(&self.actions, id.0);
            }
            batch.commit().map_err(|e| self.failed(e))
        };
        self.each(|action, is_kept| {
            if action.time < oldest && !is_kept {
                forgotten += 1;
                ids.push(action.id);
            }
            match ids.len() {
                FORGOTTEN_TOGETHER.. => forget(&mut ids),
                _ => Ok(()),
            }
        })?;
        forget(&mut ids)?;
        Ok(forgotten)
    }

    fn each(
        &self,
        mut take: impl FnMut(Action, bool) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        for record in self.actions.iter() {
            let (key, value) = record.into_inner().map_err(|e| self.failed(e))?;
            let read = decode_action(&key, &value);
            let (action, is_kept) = read.ok_or_else(|| self.damaged("action", &key))?;
            take(action, is_kept)?;
        }
        Ok(())
    }

    fn damaged(&self, what: &'static str, key: &[u8]) -> LogError {
        LogError::Damaged {
            path: self.path.clone(),
            what,
            key: key.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    fn failed(&self, source: fjall::Error) -> LogError {
        LogError::Store {
            path: self.path.clone(),
            source,
        }
    }
}
