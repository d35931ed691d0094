//! The arguments for rows of the input that are refused.

use std::path::PathBuf;

use clap::Args;

use crate::batch::BadRowParams;

#[derive(Debug, Args)]
pub(super) struct BadRowArgs {
    /// Leave out so many bad rows instead of refusing the input.
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_bad_rows: u64,
    /// CSV file to write with all bad rows: file, row (from 0) and reason.
    #[arg(long, value_name = "FILE")]
    bad_rows: Option<PathBuf>,
}

impl BadRowArgs {
    pub(super) fn params(&self) -> BadRowParams {
        BadRowParams {
            max: self.max_bad_rows,
            report: self.bad_rows.clone(),
        }
    }
}
