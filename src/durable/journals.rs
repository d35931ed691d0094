//! Effects of opening the store after a crash on its journals.
//!
//! The store truncates the incomplete tail of a journal and goes on. That is right for
//! writes that were never acknowledged, but it would do the same behind a damaged byte
//! in the middle. So the journals are copied before the store is opened, the copy is
//! kept until it is known that every acknowledged record is there, and truncated tails
//! are reported.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Name of the directory of the copy.
pub(super) const COPY: &str = "journals-as-found";
/// Name of the copy while it is made: only a whole copy has the name [`COPY`].
pub(super) const PARTIAL_COPY: &str = "journals-as-found.partial";
/// Bytes that are read at once from the end of a journal.
const BLOCK: usize = 1 << 16;

/// A journal whose unacknowledged tail was truncated when the store was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TruncatedTail {
    /// The journal.
    pub journal: PathBuf,
    /// Number of bytes that were cut off.
    pub bytes: u64,
}

/// A journal as it was before the store was opened.
#[derive(Debug)]
struct Journal {
    path: PathBuf,
    /// Number of bytes up to the last one that is not zero: what lies behind was
    /// allocated ahead.
    written: u64,
}

/// The journals as they were before the store was opened, and their copy.
#[derive(Debug)]
pub(super) struct Journals {
    copy: PathBuf,
    /// Whether the copy was made by an earlier attempt, which did not succeed.
    is_old_copy: bool,
    /// In the order in which they were written.
    journals: Vec<Journal>,
}

impl Journals {
    /// Copies the journals of `store` to a directory of `directory`, unless an earlier
    /// attempt has left its copy there: only that one shows them as they were.
    pub(super) fn copy_from(store: &Path, directory: &Path) -> io::Result<Self> {
        let copy = directory.join(COPY);
        let is_old_copy = copy.exists();
        let partial = directory.join(PARTIAL_COPY);
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        let mut journals = Vec::new();
        if store.exists() {
            journals = find_journals(store)?;
            if !is_old_copy {
                fs::create_dir_all(&partial)?;
                for Journal { path, written } in &journals {
                    let name = path.file_name().unwrap_or_default();
                    copy_start(path, &partial.join(name), *written)?;
                }
                fs::rename(&partial, &copy)?;
            }
        }
        Ok(Self {
            copy,
            is_old_copy,
            journals,
        })
    }

    /// The directory of the copy.
    pub(super) fn copy_path(&self) -> &Path {
        &self.copy
    }

    /// A journal that the store has truncated although another follows it: that one was
    /// closed in order, so its tail had been acknowledged.
    pub(super) fn truncated_before_last(&self) -> io::Result<Option<&Path>> {
        let last = self.journals.len().saturating_sub(1);
        for Journal { path, written } in &self.journals[..last] {
            if path.exists() && fs::metadata(path)?.len() < *written {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Removes the copy that was made, because nothing is damaged.
    pub(super) fn discard(self) -> io::Result<()> {
        if self.copy.exists() && !self.is_old_copy {
            fs::remove_dir_all(&self.copy)?;
        }
        Ok(())
    }

    /// Returns what the store has truncated, and removes the copy that was made for it.
    pub(super) fn finish(self) -> io::Result<Vec<TruncatedTail>> {
        let mut tails = Vec::new();
        for Journal { path, written } in &self.journals {
            // A journal that is gone was no longer needed.
            let length = fs::metadata(path).map_or(*written, |meta| meta.len());
            if length < *written {
                tails.push(TruncatedTail {
                    journal: path.clone(),
                    bytes: written - length,
                });
            }
        }
        self.discard()?;
        Ok(tails)
    }
}

/// Empties the journals of `store`, which is closed, and has all that is in them in its
/// tables. The last one stays, as its number is that of the next.
pub(super) fn empty_journals(store: &Path) -> io::Result<()> {
    let mut journals = find_journals(store)?;
    let last = journals.pop();
    for Journal { path, .. } in journals {
        fs::remove_file(path)?;
    }
    if let Some(Journal { path, .. }) = last {
        let file = File::options().write(true).open(path)?;
        file.set_len(0)?;
        file.sync_all()?;
    }
    File::open(store)?.sync_all()
}

/// The journals of `store`, in the order of their numbers.
fn find_journals(store: &Path) -> io::Result<Vec<Journal>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let written = written_length(&File::open(&path)?)?;
            journals.push(Journal { path, written });
        }
    }
    journals
        .sort_by_key(|journal| -> Option<u64> { journal.path.file_stem()?.to_str()?.parse().ok() });
    Ok(journals)
}

/// Copies the first `bytes` bytes of `from`.
fn copy_start(from: &Path, to: &Path, bytes: u64) -> io::Result<u64> {
    let mut source = io::Read::take(File::open(from)?, bytes);
    io::copy(&mut source, &mut File::create(to)?)
}

/// Number of bytes up to the last one that is not zero.
fn written_length(file: &File) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut end = file.metadata()?.len();
    while end > 0 {
        let begin = end.saturating_sub(block.len() as u64);
        let part = &mut block[..(end - begin) as usize];
        file.read_exact_at(part, begin)?;
        if let Some(last) = part.iter().rposition(|&byte| byte != 0) {
            return Ok(begin + last as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store with these journals, in a directory of its own.
    fn store(journals: &[(&str, &[u8])]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = directory.path().join("store");
        fs::create_dir(&store).expect("a store");
        for (name, contents) in journals {
            fs::write(store.join(name), contents).expect("a journal");
        }
        (directory, store)
    }

    #[test]
    fn a_copy_holds_what_was_written_and_goes_when_all_is_well() {
        let (directory, store) = store(&[("10.jnl", b"ab\0\0"), ("9.jnl", b"c"), ("x", b"d")]);
        let journals = Journals::copy_from(&store, directory.path()).expect("a copy");
        let copied = |name: &str| fs::read(journals.copy_path().join(name));
        assert_eq!(copied("10.jnl").expect("a copy"), b"ab");
        assert_eq!(copied("9.jnl").expect("a copy"), b"c");
        assert!(copied("x").is_err(), "no journal");
        let copy = journals.copy_path().to_owned();
        assert_eq!(journals.finish().expect("no failure"), []);
        assert!(!copy.exists());
    }

    #[test]
    fn a_truncated_tail_of_the_last_journal_is_reported_and_of_another_refused() {
        let (directory, store) = store(&[("10.jnl", b"abcdef"), ("9.jnl", b"ghi")]);
        let journals = Journals::copy_from(&store, directory.path()).expect("a copy");
        fs::write(store.join("10.jnl"), b"ab").expect("a journal");
        assert_eq!(journals.truncated_before_last().expect("no failure"), None);
        fs::write(store.join("9.jnl"), b"g").expect("a journal");
        let truncated = journals.truncated_before_last().expect("no failure");
        assert_eq!(truncated, Some(&*store.join("9.jnl")));
        fs::remove_file(store.join("9.jnl")).expect("a journal");
        let tail = TruncatedTail {
            journal: store.join("10.jnl"),
            bytes: 4,
        };
        assert_eq!(journals.finish().expect("no failure"), [tail]);
    }

    #[test]
    fn the_copy_of_an_earlier_attempt_stays() {
        let (directory, store) = store(&[("1.jnl", b"abc")]);
        drop(Journals::copy_from(&store, directory.path()).expect("a copy"));
        fs::write(store.join("1.jnl"), b"a").expect("a journal");
        let journals = Journals::copy_from(&store, directory.path()).expect("a copy");
        let copied = journals.copy_path().join("1.jnl");
        journals.finish().expect("no failure");
        assert_eq!(fs::read(copied).expect("a copy"), b"abc");
    }
}
