//! Reading whole actions, with everything that a file says of them: for an import.

use std::path::{Path, PathBuf};

use arrow_array::ArrayRef;

use super::action_reader::{ActionColumns, RawAction, open};
use super::bad_rows::{BadRowParams, BadRows};
use super::columns;
use super::error::BatchError;
use super::input_files::InputFile;
use super::input_table::column;
use crate::model::{Action, ActionId, PinId};

const MEDOID: &str = "medoid_pin_id";

/// Number of actions in `files`. A file without the columns of actions is an error.
pub fn count_actions(files: &[PathBuf]) -> Result<u64, BatchError> {
    let count = |path: &PathBuf| open(&InputFile::new(path.clone())?, &[MEDOID])?.count();
    files.iter().map(count).sum()
}

/// Gives all actions of `path` to `accept`, some at a time. One without an `action_id` gets
/// that of its content. Bad rows are an error that names them, after what came before them.
pub fn read_whole_actions<E: From<BatchError>>(
    path: &Path,
    mut accept: impl FnMut(Vec<Action>) -> Result<(), E>,
) -> Result<(), E> {
    let file = InputFile::new(path.to_owned())?;
    let table = open(&file, &[MEDOID])?;
    if table.has(MEDOID) {
        table.require(MEDOID, "an integer", columns::is_id)?;
    }
    for rows in table.batches() {
        let rows = rows?;
        let Some(actions) = ActionColumns::new(&rows.batch) else {
            continue;
        };
        let medoids = column(&rows.batch, MEDOID);
        let mut whole = Vec::new();
        let mut bad = BadRows::new(&BadRowParams::default())?;
        for row in 0..rows.batch.num_rows() {
            let action = match rows.malformed.get(&row) {
                Some(reason) => Err(reason.clone()),
                None => actions.action(row),
            };
            match action.and_then(|action| whole_action(&action, medoids, row)) {
                Ok(action) => whole.push(action),
                Err(reason) => bad.push(path, rows.first + row as u64, reason),
            }
        }
        bad.into_result()?;
        accept(whole)?;
    }
    Ok(())
}

fn whole_action(
    action: &RawAction<'_>,
    medoids: Option<&ArrayRef>,
    row: usize,
) -> Result<Action, String> {
    let &RawAction {
        user,
        pin,
        time,
        name,
        id,
    } = action;
    let medoid = medoids.filter(|medoids| !medoids.is_null(row));
    let medoid = medoid.map(|medoids| columns::id(medoids, row)).transpose();
    Ok(Action {
        id: id.unwrap_or_else(|| ActionId::from_content(user, pin, time, name)),
        user,
        pin,
        name: name.to_owned(),
        time,
        medoid: medoid
            .map_err(|reason| format!("{MEDOID} {reason}"))?
            .map(PinId),
    })
}
