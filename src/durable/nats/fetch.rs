//! Reads a stream from a number on, many messages a request.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::super::positions::Position;
use super::api::{StreamInfo, call, detailed_info, header, header_number, info_of_leader, time};
use super::link::{Link, Question, next_reply};
use super::shared::Shared;
use crate::model::Timestamp;

const BATCH: usize = 512;
const BATCH_BYTES: usize = 4 << 20;
/// Longest time between two replies.
const REPLY_PATIENCE: Duration = Duration::from_millis(250);
const INFO_PATIENCE: Duration = Duration::from_secs(1);
const LAST_PATIENCE: Duration = Duration::from_millis(500);
/// Status of the end of a batch, and of a batch that would be empty.
const END_OF_BATCH: u16 = 204;
const NOTHING: u16 = 404;

/// A message as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) position: Position,
    pub(super) stored_at: Timestamp,
    /// None where it is gone, with all that was not delivered before it.
    pub(super) payload: Option<Bytes>,
}

/// How a read has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There is more.
    More,
    /// The node has no more. Another one may.
    Last,
    /// The leader says that nothing is left up to this number.
    Nothing { through: u64 },
    /// The node has not answered, or not to the end.
    Broken,
}

/// Messages that follow each other, from `begin`.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) begin: u64,
    pub(super) messages: Vec<Raw>,
    pub(super) end: End,
}

/// Reads `stream` from `begin` through `link`.
pub(super) async fn fetch(shared: &Shared, link: &Arc<Link>, stream: u8, begin: u64) -> Batch {
    let name = shared.names.stream(stream);
    let body = json!({ "seq": begin, "batch": BATCH, "max_bytes": BATCH_BYTES });
    let question = Question::new(format!("$JS.API.DIRECT.GET.{name}"), body.to_string());
    let (replies, mut replied) = mpsc::unbounded_channel();
    let mut batch = Batch {
        begin,
        messages: Vec::new(),
        end: End::Broken,
    };
    let asked = tokio::time::timeout(REPLY_PATIENCE, link.ask(question, &replies)).await;
    let Ok(Ok(_asked)) = asked else {
        return batch;
    };
    let mut before = 0;
    while let Some(message) = next_reply(&mut replied, REPLY_PATIENCE).await {
        if let Some(status) = message.status {
            batch.end = end(status.as_u16(), &message);
            break;
        }
        // A reply that was lost would look like a message that is gone.
        let follows = header_number(&message, "Nats-Last-Sequence") == Some(before);
        let Some(raw) = raw(shared, message).filter(|_| follows) else {
            break;
        };
        before = raw.position.sequence;
        batch.messages.push(raw);
    }
    batch
}

fn end(status: u16, message: &Message) -> End {
    match status {
        END_OF_BATCH => match header_number(message, "Nats-Num-Pending") {
            Some(0) => End::Last,
            _ => End::More,
        },
        NOTHING => End::Last,
        _ => End::Broken,
    }
}

/// The last message of a subject of the control stream; none where there is none. A node that
/// lags may tell of an earlier one.
pub(super) async fn last_of(shared: &Shared, subject: &str) -> Result<Option<Raw>, String> {
    let name = shared.names.stream(shared.names.control());
    let body = json!({ "last_by_subj": subject }).to_string();
    let question = Question::new(format!("$JS.API.DIRECT.GET.{name}"), body);
    let link = shared.links.pick(shared.links.turn());
    let last = link.request(question, LAST_PATIENCE).await;
    let last = last.map_err(|reason| format!("{name}: {reason}"))?;
    match last.status.map(|status| status.as_u16()) {
        None => raw(shared, last)
            .map(Some)
            .ok_or_else(|| format!("{name}: the answer is no message")),
        Some(NOTHING) => Ok(None),
        Some(status) => Err(format!("{name}: nobody tells its last message ({status})")),
    }
}

/// Reads a message that a leader has repeated, or that was asked for; none if it has not the
/// headers of one.
pub(super) fn raw(shared: &Shared, message: Message) -> Option<Raw> {
    let stream = shared.names.number(header(&message, "Nats-Stream")?)?;
    let sequence = header_number(&message, "Nats-Sequence")?;
    let stored_at = time(header(&message, "Nats-Time-Stamp")?)?;
    Some(Raw {
        position: Position { stream, sequence },
        stored_at,
        payload: Some(message.payload),
    })
}

/// Asks the leader whether all messages from `begin` on are gone, and up to which number.
pub(super) async fn nothing_from(shared: &Shared, stream: u8, begin: u64) -> Option<u64> {
    let name = shared.names.stream(stream);
    let info = info_of_leader(&shared.links, &name, INFO_PATIENCE).await;
    let state = info.ok()?.state;
    if state.last_seq < begin {
        return None;
    }
    if state.messages == 0 {
        return Some(state.last_seq);
    }
    if state.first_seq > begin {
        return Some(state.first_seq - 1);
    }
    // The subject is one of all messages, but not `>`, by which the engine looks for the number
    // that was given last, whether or not its message is there.
    let body = json!({ "last_by_subj": shared.names.subjects(stream) });
    let method = format!("STREAM.MSG.GET.{name}");
    match call::<Found>(&shared.links, &method, &body, INFO_PATIENCE).await {
        Ok(Found { message }) => (message.seq < begin).then_some(state.last_seq),
        // Any trouble of its files is told like this: it proves nothing.
        Err(_) => nothing_listed_from(shared, &name, begin).await,
    }
}

/// The same by a list of all messages that are gone, which may be long.
async fn nothing_listed_from(shared: &Shared, name: &str, begin: u64) -> Option<u64> {
    let info = detailed_info(&shared.links, name, INFO_PATIENCE).await;
    let state = info.ok().filter(StreamInfo::is_of_leader)?.state;
    let deleted = state.deleted?;
    let is_after = |sequence: &&u64| **sequence >= begin;
    let gone = deleted.iter().filter(is_after).count() as u64;
    // What is before the first message is not in the list.
    (begin >= state.first_seq && begin + gone == state.last_seq + 1).then_some(state.last_seq)
}

/// The answer of a leader that has a message.
#[derive(Debug, Deserialize)]
struct Found {
    message: Numbered,
}

#[derive(Debug, Deserialize)]
struct Numbered {
    seq: u64,
}
