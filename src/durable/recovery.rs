//! What opening the log after a crash did to its journals.
//!
//! The store cuts the torn end of a journal off and goes on. That is right for
//! writes that nobody was told of, but it would do the same behind a damaged byte
//! in the middle. So the journals are kept as they were until it is known that
//! nothing acknowledged is gone, and what was cut is reported.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Journals whose torn end was cut off, with the number of bytes.
pub type TruncatedTails = Vec<(PathBuf, u64)>;

/// The journals as they were before the store was opened.
#[derive(Debug)]
pub(super) struct Journals {
    kept: PathBuf,
    /// Whether they were kept by an earlier attempt, which did not succeed.
    kept_before: bool,
    /// Each with the number of bytes up to its last one that is not zero: what lies
    /// behind was allocated ahead.
    written: Vec<(PathBuf, u64)>,
}

impl Journals {
    /// Keeps the journals of `store` in a directory of `directory`.
    pub(super) fn keep(store: &Path, directory: &Path) -> io::Result<Self> {
        let kept = directory.join("journals-as-found");
        let kept_before = kept.exists();
        // Only whole copies get the name.
        let side = directory.join("journals-as-found.partial");
        if side.exists() {
            fs::remove_dir_all(&side)?;
        }
        let mut written = Vec::new();
        if store.exists() {
            fs::create_dir_all(&side)?;
            for entry in fs::read_dir(store)? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "jnl") {
                    let end = end(&File::open(&path)?)?;
                    if !kept_before {
                        let name = path.file_name().unwrap_or_default();
                        copy(&path, &side.join(name), end)?;
                    }
                    written.push((path, end));
                }
            }
            match kept_before {
                true => fs::remove_dir_all(&side)?,
                false => fs::rename(&side, &kept)?,
            }
        }
        let number = |(path, _): &(PathBuf, u64)| -> Option<u64> {
            path.file_stem()?.to_str()?.parse().ok()
        };
        written.sort_by_key(number);
        Ok(Self {
            kept,
            kept_before,
            written,
        })
    }

    /// Where they are kept.
    pub(super) fn kept(&self) -> String {
        self.kept.display().to_string()
    }

    /// A journal that the store has cut although another follows it: that one was
    /// closed in order, so what was cut had been acknowledged.
    pub(super) fn cut_in_the_middle(&self) -> io::Result<Option<&Path>> {
        let last = self.written.len().saturating_sub(1);
        for (path, before) in &self.written[..last] {
            if path.exists() && fs::metadata(path)?.len() < *before {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Tells what the store has cut off, and gives up what was kept for it.
    pub(super) fn compare(self) -> io::Result<TruncatedTails> {
        let mut torn = TruncatedTails::new();
        for (path, before) in self.written {
            // A journal that is gone was no longer needed.
            let after = fs::metadata(&path).map_or(before, |meta| meta.len());
            if after < before {
                torn.push((path, before - after));
            }
        }
        if self.kept.exists() && !self.kept_before {
            fs::remove_dir_all(&self.kept)?;
        }
        Ok(torn)
    }
}

/// Copies the first `bytes` of `from`.
fn copy(from: &Path, to: &Path, bytes: u64) -> io::Result<u64> {
    let mut source = io::Read::take(File::open(from)?, bytes);
    io::copy(&mut source, &mut File::create(to)?)
}

/// Number of bytes up to the last one that is not zero.
fn end(file: &File) -> io::Result<u64> {
    let mut block = vec![0; 1 << 16];
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
