//! Appends messages: one of actions is tried on one partition after the other until one
//! confirms it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rdkafka::producer::BaseRecord;

use super::super::action_log::{ActionBatch, Entry};
use super::super::error::LogError;
use super::super::frames::{encode_batch, encode_erasure, encode_pin_change};
use super::super::positions::Position;
use super::super::records::PinChange;
use super::client::{Report, Sent, describe};
use super::control::{erasure_key, pin_key};
use super::names::Topic;
use super::shared::Shared;
use crate::metrics::LOG_MOVES;

/// Most bytes of a message: brokers take a million where they are not told otherwise.
pub(super) const MAX_MESSAGE: usize = 256 << 10;
/// Pause after a refusal.
const REFUSAL_PAUSE: Duration = Duration::from_millis(20);

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Any partition of a topic of actions.
    Any(Topic),
    /// This stream.
    Stream(u8),
}

/// The key of a message.
#[derive(Clone, Debug)]
pub(super) enum Key {
    /// One of its own, which begins so.
    New(Vec<u8>),
    /// That of a message which this one removes.
    Of(Vec<u8>),
}

/// What is appended.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) target: Target,
    pub(super) key: Key,
    /// None removes the message of this key.
    pub(super) payload: Option<Vec<u8>>,
    /// Milliseconds since 1970 from which on it counts as stored; none for now.
    pub(super) stored_at: Option<i64>,
}

impl Outgoing {
    /// A record of the control topic.
    pub(super) fn control(shared: &Shared, key: Vec<u8>, payload: Vec<u8>) -> Self {
        Self {
            target: Target::Stream(shared.names.control()),
            key: Key::New(key),
            payload: Some(payload),
            stored_at: None,
        }
    }

    /// Removes the message of this key.
    pub(super) fn tombstone(stream: u8, key: Vec<u8>) -> Self {
        Self {
            target: Target::Stream(stream),
            key: Key::Of(key),
            payload: None,
            stored_at: None,
        }
    }

    /// A message of actions.
    pub(super) fn actions(is_kept: bool, payload: Vec<u8>) -> Self {
        let topic = if is_kept { Topic::Kept } else { Topic::Actions };
        Self {
            target: Target::Any(topic),
            key: Key::New(Vec::new()),
            payload: Some(payload),
            stored_at: None,
        }
    }
}

/// The messages for `entry`.
pub(super) fn messages(shared: &Shared, entry: &Entry<'_>) -> Vec<Outgoing> {
    match entry {
        Entry::Actions(batch) => actions(batch),
        Entry::Pins(changes) => pins(shared, changes),
        Entry::Erasure { user, erased_at } => {
            let payload = encode_erasure(*user, *erased_at);
            vec![Outgoing::control(shared, erasure_key(), payload)]
        }
    }
}

fn actions(batch: &ActionBatch<'_>) -> Vec<Outgoing> {
    let frames = encode_batch(batch, MAX_MESSAGE).into_iter();
    frames
        .map(|frame| Outgoing::actions(frame.is_kept, frame.bytes))
        .collect()
}

/// One message for each change, in their order.
fn pins(shared: &Shared, changes: &[PinChange]) -> Vec<Outgoing> {
    let message = |change: &PinChange| {
        Outgoing::control(shared, pin_key(change.0), encode_pin_change(change))
    };
    changes.iter().map(message).collect()
}

/// A message that nobody has confirmed yet.
struct Attempt<'a> {
    outgoing: &'a Outgoing,
    stream: u8,
    position: Option<Position>,
    /// When it is tried on another partition.
    moves_at: Instant,
}

struct Publisher<'a> {
    shared: &'a Shared,
    attempts: Vec<Attempt<'a>>,
    reports: Sender<Report>,
    reported: Receiver<Report>,
    last_failure: String,
}

/// Appends all of `outgoing`, those to one stream in their order, and returns where they
/// stand once all are confirmed.
pub(super) fn publish(shared: &Shared, outgoing: &[Outgoing]) -> Result<Vec<Position>, LogError> {
    let deadline = Instant::now() + shared.params.append_timeout;
    let (reports, reported) = channel();
    let mut publisher = Publisher {
        shared,
        attempts: Vec::with_capacity(outgoing.len()),
        reports,
        reported,
        last_failure: "nobody has confirmed it".to_owned(),
    };
    let done = publisher.run(outgoing, deadline);
    done.map_err(|reason| {
        shared.state.fail(reason.clone());
        shared.unreachable(reason)
    })?;
    let positions = publisher.attempts.iter().map(|attempt| attempt.position);
    Ok(positions.flatten().collect())
}

impl<'a> Publisher<'a> {
    fn run(&mut self, outgoing: &'a [Outgoing], deadline: Instant) -> Result<(), String> {
        for (number, outgoing) in outgoing.iter().enumerate() {
            let now = Instant::now();
            self.attempts.push(Attempt {
                outgoing,
                stream: self.first(outgoing.target, now),
                position: None,
                moves_at: now + self.shared.params.retry_after,
            });
            self.send(number)?;
        }
        loop {
            let open = self
                .attempts
                .iter()
                .filter(|attempt| attempt.position.is_none());
            let Some(next) = open.map(|attempt| attempt.moves_at).min() else {
                return Ok(());
            };
            let until = next.min(deadline);
            let wait = until.saturating_duration_since(Instant::now());
            match self.reported.recv_timeout(wait) {
                Ok(report) => self.take(report)?,
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => {
                    return Err(self.last_failure.clone());
                }
                Err(_) => self.move_on()?,
            }
        }
    }

    fn first(&self, target: Target, now: Instant) -> u8 {
        match target {
            Target::Stream(stream) => stream,
            Target::Any(topic) => {
                self.shared.names.first(topic) + self.shared.rotation(topic).first(now)
            }
        }
    }

    fn take(&mut self, report: Report) -> Result<(), String> {
        let attempt = &mut self.attempts[report.number];
        match report.result {
            Ok(sequence) => {
                let stream = report.stream;
                let position = Position { stream, sequence };
                self.shared.state.confirm(position);
                if let Target::Any(topic) = attempt.outgoing.target {
                    let partition = stream - self.shared.names.first(topic);
                    self.shared.rotation(topic).answered(partition);
                }
                attempt.position.get_or_insert(position);
            }
            Err(reason) if attempt.position.is_none() => {
                if let Target::Stream(_) = attempt.outgoing.target {
                    // It may be there: a second copy could come after another change.
                    return Err(reason);
                }
                if attempt.stream == report.stream {
                    attempt.moves_at = Instant::now() + REFUSAL_PAUSE;
                }
                self.last_failure = reason;
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// Tries what nobody has confirmed in time on the next partition.
    fn move_on(&mut self) -> Result<(), String> {
        let now = Instant::now();
        for number in 0..self.attempts.len() {
            let attempt = &mut self.attempts[number];
            if attempt.position.is_some() || attempt.moves_at > now {
                continue;
            }
            attempt.moves_at = now + self.shared.params.retry_after;
            let Target::Any(topic) = attempt.outgoing.target else {
                continue;
            };
            metrics::counter!(LOG_MOVES).increment(1);
            let first = self.shared.names.first(topic);
            let mut rotation = self.shared.rotation(topic);
            rotation.stalled(attempt.stream - first, now);
            attempt.stream = first + rotation.after(attempt.stream - first, now);
            drop(rotation);
            self.send(number)?;
        }
        Ok(())
    }

    /// Sends a copy of a message.
    fn send(&mut self, number: usize) -> Result<(), String> {
        let Attempt {
            outgoing, stream, ..
        } = self.attempts[number];
        let (topic, partition) = self.shared.names.place(stream);
        let key = match &outgoing.key {
            Key::New(prefix) => [&prefix[..], &rand::random::<[u8; 16]>()].concat(),
            Key::Of(key) => key.clone(),
        };
        let sent = Sent {
            number,
            stream,
            known: self.shared.state.known(stream),
            reports: self.reports.clone(),
        };
        let mut record = BaseRecord::with_opaque_to(&topic, Box::new(sent))
            .partition(partition)
            .key(&key);
        if let Some(payload) = &outgoing.payload {
            record = record.payload(payload);
        }
        if let Some(stored_at) = outgoing.stored_at {
            record = record.timestamp(stored_at);
        }
        let producer = self.shared.producer().map_err(|error| error.to_string())?;
        if let Err((error, _)) = producer.send(record) {
            self.take(Report {
                number,
                stream,
                result: Err(describe(&error)),
            })?;
        }
        Ok(())
    }
}
