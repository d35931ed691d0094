//! Rows of the input that are refused: which, why, and how many may be.

use std::borrow::Cow;
use std::fmt::Display;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::error::{BadRow, BatchError, lines};
use crate::progress::Stage;

/// Why a value is refused, to stand after the name of its column.
pub(super) type Reason = Cow<'static, str>;

pub(super) const NULL: Reason = Cow::Borrowed("is null");

/// Rows that an error lists before it only counts them.
const ROWS_SHOWN: usize = 10;
/// Longest value that a reason quotes, in characters.
const QUOTED: usize = 40;

/// How many bad rows are left out, and where they are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadRowParams {
    /// Number of bad rows that are left out at most; more are an error.
    pub max: u64,
    /// CSV file to write: `file,row,reason`. Rows count from 0.
    pub report: Option<PathBuf>,
}

/// Bad rows of the files read so far. Reading goes on after one, so that a
/// person who mends a file learns of all of them at once.
pub(super) struct BadRows {
    rows: Vec<BadRow>,
    count: u64,
    max: u64,
    report: Option<Report>,
}

/// The file that lists all bad rows.
struct Report {
    path: PathBuf,
    writer: csv::Writer<File>,
    /// The first thing that went wrong.
    failed: Option<csv::Error>,
}

impl BadRows {
    /// None yet. The report is created.
    pub(super) fn new(params: &BadRowParams) -> Result<Self, BatchError> {
        let report = params.report.clone().map(Report::create).transpose()?;
        Ok(Self {
            rows: Vec::new(),
            count: 0,
            max: params.max,
            report,
        })
    }

    pub(super) fn push(&mut self, path: &Path, row: u64, reason: impl Display) {
        let bad = BadRow {
            path: path.to_owned(),
            row,
            reason: reason.to_string(),
        };
        self.count += 1;
        if let Some(report) = &mut self.report {
            report.write(&bad);
        }
        if self.rows.len() < ROWS_SHOWN {
            self.rows.push(bad);
        }
    }

    /// The number of bad rows that are left out, of which `stage` says which they are; an
    /// error when they are too many.
    pub(super) fn finish(self, stage: &Stage) -> Result<u64, BatchError> {
        let Self {
            rows,
            count,
            max,
            report,
        } = self;
        let listed_in = report.map(Report::finish).transpose()?;
        if count > max {
            return Err(BatchError::Rows { rows, count, max });
        }
        if count > 0 {
            let listed = match listed_in {
                Some(path) => format!(": see {}", path.display()),
                None => format!(" (rows count from 0)\n{}", lines(&rows, count)),
            };
            stage.note(&format!("{count} bad rows are left out{listed}"));
        }
        Ok(count)
    }
}

impl BadRows {
    /// An error when there is any.
    pub(super) fn require_none(self) -> Result<(), BatchError> {
        let Self { rows, count, .. } = self;
        match count {
            0 => Ok(()),
            _ => Err(BatchError::Rows {
                rows,
                count,
                max: 0,
            }),
        }
    }
}

impl Report {
    fn create(path: PathBuf) -> Result<Self, BatchError> {
        let file = File::create(&path).map_err(|e| BatchError::file(&path, e))?;
        let mut report = Self {
            path,
            writer: csv::Writer::from_writer(file),
            failed: None,
        };
        report.write_record(["file", "row", "reason"]);
        Ok(report)
    }

    fn write(&mut self, bad: &BadRow) {
        let BadRow { path, row, reason } = bad;
        self.write_record([&path.to_string_lossy(), row.to_string().as_str(), reason]);
    }

    fn write_record(&mut self, record: [&str; 3]) {
        if self.failed.is_none() {
            self.failed = self.writer.write_record(record).err();
        }
    }

    fn finish(mut self) -> Result<PathBuf, BatchError> {
        let flushed = self.writer.flush().map_err(csv::Error::from);
        match self.failed.map_or(flushed, Err) {
            Ok(()) => Ok(self.path),
            Err(e) => Err(BatchError::file(&self.path, e)),
        }
    }
}

/// A value as a reason quotes it: control characters are escaped.
pub(super) fn quoted(value: &str) -> String {
    match value.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{:?}...", &value[..end]),
        None => format!("{value:?}"),
    }
}
