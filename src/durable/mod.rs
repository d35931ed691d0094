//! Data that a server must not lose: recorded actions and changes of pins, in an
//! embedded log-structured store (fjall) under one directory.

mod acknowledged;
mod archive_mark;
mod backup;
mod clock_mark;
mod erasures;
mod error;
mod journals;
mod log;
mod places;
mod privacy;
mod records;
mod reopen;
mod store;

pub use backup::{LogRestore, LogSnapshot, belongs_to_log};
pub use erasures::{Erasure, UserDigest};
pub use error::LogError;
pub use journals::TruncatedTail;
pub use log::Log;
pub use places::PlacedAction;
pub use records::{PinRecord, Place};
