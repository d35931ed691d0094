//! The calls of JetStream that are made, and what they answer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_nats::Message;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::link::{Links, Question};
use crate::model::Timestamp;

/// A call that nobody has answered for so long goes through another link.
const CALL_PATIENCE: Duration = Duration::from_millis(500);

/// Pause before a call that failed at once is made again.
const PAUSE: Duration = Duration::from_millis(20);

/// Pause before a stream without a leader is asked again: all its nodes may answer.
const LEADER_PAUSE: Duration = Duration::from_millis(100);

/// Numbers of errors of JetStream.
pub(super) const STREAM_NOT_FOUND: u32 = 10_059;
pub(super) const NAME_IN_USE: u32 = 10_058;
pub(super) const REPLICAS_NOT_SUPPORTED: u32 = 10_074;
pub(super) const NO_MESSAGE_FOUND: u32 = 10_037;
pub(super) const WRONG_LAST_SEQUENCES: [u32; 2] = [10_071, 10_164];

/// Why a call has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// The engine refused it.
    Refused { code: u32, description: String },
    /// Nobody has answered.
    Unanswered(String),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { code, description } => write!(f, "{description} ({code})"),
            Self::Unanswered(reason) => write!(f, "{reason}"),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Answer<T> {
    error: Option<Refusal>,
    #[serde(flatten)]
    answer: Option<T>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

/// What STREAM.INFO tells.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct StreamInfo {
    pub(super) config: Value,
    pub(super) state: StreamState,
    #[serde(default)]
    pub(super) cluster: Option<Cluster>,
}

/// The nodes that keep a stream.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Cluster {
    #[serde(default)]
    pub(super) leader: Option<String>,
    #[serde(default)]
    pub(super) replicas: Vec<Replica>,
}

/// A node that follows the leader.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Replica {
    pub(super) name: String,
    #[serde(default)]
    pub(super) current: bool,
    #[serde(default)]
    pub(super) offline: bool,
}

/// How far a stream reaches.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct StreamState {
    pub(super) messages: u64,
    pub(super) first_seq: u64,
    pub(super) first_ts: String,
    pub(super) last_seq: u64,
    #[serde(default)]
    pub(super) deleted: Option<Vec<u64>>,
}

impl StreamInfo {
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        self.config.get("metadata")?.get(key)?.as_str()
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.config.get(key)?.as_u64()
    }

    /// Whether the leader tells it. While there is none, any node tells what it has itself: one
    /// that was killed has less at first than it had, and than a majority has agreed on. A node
    /// is not among the replicas that it tells of, unless it knows no leader.
    pub(super) fn is_of_leader(&self) -> bool {
        let Some(Cluster { leader, replicas }) = &self.cluster else {
            return true;
        };
        let is_other = |leader: &str| replicas.iter().any(|replica| replica.name == leader);
        leader.as_deref().is_some_and(|leader| !is_other(leader))
    }
}

/// What confirms a message.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Ack {
    pub(super) stream: String,
    pub(super) seq: u64,
}

/// Any answer that says no more than that it was done.
#[derive(Debug, Deserialize)]
pub(super) struct Done {}

/// Reads an answer.
pub(super) fn answer<T: DeserializeOwned>(message: &Message) -> Result<T, CallError> {
    if let Some(status) = message.status {
        let reason = message.description.clone();
        let reason = reason.unwrap_or_else(|| format!("nobody takes it (status {status})"));
        return Err(CallError::Unanswered(reason));
    }
    let unreadable = |reason: String| CallError::Unanswered(format!("unreadable: {reason}"));
    let read: Answer<T> =
        serde_json::from_slice(&message.payload).map_err(|error| unreadable(error.to_string()))?;
    match read {
        Answer {
            error: Some(refusal),
            ..
        } => Err(CallError::Refused {
            code: refusal.err_code,
            description: refusal.description,
        }),
        Answer {
            answer: Some(answer),
            ..
        } => Ok(answer),
        Answer { .. } => Err(unreadable("parts are missing".to_owned())),
    }
}

/// Calls `$JS.API.<method>` until `limit` has passed, through one link after the other.
pub(super) async fn call<T: DeserializeOwned>(
    links: &Links,
    method: &str,
    body: &Value,
    limit: Duration,
) -> Result<T, CallError> {
    let deadline = Instant::now() + limit;
    let mut last = CallError::Unanswered("there was no time to ask".to_owned());
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        let question = Question::new(format!("$JS.API.{method}"), body.to_string());
        let link = links.pick(links.turn());
        last = match link.request(question, left.min(CALL_PATIENCE)).await {
            Ok(message) => match answer(&message) {
                Err(CallError::Unanswered(reason)) => {
                    // No node takes it yet: a moment later one may.
                    tokio::time::sleep(PAUSE).await;
                    CallError::Unanswered(reason)
                }
                answered => return answered,
            },
            Err(reason) => {
                tokio::time::sleep(PAUSE).await;
                CallError::Unanswered(match links.last_error() {
                    Some(error) if !links.is_connected() => error,
                    _ => reason,
                })
            }
        };
    }
    Err(last)
}

/// How far `stream` reaches, by its leader and by nobody else: see [`StreamInfo::is_of_leader`].
pub(super) async fn info_of_leader(
    links: &Links,
    stream: &str,
    limit: Duration,
) -> Result<StreamInfo, CallError> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let told = info(links, stream, left).await?;
        if told.is_of_leader() {
            return Ok(told);
        }
        if Instant::now() + LEADER_PAUSE >= deadline {
            return Err(CallError::Unanswered("it has no leader".to_owned()));
        }
        tokio::time::sleep(LEADER_PAUSE).await;
    }
}

/// How far `stream` reaches, by its leader, or by any node while it has none.
pub(super) async fn info(
    links: &Links,
    stream: &str,
    limit: Duration,
) -> Result<StreamInfo, CallError> {
    call(links, &format!("STREAM.INFO.{stream}"), &Value::Null, limit).await
}

/// The same with the numbers of all messages that are gone from the middle or the end.
pub(super) async fn detailed_info(
    links: &Links,
    stream: &str,
    limit: Duration,
) -> Result<StreamInfo, CallError> {
    let body = serde_json::json!({ "deleted_details": true });
    call(links, &format!("STREAM.INFO.{stream}"), &body, limit).await
}

/// A header as a text.
pub(super) fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    let headers = message.headers.as_ref()?;
    headers.get(name).map(|value| value.as_str())
}

/// A header as a number.
pub(super) fn header_number(message: &Message, name: &str) -> Option<u64> {
    header(message, name)?.parse().ok()
}

/// A time of JetStream.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    Some(Timestamp::from_micros(time.timestamp_micros()))
}

/// Headers of a message, by name.
pub(super) fn headers(of: HashMap<&'static str, String>) -> async_nats::HeaderMap {
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in of {
        headers.insert(name, value);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(cluster: &Value) -> StreamInfo {
        let state = serde_json::json!({
            "messages": 1, "first_seq": 1, "first_ts": "2026-11-29T02:26:59Z", "last_seq": 1578,
        });
        let info = serde_json::json!({ "config": {}, "state": state, "cluster": cluster });
        serde_json::from_value(info).expect("an answer")
    }

    #[test]
    fn only_the_leader_tells_how_far_a_stream_reaches() {
        let of = |leader: Option<&str>, replicas: &[&str]| {
            let replicas = replicas
                .iter()
                .map(|name| serde_json::json!({ "name": name }));
            let replicas: Vec<Value> = replicas.collect();
            let cluster = serde_json::json!({ "leader": leader, "replicas": replicas });
            info(&cluster).is_of_leader()
        };
        assert!(of(Some("node-0"), &["node-1", "node-2"]));
        assert!(of(Some("node-0"), &[]));
        assert!(info(&Value::Null).is_of_leader());
        assert!(!of(None, &["node-0", "node-1", "node-2"]));
        // By another node, which knows the leader.
        assert!(!of(Some("node-0"), &["node-0", "node-2"]));
    }
}
