//! Settings of the archive.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::setting_rules::{InvalidSetting, empty_as_no_file, require_duration_in_range};

/// The settings `actions.archive` and `actions.archive_every`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ArchiveParams {
    /// The directory; none for no archive.
    #[serde(rename = "archive", deserialize_with = "empty_as_no_file")]
    pub directory: Option<PathBuf>,
    /// Time between two files.
    #[serde(rename = "archive_every", with = "humantime_serde")]
    pub every: Duration,
}

impl ArchiveParams {
    /// Refuses values that break their rules, by key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let allowed = Duration::from_millis(10)..=Duration::from_secs(3_600);
        require_duration_in_range("actions.archive_every", self.every, allowed)
    }
}
