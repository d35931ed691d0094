//! The log after a failed write, as on a full disk: nothing is written until its store is
//! opened again.
//!
//! The store takes no writes once one has failed: it does not know what of it is on the
//! disk. So the store is closed and opened, as by a new start, but in the same process and
//! under the same lock. What was acknowledged is there; of what was not, all or nothing.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::error::LogError;
use super::journals::{Journals, empty_journals};
use super::log::Log;
use super::store::Store;

/// Bytes that must be free, beside those of a copy of the journals, before the store is
/// opened again; on a small file system a part of it. Otherwise the next table fails.
const RESERVE: u64 = 32 << 20;
const RESERVE_PART: u64 = 20;
/// Interval at which a store is looked at that readers still hold, or wait for.
const READER_POLL: Duration = Duration::from_millis(1);
/// For how long a reader waits for a store that is closed for a moment. It is closed as long as
/// its last readers take, and then for the time of opening it.
const CLOSED_PATIENCE: Duration = Duration::from_secs(30);
/// Threads of the store let go of its files a moment after it is closed.
const CLOSING: Duration = Duration::from_millis(100);

impl Log {
    /// Why nothing is written at present; none while all is well.
    pub fn failure(&self) -> Option<Arc<String>> {
        self.failure.load_full()
    }

    /// Looks whether the store can write, also when nobody has written for long, and
    /// returns why not. May wait for a write in progress.
    pub fn check(&self) -> Option<Arc<String>> {
        if let Ok(store) = self.writable_store()
            && let Err(error) = store.check()
        {
            self.fail(&store, error);
        }
        self.failure()
    }

    /// Opens the store again after a failed write, once there is space. Records that were
    /// acknowledged are there; others may be. Does nothing while all is well.
    ///
    /// # Errors
    ///
    /// When there is too little space, or the store cannot be opened or written. It can be
    /// called again then.
    pub fn reopen(&self) -> Result<(), LogError> {
        let _guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.failure().is_none() {
            return Ok(());
        }
        self.require_space(0)?;
        self.close();
        self.open_again()
    }

    /// Removes what is in no record any more from the journals, and deletes the tables that
    /// [`Self::compact`] has replaced before. Writes wait meanwhile, and reads fail with
    /// [`LogError::Closed`]: see [`Self::when_open`].
    ///
    /// # Errors
    ///
    /// When the store cannot be written, closed or opened. The log is then as after a
    /// failed write.
    pub fn empty_journals(&self) -> Result<(), LogError> {
        let _guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let store = self.writable_store()?;
        store.flush().map_err(|e| self.fail(&store, e))?;
        drop(store);
        self.close();
        let emptied = empty_journals(&self.path).map_err(LogError::io(&self.path));
        let opened = emptied.and_then(|()| self.open_again());
        if let Err(error) = &opened {
            self.failure.store(Some(Arc::new(error.to_string())));
        }
        opened
    }

    /// Writes all tables anew, without what was removed. The old ones are there until
    /// [`Self::empty_journals`].
    pub fn compact(&self) -> Result<(), LogError> {
        let store = self.writable_store()?;
        store.compact().map_err(|e| self.fail(&store, e))
    }

    /// Opens the store after it was closed.
    fn open_again(&self) -> Result<(), LogError> {
        let journals = Journals::copy_from(&self.path, &self.directory);
        let journals = journals.map_err(LogError::io(&self.path))?;
        let opened = self.open_store(&journals);
        // Full again: that is no damage, so nobody needs the copy.
        if let Err(LogError::Store { .. }) = opened {
            journals.discard().map_err(LogError::io(&self.path))?;
            return opened.map(drop);
        }
        let store = opened?;
        journals.finish().map_err(LogError::io(&self.path))?;
        self.store.store(Some(Arc::new(store)));
        self.failure.store(None);
        Ok(())
    }

    /// Opens the store, checks that nothing is lost, and that it can be written.
    fn open_store(&self, journals: &Journals) -> Result<Store, LogError> {
        let store = Store::open(&self.path, journals.copy_path())?;
        let (found, acknowledged) = (store.accepted()?, self.accepted());
        if found < acknowledged {
            return Err(LogError::Lost {
                path: self.path.clone(),
                found,
                acknowledged,
                kept: journals.copy_path().display().to_string(),
                marker: self.acknowledged.path().to_owned(),
            });
        }
        store.try_to_write(found).map_err(|e| store.error(e))?;
        self.accepted.store(found, Ordering::Release);
        Ok(store)
    }

    /// What `read` returns, once the store is not closed for a moment any more. Blocks for 30
    /// seconds at most, and so is nothing for an asynchronous call.
    ///
    /// # Errors
    ///
    /// Those of `read`, and so [`LogError::Closed`] where the store is closed for longer.
    pub fn when_open<T>(&self, read: impl Fn(&Self) -> Result<T, LogError>) -> Result<T, LogError> {
        let deadline = Instant::now() + CLOSED_PATIENCE;
        loop {
            match read(self) {
                Err(LogError::Closed { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(READER_POLL);
                }
                done => return done,
            }
        }
    }

    /// The store for a read.
    pub(super) fn store(&self) -> Result<Arc<Store>, LogError> {
        let store = self.store.load_full();
        store.ok_or_else(|| match self.failure() {
            Some(reason) => self.not_writable(&reason),
            None => LogError::Closed {
                path: self.path.clone(),
            },
        })
    }

    /// The store for a write.
    pub(super) fn writable_store(&self) -> Result<Arc<Store>, LogError> {
        match self.failure() {
            Some(reason) => Err(self.not_writable(&reason)),
            None => self.store(),
        }
    }

    /// Notes that a write failed, after which there are no more. Returns its error.
    pub(super) fn fail(&self, store: &Store, cause: fjall::Error) -> LogError {
        let error = store.error(cause);
        self.failure.store(Some(Arc::new(error.to_string())));
        error
    }

    fn not_writable(&self, reason: &str) -> LogError {
        LogError::NotWritable {
            path: self.path.clone(),
            reason: reason.to_owned(),
        }
    }

    /// Closes the store once the readers that have it are done.
    fn close(&self) {
        let Some(mut store) = self.store.swap(None) else {
            return;
        };
        while let Err(shared) = Arc::try_unwrap(store) {
            store = shared;
            std::thread::sleep(READER_POLL);
        }
        std::thread::sleep(CLOSING);
    }

    /// Refuses to go on without space for a copy of the journals, some tables, and so many bytes
    /// `more`.
    pub(super) fn require_space(&self, more: u64) -> Result<(), LogError> {
        let space = rustix::fs::statvfs(&self.directory).map_err(io::Error::from);
        let space = space.map_err(LogError::io(&self.directory))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        let size = space.f_blocks.saturating_mul(space.f_frsize);
        let journals = allocated_bytes(&self.path).map_err(LogError::io(&self.path))?;
        let needed = journals + RESERVE.min(size / RESERVE_PART) + more;
        if free < needed {
            let path = self.path.clone();
            return Err(LogError::NoSpace { path, free, needed });
        }
        Ok(())
    }
}

/// Bytes of the journals of `store` on the disk, where what is allocated ahead takes none.
fn allocated_bytes(store: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(store)? {
        let metadata = entry?.metadata()?;
        if metadata.is_file() {
            bytes += metadata.blocks() * 512;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, ActionId, PinId, Timestamp, UserId};

    fn action(number: u8) -> Action {
        Action {
            id: ActionId([number; 16]),
            user: UserId(1),
            pin: PinId(2),
            name: "save".to_owned(),
            time: Timestamp::from_micros(3),
            medoid: None,
            keys: None,
        }
    }

    fn append(log: &Log, number: u8) -> Result<(), LogError> {
        log.append(&[&action(number)], Timestamp::from_micros(4), |_| false)
    }

    #[test]
    fn after_a_failed_write_there_are_none_until_the_log_is_opened_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let (log, _) = Log::open(directory.path()).expect("a log");
        append(&log, 1).expect("a write");
        assert_eq!(log.check(), None);
        let store = log.store().expect("a store");
        log.fail(&store, fjall::Error::Poisoned);
        drop(store);
        for _ in 0..2 {
            let refused = append(&log, 2).expect_err("the log has failed");
            assert!(matches!(refused, LogError::NotWritable { .. }), "{refused}");
        }
        assert!(
            log.check()
                .is_some_and(|reason| reason.contains("Poisoned"))
        );
        assert!(log.contains(ActionId([1; 16])).expect("a read"));
        log.reopen().expect("a log");
        assert_eq!((log.check(), log.accepted()), (None, 1));
        assert!(!directory.path().join("journals-as-found").exists());
        append(&log, 2).expect("a write");
        drop(log);
        let (log, _) = Log::open(directory.path()).expect("a log");
        let mut found = Vec::new();
        log.for_each(|action| found.push(action)).expect("a log");
        assert_eq!((found, log.accepted()), (vec![action(1), action(2)], 2));
    }
}
