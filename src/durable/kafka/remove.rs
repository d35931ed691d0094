//! Claims on the archive, and what of the control topic is not needed any more.

use std::collections::HashMap;

use super::super::error::LogError;
use super::super::frames::{encode_claim, encode_pin_change};
use super::super::records::PinChange;
use super::control::{claim_key, pin_of};
use super::publish::{Outgoing, publish};
use super::read::read;
use super::shared::Shared;
use crate::model::PinId;

/// Appends a claim that follows the one of number `after`, and returns whether it counts.
pub(super) fn claim(shared: &Shared, claim: &[u8], after: u64) -> Result<bool, LogError> {
    if shared.control().last_claim() > after {
        return Ok(false);
    }
    let record = Outgoing::control(shared, claim_key(after), encode_claim(claim));
    let positions = publish(shared, &[record])?;
    let Some(position) = positions.first() else {
        return Ok(false);
    };
    // All before it decide.
    let through = shared.control().through();
    let range = (through, position.sequence);
    read(shared, position.stream, range, &mut |raw| {
        shared.control().take(&raw.control_record());
        Ok(())
    })?;
    if shared.control().last_claim() != position.sequence {
        return Ok(false);
    }
    if let Err(error) = remove_claims_before(shared, position.sequence) {
        tracing::debug!(%error, "old claims stay until the next one removes them");
    }
    Ok(true)
}

/// Removes those that do not count first: the first claim that is left must be one that does.
fn remove_claims_before(shared: &Shared, sequence: u64) -> Result<(), LogError> {
    let groups = shared.control().claims_before(sequence);
    for keys in groups {
        remove(shared, keys)?;
    }
    Ok(())
}

fn remove(shared: &Shared, keys: Vec<Vec<u8>>) -> Result<(), LogError> {
    let control = shared.names.control();
    let tombstones = keys.into_iter();
    let tombstones: Vec<Outgoing> = tombstones
        .map(|key| Outgoing::tombstone(control, key))
        .collect();
    publish(shared, &tombstones).map(drop)
}

/// Key and value of a record.
type Record = (Vec<u8>, Vec<u8>);

/// Removes all changes of each pin, where the last is the one of `changes`. A change that comes
/// meanwhile has another key, and stays.
pub(super) fn settle(shared: &Shared, changes: &[PinChange]) -> Result<(), LogError> {
    let control = shared.names.control();
    let (_, newest) = shared
        .ends(control, shared.params.append_timeout)
        .map_err(|reason| shared.unreachable(reason))?;
    let mut left: HashMap<PinId, Vec<Record>> = HashMap::new();
    read(shared, control, (0, newest), &mut |raw| {
        let Some(pin) = pin_of(&raw.key) else {
            return Ok(());
        };
        let of_pin = left.entry(pin).or_default();
        match raw.payload {
            Some(payload) => of_pin.push((raw.key, payload)),
            None => of_pin.retain(|(key, _)| *key != raw.key),
        }
        Ok(())
    })?;
    let (mut older, mut last) = (Vec::new(), Vec::new());
    for change in changes {
        let mut of_pin = left.remove(&change.0).unwrap_or_default();
        let Some((key, payload)) = of_pin.pop() else {
            continue;
        };
        if payload == encode_pin_change(change) {
            older.extend(of_pin.into_iter().map(|(key, _)| key));
            last.push(key);
        }
    }
    // An older one would count again if it were left alone.
    remove(shared, older)?;
    remove(shared, last)
}
