//! Reading files of actions: each action is accepted, or refused and counted by reason.

use std::collections::HashSet;
use std::path::PathBuf;

use bytemuck::{Pod, Zeroable};

use super::action_columns::{ACTION, ActionColumns, DEFAULT_ACTION, RawAction, TextFormats, open};
use super::bad_rows::{BadRowParams, BadRows};
use super::error::{BatchError, same_hash};
use super::ids::{self, IdFormat, PIN, TextIds, USER};
use super::input_files::{self, InputFile};
use super::input_table::Table;
use crate::index::PinTable;
use crate::model::{ActionIdentity, IMPRESSION, Timestamp, UserId};
use crate::progress::{Progress, Stage};
use crate::store::ActionCounts;

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
    /// Users of whom nothing is accepted.
    pub(super) erased: Option<&'a HashSet<UserId>>,
    /// First moment of the window.
    pub(super) from: Timestamp,
    /// First moment after the window.
    pub(super) as_of: Timestamp,
    /// Names of actions that have a weight, those of negative ones last.
    pub(super) names: Vec<&'a str>,
    /// Position of the first name of a negative action, which has no first moment: what
    /// users do not want holds for good.
    pub(super) first_negative: usize,
}

/// What was read.
#[derive(Debug, Default)]
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

impl Default for InputFacts {
    fn default() -> Self {
        Self {
            oldest: None,
            newest: None,
            all_have_ids: true,
        }
    }
}

impl ReadActions {
    /// The record of `action`, if `filter` accepts it; an error when its pin is not the one
    /// that the catalog has under its id.
    fn take(
        &mut self,
        action: &RawAction<'_>,
        filter: &Filter<'_>,
    ) -> Result<Option<ActionRecord>, String> {
        filter.check_key(action)?;
        self.facts.see(action.time);
        let record = filter.apply(action, &mut self.counts);
        self.facts.all_have_ids &= record.is_none() || action.id.is_some();
        Ok(record)
    }
}

impl InputFacts {
    fn are_all_in_1970(&self) -> bool {
        let year = Timestamp::from_micros(0).minus_days(-365.0);
        let is_in_1970 = |time: Timestamp| time.micros() >= 0 && time < year;
        self.oldest.is_some_and(is_in_1970) && self.newest.is_some_and(is_in_1970)
    }

    fn see(&mut self, time: Timestamp) {
        self.oldest = Some(self.oldest.map_or(time, |oldest| oldest.min(time)));
        self.newest = self.newest.max(Some(time));
    }
}

/// Files of actions whose columns are those of actions.
#[derive(Debug)]
pub(super) struct ActionFiles {
    files: Vec<InputFile>,
    rows: u64,
    text_formats: TextFormats,
}

/// How the ids of a file of actions are spelled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ActionIds {
    /// In files without types, those of users, and of pins where nothing else is known.
    pub(super) text: TextIds,
    /// Whether the catalog calls pins by strings; none where there is no catalog.
    pub(super) pins_are_strings: Option<bool>,
}

impl ActionIds {
    /// Ids of users by `text`, and of the pins of a catalog.
    pub(super) fn beside(pins: &PinTable, text: TextIds) -> Self {
        Self {
            text,
            pins_are_strings: Some(pins.has_keys()),
        }
    }
}

/// How many files call users by numbers, and how many by strings.
#[derive(Default)]
struct UserFormats {
    numbers: usize,
    strings: usize,
}

impl UserFormats {
    fn see(&mut self, table: &Table<'_>, text_formats: TextFormats) {
        if table.has(USER.key) {
            return;
        }
        match text_formats.of(table).users {
            IdFormat::Number => self.numbers += 1,
            IdFormat::Key => self.strings += 1,
        }
    }

    /// Says so when there are both: user 7 is not user "7".
    fn check(&self, progress: Progress) {
        let Self { numbers, strings } = self;
        if *numbers > 0 && *strings > 0 {
            progress.note(&format!(
                "{numbers} files have numbers in {}, and {strings} have strings: these are \
                 different users",
                USER.id
            ));
        }
    }
}

impl ActionFiles {
    /// The files that `arguments` name. One without the columns of actions, or with pins
    /// that cannot be those of the catalog, is an error.
    pub(super) fn open(
        arguments: &[PathBuf],
        ids: ActionIds,
        progress: Progress,
    ) -> Result<Self, BatchError> {
        let files = input_files::resolve(arguments, progress)?;
        let text_formats = TextFormats {
            users: ids::text_format(&files, USER, ids.text, progress)?,
            pins: match ids.pins_are_strings {
                Some(true) => IdFormat::Key,
                Some(false) => IdFormat::Number,
                None => ids::text_format(&files, PIN, ids.text, progress)?,
            },
        };
        let (mut rows, mut unnamed, mut numbered) = (0, 0, 0);
        let mut users = UserFormats::default();
        for file in &files {
            let table = open(file, &[])?;
            if ids.pins_are_strings == Some(false) {
                ids::require_numbers(&table, PIN, "an integer, as in the catalog")?;
            }
            let has_numbers = text_formats.of(&table).pins == IdFormat::Number;
            numbered += usize::from(has_numbers && !table.has(PIN.key));
            users.see(&table, text_formats);
            unnamed += usize::from(!table.has(ACTION));
            rows += table.count()?;
        }
        if unnamed > 0 {
            progress.note(&format!(
                "{unnamed} of {} files have no column {ACTION}: all their rows count as \
                 {DEFAULT_ACTION}",
                files.len()
            ));
        }
        users.check(progress);
        if numbered > 0 && ids.pins_are_strings == Some(true) {
            progress.note(&format!(
                "{numbered} of {} files have numbers in {}, where the catalog calls pins by \
                 strings: they are taken for the hashes of these",
                files.len(),
                PIN.id
            ));
        }
        Ok(Self {
            files,
            rows,
            text_formats,
        })
    }

    /// Number of rows of all files.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// The files, in the order in which they are read.
    pub(super) fn files(&self) -> &[InputFile] {
        &self.files
    }

    /// What the columns of ids say in files that have no types.
    pub(super) fn text_formats(&self) -> TextFormats {
        self.text_formats
    }

    /// Gives every action that `filter` accepts to `accept`, with the key of its user where
    /// it has one, and counts the others. More bad rows than `bad_rows` allows are an error
    /// that names them.
    pub(super) fn read(
        &self,
        filter: &Filter<'_>,
        bad_rows: &BadRowParams,
        stage: &Stage,
        mut accept: impl FnMut(ActionRecord, Option<&str>) -> Result<(), BatchError>,
    ) -> Result<ReadActions, BatchError> {
        let mut read = ReadActions::default();
        let mut bad = BadRows::new(bad_rows)?;
        for file in &self.files {
            let table = open(file, &[])?;
            let formats = self.text_formats.of(&table);
            for rows in table.batches() {
                let rows = rows?;
                let Some(columns) = ActionColumns::new(&rows.batch, formats) else {
                    continue;
                };
                for row in 0..rows.batch.num_rows() {
                    let action = match rows.malformed.get(&row) {
                        Some(reason) => Err(reason.clone()),
                        None => columns.action(row),
                    };
                    let taken = action
                        .and_then(|action| Ok((read.take(&action, filter)?, action.user_key)));
                    match taken {
                        Ok((Some(record), key)) => accept(record, key.as_deref())?,
                        Ok((None, _)) => {}
                        Err(reason) => bad.push(&file.path, rows.first + row as u64, reason),
                    }
                }
                stage.advance(rows.batch.num_rows() as u64);
            }
        }
        read.counts.bad = bad.finish(stage)?;
        if read.facts.are_all_in_1970() {
            stage.note(
                "all actions are in the year 1970: seconds were most likely taken for \
                 nanoseconds, as pandas.to_datetime does without unit=\"s\"",
            );
        }
        Ok(read)
    }
}

impl Filter<'_> {
    /// Refuses an action whose pin has the id of another pin of the catalog: two keys of one
    /// hash.
    fn check_key(&self, action: &RawAction<'_>) -> Result<(), String> {
        let Some(key) = action.pin_key.as_deref() else {
            return Ok(());
        };
        match self.pins.key(action.pin) {
            None => Ok(()),
            Some(same) if same == key => Ok(()),
            Some(of_catalog) => Err(format!("{} {}", PIN.id, same_hash(key, of_catalog))),
        }
    }

    /// The record of an accepted action; a refused one is counted by its first reason.
    fn apply(&self, action: &RawAction<'_>, counts: &mut ActionCounts) -> Option<ActionRecord> {
        if self
            .erased
            .is_some_and(|erased| erased.contains(&action.user))
        {
            counts.erased += 1;
            return None;
        }
        let name = self.names.iter().position(|&name| name == action.name);
        let Some(name) = name else {
            if action.name == IMPRESSION {
                counts.impressions += 1;
            } else {
                counts.refuse_action(action.name);
            }
            return None;
        };
        let reason = match self.pins.position(action.pin) {
            None => &mut counts.unknown_pin,
            Some(_) if name < self.first_negative && action.time < self.from => {
                &mut counts.before_window
            }
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
        let mut facts = InputFacts::default();
        for seconds in [5, -3, 9, 0] {
            facts.see(Timestamp::from_micros(seconds));
        }
        let at = |micros| Some(Timestamp::from_micros(micros));
        assert_eq!((facts.oldest, facts.newest), (at(-3), at(9)));
        assert!(!facts.are_all_in_1970());
        let mut facts = InputFacts::default();
        facts.see(Timestamp::from_micros(1_700_000_000));
        assert!(facts.are_all_in_1970());
    }
}
