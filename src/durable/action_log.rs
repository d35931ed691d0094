//! The seam between the server and the log that holds what it must not lose: the embedded
//! one of a single machine, or an engine whose log all replicas of a fleet read.
//!
//! What is appended is durable at once in the embedded log, whose only writer makes it
//! visible itself. A shared log brings it back by its tail, with what other replicas
//! have appended, and nothing of it is visible before.

use std::fmt;
use std::time::Instant;

use super::erasures::UserDigest;
use super::error::LogError;
use super::positions::{Position, Positions};
use super::records::PinChange;
use crate::model::{Action, Timestamp};

/// Tells one append from others, so that its copies are recognized: 8 random bytes of the
/// process, and 8 of a counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FrameId(pub [u8; 16]);

impl FrameId {
    /// Append number `append` of the process with this random number.
    #[must_use]
    pub fn new(process: u64, append: u64) -> Self {
        Self((u128::from(process) << 64 | u128::from(append)).to_be_bytes())
    }
}

/// What is appended together.
#[derive(Debug)]
pub enum Entry<'a> {
    /// Actions.
    Actions(ActionBatch<'a>),
    /// Changes of pins. The last change of a pin is the one that counts.
    Pins(&'a [PinChange]),
    /// That a user is erased.
    Erasure {
        /// Tells the user to those who know them.
        user: UserDigest,
        /// Actions of before are erased. In a shared log at least one microsecond after all
        /// earlier erasures: who reads it makes it so.
        erased_at: Timestamp,
    },
}

/// Actions that are appended together.
#[derive(Clone, Copy)]
pub struct ActionBatch<'a> {
    /// Tells this append from others.
    pub frame: FrameId,
    /// The actions, in the order in which they are recorded.
    pub actions: &'a [&'a Action],
    /// The clock of the server.
    pub recorded_at: Timestamp,
    /// Which of them are never forgotten.
    pub is_kept: &'a (dyn Fn(&Action) -> bool + Sync),
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is durable here, and for the caller to make visible.
    Here,
    /// It is durable, at these positions. The tail brings it back.
    Sent(Positions),
}

/// One message of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivered {
    /// Where it stands.
    pub position: Position,
    /// What it says.
    pub message: Message,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Actions.
    Actions(ActionFrame),
    /// The last change of one pin.
    Pin(PinChange),
    /// That a user was erased.
    Erasure {
        /// Tells the user to those who know them.
        user: UserDigest,
        /// As it was appended.
        erased_at: Timestamp,
    },
    /// A claim on a part of the archive.
    ArchiveClaim(Vec<u8>),
    /// Nothing any more: what stood up to this position has expired, was erased, or was
    /// replaced.
    Gone,
}

/// Actions of one message.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionFrame {
    /// The append that it belongs to.
    pub frame: FrameId,
    /// The clock of the server that took them.
    pub recorded_at: Timestamp,
    /// Whether the actions are never forgotten.
    pub is_kept: bool,
    /// Where they stood before an erasure has written them anew; none where they stand.
    pub origin: Option<Origin>,
    /// The actions.
    pub actions: Vec<Action>,
}

/// Where the actions of a message stood before it was written anew without those of an
/// erased user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The message.
    pub position: Position,
    /// The place of each action in the message.
    pub places: Vec<u16>,
}

impl fmt::Debug for ActionBatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frame, actions, .. } = self;
        let mut batch = f.debug_struct("ActionBatch");
        batch
            .field("frame", frame)
            .field("actions", actions)
            .finish_non_exhaustive()
    }
}

/// Takes what a tail delivers. One thread calls it.
pub trait Sink: Send {
    /// Takes messages: those of a stream in order, and none left out. May wait; what comes
    /// meanwhile waits as well.
    fn take(&mut self, delivered: Vec<Delivered>);
}

/// A tail that goes on until this is dropped. The drop waits for a message that is being taken.
pub struct Tail(#[expect(dead_code, reason = "held for its drop")] Box<dyn Send + Sync>);

impl Tail {
    /// A tail that ends when `guard` is dropped.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self(Box::new(guard))
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").finish_non_exhaustive()
    }
}

/// Whether a log can be written, and how far it is known to reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Why nothing can be appended at present; none while all is well.
    pub failure: Option<String>,
    /// The newest position of each stream, as last told by the engine. Empty before it
    /// was asked for the first time.
    pub newest: Positions,
    /// When that was.
    pub told: Option<Instant>,
}

/// A log that makes durable what a server must not lose.
pub trait ActionLog: fmt::Debug + Send + Sync {
    /// The random number that tells this log from others.
    fn id(&self) -> u64;

    /// Appends `entry`, and returns once it is durable: in a shared log on a majority of its
    /// nodes. Blocks.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or nobody says that it was. It may be there all the same,
    /// or a part of it; appending it again does no harm.
    fn append(&self, entry: &Entry<'_>) -> Result<Appended, LogError>;

    /// The newest position of each stream. Blocks.
    fn newest(&self) -> Result<Positions, LogError>;

    /// Whether it can be written, without asking.
    fn condition(&self) -> Condition;
}

/// A log that others append to as well, so that whoever keeps a state reads what comes.
pub trait SharedLog: ActionLog {
    /// Delivers to `sink` what follows `after`, and then what comes.
    fn tail(&self, after: Positions, sink: Box<dyn Sink>) -> Result<Tail, LogError>;

    /// Drops the last change of each of these pins, where it is still this one: catalogs have
    /// it. Blocks.
    fn settle_pins(&self, changes: &[PinChange]) -> Result<(), LogError>;

    /// Appends a claim on a part of the archive, unless there is another after the one at
    /// number `after` of the control stream; 0 for none. Returns whether it is there. Blocks.
    fn claim_archive(&self, claim: &[u8], after: u64) -> Result<bool, LogError>;

    /// Erases the actions of which `is_erased` says so, given the clock of the server that took
    /// them, and returns their number. What is left of their messages is appended anew, with
    /// its origin. Messages that others append meanwhile may be left out. Blocks.
    ///
    /// # Errors
    ///
    /// When the log cannot be read or written. A part may be erased; erasing again does the
    /// rest.
    fn erase(
        &self,
        is_erased: &(dyn Fn(&Action, Timestamp) -> bool + Sync),
    ) -> Result<u64, LogError>;

    /// The moment before which recorded actions may be missing, for their age or because
    /// somebody has deleted them; none if all that was ever recorded is there. A message that
    /// an erasure has deleted at the beginning of a stream may count as missing. Blocks.
    ///
    /// # Errors
    ///
    /// When the engine does not tell.
    fn begins(&self) -> Result<Option<Timestamp>, LogError>;
}
