//! The order in which the log took its actions: an index from their numbers to their ids,
//! written with them, and completed once over a log of the format before.

use std::ops::RangeInclusive;

use fjall::OwnedWriteBatch;

use super::copies;
use super::error::LogError;
use super::message_place::message;
use super::records::{ActionFacts, Place, decode_action, encode_action};
use super::store::{PLACED, Store};
use super::unwritten::Part;
use crate::model::{Action, ActionId, Timestamp};

/// Actions that are given their places with one write.
const BATCH: usize = 10_000;

/// Most messages in a row that are taken for ones that were appended late.
const LATE_IN_A_ROW: usize = 16;

/// Time of the last place in a log that has none: before all others.
const NEVER: Timestamp = Timestamp::from_micros(i64::MIN);

/// An action, and where it stands in the order in which the log took them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedAction {
    /// Where it stands.
    pub place: Place,
    /// The action.
    pub action: Action,
}

/// Adds `action` to `batch`, and its place to the index.
pub(super) fn insert(
    store: &Store,
    batch: &mut OwnedWriteBatch,
    action: &Action,
    facts: ActionFacts,
) {
    batch.insert(&store.actions, action.id.0, encode_action(action, facts));
    if let Some(Place { sequence, .. }) = facts.place {
        batch.insert(&store.sequences, sequence.to_be_bytes(), action.id.0);
    }
}

/// Adds the actions of `part` to `batch`, and their places to the index.
pub(super) fn insert_part(store: &Store, batch: &mut OwnedWriteBatch, part: &Part) {
    for action in &part.actions {
        let number = action.place.sequence.to_be_bytes();
        batch.insert(&store.actions, action.id.0, part.record(action));
        batch.insert(&store.sequences, number, action.id.0);
    }
}

/// Writes the actions of `part` and their places as tables of their own. The places come first:
/// an action without one would be missing where actions are read by their numbers, and a place
/// without an action is passed over.
pub(super) fn insert_tables(store: &Store, part: &Part) -> Result<(), fjall::Error> {
    let mut numbers: Vec<(u64, ActionId)> = part
        .actions
        .iter()
        .map(|action| (action.place.sequence, action.id))
        .collect();
    numbers.sort_unstable();
    // Behind what each stream has, a table is never merged with others.
    for of_stream in numbers.chunk_by(|&(a, _), &(b, _)| message(a).stream == message(b).stream) {
        store.wait_for_room()?;
        let mut table = store.sequences.start_ingestion()?;
        for (number, id) in of_stream {
            table.write(number.to_be_bytes(), id.0)?;
        }
        table.finish()?;
    }
    let mut ids: Vec<(ActionId, u32)> =
        (0..).zip(&part.actions).map(|(at, a)| (a.id, at)).collect();
    ids.sort_unstable();
    let mut table = store.actions.start_ingestion()?;
    for (id, at) in ids {
        table.write(id.0, part.record(&part.actions[at as usize]))?;
    }
    table.finish()
}

/// Removes the action `id` with `batch`, its `place` from the index, and its copies.
pub(super) fn remove(
    store: &Store,
    batch: &mut OwnedWriteBatch,
    id: ActionId,
    place: Option<Place>,
) -> Result<(), LogError> {
    batch.remove(&store.actions, id.0);
    if let Some(Place { sequence, .. }) = place {
        batch.remove(&store.sequences, sequence.to_be_bytes());
    }
    copies::remove(store, batch, id)
}

/// Moves `action` with `batch` from the place of `facts` to `place`, where a copy stands.
pub(super) fn relocate(
    store: &Store,
    batch: &mut OwnedWriteBatch,
    action: &Action,
    facts: ActionFacts,
    place: Place,
) {
    if let Some(Place { sequence, .. }) = facts.place {
        batch.remove(&store.sequences, sequence.to_be_bytes());
    }
    let place = Some(place);
    insert(store, batch, action, ActionFacts { place, ..facts });
}

/// The first `max` of the actions with these numbers, ascending.
pub(super) fn read(
    store: &Store,
    sequences: RangeInclusive<u64>,
    max: usize,
) -> Result<Vec<PlacedAction>, LogError> {
    let (first, last) = sequences.into_inner();
    let entries = store
        .sequences
        .range(first.to_be_bytes()..=last.to_be_bytes());
    let actions = entries.map(|entry| {
        let (sequence, id) = entry.into_inner().map_err(|e| store.error(e))?;
        find(store, &sequence, &id)
    });
    actions.filter_map(Result::transpose).take(max).collect()
}

/// Passes to `visit` the actions with these numbers, descending, until those of some messages in
/// a row were recorded before `since`: one that was appended late stands among later ones.
pub(super) fn read_back(
    store: &Store,
    sequences: RangeInclusive<u64>,
    since: Timestamp,
    visit: &mut dyn FnMut(PlacedAction),
) -> Result<(), LogError> {
    let (first, last) = sequences.into_inner();
    let entries = store
        .sequences
        .range(first.to_be_bytes()..=last.to_be_bytes());
    let mut old = Vec::new();
    for entry in entries.rev() {
        let (sequence, id) = entry.into_inner().map_err(|e| store.error(e))?;
        let Some(placed) = find(store, &sequence, &id)? else {
            continue;
        };
        if placed.place.recorded_at >= since {
            old.clear();
            visit(placed);
            continue;
        }
        let message = placed.place.message();
        if old.last() != Some(&message) {
            old.push(message);
        }
        if old.len() > LATE_IN_A_ROW {
            return Ok(());
        }
    }
    Ok(())
}

/// The action of one entry of the index; none when it was forgotten meanwhile.
fn find(store: &Store, sequence: &[u8], id: &[u8]) -> Result<Option<PlacedAction>, LogError> {
    let Some(value) = store.actions.get(id).map_err(|e| store.error(e))? else {
        return Ok(None);
    };
    let damaged = || store.damaged_record("action", id);
    let (action, facts) = decode_action(id, &value).ok_or_else(damaged)?;
    let place = facts.place.ok_or_else(damaged)?;
    // One that was forgotten and came again stands elsewhere.
    let is_here = place.sequence.to_be_bytes() == sequence;
    Ok(is_here.then_some(PlacedAction { place, action }))
}

/// Gives a place to each action of the format before, by their times and then by their
/// ids, and returns the time of the last place in the log. They were accepted last, by a
/// server of that format, so they take the last numbers up to `accepted`. When they were
/// recorded is not known: the place says the time of the action.
pub(super) fn complete(store: &Store, accepted: u64) -> Result<Timestamp, LogError> {
    let last = store.place(PLACED)?;
    let last_time = last.map_or(NEVER, |last| last.recorded_at);
    if accepted == last.map_or(0, |last| last.sequence) {
        return Ok(last_time);
    }
    let unplaced = unplaced_ids(store)?;
    let first = (accepted + 1).saturating_sub(unplaced.len() as u64);
    let mut recorded_at = last_time;
    for (at, ids) in unplaced.chunks(BATCH).enumerate() {
        let sequence = first + (at * BATCH) as u64;
        let place = Place {
            sequence,
            recorded_at,
        };
        recorded_at = place_all(store, ids, place)?;
    }
    store.set_last_place(Place {
        sequence: accepted,
        recorded_at,
    })?;
    Ok(recorded_at)
}

/// Ids of the actions that have no place, by time and then by id.
fn unplaced_ids(store: &Store) -> Result<Vec<ActionId>, LogError> {
    let mut unplaced = Vec::new();
    for record in store.actions.iter() {
        let (key, value) = record.into_inner().map_err(|e| store.error(e))?;
        let decoded = decode_action(&key, &value);
        let (action, facts) = decoded.ok_or_else(|| store.damaged_record("action", &key))?;
        if facts.place.is_none() {
            unplaced.push((action.time, action.id));
        }
    }
    unplaced.sort_unstable();
    Ok(unplaced.into_iter().map(|(_, id)| id).collect())
}

/// Gives the actions `ids` their places, beginning with `first`, whose time is the
/// earliest that they may have. Returns the time of the last of them.
fn place_all(store: &Store, ids: &[ActionId], first: Place) -> Result<Timestamp, LogError> {
    let mut recorded_at = first.recorded_at;
    let mut batch = store.database.batch();
    for (id, sequence) in ids.iter().zip(first.sequence..) {
        let damaged = || store.damaged_record("action", &id.0);
        let value = store.actions.get(id.0).map_err(|e| store.error(e))?;
        let decoded = value.and_then(|value| decode_action(&id.0, &value));
        let (action, facts) = decoded.ok_or_else(damaged)?;
        recorded_at = recorded_at.max(action.time);
        let place = Some(Place {
            sequence,
            recorded_at,
        });
        insert(store, &mut batch, &action, ActionFacts { place, ..facts });
    }
    batch.commit().map_err(|e| store.error(e))?;
    Ok(recorded_at)
}
