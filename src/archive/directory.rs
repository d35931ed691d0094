//! The directory of the archive: where its files lie, and what their names say.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::error::ArchiveError;
use super::table::{rows, write_actions};
use crate::durable::{Place, PlacedAction};
use crate::model::{ParseTimestampError, Timestamp};
use crate::snapshot::{SnapshotError, create_directories, replace_file};

/// What the names of files begin with that say up to when an archive is free of erased
/// users. Readers of the archive take files of such names for no data.
const ERASED_THROUGH: &str = "_erased-through-";
const EXTENSION: &str = ".parquet";
/// No file takes so long to be written.
const ABANDONED: Duration = Duration::from_secs(3_600);
const MICROS_PER_HOUR: i64 = 3_600_000_000;

/// The part of an archive that one store writes. Everything that is specific to files on
/// a disk is in here.
#[derive(Debug)]
pub struct ArchiveDirectory {
    root: PathBuf,
    store_id: u64,
    /// What the names of its files begin with.
    prefix: String,
}

impl ArchiveDirectory {
    /// The files below `root` that the store `store_id` writes.
    #[must_use]
    pub fn new(root: &Path, store_id: u64) -> Self {
        Self {
            root: root.to_owned(),
            store_id,
            prefix: format!("{store_id:016x}-"),
        }
    }

    /// The directory of the archive.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Writes `actions`, all recorded in one hour and of ascending numbers, as one file.
    ///
    /// # Panics
    ///
    /// When there are none.
    pub(super) fn write(&self, actions: &[PlacedAction]) -> Result<(), ArchiveError> {
        let first = actions.first().expect("a file has actions").place;
        let last = actions.last().expect("a file has actions").place;
        let path = self.path_of(first, &(first.sequence..=last.sequence));
        self.write_to(&path, actions)
    }

    /// The file of actions with these numbers that were recorded in the hour of `place`.
    pub(super) fn path_of(&self, place: Place, numbers: &RangeInclusive<u64>) -> PathBuf {
        self.root.join(partition(place)).join(self.name(numbers))
    }

    /// The name of the files of actions with these numbers.
    pub(super) fn name(&self, numbers: &RangeInclusive<u64>) -> String {
        let (prefix, first, last) = (&self.prefix, numbers.start(), numbers.end());
        format!("{prefix}{first:020}-{last:020}{EXTENSION}")
    }

    /// Writes `actions`, all recorded in one hour, as the file `path` in the archive.
    pub(super) fn write_to(
        &self,
        path: &Path,
        actions: &[PlacedAction],
    ) -> Result<(), ArchiveError> {
        path.parent().map_or(Ok(()), create_directories)?;
        let rows = rows(actions).map_err(|error| ArchiveError::parquet(path, &error));
        let rows = rows?;
        write_actions(path, rows.schema(), [Ok(rows)])
    }

    /// Removes what processes that were killed have left: unfinished files of this store that
    /// nobody has touched for [`ABANDONED`].
    pub(super) fn remove_abandoned(&self, now: SystemTime) -> Result<(), ArchiveError> {
        for date in subdirectories(&self.root)? {
            for hour in subdirectories(&date)? {
                for path in entries(&hour)? {
                    if self.is_partial(&path) && is_abandoned(&path, now)? {
                        fs::remove_file(&path).map_err(SnapshotError::io(&path))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether `path` is the name of a file of this store that is not complete.
    fn is_partial(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.strip_prefix('.');
        name.is_some_and(|name| name.starts_with(&self.prefix))
    }

    /// The moment of the last erasure of the store up to which all are done in the archive;
    /// none when none is.
    pub(super) fn erased_through(&self) -> Result<Option<Timestamp>, ArchiveError> {
        let path = self.erased_through_path();
        if path.exists() {
            read_moment(&path).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Declares that the archive has nothing any more that the store has erased up to `time`.
    pub(super) fn set_erased_through(&self, time: Timestamp) -> Result<(), ArchiveError> {
        create_directories(&self.root)?;
        let line = format!("{time}\n");
        Ok(replace_file(&self.erased_through_path(), line.as_bytes())?)
    }

    fn erased_through_path(&self) -> PathBuf {
        let store_id = self.store_id;
        self.root.join(format!("{ERASED_THROUGH}{store_id:016x}"))
    }

    /// The greatest number of an action in files that were written after the action at
    /// `mark`; none when there are none. Removes what a process that was killed has left.
    pub(super) fn last_after(&self, mark: Option<Place>) -> Result<Option<u64>, ArchiveError> {
        let first_hour = mark.map_or_else(String::new, partition);
        let mut last = None;
        for date in subdirectories(&self.root)? {
            for hour in subdirectories(&date)? {
                let name = hour.strip_prefix(&self.root).unwrap_or(&hour);
                if name.to_string_lossy().as_ref() >= first_hour.as_str() {
                    last = last.max(self.last_in(&hour)?);
                }
            }
        }
        Ok(last)
    }

    /// The greatest number in the names of the files in `hour`.
    fn last_in(&self, hour: &Path) -> Result<Option<u64>, ArchiveError> {
        let mut last = None;
        for path in entries(hour)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(numbers) = name.strip_prefix(&self.prefix) {
                last = last.max(last_number(numbers));
            } else if self.is_partial(&path) {
                fs::remove_file(&path).map_err(SnapshotError::io(&path))?;
            }
        }
        Ok(last)
    }
}

/// All complete files of the archive `root`, in the order of their names.
pub fn files(root: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut files = Vec::new();
    for date in subdirectories(root)? {
        for hour in subdirectories(&date)? {
            files.extend(entries(&hour)?.into_iter().filter(|path| is_complete(path)));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Up to when the archive `root` is free of what was erased: the moment of the last erasure
/// that is done in it, and all before are, for each store that has erased a user, by its id.
/// It holds for files that are read afterwards.
pub fn erased_through(root: &Path) -> Result<BTreeMap<String, Timestamp>, ArchiveError> {
    let mut moments = BTreeMap::new();
    for path in entries(root)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(store_id) = name.strip_prefix(ERASED_THROUGH) {
            moments.insert(store_id.to_owned(), read_moment(&path)?);
        }
    }
    Ok(moments)
}

/// The one moment in the file `path`.
fn read_moment(path: &Path) -> Result<Timestamp, ArchiveError> {
    let text = fs::read_to_string(path).map_err(SnapshotError::io(path))?;
    let moment = text.trim_end().parse();
    Ok(moment
        .map_err(|error: ParseTimestampError| SnapshotError::damaged(path, error.to_string()))?)
}

/// Whether nobody has written the file `path` for [`ABANDONED`]; false where it is gone.
fn is_abandoned(path: &Path, now: SystemTime) -> Result<bool, ArchiveError> {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    match modified {
        Ok(modified) => Ok(now
            .duration_since(modified)
            .is_ok_and(|age| age > ABANDONED)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(SnapshotError::io(path)(error).into()),
    }
}

/// Whether `path` is the name of a file that is complete.
fn is_complete(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(EXTENSION) && !name.starts_with(['.', '_'])
}

/// The number of the hour in which the action at `place` was recorded: 0 begins in 1970.
pub(super) fn hour(place: Place) -> i64 {
    place.recorded_at.micros().div_euclid(MICROS_PER_HOUR)
}

/// The directory of that hour.
fn partition(place: Place) -> String {
    let time = place.recorded_at.to_string();
    // As in 2026-11-28T08:30:00Z. Clocks that tell other years are not set.
    let (date, rest) = time.split_once('T').unwrap_or((&time, ""));
    format!("date={date}/hour={}", rest.get(..2).unwrap_or_default())
}

/// The last number of `<first>-<last>.parquet`.
fn last_number(numbers: &str) -> Option<u64> {
    let (_, last) = numbers.strip_suffix(EXTENSION)?.split_once('-')?;
    last.parse().ok()
}

fn subdirectories(path: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut paths = entries(path)?;
    paths.retain(|path| path.is_dir());
    Ok(paths)
}

/// What is in the directory `path`; nothing where there is none.
fn entries(path: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let failed = || SnapshotError::io(path);
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed())?,
    };
    let paths = entries.map(|entry| Ok(entry?.path()));
    let paths: Result<Vec<PathBuf>, std::io::Error> = paths.collect();
    Ok(paths.map_err(failed())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stated_of_erased_users_is_read_and_damage_is_refused_by_name() {
        let root = tempfile::tempdir().expect("a directory");
        let root = root.path().join("archive");
        let directory = ArchiveDirectory::new(&root, 10);
        assert_eq!(directory.erased_through().expect("nothing"), None);
        assert!(erased_through(&root).expect("nothing").is_empty());
        let time = Timestamp::from_micros(1_234_567);
        directory.set_erased_through(time).expect("a file");
        assert_eq!(directory.erased_through().expect("a file"), Some(time));
        let expected = [("000000000000000a".to_owned(), time)].into();
        assert_eq!(erased_through(&root).expect("a file"), expected);
        assert!(files(&root).expect("an archive").is_empty());
        let other = root.join("_erased-through-0000000000000007");
        fs::write(&other, "yesterday").expect("a file");
        let refused = erased_through(&root).expect_err("no time").to_string();
        assert!(refused.contains(&*other.to_string_lossy()), "{refused}");
    }

    #[test]
    fn unfinished_files_are_removed_once_nobody_writes_them_any_more() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = ArchiveDirectory::new(root.path(), 10);
        let hour = root.path().join("date=2026-11-28/hour=08");
        create_directories(&hour).expect("a directory");
        let name = directory.name(&(1..=9));
        let [partial, whole] = [format!(".{name}-1-x"), name].map(|name| hour.join(name));
        let other = hour.join(".000000000000000b-1");
        for path in [&partial, &whole, &other] {
            fs::write(path, "rows").expect("a file");
        }
        let now = SystemTime::now();
        directory.remove_abandoned(now).expect("an archive");
        assert!(partial.exists());
        let later = now + 2 * ABANDONED;
        directory.remove_abandoned(later).expect("an archive");
        assert!(!partial.exists() && whole.exists() && other.exists());
    }

    #[test]
    fn the_partition_is_the_hour_and_the_name_says_the_last_number() {
        let recorded_at: Timestamp = "2026-11-28T08:59:59Z".parse().expect("a time");
        let place = Place {
            sequence: 1,
            recorded_at,
        };
        assert_eq!(partition(place), "date=2026-11-28/hour=08");
        let next = Place {
            recorded_at: Timestamp::from_micros(recorded_at.micros() + 1_000_000),
            ..place
        };
        assert_eq!(hour(next), hour(place) + 1);
        assert_eq!(
            last_number("00000000000000000001-00000000000000000009.parquet"),
            Some(9)
        );
        for other in ["1-9.parquet.tmp", "1.parquet", "1-x.parquet", ""] {
            assert_eq!(last_number(other), None, "{other}");
        }
    }
}
