//! Comparing models by a replay.

use std::io::Write;

use super::error::EvaluateError;
use super::params::{EvaluateParams, ReplayFiles};
use super::replay::replay;
use super::report::{ModelReport, report};
use crate::progress::Progress;

/// Replays the actions in `files` over their catalog, and reports on each model. Every
/// answer becomes a line of `details`.
pub fn evaluate(
    files: &ReplayFiles<'_>,
    params: &EvaluateParams,
    details: Option<&mut dyn Write>,
    progress: Progress,
) -> Result<Vec<ModelReport>, EvaluateError> {
    let measured = replay(files, params, details, progress)?;
    Ok(report(&params.models, &measured))
}
