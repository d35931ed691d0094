//! Reading whole actions, with everything that a file says of them: for an import.

use std::path::PathBuf;

use arrow_array::ArrayRef;

use super::action_reader::{ActionColumns, ActionFiles, RawAction, open};
use super::bad_rows::{BadRowParams, BadRows};
use super::columns;
use super::error::BatchError;
use super::input_files::InputFile;
use super::input_table::column;
use crate::model::{Action, ActionId, PinId};
use crate::progress::Progress;

const MEDOID: &str = "medoid_pin_id";

/// Files of actions, to be read with everything that they say of each.
#[derive(Debug)]
pub struct WholeActions(ActionFiles);

impl WholeActions {
    /// The files that `arguments` name: files, directories or globs. One without the columns
    /// of actions is an error.
    pub fn open(arguments: &[PathBuf], progress: Progress) -> Result<Self, BatchError> {
        Ok(Self(ActionFiles::open(arguments, progress)?))
    }

    /// Number of actions.
    pub fn count(&self) -> u64 {
        self.0.rows()
    }

    /// Gives all actions to `accept`, some at a time. One without an `action_id` gets that of
    /// its content. Bad rows are an error that names them, after what came before them.
    pub fn read<E: From<BatchError>>(
        &self,
        mut accept: impl FnMut(Vec<Action>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut files = self.0.files().iter();
        files.try_for_each(|file| read_file(file, &mut accept))
    }
}

fn read_file<E: From<BatchError>>(
    file: &InputFile,
    accept: &mut impl FnMut(Vec<Action>) -> Result<(), E>,
) -> Result<(), E> {
    let table = open(file, &[MEDOID])?;
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
                Err(reason) => bad.push(&file.path, rows.first + row as u64, reason),
            }
        }
        bad.require_none()?;
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
        keys: None,
    })
}
