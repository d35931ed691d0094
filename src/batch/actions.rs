//! Reading files of actions: each is taken, or refused and counted by reason.

use std::path::PathBuf;

use arrow_array::RecordBatch;
use bytemuck::{Pod, Zeroable};

use super::BatchError;
use super::columns::{self, Table, column};
use super::error::BadRows;
use crate::index::PinTable;
use crate::model::{PinId, Timestamp, UserId};
use crate::progress::Stage;
use crate::store::ActionCounts;

const USER_ID: &str = "user_id";
const PIN_ID: &str = "pin_id";
const TIME: &str = "time";
const ACTION: &str = "action";
/// The action of a file that does not say.
const DEFAULT_ACTION: &str = "save";

/// An action that was taken: a record of the partition files, 24 bytes.
///
/// In the order of its fields, which for one user is by time and then by pin id,
/// because places in the table of pins ascend with ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct ActionRecord {
    /// Who acted.
    pub user: UserId,
    /// When.
    pub time: Timestamp,
    /// Place of the pin in the table of pins.
    pub pin: u32,
    /// Place of the action's name among the weights.
    pub action: u32,
}

/// Which actions are taken.
pub(super) struct Filter<'a> {
    pub(super) pins: &'a PinTable,
    /// First moment of the window.
    pub(super) from: Timestamp,
    /// First moment after the window.
    pub(super) as_of: Timestamp,
    /// Names of the actions that have a weight.
    pub(super) names: Vec<&'a str>,
}

/// Number of rows of all `files`, all of which have the columns of actions.
pub(super) fn count(files: &[PathBuf]) -> Result<u64, BatchError> {
    files.iter().map(|path| Ok(open(path)?.rows())).sum()
}

/// Gives every action of `files` that `filter` takes to `take`, and counts the
/// others into `counts`. Any bad row is an error that names it.
pub(super) fn read(
    files: &[PathBuf],
    filter: &Filter<'_>,
    counts: &mut ActionCounts,
    stage: &Stage,
    mut take: impl FnMut(ActionRecord) -> Result<(), BatchError>,
) -> Result<(), BatchError> {
    let mut bad = BadRows::default();
    for path in files {
        for batch in open(path)?.batches() {
            let (first, batch) = batch?;
            let Some(rows) = Rows::of(&batch) else {
                continue;
            };
            for row in 0..batch.num_rows() {
                match rows.action(row) {
                    Ok(action) => {
                        if let Some(record) = filter.apply(&action, counts) {
                            take(record)?;
                        }
                    }
                    Err(reason) => bad.push(path, first + row as u64, reason),
                }
            }
            stage.advance(batch.num_rows() as u64);
        }
    }
    bad.into_result()
}

fn open(path: &std::path::Path) -> Result<Table, BatchError> {
    let table = Table::open(path, &[USER_ID, PIN_ID, TIME, ACTION])?;
    table.require(USER_ID, "Int64 or UInt64", columns::is_id)?;
    table.require(PIN_ID, "Int64 or UInt64", columns::is_id)?;
    table.require(TIME, "a Timestamp, or Int64 seconds", columns::is_time)?;
    if table.has(ACTION) {
        table.require(ACTION, "a string", columns::is_text)?;
    }
    Ok(table)
}

/// The columns of one batch.
struct Rows<'a> {
    users: &'a arrow_array::ArrayRef,
    pins: &'a arrow_array::ArrayRef,
    times: &'a arrow_array::ArrayRef,
    actions: Option<&'a arrow_array::ArrayRef>,
}

/// One action as it was read.
struct RawAction<'a> {
    user: UserId,
    pin: PinId,
    time: Timestamp,
    name: &'a str,
}

impl<'a> Rows<'a> {
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        Some(Self {
            users: column(batch, USER_ID)?,
            pins: column(batch, PIN_ID)?,
            times: column(batch, TIME)?,
            actions: column(batch, ACTION),
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
        })
    }
}

impl Filter<'_> {
    fn apply(&self, action: &RawAction<'_>, counts: &mut ActionCounts) -> Option<ActionRecord> {
        let name = self.names.iter().position(|&name| name == action.name);
        let Some(name) = name else {
            counts.refuse_action(action.name);
            return None;
        };
        let place = self.pins.position(action.pin);
        let reason = match place {
            None => &mut counts.unknown_pin,
            Some(_) if action.time < self.from => &mut counts.before_window,
            Some(_) if action.time >= self.as_of => &mut counts.after_as_of,
            Some(place) => {
                return Some(ActionRecord {
                    user: action.user,
                    time: action.time,
                    pin: place as u32,
                    action: name as u32,
                });
            }
        };
        *reason += 1;
        None
    }
}
