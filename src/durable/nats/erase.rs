//! Writes messages anew without the actions of erased users, and deletes the old ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tokio::time::sleep;

use super::super::action_log::ActionFrame;
use super::super::error::LogError;
use super::super::positions::Position;
use super::super::rewrite::{self, Rewritten, encode_in_parts};
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
    let examined = rewrite::examine(payload, raw.position, is_erased).map_err(|reason| {
        let Position { stream, sequence } = raw.position;
        let name = shared.names.stream(stream);
        shared.unreachable(format!("message {sequence} of {name}: {reason}"))
    })?;
    Ok(examined.map(|Rewritten { left, erased }| Affected {
        position: raw.position,
        stored_at: raw.stored_at,
        left,
        erased,
    }))
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
    for payload in encode_in_parts(left, max_bytes(&shared)) {
        // Two replicas may write a message anew, each without other users: both stay.
        let id = format!("{:032x}", rand::random::<u128>());
        let outgoing = Outgoing {
            control_subject: None,
            follows: Follows::Any,
            headers: headers(HashMap::from([(MESSAGE_ID, id), (TTL, ttl.clone())])),
            payload: payload.into(),
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
