//! Where a printed answer stands among the pages of a session.

use std::fmt;

use serde::Serialize;

/// One of the pages that a command has asked for; its fields are among those of the JSON.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct PageOfSession {
    /// From 1.
    #[serde(rename = "page")]
    pub(super) number: u32,
    /// Whether the server has no further page.
    pub(super) is_last_page: bool,
    /// Whether the page before was answered from other versions.
    pub(super) versions_changed: bool,
}

impl PageOfSession {
    /// Writes lines for a person on what is special about the page.
    pub(super) fn write_remarks(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_last_page {
            writeln!(f, "  the last page")?;
        }
        if self.versions_changed {
            writeln!(
                f,
                "  of other versions of catalog or profiles than the page before"
            )?;
        }
        Ok(())
    }
}
