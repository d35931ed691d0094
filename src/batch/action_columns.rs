//! The columns of files of actions: what a row says of one action.

use std::borrow::Cow;

use arrow_array::{ArrayRef, RecordBatch};

use super::bad_rows::Reason;
use super::columns;
use super::error::BatchError;
use super::ids::{self, IdColumn, IdFormat, PIN, USER};
use super::input_files::InputFile;
use super::input_table::{Table, column};
use crate::model::{ActionId, ActionIdentity, PinId, Timestamp, UserId};

pub(super) const TIME: &str = "time";
pub(super) const ACTION: &str = "action";
const ACTION_ID: &str = "action_id";
/// The name of actions in a file without that column.
pub(super) const DEFAULT_ACTION: &str = "save";

/// What columns say of ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextFormats {
    pub(super) users: IdFormat,
    pub(super) pins: IdFormat,
}

/// Opens a file of actions, for their columns and `others`.
pub(super) fn open<'f>(file: &'f InputFile, others: &[&str]) -> Result<Table<'f>, BatchError> {
    let own = [USER.id, USER.key, PIN.id, PIN.key, TIME, ACTION, ACTION_ID];
    let table = Table::open(file, &[&own, others].concat())?;
    ids::require(&table, USER)?;
    ids::require(&table, PIN)?;
    let expected = "a timestamp, a date, a string or integer seconds";
    table.require(TIME, expected, columns::is_time)?;
    if table.has(ACTION) {
        table.require(ACTION, "a string", columns::is_text)?;
    }
    if table.has(ACTION_ID) {
        let expected = "16 bytes, or a UUID as a string";
        table.require(ACTION_ID, expected, columns::is_action_id)?;
    }
    Ok(table)
}

/// The columns of one batch of rows.
pub(super) struct ActionColumns<'a> {
    users: IdColumn<'a>,
    pins: IdColumn<'a>,
    times: &'a ArrayRef,
    actions: Option<&'a ArrayRef>,
    action_ids: Option<&'a ArrayRef>,
}

/// One action as it was read.
pub(super) struct RawAction<'a> {
    pub(super) user: UserId,
    pub(super) pin: PinId,
    pub(super) time: Timestamp,
    pub(super) name: &'a str,
    pub(super) id: Option<ActionId>,
    pub(super) user_key: Option<Cow<'a, str>>,
    pub(super) pin_key: Option<Cow<'a, str>>,
}

impl TextFormats {
    /// What the columns of `table` say of ids.
    pub(super) fn of(self, table: &Table<'_>) -> Self {
        Self {
            users: ids::format(table, USER, self.users),
            pins: ids::format(table, PIN, self.pins),
        }
    }
}

impl<'a> ActionColumns<'a> {
    pub(super) fn new(batch: &'a RecordBatch, formats: TextFormats) -> Option<Self> {
        Some(Self {
            users: IdColumn::new(batch, USER, formats.users),
            pins: IdColumn::new(batch, PIN, formats.pins),
            times: column(batch, TIME)?,
            actions: column(batch, ACTION),
            action_ids: column(batch, ACTION_ID),
        })
    }

    pub(super) fn action(&self, row: usize) -> Result<RawAction<'a>, String> {
        let named = |name: &'static str| move |reason: Reason| format!("{name} {reason}");
        let (user, pin) = (self.users.required(row)?, self.pins.required(row)?);
        Ok(RawAction {
            user: UserId(user.id),
            pin: PinId(pin.id),
            user_key: user.key,
            pin_key: pin.key,
            time: columns::time(self.times, row).map_err(named(TIME))?,
            name: match self.actions {
                Some(actions) => columns::text(actions, row).unwrap_or(DEFAULT_ACTION),
                None => DEFAULT_ACTION,
            },
            id: match self.action_ids {
                Some(ids) => columns::action_id(ids, row).map_err(named(ACTION_ID))?,
                None => None,
            },
        })
    }
}

impl RawAction<'_> {
    /// What tells it from the other actions of its user.
    pub(super) fn identity(&self) -> ActionIdentity {
        match self.id {
            Some(id) => ActionIdentity::from_id(id),
            None => ActionIdentity::from_content(self.user, self.pin, self.time, self.name),
        }
    }
}
