//! Makes messages of what is appended.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::super::action_log::{ActionBatch, Appended, Entry};
use super::super::error::LogError;
use super::super::frames::{
    EncodedFrame, MIN_FRAME_BYTES, encode_batch, encode_claim, encode_erasure, encode_pin_change,
};
use super::super::positions::{Position, Positions};
use super::super::records::PinChange;
use super::api::headers;
use super::names::{Names, hex};
use super::publish::{Follows, NotSent, Outgoing, publish};
use super::shared::Shared;

/// Most bytes of a message, and what the headers of one take at most.
const MAX_MESSAGE: usize = 256 << 10;
const HEADER_ROOM: usize = 4 << 10;

/// Name of the header by which the engine recognizes a message that is sent again.
pub(super) const MESSAGE_ID: &str = "Nats-Msg-Id";
/// Name of the header that says how long a message stays.
pub(super) const TTL: &str = "Nats-TTL";
pub(super) const NEVER: &str = "never";

/// The messages for `entry`.
pub(super) fn messages(shared: &Shared, entry: &Entry<'_>) -> Vec<Outgoing> {
    let names = &shared.names;
    match entry {
        Entry::Actions(batch) => actions(batch, max_bytes(shared)),
        Entry::Pins(changes) => pins(names, changes),
        Entry::Erasure { user, erased_at } => {
            let unique = rand::random();
            let subject = names.erasure_subject(&user.0, unique);
            let payload = encode_erasure(*user, *erased_at);
            vec![control(subject, payload, Follows::Any)]
        }
    }
}

/// The message of a claim on a part of the archive, which must follow the one at number `after`.
pub(super) fn claim(names: &Names, claim: &[u8], after: u64) -> Outgoing {
    let follows = Follows::Message(after);
    control(names.claim_subject(), encode_claim(claim), follows)
}

/// Most bytes of a message that the nodes take.
pub(super) fn max_bytes(shared: &Shared) -> usize {
    let room = shared.links.max_payload().saturating_sub(HEADER_ROOM);
    room.clamp(MIN_FRAME_BYTES, MAX_MESSAGE)
}

fn actions(batch: &ActionBatch<'_>, max_bytes: usize) -> Vec<Outgoing> {
    let frames = encode_batch(batch, max_bytes).into_iter().enumerate();
    let outgoing = |(part, frame): (usize, EncodedFrame)| {
        let id = format!("{}-{part}", hex(&batch.frame.0));
        let mut with = HashMap::from([(MESSAGE_ID, id)]);
        if frame.is_kept {
            with.insert(TTL, NEVER.to_owned());
        }
        Outgoing {
            control_subject: None,
            follows: Follows::Any,
            headers: headers(with),
            payload: frame.bytes.into(),
        }
    };
    frames.map(outgoing).collect()
}

/// One message for the last change of each pin.
fn pins(names: &Names, changes: &[PinChange]) -> Vec<Outgoing> {
    let last: HashMap<_, &PinChange> = changes.iter().map(|change| (change.0, change)).collect();
    let messages = last.into_values().map(|change| {
        let subject = names.pin_subject(change.0);
        control(subject, encode_pin_change(change), Follows::Last)
    });
    messages.collect()
}

fn control(subject: String, payload: Vec<u8>, follows: Follows) -> Outgoing {
    let id = format!("{:032x}", rand::random::<u128>());
    Outgoing {
        control_subject: Some(subject),
        follows,
        headers: headers(HashMap::from([(MESSAGE_ID, id)])),
        payload: Bytes::from(payload),
    }
}

/// Waits until messages can be appended.
async fn wait_for_engine(shared: &Shared) -> Result<(), LogError> {
    let limit = shared.params.append_timeout;
    if shared.lost_for().is_some_and(|lost| lost > limit) {
        return Err(shared.unreachable(shared.lost_reason()));
    }
    if let Some(reason) = shared.state.stopped() {
        // What is appended now would never be seen here.
        return Err(shared.unreachable(reason));
    }
    shared.opened(limit).await.map(drop)
}

/// Appends a claim, and returns whether it was first.
pub(super) async fn send_claim(shared: Arc<Shared>, claim: Outgoing) -> Result<bool, LogError> {
    wait_for_engine(&shared).await?;
    match publish(shared.clone(), claim).await {
        Ok(_) => Ok(true),
        // An earlier attempt may be the later message.
        Err(NotSent::Overtaken { attempts: 2.. }) => {
            Err(shared.unreachable("nobody says whether it was first"))
        }
        Err(NotSent::Overtaken { .. }) => Ok(false),
        Err(NotSent::Failed(reason)) => Err(shared.unreachable(reason)),
    }
}

/// Appends all `messages` at once, and returns once all are confirmed.
pub(super) async fn send_all(
    shared: Arc<Shared>,
    messages: Vec<Outgoing>,
) -> Result<Appended, LogError> {
    wait_for_engine(&shared).await?;
    let mut sending = JoinSet::new();
    for message in messages {
        sending.spawn(publish(shared.clone(), message));
    }
    let mut positions: Vec<Position> = Vec::new();
    while let Some(sent) = sending.join_next().await {
        match sent {
            Ok(Ok(position)) => positions.push(position),
            Ok(Err(NotSent::Overtaken { .. })) => {
                return Err(shared.unreachable("others change the same without end"));
            }
            Ok(Err(NotSent::Failed(reason))) => return Err(shared.unreachable(reason)),
            Err(error) => return Err(shared.unreachable(error.to_string())),
        }
    }
    Ok(Appended::Sent(Positions::from_iter(positions)))
}
