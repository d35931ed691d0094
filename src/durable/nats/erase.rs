//! Writes messages anew without the actions of erased users, and deletes the old ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use serde_json::json;
use tokio::time::sleep;

use super::super::action_log::{ActionFrame, Message, Origin};
use super::super::error::LogError;
use super::super::frames::{decode, encode_frame};
use super::super::positions::Position;
use super::api::{CallError, Done, NO_MESSAGE_FOUND, call, headers};
use super::append::{MESSAGE_ID, NEVER, TTL, max_bytes};
use super::fetch::{End, Raw, fetch, nothing_from};
use super::publish::{Follows, NotSent, Outgoing, publish};
use super::shared::Shared;
use crate::model::{Action, Timestamp};

const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Messages of a stream, and where to read on; none at the end.
pub(super) struct Part {
    pub(super) messages: Vec<Raw>,
    pub(super) next: u64,
}

/// Reads messages of `stream` from `begin` on, which must exist or be gone.
pub(super) async fn read(shared: Arc<Shared>, stream: u8, begin: u64) -> Result<Part, LogError> {
    let deadline = Instant::now() + shared.params.append_timeout;
    loop {
        let link = shared.links.pick(shared.links.turn()).clone();
        let batch = fetch(&shared, &link, stream, begin).await;
        if let Some(last) = batch.messages.last() {
            let next = last.position.sequence + 1;
            let messages = batch.messages;
            return Ok(Part { messages, next });
        }
        // A node that lags has nothing either.
        if batch.end == End::Last
            && let Some(through) = nothing_from(&shared, stream, begin).await
        {
            return Ok(Part {
                messages: Vec::new(),
                next: through + 1,
            });
        }
        if Instant::now() >= deadline {
            let name = shared.names.stream(stream);
            return Err(shared.unreachable(format!("{name} cannot be read from {begin} on")));
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// A message that has actions of erased users.
pub(super) struct Affected {
    position: Position,
    stored_at: Timestamp,
    /// Without them.
    left: ActionFrame,
    /// Number of those that go.
    pub(super) erased: u64,
}

/// Looks for actions of erased users in a message.
pub(super) fn examine(
    shared: &Shared,
    raw: &Raw,
    is_erased: &(dyn Fn(&Action, Timestamp) -> bool + Sync),
) -> Result<Option<Affected>, LogError> {
    let Some(payload) = &raw.payload else {
        return Ok(None);
    };
    let unreadable = |reason: String| {
        let Position { stream, sequence } = raw.position;
        let name = shared.names.stream(stream);
        shared.unreachable(format!("message {sequence} of {name}: {reason}"))
    };
    let frame = match decode(payload).map_err(|error| unreadable(error.to_string()))? {
        Message::Actions(frame) => frame,
        Message::Pin(_) | Message::Erasure { .. } | Message::ArchiveClaim(_) | Message::Gone => {
            return Err(unreadable("it has no actions".to_owned()));
        }
    };
    let count = frame.actions.len();
    let left = without(frame, raw.position, is_erased);
    let erased = (count - left.actions.len()) as u64;
    Ok((erased > 0).then_some(Affected {
        position: raw.position,
        stored_at: raw.stored_at,
        left,
        erased,
    }))
}

/// `frame`, which stands at `position`, without the erased actions.
fn without(
    frame: ActionFrame,
    position: Position,
    is_erased: &(dyn Fn(&Action, Timestamp) -> bool + Sync),
) -> ActionFrame {
    let recorded_at = frame.recorded_at;
    let origin = frame.origin.unwrap_or_else(|| Origin {
        position,
        places: (0..).take(frame.actions.len()).collect(),
    });
    let placed = frame.actions.into_iter().zip(origin.places);
    let (actions, places) = placed
        .filter(|(action, _)| !is_erased(action, recorded_at))
        .unzip();
    ActionFrame {
        actions,
        origin: Some(Origin {
            position: origin.position,
            places,
        }),
        ..frame
    }
}

/// Writes what is left of a message anew, and then deletes it.
pub(super) async fn replace(shared: Arc<Shared>, affected: Affected) -> Result<(), LogError> {
    let Affected {
        position,
        stored_at,
        left,
        erased: _,
    } = affected;
    let ttl = match left.is_kept {
        true => NEVER.to_owned(),
        false => format!("{}s", rest_of(shared.max_age, stored_at).as_secs().max(1)),
    };
    for payload in encode(left, max_bytes(&shared)) {
        // Two replicas may write a message anew, each without other users: both stay.
        let id = format!("{:032x}", rand::random::<u128>());
        let outgoing = Outgoing {
            control_subject: None,
            follows: Follows::Any,
            headers: headers(HashMap::from([(MESSAGE_ID, id), (TTL, ttl.clone())])),
            payload,
        };
        match publish(shared.clone(), outgoing).await {
            Ok(_) => {}
            Err(NotSent::Failed(reason)) => return Err(shared.unreachable(reason)),
            Err(NotSent::Overtaken { .. }) => {
                return Err(shared.unreachable("it had to follow nothing"));
            }
        }
    }
    delete(&shared, position).await
}

/// Encodes a frame, in parts where it has become longer than `max_bytes` by its places.
fn encode(mut frame: ActionFrame, max_bytes: usize) -> Vec<Bytes> {
    if frame.actions.is_empty() {
        return Vec::new();
    }
    let bytes = encode_frame(&frame);
    if bytes.len() <= max_bytes || frame.actions.len() == 1 {
        return vec![bytes.into()];
    }
    let half = frame.actions.len() / 2;
    let mut rest = frame.clone();
    rest.actions = frame.actions.split_off(half);
    if let (Some(origin), Some(rest)) = (&mut frame.origin, &mut rest.origin) {
        rest.places = origin.places.split_off(half);
    }
    let mut parts = encode(frame, max_bytes);
    parts.extend(encode(rest, max_bytes));
    parts
}

/// How long a message that was stored then would have stayed.
fn rest_of(max_age: Duration, stored_at: Timestamp) -> Duration {
    let stored = Duration::from_micros(u64::try_from(stored_at.micros()).unwrap_or(0));
    let age = now().saturating_sub(stored);
    max_age.saturating_sub(age)
}

/// The time since 1970.
pub(super) fn now() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default()
}

/// Deletes a message, whose bytes the nodes overwrite.
pub(super) async fn delete(shared: &Shared, position: Position) -> Result<(), LogError> {
    let name = shared.names.stream(position.stream);
    let body = json!({ "seq": position.sequence });
    let limit = shared.params.append_timeout;
    let method = format!("STREAM.MSG.DELETE.{name}");
    let deleted: Result<Done, _> = call(&shared.links, &method, &body, limit).await;
    let Err(error) = deleted else {
        return Ok(());
    };
    // Another replica, or an attempt whose answer was lost, may have deleted it.
    let method = format!("STREAM.MSG.GET.{name}");
    match call::<Done>(&shared.links, &method, &body, limit).await {
        Err(CallError::Refused { code, .. }) if code == NO_MESSAGE_FOUND => Ok(()),
        _ => {
            let sequence = position.sequence;
            let reason = format!("message {sequence} of {name} cannot be deleted: {error}");
            Err(shared.unreachable(reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::FrameId;
    use crate::model::{ActionId, PinId, UserId};

    fn frame(count: u16) -> ActionFrame {
        let action = |at: u16| Action {
            id: ActionId([at as u8; 16]),
            user: UserId(u64::from(at % 3)),
            pin: PinId(u64::from(at)),
            name: "save".to_owned(),
            time: Timestamp::from_micros(1),
            medoid: None,
            keys: None,
        };
        ActionFrame {
            frame: FrameId([1; 16]),
            recorded_at: Timestamp::from_micros(9),
            is_kept: true,
            origin: None,
            actions: (0..count).map(action).collect(),
        }
    }

    fn at(stream: u8, sequence: u64) -> Position {
        Position { stream, sequence }
    }

    #[test]
    fn what_is_left_keeps_where_it_stood_first() {
        let once = without(frame(7), at(1, 5), &|action, _| action.user.0 == 0);
        let origin = once.origin.clone().expect("an origin");
        assert_eq!(
            (origin.position, &origin.places[..]),
            (at(1, 5), &[1, 2, 4, 5][..])
        );
        let twice = without(once, at(0, 9), &|action, _| action.user.0 == 1);
        let origin = twice.origin.expect("an origin");
        assert_eq!(
            (origin.position, &origin.places[..]),
            (at(1, 5), &[2, 5][..])
        );
        assert_eq!(twice.actions.len(), 2);
    }

    #[test]
    fn a_frame_that_has_become_too_long_is_split_with_its_places() {
        let left = without(frame(40), at(2, 3), &|action, _| action.pin.0 == 0);
        let whole = encode_frame(&left).len();
        let parts = encode(left.clone(), whole - 1);
        assert!(parts.len() == 2 && parts.iter().all(|part| part.len() < whole));
        let (mut actions, mut places) = (Vec::new(), Vec::new());
        for part in parts {
            match decode(&part) {
                Ok(Message::Actions(part)) => {
                    actions.extend(part.actions);
                    places.extend(part.origin.expect("an origin").places);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(actions, left.actions);
        assert_eq!(Some(places), left.origin.map(|origin| origin.places));
        assert!(encode(without(frame(4), at(0, 1), &|_, _| true), 1).is_empty());
    }
}
