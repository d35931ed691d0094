//! Reading whole actions, with everything that a file says of them: for an import.

use std::borrow::Cow;
use std::path::PathBuf;

use super::action_columns::{ActionColumns, RawAction, TextFormats, open};
use super::action_reader::{ActionFiles, ActionIds};
use super::bad_rows::{BadRowParams, BadRows};
use super::error::BatchError;
use super::ids::{self, IdColumn, InputId, MEDOID, TextIds};
use super::input_files::InputFile;
use crate::model::{Action, ActionId, ActionKeys, PinId};
use crate::progress::Progress;

/// Files of actions, to be read with everything that they say of each.
#[derive(Debug)]
pub struct WholeActions(ActionFiles);

impl WholeActions {
    /// The files that `arguments` name: files, directories or globs. One without the columns
    /// of actions is an error.
    pub fn open(
        arguments: &[PathBuf],
        text: TextIds,
        progress: Progress,
    ) -> Result<Self, BatchError> {
        let ids = ActionIds {
            text,
            pins_are_strings: None,
        };
        Ok(Self(ActionFiles::open(arguments, ids, progress)?))
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
        files.try_for_each(|file| read_file(file, self.0.text_formats(), &mut accept))
    }
}

fn read_file<E: From<BatchError>>(
    file: &InputFile,
    text_formats: TextFormats,
    accept: &mut impl FnMut(Vec<Action>) -> Result<(), E>,
) -> Result<(), E> {
    let table = open(file, &[MEDOID.id, MEDOID.key])?;
    if table.has(MEDOID.id) || table.has(MEDOID.key) {
        ids::require(&table, MEDOID)?;
    }
    let formats = text_formats.of(&table);
    // A medoid is a pin.
    let medoid_format = ids::format(&table, MEDOID, text_formats.pins);
    for rows in table.batches() {
        let rows = rows?;
        let Some(actions) = ActionColumns::new(&rows.batch, formats) else {
            continue;
        };
        let medoids = IdColumn::new(&rows.batch, MEDOID, medoid_format);
        let mut whole = Vec::new();
        let mut bad = BadRows::new(&BadRowParams::default())?;
        for row in 0..rows.batch.num_rows() {
            let action = match rows.malformed.get(&row) {
                Some(reason) => Err(reason.clone()),
                None => actions.action(row),
            };
            let whole_action = |action| Ok(whole_action(action, medoids.optional(row)?));
            match action.and_then(whole_action) {
                Ok(action) => whole.push(action),
                Err(reason) => bad.push(&file.path, rows.first + row as u64, reason),
            }
        }
        bad.require_none()?;
        accept(whole)?;
    }
    Ok(())
}

/// The action that a row says, and the medoid that found its pin.
fn whole_action(action: RawAction<'_>, medoid: Option<InputId<'_>>) -> Action {
    let RawAction {
        user,
        pin,
        time,
        name,
        id,
        user_key,
        pin_key,
    } = action;
    let (medoid, medoid_key) = match medoid {
        Some(InputId { id, key }) => (Some(PinId(id)), key),
        None => (None, None),
    };
    let keys = ActionKeys {
        user: user_key.map(Cow::into_owned),
        pin: pin_key.map(Cow::into_owned),
        medoid: medoid_key.map(Cow::into_owned),
    };
    Action {
        id: id.unwrap_or_else(|| ActionId::from_content(user, pin, time, name)),
        user,
        pin,
        name: name.to_owned(),
        time,
        medoid,
        keys: keys.some(),
    }
}
