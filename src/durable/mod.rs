//! Data that a server must not lose: recorded actions and changes of pins, in an
//! embedded log-structured store (fjall) under one directory.

mod acknowledged;
mod action_log;
mod archive_claim;
mod archive_mark;
mod backup;
mod checkpoint;
mod claimed;
mod clock_mark;
mod copies;
mod embedded;
mod erased_copies;
mod erasures;
mod error;
mod forgettable;
mod frames;
mod journals;
#[cfg(feature = "kafka")]
mod kafka;
mod last_error;
mod lock;
mod log;
mod log_state;
#[cfg(test)]
pub(crate) mod memory_log;
mod message_place;
mod nats;
mod opening;
mod params;
mod places;
mod positions;
mod privacy;
mod records;
mod reopen;
mod rewrite;
mod rewrite_mark;
mod rotation;
mod store;
mod tail_thread;
mod unwritten;

pub use action_log::{
    ActionBatch, ActionFrame, ActionLog, Appended, Condition, Delivered, Entry, FrameId, Message,
    Origin, SharedLog, Sink, Tail,
};
pub use archive_claim::ArchiveClaim;
pub use backup::{LogRestore, LogSnapshot, belongs_to_log};
pub use checkpoint::{CHECKPOINT, ReadEntries};
pub use claimed::{ClaimedActions, Waiting};
pub use erasures::{Erasure, UserDigest};
pub use error::LogError;
pub use frames::{FrameError, decode as decode_message, encode as encode_message};
pub use journals::TruncatedTail;
#[cfg(feature = "kafka")]
pub use kafka::KafkaLog;
pub use log::{Log, STORE as EMBEDDED_LOG};
pub use nats::NatsLog;
pub use params::{ActionLogKind, ActionLogParams};
pub use places::PlacedAction;
pub use positions::{MAX_STREAMS, Position, Positions};
pub use records::{PinChange, PinRecord, Place};
pub use unwritten::ReadAction;
