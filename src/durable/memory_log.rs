//! A shared log in memory, for tests: it delivers what a real engine would, or what it may at
//! its worst.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::action_log::{
    ActionFrame, ActionLog, Appended, Condition, Delivered, Entry, Message, Origin, SharedLog,
    Sink, Tail,
};
use super::error::LogError;
use super::frames::{
    decode, encode_batch, encode_claim, encode_erasure, encode_frame, encode_pin_change,
};
use super::positions::{Position, Positions};
use super::records::PinChange;
use crate::model::{Action, Timestamp, UserId};

/// Streams of actions; the control stream follows.
pub(crate) const STREAMS: u8 = 3;
/// Small, so that a handful of actions are several messages.
const MAX_BYTES: usize = 1_200;

/// A log that any number of replicas share.
#[derive(Clone, Default)]
pub(crate) struct MemoryLog(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    messages: Vec<(Position, Vec<u8>)>,
    newest: Positions,
    sinks: Vec<(usize, Box<dyn Sink>)>,
    tails: usize,
    /// Appended, and not delivered yet.
    held: Vec<Position>,
    is_holding: bool,
    failure: Option<String>,
    /// An erasure writes nothing anew, as if its replica was killed before.
    keeps_erased: bool,
    /// The next message goes into the next stream as well.
    doubles: bool,
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog").finish_non_exhaustive()
    }
}

impl MemoryLog {
    /// Puts each message into two streams from now on.
    pub(crate) fn double(&self) {
        self.lock().doubles = true;
    }

    /// Ends erasures before they write anything anew, or no more.
    pub(crate) fn keep_erased(&self, keeps_erased: bool) {
        self.lock().keeps_erased = keeps_erased;
    }

    /// Whether a message has an action of `user`.
    pub(crate) fn has(&self, user: UserId) -> bool {
        let inner = self.lock();
        let mut messages = inner.messages.iter();
        messages.any(|(_, bytes)| match decode(bytes) {
            Ok(Message::Actions(frame)) => frame.actions.iter().any(|a| a.user == user),
            _ => false,
        })
    }

    /// Delivers nothing until [`Self::release`].
    pub(crate) fn hold(&self) {
        self.lock().is_holding = true;
    }

    /// Delivers what was held, the streams in turn.
    pub(crate) fn release(&self) {
        let mut inner = self.lock();
        inner.is_holding = false;
        let mut held = std::mem::take(&mut inner.held);
        held.sort_unstable();
        for position in held {
            inner.deliver(position);
        }
    }

    /// Takes nothing for this reason, or takes it again.
    pub(crate) fn fail(&self, failure: Option<&str>) {
        self.lock().failure = failure.map(str::to_owned);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn push(&mut self, stream: u8, bytes: Vec<u8>) -> Position {
        let sequence = self.newest.of(stream) + 1;
        let position = Position { stream, sequence };
        self.newest.advance(position);
        self.messages.push((position, bytes));
        if self.is_holding {
            self.held.push(position);
        } else {
            self.deliver(position);
        }
        position
    }

    fn deliver(&mut self, position: Position) {
        let found = self.messages.iter().find(|(at, _)| *at == position);
        let (_, bytes) = found.expect("a message that was pushed");
        for (_, sink) in &mut self.sinks {
            sink.take(vec![delivered(position, bytes)]);
        }
    }
}

fn delivered(position: Position, bytes: &[u8]) -> Delivered {
    Delivered {
        position,
        message: decode(bytes).expect("a message that was encoded"),
    }
}

/// Delivers until it is dropped.
struct MemoryTail {
    log: MemoryLog,
    number: usize,
}

impl Drop for MemoryTail {
    fn drop(&mut self) {
        let number = self.number;
        self.log.lock().sinks.retain(|&(of, _)| of != number);
    }
}

impl ActionLog for MemoryLog {
    fn id(&self) -> u64 {
        7
    }

    fn append(&self, entry: &Entry<'_>) -> Result<Appended, LogError> {
        let mut inner = self.lock();
        if let Some(failure) = &inner.failure {
            return Err(LogError::NotReached(failure.clone()));
        }
        let mut positions = Vec::new();
        match entry {
            Entry::Actions(batch) => {
                for frame in encode_batch(batch, MAX_BYTES) {
                    let stream = (inner.messages.len() % usize::from(STREAMS)) as u8;
                    if inner.doubles {
                        inner.push((stream + 1) % STREAMS, frame.bytes.clone());
                    }
                    positions.push(inner.push(stream, frame.bytes));
                }
            }
            Entry::Pins(changes) => {
                let bytes = changes.iter().map(encode_pin_change);
                positions.extend(bytes.map(|bytes| inner.push(STREAMS, bytes)));
            }
            Entry::Erasure { user, erased_at } => {
                positions.push(inner.push(STREAMS, encode_erasure(*user, *erased_at)));
            }
        }
        Ok(Appended::Sent(positions.into_iter().collect()))
    }

    fn newest(&self) -> Result<Positions, LogError> {
        let inner = self.lock();
        match &inner.failure {
            Some(failure) => Err(LogError::NotReached(failure.clone())),
            None => Ok(inner.newest.clone()),
        }
    }

    fn condition(&self) -> Condition {
        let inner = self.lock();
        Condition {
            failure: inner.failure.clone(),
            newest: inner.newest.clone(),
            told: Some(Instant::now()),
        }
    }
}

impl SharedLog for MemoryLog {
    fn tail(&self, after: Positions, mut sink: Box<dyn Sink>) -> Result<Tail, LogError> {
        let mut inner = self.lock();
        let missing = inner.messages.iter();
        let missing = missing.filter(|(at, _)| at.sequence > after.of(at.stream));
        let mut missing: Vec<_> = missing.collect();
        missing.sort_unstable_by_key(|&&(at, _)| at);
        sink.take(
            missing
                .iter()
                .map(|(at, bytes)| delivered(*at, bytes))
                .collect(),
        );
        inner.tails += 1;
        let number = inner.tails;
        inner.sinks.push((number, sink));
        let log = self.clone();
        Ok(Tail::new(MemoryTail { log, number }))
    }

    fn settle_pins(&self, changes: &[PinChange]) -> Result<(), LogError> {
        let is_settled = |bytes: &[u8]| match decode(bytes) {
            Ok(Message::Pin(change)) => changes.contains(&change),
            _ => false,
        };
        self.lock().messages.retain(|(_, bytes)| !is_settled(bytes));
        Ok(())
    }

    fn claim_archive(&self, claim: &[u8], after: u64) -> Result<bool, LogError> {
        let mut inner = self.lock();
        if let Some(failure) = &inner.failure {
            return Err(LogError::NotReached(failure.clone()));
        }
        let is_claim = |bytes: &[u8]| matches!(decode(bytes), Ok(Message::ArchiveClaim(_)));
        let claims = inner.messages.iter().filter(|(_, bytes)| is_claim(bytes));
        let last = claims.map(|(at, _)| at.sequence).max().unwrap_or(0);
        if last == after {
            inner.push(STREAMS, encode_claim(claim));
        }
        Ok(last == after)
    }

    fn erase(
        &self,
        is_erased: &(dyn Fn(&Action, Timestamp) -> bool + Sync),
    ) -> Result<u64, LogError> {
        let mut inner = self.lock();
        if inner.keeps_erased {
            return Err(LogError::NotReached("it is killed".to_owned()));
        }
        let mut erased = 0;
        for (position, bytes) in inner.messages.clone() {
            let Ok(Message::Actions(frame)) = decode(&bytes) else {
                continue;
            };
            let (count, recorded_at) = (frame.actions.len(), frame.recorded_at);
            let origin = frame.origin.unwrap_or_else(|| Origin {
                position,
                places: (0..).take(count).collect(),
            });
            let placed = frame.actions.into_iter().zip(origin.places);
            let (actions, places): (Vec<Action>, _) = placed
                .filter(|(action, _)| !is_erased(action, recorded_at))
                .unzip();
            if actions.len() == count {
                continue;
            }
            erased += (count - actions.len()) as u64;
            inner.messages.retain(|(at, _)| *at != position);
            if !actions.is_empty() {
                let origin = Some(Origin { places, ..origin });
                let left = ActionFrame {
                    actions,
                    origin,
                    ..frame
                };
                inner.push(position.stream, encode_frame(&left));
            }
        }
        Ok(erased)
    }

    fn begins(&self) -> Result<Option<Timestamp>, LogError> {
        Ok(None)
    }
}
