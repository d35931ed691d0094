//! Checks and headers of the files that commands write.

use std::env;
use std::path::Path;

use anyhow::ensure;

/// Refuses a file in a directory that does not exist, before the work rather than after it.
pub(super) fn check_directory(file: &Path) -> anyhow::Result<()> {
    let parent = file.parent().filter(|path| !path.as_os_str().is_empty());
    let holds = parent.is_none_or(Path::is_dir) && file.file_name().is_some();
    ensure!(
        holds,
        "{}: cannot be written: there is no such directory",
        file.display()
    );
    Ok(())
}

/// The running command, as a person would type it into a shell.
pub(super) fn command_line() -> String {
    let words = env::args_os().skip(1);
    let words = words.map(|word| quoted(&word.to_string_lossy()));
    let all: Vec<String> = std::iter::once("pinnersage".to_owned())
        .chain(words)
        .collect();
    all.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted("a/b.c:d=1"), "a/b.c:d=1");
        assert_eq!(quoted("it's a"), r"'it'\''s a'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_directory_that_is_not_there_is_refused_by_name() {
        check_directory(Path::new("file")).expect("here");
        let error = check_directory(Path::new("no-such/file")).expect_err("nowhere");
        assert!(error.to_string().contains("no-such/file"));
    }
}
