//! Appends messages: each is tried on one stream after the other until one confirms it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{sleep, timeout_at};

use super::super::positions::Position;
use super::api::{Ack, CallError, WRONG_LAST_SEQUENCES, answer};
use super::fetch::last_of;
use super::link::{Asked, Link, Question};
use super::shared::Shared;
use crate::metrics::LOG_MOVES;

/// Pause after a refusal, so that a stream without a leader is not asked without end.
const REFUSAL_PAUSE: Duration = Duration::from_millis(20);

/// Name of the header with the number of the message that must be the last of its subject.
const LAST_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";

/// What is appended.
pub(super) struct Outgoing {
    /// The subject in the control stream; none for actions, which any stream may take.
    pub(super) control_subject: Option<String>,
    pub(super) follows: Follows,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

/// What must be the last message of its subject when one is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// Anything.
    Any,
    /// The message of this number; 0 for none.
    Message(u64),
    /// The one that is the last when the append begins, or one that comes meanwhile. So
    /// whatever the append leaves on its way when it fails is refused once there is a later
    /// message, for as long as that is there: catalogs must have a change before it is deleted.
    Last,
}

/// Why nothing is confirmed.
pub(super) enum NotSent {
    /// After so many attempts there is a later message than the one it had to follow.
    Overtaken {
        attempts: usize,
    },
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
    match (outgoing.follows, &outgoing.control_subject) {
        (Follows::Last, Some(subject)) => {
            publish_behind_last(&shared, &outgoing, subject, deadline).await
        }
        (Follows::Message(after), _) => {
            publish_behind(&shared, &outgoing, Some(after), deadline).await
        }
        (Follows::Any | Follows::Last, _) => {
            publish_behind(&shared, &outgoing, None, deadline).await
        }
    }
}

/// Appends `outgoing` behind the last message of `subject`. Where another one is faster, it
/// follows that. The engine looks at the id of a message before it looks at what it follows:
/// so an attempt that was stored after all is confirmed, whatever has come since.
async fn publish_behind_last(
    shared: &Arc<Shared>,
    outgoing: &Outgoing,
    subject: &str,
    deadline: Instant,
) -> Result<Position, NotSent> {
    loop {
        let refused = match last_of(shared, subject).await {
            Ok(last) => {
                let after = last.map_or(0, |raw| raw.position.sequence);
                match publish_behind(shared, outgoing, Some(after), deadline).await {
                    Err(overtaken @ NotSent::Overtaken { .. }) => overtaken,
                    published => return published,
                }
            }
            Err(reason) => NotSent::Failed(reason),
        };
        if Instant::now() >= deadline {
            if let NotSent::Failed(reason) = &refused {
                shared.state.fail(reason.clone());
            }
            return Err(refused);
        }
        sleep(REFUSAL_PAUSE).await;
    }
}

/// Appends `outgoing`, if the message of number `after` is the last one of its subject.
async fn publish_behind(
    shared: &Arc<Shared>,
    outgoing: &Outgoing,
    after: Option<u64>,
    deadline: Instant,
) -> Result<Position, NotSent> {
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
            let mut copy = copy(shared, outgoing, stream);
            if let Some(after) = after {
                copy.headers.insert(LAST_SEQUENCE, after.to_string());
            }
            attempts.begin(&link, copy, until).await;
        }
        let mut is_link_to_blame = false;
        match attempts.wait(shared, until).await {
            Outcome::Confirmed(position) => return Ok(position),
            Outcome::Refused(code) if WRONG_LAST_SEQUENCES.contains(&code) => {
                let attempts = attempts.asked.len();
                return Err(NotSent::Overtaken { attempts });
            }
            Outcome::Refused(_) => sleep(REFUSAL_PAUSE).await,
            Outcome::Silence => is_link_to_blame = !link.is_prompt(),
        }
        if Instant::now() >= deadline {
            shared.state.fail(attempts.last_failure.clone());
            return Err(NotSent::Failed(attempts.last_failure));
        }
        turn += 1;
        if !is_control {
            streams = move_on(shared, &streams, is_link_to_blame);
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
                    shared.state.confirm(position);
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
