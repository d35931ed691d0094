//! Reading files of actions: each action is accepted, or refused and counted by reason.

use std::path::{Path, PathBuf};

use arrow_array::{ArrayRef, RecordBatch};
use bytemuck::{Pod, Zeroable};

use super::error::{BadRows, BatchError};
use super::parquet_columns::{self as columns, Table, column};
use crate::index::PinTable;
use crate::model::{ActionId, ActionIdentity, PinId, Timestamp, UserId};
use crate::progress::Stage;
use crate::store::ActionCounts;

const USER_ID: &str = "user_id";
const PIN_ID: &str = "pin_id";
pub(super) const TIME: &str = "time";
const ACTION: &str = "action";
const ACTION_ID: &str = "action_id";
/// The name of actions in a file without that column.
const DEFAULT_ACTION: &str = "save";

/// An accepted action: a record of the partition files, 32 bytes.
///
/// Ordered by its fields, which for one user is by time and then by pin id, because
/// positions in the table of pins ascend with ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct ActionRecord {
    /// The user who acted.
    pub user: UserId,
    /// Time of the action.
    pub time: Timestamp,
    /// Position of the pin in the table of pins.
    pub pin: u32,
    /// Position of the action's name among those that have a weight.
    pub action: u32,
    /// What tells it from the user's other actions.
    pub identity: ActionIdentity,
}

/// The actions that are accepted.
pub(super) struct Filter<'a> {
    pub(super) pins: &'a PinTable,
    /// First moment of the window.
    pub(super) from: Timestamp,
    /// First moment after the window.
    pub(super) as_of: Timestamp,
    /// Names of actions that have a weight.
    pub(super) names: Vec<&'a str>,
}

/// What was read.
#[derive(Debug)]
pub(super) struct ReadActions {
    /// Outcome of each action; the accepted ones are not counted yet.
    pub(super) counts: ActionCounts,
    pub(super) facts: InputFacts,
}

/// What is known of all actions of the input together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputFacts {
    /// Time of the oldest action, whether it was accepted or not; none without a row.
    pub oldest: Option<Timestamp>,
    /// Time of the newest action, whether it was accepted or not; none without a row.
    pub newest: Option<Timestamp>,
    /// Whether every accepted action has an `action_id`.
    pub all_have_ids: bool,
}

impl InputFacts {
    fn see(&mut self, time: Timestamp) {
        self.oldest = Some(self.oldest.map_or(time, |oldest| oldest.min(time)));
        self.newest = self.newest.max(Some(time));
    }
}

/// Number of rows of all `files`. A file without the columns of actions is an error.
pub(super) fn count_rows(files: &[PathBuf]) -> Result<u64, BatchError> {
    files.iter().map(|path| Ok(open(path)?.rows())).sum()
}

/// Gives every action of `files` that `filter` accepts to `accept`, and counts the
/// others. Any bad row is an error that names it.
pub(super) fn read(
    files: &[PathBuf],
    filter: &Filter<'_>,
    stage: &Stage,
    mut accept: impl FnMut(ActionRecord) -> Result<(), BatchError>,
) -> Result<ReadActions, BatchError> {
    let mut counts = ActionCounts::default();
    let mut facts = InputFacts {
        oldest: None,
        newest: None,
        all_have_ids: true,
    };
    let mut bad = BadRows::default();
    for path in files {
        for batch in open(path)?.batches() {
            let (first, batch) = batch?;
            let Some(rows) = ActionColumns::new(&batch) else {
                continue;
            };
            for row in 0..batch.num_rows() {
                match rows.action(row) {
                    Ok(action) => {
                        facts.see(action.time);
                        if let Some(record) = filter.apply(&action, &mut counts) {
                            facts.all_have_ids &= action.id.is_some();
                            accept(record)?;
                        }
                    }
                    Err(reason) => bad.push(path, first + row as u64, reason),
                }
            }
            stage.advance(batch.num_rows() as u64);
        }
    }
    bad.into_result()?;
    Ok(ReadActions { counts, facts })
}

/// Opens a file of actions. One without their columns is an error.
pub(super) fn open(path: &Path) -> Result<Table, BatchError> {
    let table = Table::open(path, &[USER_ID, PIN_ID, TIME, ACTION, ACTION_ID])?;
    table.require(USER_ID, "Int64 or UInt64", columns::is_id)?;
    table.require(PIN_ID, "Int64 or UInt64", columns::is_id)?;
    table.require(TIME, "a Timestamp, or Int64 seconds", columns::is_time)?;
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
struct ActionColumns<'a> {
    users: &'a ArrayRef,
    pins: &'a ArrayRef,
    times: &'a ArrayRef,
    actions: Option<&'a ArrayRef>,
    action_ids: Option<&'a ArrayRef>,
}

/// One action as it was read.
struct RawAction<'a> {
    user: UserId,
    pin: PinId,
    time: Timestamp,
    name: &'a str,
    id: Option<ActionId>,
}

impl<'a> ActionColumns<'a> {
    fn new(batch: &'a RecordBatch) -> Option<Self> {
        Some(Self {
            users: column(batch, USER_ID)?,
            pins: column(batch, PIN_ID)?,
            times: column(batch, TIME)?,
            actions: column(batch, ACTION),
            action_ids: column(batch, ACTION_ID),
        })
    }

    fn action(&self, row: usize) -> Result<RawAction<'a>, String> {
        let named = |name: &'static str| move |reason: &str| format!("{name} {reason}");
        Ok(RawAction {
            user: UserId(columns::id(self.users, row).map_err(named(USER_ID))?),
            pin: PinId(columns::id(self.pins, row).map_err(named(PIN_ID))?),
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
    fn identity(&self) -> ActionIdentity {
        match self.id {
            Some(id) => ActionIdentity::from_id(id),
            None => ActionIdentity::from_content(self.user, self.pin, self.time, self.name),
        }
    }
}

impl Filter<'_> {
    /// The record of an accepted action; a refused one is counted by its first reason.
    fn apply(&self, action: &RawAction<'_>, counts: &mut ActionCounts) -> Option<ActionRecord> {
        let name = self.names.iter().position(|&name| name == action.name);
        let Some(name) = name else {
            counts.refuse_action(action.name);
            return None;
        };
        let reason = match self.pins.position(action.pin) {
            None => &mut counts.unknown_pin,
            Some(_) if action.time < self.from => &mut counts.before_window,
            Some(_) if action.time >= self.as_of => &mut counts.after_as_of,
            Some(position) => {
                return Some(ActionRecord {
                    user: action.user,
                    time: action.time,
                    pin: position as u32,
                    action: name as u32,
                    identity: action.identity(),
                });
            }
        };
        *reason += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_those_of_all_rows() {
        let mut facts = InputFacts {
            oldest: None,
            newest: None,
            all_have_ids: true,
        };
        for seconds in [5, -3, 9, 0] {
            facts.see(Timestamp::from_micros(seconds));
        }
        let at = |micros| Some(Timestamp::from_micros(micros));
        assert_eq!((facts.oldest, facts.newest), (at(-3), at(9)));
    }
}
