//! Standard output of the commands.

use std::fmt::Display;
use std::io::{ErrorKind, Write, stdout};

/// Says on standard error what a person should look into.
pub(super) fn warn(text: &impl Display) {
    eprintln!("warning: {text}");
}

/// Prints `text` and an end of line. A closed pipe, as in
/// `pinnersage recommend ... | head`, is no error.
pub(super) fn print(text: &impl Display) -> anyhow::Result<()> {
    match writeln!(stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
