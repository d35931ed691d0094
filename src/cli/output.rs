//! Standard output and files that commands write.

use std::env;
use std::fmt::Display;
use std::io::{ErrorKind, Write, stdout};
use std::path::Path;

use anyhow::ensure;

/// Prints `text` and an end of line. A closed pipe, as in
/// `pinnersage recommend ... | head`, is no error.
pub(super) fn print(text: &impl Display) -> anyhow::Result<()> {
    match writeln!(stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Refuses a file whose directory does not exist: before the work, not after it.
pub(super) fn require_parent_directory(file: &Path) -> anyhow::Result<()> {
    let parent = file.parent().filter(|path| !path.as_os_str().is_empty());
    let is_writable = parent.is_none_or(Path::is_dir) && file.file_name().is_some();
    ensure!(
        is_writable,
        "{}: cannot be written: there is no such directory",
        file.display()
    );
    Ok(())
}

/// The running command, as a person would type it into a shell.
pub(super) fn command_line() -> String {
    let words = env::args_os().skip(1);
    let words = words.map(|word| shell_quoted(&word.to_string_lossy()));
    let all: Vec<String> = std::iter::once("pinnersage".to_owned())
        .chain(words)
        .collect();
    all.join(" ")
}

fn shell_quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(shell_quoted("a/b.c:d=1"), "a/b.c:d=1");
        assert_eq!(shell_quoted("it's a"), r"'it'\''s a'");
        assert_eq!(shell_quoted(""), "''");
    }

    #[test]
    fn a_directory_that_is_not_there_is_refused_by_name() {
        require_parent_directory(Path::new("file")).expect("here");
        let error = require_parent_directory(Path::new("no-such/file")).expect_err("nowhere");
        assert!(error.to_string().contains("no-such/file"));
    }
}
