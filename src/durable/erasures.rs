//! Erased users. The log keeps of each a digest and the moment, so that no action of before
//! comes back, but not the user.

use std::sync::PoisonError;

use fjall::PersistMode;
use ring::digest::{SHA256, digest};

use super::error::LogError;
use super::log::Log;
use super::records::Place;
use super::store::Store;
use crate::model::{Action, Timestamp, UserId};

/// A user whom only those can tell who know the log and guess the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserDigest(pub [u8; 16]);

/// When a user was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Actions of before are refused.
    pub erased_at: Timestamp,
    /// Number of the last action that may be one of the erased ones. None where numbers do
    /// not tell what came before, as in a shared log: actions are erased that were recorded
    /// by then, or are of before.
    last_sequence: Option<u64>,
    /// Whether they are removed from the log.
    pub is_done: bool,
}

impl UserDigest {
    /// The digest of `user` in the log with this random number.
    #[must_use]
    pub fn new(store_id: u64, user: UserId) -> Self {
        let both = u128::from(store_id) << 64 | u128::from(user.0);
        let hash = digest(&SHA256, &both.to_be_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_ref()[..16]);
        Self(bytes)
    }
}

/// Stands for no number in the encoded erasure.
const BY_TIME: u64 = u64::MAX;

impl Erasure {
    /// The erasure at `erased_at` in a shared log, which is still to be done.
    pub(super) fn by_time(erased_at: Timestamp) -> Self {
        Self {
            erased_at,
            last_sequence: None,
            is_done: false,
        }
    }

    /// Whether an action of the user is erased that happened at `time` and stands at `place`.
    pub(super) fn erases(&self, time: Timestamp, place: Option<Place>) -> bool {
        match (self.last_sequence, place) {
            // An action without a number is older than all others.
            (Some(last), place) => place.map_or(0, |place| place.sequence) <= last,
            (None, place) => {
                let recorded_at = place.map(|place| place.recorded_at);
                time < self.erased_at || recorded_at <= Some(self.erased_at)
            }
        }
    }

    pub(super) fn to_bytes(self) -> [u8; 17] {
        let mut bytes = [0; 17];
        bytes[..8].copy_from_slice(&self.erased_at.micros().to_le_bytes());
        let last_sequence = self.last_sequence.unwrap_or(BY_TIME);
        bytes[8..16].copy_from_slice(&last_sequence.to_le_bytes());
        bytes[16] = u8::from(self.is_done);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, is_done) = bytes.split_at_checked(16)?;
        let (numbers, []) = numbers.as_chunks::<8>() else {
            return None;
        };
        Some(Self {
            erased_at: Timestamp::from_micros(i64::from_le_bytes(numbers[0])),
            last_sequence: Some(u64::from_le_bytes(numbers[1])).filter(|last| *last != BY_TIME),
            is_done: is_done == [1],
        })
    }
}

impl Log {
    /// The digest of `user` in this log.
    pub fn digest(&self, user: UserId) -> UserDigest {
        UserDigest::new(self.store_id(), user)
    }

    /// The moment of an erasure at `now`: later than all before, also where the clock has
    /// fallen since, so that what is known of the last one holds for all.
    pub fn next_erasure(&self, now: Timestamp) -> Result<Timestamp, LogError> {
        let erasures = self.erasures()?;
        let last = erasures.iter().map(|(_, erasure)| erasure.erased_at).max();
        let next = |last: Timestamp| Timestamp::from_micros(last.micros().saturating_add(1));
        Ok(last.map_or(now, |last| now.max(next(last))))
    }

    /// Declares that `user` is erased at `erased_at`, durably. The actions so far are still
    /// there until [`Self::remove_erased`].
    pub fn erase(&self, user: UserDigest, erased_at: Timestamp) -> Result<(), LogError> {
        let erasure = Erasure {
            erased_at,
            last_sequence: Some(self.accepted()),
            is_done: false,
        };
        self.put_erasures(&[(user, erasure)])
    }

    /// All erased users.
    pub fn erasures(&self) -> Result<Vec<(UserDigest, Erasure)>, LogError> {
        let store = self.store()?;
        let erasure = |record: fjall::Guard| {
            let (key, value) = record.into_inner().map_err(|e| store.error(e))?;
            let digest = key.as_ref().try_into().ok().map(UserDigest);
            let decoded = digest.zip(Erasure::from_bytes(&value));
            decoded.ok_or_else(|| store.damaged_record("erasure", &key))
        };
        store.erased.iter().map(erasure).collect()
    }

    /// The erasures that are not done, as after a crash.
    pub fn unfinished_erasures(&self) -> Result<Vec<(UserDigest, Erasure)>, LogError> {
        let mut erasures = self.erasures()?;
        erasures.retain(|(_, erasure)| !erasure.is_done);
        Ok(erasures)
    }

    /// The one of `erasures`, which are by ascending digest, of the user of `action`.
    pub(super) fn erasure_of(
        &self,
        action: &Action,
        erasures: &[(UserDigest, Erasure)],
    ) -> Option<Erasure> {
        if erasures.is_empty() {
            // Digests take time.
            return None;
        }
        let user = self.digest(action.user);
        let found = erasures.binary_search_by_key(&user, |&(user, _)| user);
        found.ok().map(|at| erasures[at].1)
    }

    /// Declares that the actions that `erasures` erase are in no file of the log any more. Those
    /// that have come since are not done.
    pub fn finish_erasures(&self, erasures: &[(UserDigest, Erasure)]) -> Result<(), LogError> {
        // A shared log may bring another erasure of the same user meanwhile.
        let _guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = self.unfinished_erasures()?;
        done.retain(|erasure| erasures.contains(erasure));
        for (_, erasure) in &mut done {
            erasure.is_done = true;
        }
        self.put_erasures(&done)
    }

    fn put_erasures(&self, erasures: &[(UserDigest, Erasure)]) -> Result<(), LogError> {
        let store: &Store = &*self.writable_store()?;
        let mut batch = store
            .database
            .batch()
            .durability(Some(PersistMode::SyncAll));
        for (user, erasure) in erasures {
            batch.insert(&store.erased, user.0, erasure.to_bytes());
        }
        batch.commit().map_err(|e| self.fail(store, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ActionId, PinId};

    /// So rare that no other bytes are like it.
    const USER: UserId = UserId(0x5eed_cafe_f00d_beef);

    fn action(number: u8, user: UserId) -> Action {
        Action {
            id: ActionId([number; 16]),
            user,
            pin: PinId(2),
            name: "save".to_owned(),
            time: Timestamp::from_micros(3),
            medoid: None,
            keys: None,
        }
    }

    fn files_with(directory: &std::path::Path, bytes: &[u8]) -> Vec<std::path::PathBuf> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                found.extend(files_with(&path, bytes));
            } else if std::fs::read(&path)
                .expect("a file")
                .windows(bytes.len())
                .any(|at| at == bytes)
            {
                found.push(path);
            }
        }
        found
    }

    #[test]
    fn erasures_come_one_after_another_whatever_the_clock_says() {
        let directory = tempfile::tempdir().expect("a directory");
        let (log, _) = Log::open(directory.path()).expect("a log");
        let next = |now| log.next_erasure(Timestamp::from_micros(now));
        for (now, expected) in [(7, 7), (7, 8), (3, 9), (20, 20)] {
            let time = next(now).expect("a log");
            assert_eq!(time.micros(), expected);
            log.erase(log.digest(UserId(expected.unsigned_abs())), time)
                .expect("a write");
        }
    }

    #[test]
    fn no_file_has_an_erased_user_and_others_stay() {
        let directory = tempfile::tempdir().expect("a directory");
        let (log, _) = Log::open(directory.path()).expect("a log");
        let append = |number, user| {
            let written = log.append(&[&action(number, user)], Timestamp::from_micros(4), |_| {
                true
            });
            written.expect("a write");
        };
        let has = |user: UserId| {
            let both = [user.0.to_le_bytes(), user.0.to_be_bytes()];
            both.iter()
                .any(|bytes| !files_with(directory.path(), bytes).is_empty())
        };
        for number in 0..100 {
            append(number, USER);
            append(number + 100, UserId(!USER.0));
        }
        assert!(has(USER));
        let now = Timestamp::from_micros(9);
        log.erase(log.digest(USER), now).expect("a write");
        append(250, USER);
        let begun = log.unfinished_erasures().expect("a log");
        assert_eq!(log.remove_erased(&begun).expect("a log"), 100);
        // Another that comes meanwhile.
        let other = log.digest(UserId(5));
        log.erase(other, now).expect("a write");
        log.compact().expect("a log");
        log.empty_journals().expect("a log");
        log.finish_erasures(&begun).expect("a log");
        let left = log.unfinished_erasures().expect("a log");
        assert_eq!(
            left.iter().map(|&(user, _)| user).collect::<Vec<_>>(),
            [other]
        );
        let mut left = Vec::new();
        log.for_each(|action| left.push(action)).expect("a log");
        assert_eq!(left.len(), 101);
        assert!(has(USER), "the action of afterwards is there");
        // Once more, to the end.
        log.erase(log.digest(USER), now).expect("a write");
        let begun = log.unfinished_erasures().expect("a log");
        assert_eq!(log.remove_erased(&begun).expect("a log"), 1);
        log.compact().expect("a log");
        log.empty_journals().expect("a log");
        assert!(!has(USER) && has(UserId(!USER.0)));
        drop(log);
        let (log, _) = Log::open(directory.path()).expect("a log");
        assert!(!has(USER));
        assert_eq!(log.erasures().expect("a log")[0].1.erased_at, now);
        assert_eq!(log.accepted(), 201);
    }
}
