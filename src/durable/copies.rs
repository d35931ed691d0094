//! Further copies of actions in a shared log: one that was appended again stands in several
//! messages. A checkpoint has the action itself once, where it came first; which of the copies
//! that is may differ between replicas.

use std::ops::RangeInclusive;

use fjall::{Keyspace, OwnedWriteBatch};

use super::error::LogError;
use super::records::Place;
use super::store::Store;
use crate::model::{ActionId, Timestamp};

/// First bytes of the keys of records by the ids of actions, and by the numbers of places.
const BY_ID: u8 = b'i';
const BY_NUMBER: u8 = b'n';

/// Adds to `batch` that a copy of the action `id` stands at `place`.
pub(super) fn insert(
    store: &Store,
    batch: &mut OwnedWriteBatch,
    id: ActionId,
    place: Place,
) -> Result<(), LogError> {
    let copies = store.make_copies()?;
    let recorded_at = place.recorded_at.micros().to_le_bytes();
    batch.insert(copies, key_of_copy(id, place), recorded_at);
    batch.insert(copies, key_of_number(place.sequence), id.0);
    Ok(())
}

/// Removes the copies of the action `id` with `batch`.
pub(super) fn remove(
    store: &Store,
    batch: &mut OwnedWriteBatch,
    id: ActionId,
) -> Result<(), LogError> {
    if let Some(copies) = store.copies() {
        for place in read(store, copies, id)? {
            remove_one(store, batch, id, place);
        }
    }
    Ok(())
}

/// Removes with `batch` that a copy of the action `id` stands at `place`.
pub(super) fn remove_one(store: &Store, batch: &mut OwnedWriteBatch, id: ActionId, place: Place) {
    if let Some(copies) = store.copies() {
        batch.remove(copies, key_of_copy(id, place));
        batch.remove(copies, key_of_number(place.sequence));
    }
}

/// The actions of which copies were recorded after `time`, each once.
pub(super) fn recorded_after(store: &Store, time: Timestamp) -> Result<Vec<ActionId>, LogError> {
    let Some(copies) = store.copies() else {
        return Ok(Vec::new());
    };
    let mut ids = Vec::new();
    for entry in copies.prefix([BY_ID]) {
        let (key, value) = entry.into_inner().map_err(|e| store.error(e))?;
        let id = key.get(1..17).and_then(|id| id.try_into().ok());
        let recorded_at = value.as_ref().try_into().map(i64::from_le_bytes);
        let found = id.map(ActionId).zip(recorded_at.ok());
        let (id, recorded_at) = found.ok_or_else(|| store.damaged_record("copy", &key))?;
        if recorded_at > time.micros() && ids.last() != Some(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Where copies of the action `id` stand, but for the one that the checkpoint has.
pub(super) fn of(store: &Store, id: ActionId) -> Result<Vec<Place>, LogError> {
    match store.copies() {
        Some(copies) => read(store, copies, id),
        None => Ok(Vec::new()),
    }
}

/// The actions of which copies have these numbers.
pub(super) fn numbered(
    store: &Store,
    numbers: &RangeInclusive<u64>,
) -> Result<Vec<ActionId>, LogError> {
    let Some(copies) = store.copies() else {
        return Ok(Vec::new());
    };
    let [first, last] = [numbers.start(), numbers.end()].map(|&number| key_of_number(number));
    let ids = copies.range(first..=last).map(|entry| {
        let (key, id) = entry.into_inner().map_err(|e| store.error(e))?;
        let id = id.as_ref().try_into();
        id.map(ActionId)
            .map_err(|_| store.damaged_record("copy", &key))
    });
    ids.collect()
}

fn read(store: &Store, copies: &Keyspace, id: ActionId) -> Result<Vec<Place>, LogError> {
    let places = copies.prefix(prefix_of(id)).map(|entry| {
        let (key, value) = entry.into_inner().map_err(|e| store.error(e))?;
        let number = key.last_chunk().copied().map(u64::from_be_bytes);
        let recorded_at = value.as_ref().try_into().map(i64::from_le_bytes);
        let place = number.zip(recorded_at.ok());
        let place = place.map(|(sequence, micros)| Place {
            sequence,
            recorded_at: Timestamp::from_micros(micros),
        });
        place.ok_or_else(|| store.damaged_record("copy", &key))
    });
    places.collect()
}

fn prefix_of(id: ActionId) -> Vec<u8> {
    [&[BY_ID], &id.0[..]].concat()
}

fn key_of_copy(id: ActionId, place: Place) -> Vec<u8> {
    [prefix_of(id), place.sequence.to_be_bytes().to_vec()].concat()
}

fn key_of_number(number: u64) -> Vec<u8> {
    [&[BY_NUMBER], &number.to_be_bytes()[..]].concat()
}
