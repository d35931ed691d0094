//! Standard output of the commands.

use std::fmt::Display;
use std::io::{ErrorKind, Write, stdout};

use serde::Serialize;

use crate::terminal::{printable_json, printable_lines};

/// Says on standard error what a person should look into.
pub(super) fn warn(text: &impl Display) {
    eprintln!("warning: {}", printable_lines(&text.to_string()));
}

/// Prints JSON and an end of line.
pub(super) fn print_json(json: &str) -> anyhow::Result<()> {
    write_line(&printable_json(json))
}

/// Prints pages of an answer: a list of JSON, or one page below the other.
pub(super) fn print_pages(pages: &[impl Display + Serialize], json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(&serde_json::to_string_pretty(pages)?);
    }
    let pages: Vec<String> = pages.iter().map(ToString::to_string).collect();
    print(&pages.join("\n\n"))
}

/// Prints `text` and an end of line. What could steer a terminal is escaped: titles and
/// names come from anywhere. A closed pipe, as in
/// `pinnersage recommend ... | head`, is no error.
pub(super) fn print(text: &impl Display) -> anyhow::Result<()> {
    write_line(&printable_lines(&text.to_string()))
}

fn write_line(text: &str) -> anyhow::Result<()> {
    match writeln!(stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
