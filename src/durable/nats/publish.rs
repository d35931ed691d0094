//! Appends messages: each is tried on one stream after the other until one confirms it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{sleep, timeout_at};

use super::super::positions::Position;
use super::api::{Ack, CallError, WRONG_LAST_SEQUENCES, answer};
use super::link::{Asked, Link, Question};
use super::shared::Shared;
use crate::metrics::LOG_MOVES;

/// Pause after a refusal, so that a stream without a leader is not asked without end.
const REFUSAL_PAUSE: Duration = Duration::from_millis(20);

/// What is appended.
pub(super) struct Outgoing {
    /// The subject in the control stream; none for actions, which any stream may take.
    pub(super) control_subject: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

/// Why nothing is confirmed.
pub(super) enum NotSent {
    /// There is a later message than the one it had to follow.
    Overtaken,
    Failed(String),
}

/// Attempts that wait for an answer.
struct Attempts {
    asked: Vec<Asked>,
    replied: UnboundedReceiver<Message>,
    replies: mpsc::UnboundedSender<Message>,
    last_failure: String,
}

/// What came of waiting.
enum Outcome {
    Confirmed(Position),
    Refused(u32),
    Silence,
}

/// Appends `outgoing`, and returns where it stands.
pub(super) async fn publish(shared: Arc<Shared>, outgoing: Outgoing) -> Result<Position, NotSent> {
    let deadline = Instant::now() + shared.params.append_timeout;
    let (replies, replied) = mpsc::unbounded_channel();
    let mut attempts = Attempts {
        asked: Vec::new(),
        replied,
        replies,
        last_failure: "nobody has confirmed it".to_owned(),
    };
    let mut turn = shared.links.turn();
    let is_control = outgoing.control_subject.is_some();
    let mut streams = match is_control {
        true => vec![shared.names.control()],
        false => vec![shared.rotation().first(Instant::now())],
    };
    loop {
        let until = deadline.min(Instant::now() + shared.params.retry_after);
        let link = shared.links.pick(turn).clone();
        for &stream in &streams {
            let copy = copy(&shared, &outgoing, stream);
            attempts.begin(&link, copy, until).await;
        }
        let mut is_link_to_blame = false;
        match attempts.wait(&shared, until).await {
            Outcome::Confirmed(position) => return Ok(position),
            Outcome::Refused(code) if WRONG_LAST_SEQUENCES.contains(&code) => {
                // An earlier attempt may be the later message.
                return Err(match attempts.asked.len() {
                    1 => NotSent::Overtaken,
                    _ => NotSent::Failed("nobody says whether it was first".to_owned()),
                });
            }
            Outcome::Refused(_) => sleep(REFUSAL_PAUSE).await,
            Outcome::Silence => is_link_to_blame = !link.is_prompt(),
        }
        if Instant::now() >= deadline {
            shared.fail(attempts.last_failure.clone());
            return Err(NotSent::Failed(attempts.last_failure));
        }
        turn += 1;
        if !is_control {
            streams = move_on(&shared, &streams, is_link_to_blame);
        }
    }
}

/// Leaves `streams`, which were tried in vain, alone for a while, and returns another one. A
/// link that hangs says nothing of them, but its node may lead one of them: then two are
/// tried.
fn move_on(shared: &Shared, streams: &[u8], is_link_to_blame: bool) -> Vec<u8> {
    metrics::counter!(LOG_MOVES).increment(1);
    let now = Instant::now();
    let mut rotation = shared.rotation();
    let last = *streams.last().expect("one at least");
    if is_link_to_blame {
        let next = rotation.after(last, now);
        return if next == last {
            vec![last]
        } else {
            vec![last, next]
        };
    }
    for &stream in streams {
        rotation.stalled(stream, now);
    }
    vec![rotation.after(last, now)]
}

/// A copy of `outgoing` for `stream`.
fn copy(shared: &Shared, outgoing: &Outgoing, stream: u8) -> Question {
    let mut headers = outgoing.headers.clone();
    headers.insert("Nats-Expected-Stream", shared.names.stream(stream));
    let subject = outgoing.control_subject.clone();
    Question {
        subject: subject.unwrap_or_else(|| shared.names.action_subject(stream)),
        headers,
        payload: outgoing.payload.clone(),
    }
}

impl Attempts {
    /// Sends one more copy.
    async fn begin(&mut self, link: &Arc<Link>, copy: Question, until: Instant) {
        match timeout_at(until.into(), link.ask(copy, &self.replies)).await {
            Ok(Ok(asked)) => self.asked.push(asked),
            Ok(Err(reason)) => self.last_failure = reason,
            Err(_) => self.last_failure = "the connection takes nothing".to_owned(),
        }
    }

    /// Waits for an answer to any attempt.
    async fn wait(&mut self, shared: &Shared, until: Instant) -> Outcome {
        let Ok(Some(message)) = timeout_at(until.into(), self.replied.recv()).await else {
            return Outcome::Silence;
        };
        let (error, code) = match answer::<Ack>(&message) {
            Ok(ack) => match shared.names.number(&ack.stream) {
                Some(stream) => {
                    let sequence = ack.seq;
                    let position = Position { stream, sequence };
                    shared.confirm(position);
                    if stream != shared.names.control() {
                        shared.rotation().answered(stream);
                    }
                    return Outcome::Confirmed(position);
                }
                None => (format!("the stream {} has taken it", ack.stream), 0),
            },
            Err(CallError::Unanswered(reason)) => (reason, 0),
            Err(CallError::Refused { code, description }) => (description, code),
        };
        self.last_failure = error;
        Outcome::Refused(code)
    }
}
