//! Writes messages anew without the actions of erased users, and removes the old ones: each
//! message has a key of its own, and the brokers' compaction deletes it after its tombstone.

use std::collections::HashMap;

use super::super::action_log::ActionFrame;
use super::super::error::LogError;
use super::super::positions::Position;
use super::super::rewrite::{Rewritten, encode_in_parts, examine};
use super::publish::{MAX_MESSAGE, Outgoing, publish};
use super::read::read;
use super::shared::Shared;
use crate::model::{Action, Timestamp};

/// A message that has actions of erased users.
struct Affected {
    position: Position,
    millis: Option<i64>,
    /// Without them.
    left: ActionFrame,
    erased: u64,
}

/// Erases actions in the messages of `stream` after number `after` and up to `through`, and
/// returns their number.
pub(super) fn erase_in(
    shared: &Shared,
    stream: u8,
    (after, through): (u64, u64),
    is_erased: &(dyn Fn(&Action, Timestamp) -> bool + Sync),
) -> Result<u64, LogError> {
    let mut affected: HashMap<Vec<u8>, Affected> = HashMap::new();
    read(shared, stream, (after, through), &mut |raw| {
        let Some(payload) = &raw.payload else {
            // An earlier erasure has removed it, and no compaction has come by since.
            affected.remove(&raw.key);
            return Ok(());
        };
        let examined = examine(payload, raw.position, is_erased).map_err(|reason| {
            let name = shared.names.stream(stream);
            let sequence = raw.position.sequence;
            shared.unreachable(format!("message {sequence} of {name}: {reason}"))
        })?;
        if let Some(Rewritten { left, erased }) = examined {
            let found = Affected {
                position: raw.position,
                millis: raw.millis,
                left,
                erased,
            };
            affected.insert(raw.key, found);
        }
        Ok(())
    })?;
    let mut affected: Vec<_> = affected.into_iter().collect();
    affected.sort_unstable_by_key(|(_, affected)| affected.position);
    let mut erased = 0;
    for (key, affected) in affected {
        erased += affected.erased;
        replace(shared, key, affected)?;
    }
    Ok(erased)
}

/// Writes what is left of a message anew, and then removes it.
fn replace(shared: &Shared, key: Vec<u8>, affected: Affected) -> Result<(), LogError> {
    let Affected {
        position,
        millis,
        left,
        ..
    } = affected;
    let is_kept = left.is_kept;
    let parts = encode_in_parts(left, MAX_MESSAGE).into_iter();
    let parts: Vec<Outgoing> = parts
        .map(|payload| Outgoing {
            // It expires when the old one would have.
            stored_at: millis,
            ..Outgoing::actions(is_kept, payload)
        })
        .collect();
    publish(shared, &parts)?;
    publish(shared, &[Outgoing::tombstone(position.stream, key)])?;
    Ok(())
}
