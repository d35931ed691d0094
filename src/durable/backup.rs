//! Copies of a log: all its records as of one moment, while others write, and a new log
//! from such records. Neither knows what a record means.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode, Readable, Snapshot};

use super::error::LogError;
use super::log::{Log, STORE};
use super::store::{Store, keyspace_options};
use super::{acknowledged, journals};

/// Whether the file or directory `name` beside a log is made by the log itself.
pub fn belongs_to_log(name: &str) -> bool {
    [
        STORE,
        acknowledged::FILE,
        journals::COPY,
        journals::PARTIAL_COPY,
    ]
    .contains(&name)
}

/// Records that a new log takes with one write.
const BATCH: usize = 10_000;

/// All records of a log as of one moment.
pub struct LogSnapshot {
    path: PathBuf,
    snapshot: Snapshot,
    keyspaces: Vec<(String, Keyspace)>,
}

/// A log that is made from the records of another.
pub struct LogRestore {
    directory: PathBuf,
    store: PathBuf,
    database: Database,
    keyspaces: BTreeMap<String, Keyspace>,
    batch: OwnedWriteBatch,
    in_batch: usize,
}

impl Log {
    /// All records as of now. Waits for a write that is being made, so that it is in there
    /// as a whole.
    pub fn snapshot(&self) -> Result<LogSnapshot, LogError> {
        let _guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let store = self.store()?;
        let database = &store.database;
        let mut keyspaces = Vec::new();
        for name in database.list_keyspace_names() {
            let keyspace = database.keyspace(&name, keyspace_options);
            let keyspace = keyspace.map_err(|e| store.error(e))?;
            keyspaces.push((name.to_string(), keyspace));
        }
        keyspaces.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(LogSnapshot {
            path: self.path().to_owned(),
            snapshot: database.snapshot(),
            keyspaces,
        })
    }
}

impl Log {
    /// Counts all records as acknowledged, durably.
    fn acknowledge_all(&self) -> Result<(), LogError> {
        let path = self.acknowledged.path();
        let written = self.acknowledged.write(self.accepted());
        let synced = written.and_then(|()| File::open(path)?.sync_all());
        synced.map_err(LogError::io(path))
    }
}

impl fmt::Debug for LogSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut snapshot = f.debug_struct("LogSnapshot");
        snapshot.field("path", &self.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for LogRestore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut restore = f.debug_struct("LogRestore");
        restore.field("path", &self.store).finish_non_exhaustive()
    }
}

impl LogSnapshot {
    /// The names of the parts of the log, ascending.
    pub fn keyspaces(&self) -> impl Iterator<Item = &str> {
        self.keyspaces.iter().map(|(name, _)| name.as_str())
    }

    /// About how many records there are.
    pub fn approximate_records(&self) -> u64 {
        let lengths = self
            .keyspaces
            .iter()
            .map(|(_, keyspace)| keyspace.approximate_len());
        lengths.sum::<usize>() as u64
    }

    /// Passes key and value of all records of `keyspace` to `visit`, by ascending key,
    /// until it breaks.
    pub fn for_each(
        &self,
        keyspace: &str,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let found = self.keyspaces.iter().find(|(name, _)| name == keyspace);
        let Some((_, keyspace)) = found else {
            return Ok(());
        };
        for record in self.snapshot.iter(keyspace) {
            let record = record.into_inner();
            let (key, value) = record.map_err(|e| Store::error_at(&self.path, e))?;
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl LogRestore {
    /// Begins a log in `directory`, which is there and has none.
    pub fn create(directory: &Path) -> Result<Self, LogError> {
        let store = directory.join(STORE);
        let database = Database::builder(&store).open();
        let database = database.map_err(|e| Store::error_at(&store, e))?;
        Ok(Self {
            directory: directory.to_owned(),
            batch: database.batch(),
            store,
            database,
            keyspaces: BTreeMap::new(),
            in_batch: 0,
        })
    }

    /// Makes sure that there is a part `keyspace`, also without records. Its name must be
    /// one that a log has.
    pub fn begin(&mut self, keyspace: &str) -> Result<(), LogError> {
        self.keyspace(keyspace).map(drop)
    }

    fn keyspace(&mut self, name: &str) -> Result<Keyspace, LogError> {
        if let Some(keyspace) = self.keyspaces.get(name) {
            return Ok(keyspace.clone());
        }
        let opened = self.database.keyspace(name, keyspace_options);
        let opened = opened.map_err(|e| Store::error_at(&self.store, e))?;
        self.keyspaces.insert(name.to_owned(), opened.clone());
        Ok(opened)
    }

    /// Adds a record.
    pub fn insert(&mut self, keyspace: &str, key: &[u8], value: &[u8]) -> Result<(), LogError> {
        let keyspace = self.keyspace(keyspace)?;
        self.batch.insert(&keyspace, key, value);
        self.in_batch += 1;
        if self.in_batch >= BATCH {
            self.write_batch()?;
        }
        Ok(())
    }

    /// Makes the log durable, as one whose records were all acknowledged. Returns how many
    /// records each keyspace has, which are read back for that.
    pub fn finish(mut self) -> Result<BTreeMap<String, u64>, LogError> {
        self.write_batch()?;
        let synced = self.database.persist(PersistMode::SyncAll);
        synced.map_err(|e| Store::error_at(&self.store, e))?;
        let mut counts = BTreeMap::new();
        for (name, keyspace) in &self.keyspaces {
            let count = keyspace
                .len()
                .map_err(|e| Store::error_at(&self.store, e))?;
            counts.insert(name.clone(), count as u64);
        }
        let directory = self.directory.clone();
        // The store is closed before it is opened as a log.
        drop(self);
        let (log, _) = Log::open(&directory)?;
        log.acknowledge_all()?;
        Ok(counts)
    }

    fn write_batch(&mut self) -> Result<(), LogError> {
        let batch = std::mem::replace(&mut self.batch, self.database.batch());
        self.in_batch = 0;
        batch.commit().map_err(|e| Store::error_at(&self.store, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::PinRecord;
    use crate::model::{Action, ActionId, PinId, Timestamp, UserId};

    const NOW: Timestamp = Timestamp::from_micros(7_000_000);

    fn action(number: u64) -> Action {
        Action {
            id: ActionId(u128::from(number).to_be_bytes()),
            user: UserId(number % 3),
            pin: PinId(number),
            name: "save".to_owned(),
            time: Timestamp::from_micros(number as i64),
            medoid: None,
            keys: None,
        }
    }

    fn open(directory: &Path) -> Log {
        let (log, tails) = Log::open(directory).expect("a log");
        assert_eq!(tails, []);
        log
    }

    fn append(log: &Log, number: u64) {
        log.append(&[&action(number)], NOW, |_| false)
            .expect("a write");
    }

    fn recorded(log: &Log) -> Vec<Action> {
        let mut actions = Vec::new();
        log.for_each(|action| actions.push(action)).expect("a log");
        actions
    }

    /// All records of `snapshot` in a new log in `directory`.
    fn restore(snapshot: &LogSnapshot, directory: &Path) -> BTreeMap<String, u64> {
        let mut restore = LogRestore::create(directory).expect("a new log");
        for keyspace in snapshot.keyspaces() {
            let insert = |key: &[u8], value: &[u8]| {
                restore.insert(keyspace, key, value).expect("a write");
                ControlFlow::Continue(())
            };
            snapshot.for_each(keyspace, insert).expect("records");
        }
        restore.finish().expect("a log")
    }

    #[test]
    fn a_restored_log_has_the_records_of_the_moment_and_no_later_ones() {
        let [from, to] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let log = open(from.path());
        (0..20).for_each(|number| append(&log, number));
        let change = (PinId(9), PinRecord::Deleted);
        log.record_pin_changes(std::slice::from_ref(&change))
            .expect("a write");
        let snapshot = log.snapshot().expect("a snapshot");
        append(&log, 20);
        log.remove_pin_changes(std::slice::from_ref(&change))
            .expect("a write");

        let counts = restore(&snapshot, to.path());
        assert_eq!((counts["actions"], counts["pins"]), (20, 1));
        let restored = open(to.path());
        let expected: Vec<Action> = (0..20).map(action).collect();
        assert_eq!(recorded(&restored), expected);
        assert_eq!(restored.pin_changes().expect("a log"), [change]);
        assert_eq!(restored.store_id(), log.store_id());
        assert_eq!((restored.accepted(), log.accepted()), (21, 22));
        assert_eq!(restored.acknowledged.read(), 21);
        append(&restored, 21);
        assert_eq!(restored.accepted(), 22);
    }

    #[test]
    fn a_snapshot_ends_when_its_reader_does() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open(directory.path());
        (0..5).for_each(|number| append(&log, number));
        let snapshot = log.snapshot().expect("a snapshot");
        assert!(snapshot.approximate_records() >= 5);
        let mut seen = 0;
        let visit = |_: &[u8], _: &[u8]| {
            seen += 1;
            if seen == 2 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        snapshot.for_each("actions", visit).expect("records");
        assert_eq!(seen, 2);
        let never = |_: &[u8], _: &[u8]| panic!("no such records");
        snapshot.for_each("nothing", never).expect("no records");
    }
}
